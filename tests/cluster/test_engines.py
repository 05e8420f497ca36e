"""What docs/engine.md says of another engine or image store on the same data-root: nothing is lost."""

from collections.abc import Iterator

import pytest
from cdk8s import App, Chart, Duration, Size

from dindcache import DindDaemon, Engine, ImageStore, LocalVolume
from tests.framework.cluster import ROOT, Client, Cluster

NAMESPACE = "dindcache-engines"
APP = "docker-dind"
CACHED = {"2/4", "3/4", "4/4"}


class Data:
    """One data-root, and the engine that has it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def give(self, image: str, store: ImageStore) -> DindDaemon:
        chart = Chart(App(), "engines", namespace=NAMESPACE, disable_resource_name_hashes=True)
        volume = LocalVolume(
            chart, "docker", hostname=self.cluster.hostnames[0], path=f"{ROOT}/engines", storage=Size.gibibytes(5)
        )
        daemon = DindDaemon(
            chart,
            APP,
            volume=volume,
            image=image,
            engine=Engine(image_store=store),
            drain_timeout=Duration.seconds(0),
            registry_mirrors=self.cluster.registry_mirrors,
            insecure_registries=self.cluster.mirror_hosts,
        )
        self.cluster.apply(chart)
        self.cluster.rollout(NAMESPACE, APP)
        return daemon


@pytest.fixture
def data(cluster: Cluster) -> Iterator[Data]:
    cluster.on_node(cluster.node_names[0], f"rm -rf {ROOT}/engines; mkdir -p {ROOT}/engines")
    cluster.create_namespace(NAMESPACE)
    yield Data(cluster)
    cluster.forget(NAMESPACE, f"persistentvolume/{NAMESPACE}-docker", f"storageclass/{NAMESPACE}-docker")
    cluster.on_node(cluster.node_names[0], f"rm -rf {ROOT}/engines")


def client_of(cluster: Cluster, daemon: DindDaemon) -> Client:
    client = Client(cluster, daemon, NAMESPACE, cluster.node_names[-1])
    client.write_project("/tmp/app")
    return client


@pytest.mark.parametrize("store", ImageStore)
def test_engines_go_up_and_back_on_one_data_root(cluster, data, store):
    client = client_of(cluster, data.give("docker:27-dind", store))
    client.cached_steps("/tmp/app", "app")
    for release in ("28", "29", "28", "27"):
        data.give(f"docker:{release}-dind", store)
        client.wait_for_daemon()
        assert client.sh("docker version --format '{{.Server.Version}}'").startswith(f"{release}.")
        assert client.cached_steps("/tmp/app", "app") == CACHED
        assert client.sh("docker run --rm app cat result")


def test_each_image_store_keeps_its_own(cluster, data):
    client = client_of(cluster, data.give("docker:29.9.3-dind", ImageStore.OVERLAY2))
    client.cached_steps("/tmp/app", "app")
    client.sh("docker volume create kept")
    data.give("docker:29.9.3-dind", ImageStore.CONTAINERD)
    client.wait_for_daemon()
    assert "overlayfs" in client.sh("docker info --format '{{.Driver}}'")
    assert client.sh("docker images -q") == ""
    assert client.sh("docker volume ls -q").split() == ["kept"]
    assert client.cached_steps("/tmp/app", "other") == set()
    assert client.cached_steps("/tmp/app", "other") == CACHED
    data.give("docker:29.9.3-dind", ImageStore.OVERLAY2)
    client.wait_for_daemon()
    assert client.sh("docker images --format '{{.Repository}}'").split() == ["app"]
    assert client.sh("docker run --rm app cat result")
    data.give("docker:29.9.3-dind", ImageStore.CONTAINERD)
    client.wait_for_daemon()
    assert client.sh("docker images --format '{{.Repository}}'").split() == ["other"]
    assert client.sh("docker run --rm other cat result")
