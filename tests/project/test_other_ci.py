"""The Python blocks of docs/guides/other-ci.md, whose output is checked against the schema of each system."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cdk8s import App, Chart, Size, Yaml
from hera.workflows.models import WorkflowTemplate

from dindcache import ClaimedVolume, DindDaemon, SelfIssued

GUIDE = (Path(__file__).parent.parent.parent / "docs" / "guides" / "other-ci.md").read_text()


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The files that the blocks write, by name."""
    monkeypatch.chdir(tmp_path)
    chart = Chart(App(), "ci", namespace="kube-ops")
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(50))
    names = {"chart": chart, "volume": volume, "DindDaemon": DindDaemon, "SelfIssued": SelfIssued, "Path": Path, "Yaml": Yaml}
    for block in re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL):
        exec(block, names)  # noqa: S102 - the guide's own
    return {path.name: yaml.safe_load(path.read_text()) for path in tmp_path.iterdir()}


def test_each_system_has_its_file(written):
    assert set(written) == {"values.yaml", "docker-pod.yaml", "workflow-template.yaml"}


@pytest.mark.parametrize("version", ["1.27", kubernetes_validate.latest_version()])
def test_the_runner_scale_set_gets_a_pod_template(written, version):
    template = {"apiVersion": "v1", "kind": "PodTemplate", "template": written["values.yaml"]["template"]}
    kubernetes_validate.validate(template, version, strict=True)
    assert_client(written["values.yaml"]["template"], "docker-dind--kube-ops-client")


@pytest.mark.parametrize("version", ["1.27", kubernetes_validate.latest_version()])
def test_jenkins_gets_a_pod(written, version):
    kubernetes_validate.validate(written["docker-pod.yaml"], version, strict=True)
    assert_client(written["docker-pod.yaml"], "docker-dind--kube-ops-client")


def test_argo_gets_a_workflow_template(written):
    manifest = written["workflow-template.yaml"]
    # The models ignore unknown fields, so the result must have all fields again.
    read = WorkflowTemplate.model_validate(manifest).model_dump(by_alias=True, exclude_none=True, mode="json")
    assert read == manifest
    (build,) = manifest["spec"]["templates"]
    spec = {"containers": [build["container"]], "volumes": build["volumes"]}
    assert_client({"metadata": build["metadata"], "spec": spec}, "docker-dind--kube-ops-client")


def assert_client(template: Any, secret: str) -> None:
    assert template["metadata"]["labels"] == {"dindcache/client": "true"}
    (container,) = template["spec"]["containers"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert environment["DOCKER_HOST"] == "tcp://docker-dind.kube-ops.svc:2376"
    (mount,), (volume,) = container["volumeMounts"], template["spec"]["volumes"]
    assert mount["name"] == volume["name"]
    assert mount["mountPath"] == environment["DOCKER_CERT_PATH"]
    assert volume["secret"]["secretName"] == secret
