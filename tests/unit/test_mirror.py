"""A mirror of Docker Hub, and the daemons that use it."""

from typing import Any

import pytest
from cdk8s import Chart, Duration, Size
from cdk8s_plus_27 import k8s

from dindcache import ClaimedVolume, DindDaemon, DindFleet, LocalVolume, PodOptions, RegistryMirror


def mirror(chart: Chart, **props: Any) -> RegistryMirror:
    return RegistryMirror(chart, "mirror", volume=ClaimedVolume(chart, "images", storage=Size.gibibytes(50)), **props)


def test_registry_mirror(chart, golden):
    options = PodOptions(
        image_pull_secrets=["pull"],
        tolerations=[k8s.Toleration(operator="Exists")],
        priority_class_name="high",
        labels={"team": "ci"},
        annotations={"a": "b"},
    )
    mirror(chart, credentials_secret="docker-hub", keep_for=Duration.days(1), pod=options)  # noqa: S106 - its name
    golden(chart)


def test_one_argument_wires_a_daemon(chart, find):
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(50))
    DindDaemon(
        chart,
        "docker-dind",
        volume=volume,
        mirror=mirror(chart),
        registry_mirrors=["https://other.example"],
        insecure_registries=["registry.example:5000"],
    )
    template = find("Deployment", "docker-dind")["spec"]["template"]
    assert template["spec"]["containers"][0]["args"][:4] == [
        "--registry-mirror=http://mirror.kube-ops.svc:5000",
        "--registry-mirror=https://other.example",
        "--insecure-registry=mirror.kube-ops.svc:5000",
        "--insecure-registry=registry.example:5000",
    ]
    ((rule,),) = [find("NetworkPolicy", "mirror")["spec"]["ingress"]]
    (peer,) = rule["from"]
    assert peer["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()


def test_one_argument_wires_a_fleet(chart):
    volumes = {
        node: LocalVolume(chart, node, hostname=node, path="/mnt/docker", storage=Size.gibibytes(50))
        for node in ("node1", "node2")
    }
    DindFleet(chart, "docker", volumes=volumes, mirror=mirror(chart))
    found = [
        manifest
        for manifest in chart.to_json()
        if manifest["kind"] == "Deployment" and "docker" in manifest["metadata"]["name"]
    ]
    assert len(found) == 2
    for deployment in found:
        assert (
            "--registry-mirror=http://mirror.kube-ops.svc:5000"
            in deployment["spec"]["template"]["spec"]["containers"][0]["args"]
        )
        assert deployment["spec"]["template"]["metadata"]["labels"]["dindcache/mirror"] == "mirror"


def test_a_volume_is_used_once(chart):
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(50))
    RegistryMirror(chart, "mirror", volume=volume)
    with pytest.raises(ValueError, match="daemon of volume .* must be unique in an app"):
        DindDaemon(chart, "docker-dind", volume=volume)


@pytest.mark.parametrize(
    ("props", "message"),
    [
        ({"name": "Mirror"}, "name must be at most 63 lower-case letters, .* got 'Mirror'"),
        ({"image": "registry 3"}, "image must be an image such as .* got 'registry 3'"),
        ({"upstream": "docker.io"}, "upstream must be a URL such as .* got 'docker.io'"),
        ({"upstream": "https://user:secret@hub.example"}, "upstream must be a URL such as "),
        ({"credentials_secret": "A"}, "credentials_secret must be at most 253 lower-case letters"),
        ({"keep_for": Duration.seconds(0)}, "keep_for must be a whole number of seconds, from 1 .* got 0 s"),
    ],
)
def test_bad_input_is_rejected(chart, props, message):
    with pytest.raises(ValueError, match=message):
        mirror(chart, **props)
    assert not chart.node.try_find_child("mirror")
