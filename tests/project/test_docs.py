"""The blocks of README and docs: Python is executed, YAML matches its schema, and shell runs or states why it cannot."""

import re
import subprocess
from pathlib import Path
from typing import Any

import cdk8s
import cdk8s_plus_27
import kubernetes_validate
import pytest
import yaml
from cdk8s import App, Chart, Size

import dindcache
import dindcache.gitlab
import dindcache.prometheus
from dindcache import ClaimedVolume, DindDaemon, SelfIssued
from tests.framework.guides import RUN
from tests.framework.pages import blocks

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# In a comment before a shell block that no test runs.
REASON = re.compile(r"<!-- not run: .+ -->\s*$")


def pages_with(*languages: str) -> list[Any]:
    names = [(page, str(page.relative_to(ROOT))) for page in PAGES if blocks(page, *languages)]
    return [pytest.param(page, id=name) for page, name in names]


def prelude() -> dict[str, Any]:
    """Return the names that a block can use: the three packages and pathlib, a chart, an unused volume and a daemon."""
    names: dict[str, Any] = {"Path": Path}
    for package, wanted in (
        (cdk8s, "App Chart Cron Duration Size Yaml"),
        (cdk8s_plus_27, "ContainerProps ContainerResources Cpu CpuResources Job MemoryResources Namespaces Pods k8s"),
        (dindcache, " ".join(dindcache.__all__)),
        (dindcache.gitlab, " ".join(dindcache.gitlab.__all__)),
        (dindcache.prometheus, " ".join(dindcache.prometheus.__all__)),
    ):
        names |= {name: getattr(package, name) for name in wanted.split()}
    namespaces = ["builds", "gitlab-jobs", "gitlab", "arc-runners", "jenkins", "argo"]
    own = Chart(App(), "daemon", namespace="kube-ops")
    data = ClaimedVolume(own, "data", storage=Size.gibibytes(50))
    return {**names, "daemon": DindDaemon(own, "docker-dind", volume=data, tls=SelfIssued(client_namespaces=namespaces))}


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "config.toml").write_text('[[runners]]\nexecutor = "kubernetes"\n')
    names = prelude()
    for block in blocks(page, "python"):
        # A chart for each block, so that each can create a daemon of the same name. Other names stay for the next block.
        chart = Chart(App(), "docker-cache", namespace="kube-ops")
        names |= {"chart": chart, "volume": ClaimedVolume(chart, "unused", storage=Size.gibibytes(50))}
        # The working directory of jsii's process is this clone.
        exec(block.text.replace("App()", f"App(outdir={str(tmp_path)!r})"), names)  # noqa: S102 - the page's own
        chart.to_json()


@pytest.mark.parametrize("page", pages_with("yaml"))
def test_yaml_blocks_fit_their_schema(page, tmp_path):
    for i, block in enumerate(blocks(page, "yaml")):
        manifests = list(yaml.safe_load_all(block.text.replace("!reference", "")))
        if all("apiVersion" in manifest for manifest in manifests):
            for manifest in manifests:
                kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
        elif list(manifests[0]) == ["metadata", "spec"]:  # a part of a pod
            pod = {"apiVersion": "v1", "kind": "Pod", **manifests[0]}
            for container in pod["spec"]["containers"]:
                container.setdefault("name", "build")
            kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
        else:
            (tmp_path / f"{i}.yml").write_text(block.text)
    if pipelines := sorted(tmp_path.iterdir()):
        command = ["check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci", *pipelines]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


# The quickstart, test_synth.py and test_wheel.py cover the README's commands.
@pytest.mark.parametrize("page", [page for page in pages_with("sh") if page.id != "README.md"])
def test_shell_blocks_run_on_a_cluster_or_say_why_they_cannot(page):
    name = str(page.relative_to(ROOT))
    unexplained = [block.text for block in blocks(page, "sh") if not REASON.search(block.before)]
    assert name in RUN or not unexplained, unexplained


def test_every_page_that_is_run_exists():
    assert not [name for name in RUN if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_links_and_paths_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
    for path in re.findall(r"`((?:tests|benchmarks|examples|dindcache)/[\w/.-]+\.\w+)`", text):
        assert (ROOT / path).exists(), path


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 110
    assert lines.index("```python") < 30
