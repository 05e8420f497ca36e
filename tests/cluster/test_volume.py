"""What docs/volumes.md says of a local volume: what is missing is named in an event, and no step loses its data."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cdk8s import App, Chart, Duration, Size, Yaml

from dindcache import DindDaemon, LocalVolume, NoTls
from tests.framework.cluster import ROOT, Cluster

NAMESPACE = "dindcache-volume"
VOLUME = f"{NAMESPACE}-docker"


def volume_chart(cluster: Cluster, *, hostname: str | None = None, path: str = f"{ROOT}/volume", storage: int = 5) -> Chart:
    chart = Chart(App(), "volume", namespace=NAMESPACE, disable_resource_name_hashes=True)
    volume = LocalVolume(chart, "docker", hostname=hostname or cluster.hostnames[0], path=path, storage=Size.gibibytes(storage))
    quick_daemon(cluster, chart, "docker-dind", volume)
    return chart


def quick_daemon(cluster: Cluster, chart: Chart, name: str, volume: LocalVolume) -> None:
    """Without what takes time and is not this file's matter: certificates and a drain."""
    mirrors = cluster.registry_mirrors
    DindDaemon(chart, name, volume=volume, tls=NoTls(), drain_timeout=Duration.seconds(0), registry_mirrors=mirrors)


@pytest.fixture(autouse=True)
def namespace(cluster: Cluster) -> Iterator[None]:
    for name in cluster.node_names:
        cluster.on_node(name, f"rm -rf {ROOT}; mkdir -p {ROOT}/volume")
    cluster.create_namespace(NAMESPACE)
    yield
    cluster.forget(NAMESPACE, f"persistentvolume/{VOLUME}", f"storageclass/{VOLUME}")


def phase(cluster: Cluster, kind: str, name: str) -> str:
    found: str = cluster.get(kind, name, f"--namespace={NAMESPACE}")["status"]["phase"]
    return found


def docker(cluster: Cluster, *arguments: str) -> str:
    return cluster.kubectl("exec", f"--namespace={NAMESPACE}", "deployment/docker-dind", "--", "docker", *arguments)


def start_with_data(cluster: Cluster, chart: Chart) -> None:
    cluster.apply(chart)
    cluster.rollout(NAMESPACE, "docker-dind")
    docker(cluster, "volume", "create", "data")


def stop_and_delete_claim(cluster: Cluster) -> None:
    cluster.kubectl("scale", f"--namespace={NAMESPACE}", "deployment/docker-dind", "--replicas=0")
    cluster.kubectl("delete", f"--namespace={NAMESPACE}", "persistentvolumeclaim/docker", "--wait")
    cluster.wait(lambda: phase(cluster, "persistentvolume", VOLUME) == "Released", "the volume is Released")


def bind_again(cluster: Cluster, chart: Chart) -> None:
    cluster.kubectl(
        "patch", "persistentvolume", VOLUME, "--type=json", '--patch=[{"op": "remove", "path": "/spec/claimRef/uid"}]'
    )
    cluster.apply(chart)
    cluster.rollout(NAMESPACE, "docker-dind")
    assert phase(cluster, "persistentvolumeclaim", "docker") == "Bound"


def test_a_wrong_hostname_is_an_event(cluster):
    cluster.apply(volume_chart(cluster, hostname="nowhere"))
    cluster.wait_for_event(NAMESPACE, "FailedScheduling", "didn't match PersistentVolume's node affinity")


def test_a_missing_directory_is_an_event_until_it_is_there(cluster):
    cluster.apply(volume_chart(cluster, path=f"{ROOT}/missing"))
    cluster.wait_for_event(NAMESPACE, "FailedMount", f'path "{ROOT}/missing" does not exist')
    cluster.on_node(cluster.node_names[0], f"mkdir {ROOT}/missing")
    cluster.rollout(NAMESPACE, "docker-dind")


def test_a_released_volume_is_bound_again_with_its_data(cluster):
    chart = volume_chart(cluster)
    start_with_data(cluster, chart)
    stop_and_delete_claim(cluster)
    bind_again(cluster, chart)
    assert docker(cluster, "volume", "ls", "--quiet").split() == ["data"]


def test_a_volume_grows_with_its_data(cluster):
    start_with_data(cluster, volume_chart(cluster))
    grown = volume_chart(cluster, storage=10)
    refused = cluster.run("apply", "-f", "-", stdin=Yaml.stringify(*grown.to_json()))
    assert 'persistentvolumeclaims "docker" is forbidden' in refused.stderr
    stop_and_delete_claim(cluster)
    bind_again(cluster, grown)
    claim = cluster.get("persistentvolumeclaim", "docker", f"--namespace={NAMESPACE}")
    assert claim["status"]["capacity"] == {"storage": "10Gi"}
    assert docker(cluster, "volume", "ls", "--quiet").split() == ["data"]


def test_a_volume_moves_and_its_data_can_be_taken_along(cluster):
    start_with_data(cluster, volume_chart(cluster))
    moved = volume_chart(cluster, path=f"{ROOT}/elsewhere", hostname=cluster.hostnames[-1])
    refused = cluster.run("apply", "-f", "-", stdin=Yaml.stringify(*moved.to_json()))
    assert "spec.persistentvolumesource" in refused.stderr
    assert "Forbidden" in refused.stderr
    stop_and_delete_claim(cluster)
    cluster.kubectl("delete", "persistentvolume", VOLUME, "--wait")
    old, new = cluster.node_names[0], cluster.node_names[-1]
    cluster.on_node(new, f"mkdir {ROOT}/elsewhere")
    archive = cluster.on_node(old, f"tar -cz -C {ROOT}/volume volumes | base64 | tr -d '\\n'")
    cluster.on_node(new, f"echo {archive} | base64 -d | tar -xz -C {ROOT}/elsewhere")
    cluster.apply(moved)
    cluster.rollout(NAMESPACE, "docker-dind")
    assert docker(cluster, "volume", "ls", "--quiet").split() == ["data"]
    assert "data" in cluster.on_node(old, f"ls {ROOT}/volume/volumes").split()


def test_two_volumes_of_one_class(cluster):
    chart = Chart(App(), "volumes", namespace=NAMESPACE, disable_resource_name_hashes=True)
    storage_class = None
    for name, hostname, node_name in zip(("docker", "second"), cluster.hostnames, cluster.node_names, strict=False):
        cluster.on_node(node_name, f"mkdir -p {ROOT}/{name}")
        volume = LocalVolume(
            chart, name, hostname=hostname, path=f"{ROOT}/{name}", storage=Size.gibibytes(5), storage_class=storage_class
        )
        storage_class = volume.storage_class
        quick_daemon(cluster, chart, f"{name}-dind", volume)
    assert [o["kind"] for o in chart.to_json()].count("StorageClass") == 1
    cluster.apply(chart)
    for name in ("docker", "second"):
        cluster.rollout(NAMESPACE, f"{name}-dind")
        assert phase(cluster, "persistentvolumeclaim", name) == "Bound"
    cluster.forget(NAMESPACE, f"persistentvolume/{NAMESPACE}-second")


def test_a_users_app(cluster, user_app):
    cluster.on_node(cluster.node_names[0], f"mkdir -p {ROOT}/user-app")
    cluster.create_namespace("user-app")
    manifest: Path = user_app(
        cluster.hostnames[0], f"{ROOT}/user-app", *(cluster.registry_mirrors or ["https://mirror.example"])
    )
    cluster.kubectl("apply", "-f", manifest)
    cluster.rollout("user-app", "builder")
    cluster.forget("user-app", "persistentvolume/user-app-disk", "storageclass/user-app-disks")
