"""An app that creates the objects of dist/ directly with ``cdk8s_plus_27.k8s``: ``python -m benchmarks.bare`` prints it.

``benchmarks/synth.py`` compares ``main.py`` with it.
"""

import keyword
import re
import typing
from pathlib import Path
from typing import Any

import yaml
from cdk8s_plus_27 import k8s

DIST = Path(__file__).parent.parent / "dist" / "docker-cache.k8s.yaml"
HEAD = """from cdk8s import App, Chart
from cdk8s_plus_27 import k8s

app = App()
chart = Chart(app, "docker-cache", disable_resource_name_hashes=True)
"""


def app() -> str:
    """Return the source of the app."""
    calls = []
    for number, manifest in enumerate(yaml.safe_load_all(DIST.read_text())):
        kind = f"Kube{manifest.pop('kind')}"
        del manifest["apiVersion"]
        calls.append(_call(getattr(k8s, kind), manifest, f"chart, 'object-{number}', "))
    return HEAD + "\n".join([*calls, "app.synth()\n"])


def _call(cls: type, values: dict[str, Any], before: str = "") -> str:
    types = typing.get_type_hints(vars(cls)["__init__"])
    arguments = []
    for key, value in values.items():
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", key.replace("FQDN", "Fqdn").replace("API", "Api")).lower()
        name += "_" * keyword.iskeyword(name)
        arguments.append(f"{name}={_value(value, types[name])}")
    return f"k8s.{cls.__name__}({before}{', '.join(arguments)})"


def _value(value: Any, hint: Any) -> str:
    hints = typing.get_args(hint) if typing.get_origin(hint) is typing.Union else (hint,)
    if k8s.Quantity in hints:
        return f"k8s.Quantity.from_string({value!r})"
    if k8s.IntOrString in hints:
        return f"k8s.IntOrString.from_number({value!r})"
    struct = next((h for h in hints if getattr(h, "__module__", "").startswith("cdk8s_plus_27")), None)
    items: tuple[Any, ...] = next((typing.get_args(h) for h in hints if typing.get_args(h)), ())
    if isinstance(value, dict):
        if struct:
            return _call(struct, value)
        return f"{{{', '.join(f'{key!r}: {_value(item, items[1])}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(_value(item, items[0]) for item in value)}]"
    return repr(value)


if __name__ == "__main__":
    print(app(), end="")
