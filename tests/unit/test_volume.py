from typing import Any

import pytest
from cdk8s import App, Chart, Size
from cdk8s_plus_27 import ContainerProps, Deployment

from dindcache import ClaimedVolume, LocalStorageClass, LocalVolume

VALID: dict[str, Any] = {"hostname": "node1", "path": "/mnt/docker", "storage": Size.gibibytes(50)}


def test_local_volume(chart, golden):
    LocalVolume(chart, "docker", **VALID)
    golden(chart)


def test_claimed_volume(chart, golden):
    ClaimedVolume(chart, "fast", storage=Size.mebibytes(500), storage_class_name="local-path")
    ClaimedVolume(chart, "default", storage=Size.gibibytes(50))
    golden(chart)


def test_two_local_volumes_share_a_class(chart, golden):
    first = LocalVolume(chart, "first", **VALID)
    LocalVolume(chart, "second", **{**VALID, "hostname": "node2"}, storage_class=first.storage_class)
    golden(chart)


def test_the_three_objects_agree(chart, find):
    LocalVolume(chart, "docker", **VALID, claim_name="claim", volume_name="volume")
    storage_class, volume, claim = find("StorageClass"), find("PersistentVolume"), find("PersistentVolumeClaim")
    assert storage_class["metadata"]["name"] == volume["spec"]["storageClassName"] == claim["spec"]["storageClassName"]
    assert volume["spec"]["capacity"] == claim["spec"]["resources"]["requests"] == {"storage": "50Gi"}
    assert volume["spec"]["accessModes"] == claim["spec"]["accessModes"]
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"] == "volume"
    assert volume["spec"]["claimRef"]["name"] == claim["metadata"]["name"] == "claim"
    assert volume["spec"]["claimRef"]["namespace"] == claim["metadata"]["namespace"] == "kube-ops"
    assert "namespace" not in volume["metadata"]
    assert "namespace" not in storage_class["metadata"]


def test_a_chart_without_a_namespace_has_no_claim_reference():
    chart = Chart(App(), "test")
    LocalVolume(chart, "docker", **VALID)
    volume = next(o for o in chart.to_json() if o["kind"] == "PersistentVolume")
    assert "claimRef" not in volume["spec"]
    assert volume["metadata"]["name"] == "docker"


@pytest.mark.parametrize("volume_type", [LocalVolume, ClaimedVolume])
def test_a_container_mounts_it(chart, find, volume_type):
    props: dict[str, Any] = VALID if volume_type is LocalVolume else {"storage": VALID["storage"]}
    volume = volume_type(chart, "docker", **props, claim_name=f"my.{'c' * 70}")
    deployment = Deployment(chart, "user", containers=[ContainerProps(image="a"), ContainerProps(image="b", name="b")])
    for container in deployment.containers:
        container.mount("/data", volume)
    pod = find("Deployment")["spec"]["template"]["spec"]
    assert [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"]] == [f"my.{'c' * 70}"]
    assert [v["name"] for v in pod["volumes"]] == [f"my-{'c' * 56}-vol"]
    assert volume.storage is VALID["storage"]


def test_a_node_may_have_a_dotted_name_and_a_directory_a_space(chart, find):
    LocalVolume(chart, "docker", **{**VALID, "hostname": "ip-10-0-0-1.ec2.internal", "path": "/mnt/my disk/"})
    assert find("PersistentVolume")["spec"]["local"]["path"] == "/mnt/my disk/"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"path": "mnt/docker"}, "path must be absolute, got 'mnt/docker'"),
        ({"path": ""}, "path must be absolute, got ''"),
        ({"path": "/"}, "path must be a directory below '/', got '/'"),
        ({"path": "//"}, "path must be a directory below '/', got '//'"),
        ({"path": "/./"}, "path must be a directory below '/', got '/./'"),
        ({"path": "/mnt/../etc"}, r"path must not contain '\.\.', got '/mnt/\.\./etc'"),
        ({"hostname": ""}, "hostname must be at most 63 .* got ''"),
        ({"hostname": "Node1"}, "hostname .* got 'Node1'"),
        ({"hostname": "node_1"}, "hostname .* got 'node_1'"),
        ({"hostname": "node1\n"}, "hostname .* got 'node1"),
        ({"hostname": "n" * 64}, "hostname must be at most 63"),
        ({"storage": Size.gibibytes(0)}, "storage must be a whole number of KiB, .* got '0Gi'"),
        ({"storage": Size.gibibytes(0.1)}, "storage must be a whole number of KiB, .* got '0.1Gi'"),
        ({"storage": Size.kibibytes(10**21)}, r"storage must be a whole number of KiB, .* got '1e\+21Ki'"),
        ({"claim_name": "-a"}, "claim_name .* got '-a'"),
        ({"claim_name": "a" * 254}, "claim_name must be at most 253"),
        ({"volume_name": "a..b"}, r"volume_name .* got 'a\.\.b'"),
        ({"volume_name": ""}, "volume_name .* got ''"),
    ],
)
def test_bad_input_is_rejected_and_the_id_stays_free(chart, bad, message):
    with pytest.raises(ValueError, match=message):
        LocalVolume(chart, "docker", **{**VALID, **bad})
    LocalVolume(chart, "docker", **VALID)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"storage": Size.mebibytes(0)}, "storage must be a whole number of KiB, .* got '0Mi'"),
        ({"storage_class_name": ""}, "storage_class_name .* got ''"),
        ({"claim_name": "Claim"}, "claim_name .* got 'Claim'"),
    ],
)
def test_a_bad_claim_is_rejected_and_the_id_stays_free(chart, bad, message):
    with pytest.raises(ValueError, match=message):
        ClaimedVolume(chart, "docker", **{"storage": Size.gibibytes(1), **bad})
    ClaimedVolume(chart, "docker", storage=Size.gibibytes(1))


def test_a_bad_id_is_a_bad_name(chart):
    with pytest.raises(ValueError, match="claim_name .* got 'My_Volume'"):
        LocalVolume(chart, "My_Volume", **VALID)
    with pytest.raises(ValueError, match="name .* got 'kube-ops.My_Class'"):
        LocalStorageClass(chart, "My_Class")
    with pytest.raises(ValueError, match="name of the StorageClass .* got 'kube-ops.My_Volume'"):
        LocalVolume(chart, "My_Volume", **VALID, claim_name="claim", volume_name="volume")
