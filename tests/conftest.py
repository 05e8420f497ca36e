"""Options, golden files and the objects of a chart."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cdk8s import App, Chart, Yaml

GOLDEN = Path(__file__).parent / "unit" / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="regenerate the golden files")
    parser.addoption("--kubeconfig", help="the cluster that tests/cluster runs on")
    parser.addoption("--vm", help="a program that runs a script in a virtual machine with cgroup v2")
    parser.addoption("--daemon-node", help="the node of the cluster that has the daemons")
    parser.addoption("--user-namespaces", action="store_true", help="the daemons run in user namespaces, which that node can")
    parser.addoption("--registry-mirror", help="a mirror of Docker Hub that the cluster's pods can reach")


@pytest.fixture
def chart() -> Chart:
    return Chart(App(), "test", namespace="kube-ops", disable_resource_name_hashes=True)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Chart], None]:
    """Compare a chart's YAML with ``golden/<test>.yaml``, without the text of scripts."""
    path = GOLDEN / f"{request.node.name}.yaml"

    def compare(chart: Chart) -> None:
        objects = chart.to_json()
        for config_map in (o for o in objects if o["kind"] == "ConfigMap"):
            config_map["data"] |= {key: f"(the text of {key})" for key in config_map["data"] if key.endswith(".sh")}
        manifest = Yaml.stringify(*objects)
        if request.config.getoption("--update-golden"):
            path.write_text(manifest)
        assert path.exists(), f"no golden file {path.name}: make golden writes it"
        assert manifest == path.read_text()

    return compare


@pytest.fixture
def find(chart: Chart) -> Callable[..., Any]:
    """Return the chart's only object of a kind (and name), as synthesized."""

    def find(kind: str, name: str | None = None) -> Any:
        found = [o for o in chart.to_json() if o["kind"] == kind and name in (None, o["metadata"]["name"])]
        assert len(found) == 1, f"{len(found)} objects of kind {kind}"
        return found[0]

    return find


@pytest.fixture(scope="session")
def user_app(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Synthesize ``user_app.py`` in a virtual environment that has the wheel and nothing else."""
    root = Path(__file__).parent.parent
    directory = tmp_path_factory.mktemp("user")
    python = directory / "venv" / "bin" / "python"

    def run(*command: str | Path) -> None:
        subprocess.run(command, cwd=directory, check=True, env={**os.environ, "CDK8S_OUTDIR": str(directory / "out")})

    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", directory, root)
    run(sys.executable, "-m", "venv", directory / "venv")
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--constraint", root / "constraints.txt", *directory.glob("*.whl"))

    def synthesize(*arguments: str) -> Path:
        run(python, "-I", Path(__file__).parent / "project" / "user_app.py", *arguments)
        return directory / "out" / "user-app.k8s.yaml"

    return synthesize
