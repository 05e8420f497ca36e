"""The scripts that run in pods: their text, their command and the ConfigMap that carries them."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from cdk8s_plus_27 import ConfigMap, PathMapping, Volume, k8s
from constructs import Construct

_HERE = Path(__file__).parent

SCRIPTS_PATH = "/etc/dindcache"
"""Directory of the scripts in each container that runs one."""

SCRIPTS_DIRECTORY = "dindcache"
"""Directory of the scripts in a volume that has other files too."""


@cache
def read_script(path: str) -> str:
    """Return the text of a script.

    :param path: Path of the script in this package, such as ``daemon/drain.sh``
    """
    return (_HERE / path).read_text()


def read_scripts(*paths: str) -> dict[str, str]:
    """Return the texts of scripts by file name."""
    return {path.rpartition("/")[2]: read_script(path) for path in paths}


def script_command(name: str) -> list[str]:
    """Return the command with which a container runs a script."""
    return ["sh", f"{SCRIPTS_PATH}/{name}"]


class FilesConfigMap(Construct):
    """A ConfigMap of text files, as a volume of a pod.

    :param name: Name of the ConfigMap
    :param app: Value of its label ``app``
    :param data: Text of each file by its key
    :param paths: Path of each file in the volume by its key. Defaults to the key
    """

    def __init__(
        self, scope: Construct, id: str, *, name: str, app: str, data: Mapping[str, str], paths: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(scope, id)
        k8s.KubeConfigMap(self, "config-map", metadata=k8s.ObjectMeta(name=name, labels={"app": app}), data=dict(data))
        self.volume = Volume.from_config_map(
            self,
            "volume",
            ConfigMap.from_config_map_name(self, "reference", name),
            name="config",
            items={key: PathMapping(path=path) for key, path in paths.items()} if paths else None,
        )
