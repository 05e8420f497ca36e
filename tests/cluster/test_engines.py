"""docs/engine.md: another engine or image store on the same data root loses nothing."""

import pytest

from dindcache import DindDaemon, Engine, ImageStore
from tests.framework.client import Client
from tests.framework.site import Site

NAMESPACE = "dindcache-engines"
CACHED = {"2/4", "3/4", "4/4"}


def give(site: Site, name: str, image: str, store: ImageStore) -> DindDaemon:
    """Give the data root of this name to an engine."""
    return site.daemon(name, image=image, engine=Engine(image_store=store))


def client_of(site: Site, daemon: DindDaemon) -> Client:
    client = site.client(daemon, name=f"{daemon.name}-client")
    client.write_project("/tmp/app")
    return client


@pytest.mark.parametrize("store", ImageStore)
def test_engines_go_up_and_back_on_one_data_root(site, store):
    name = f"releases-{store.value}"
    client = client_of(site, give(site, name, "docker:27-dind", store))
    client.cached_steps("/tmp/app", "app")
    for release in ("28", "29", "28", "27"):
        give(site, name, f"docker:{release}-dind", store)
        client.wait_for_daemon()
        assert client.sh("docker version --format '{{.Server.Version}}'").startswith(f"{release}.")
        assert client.cached_steps("/tmp/app", "app") == CACHED
        assert client.sh("docker run --rm app cat result")


def test_each_image_store_keeps_its_own(site):
    def store(store: ImageStore) -> DindDaemon:
        return give(site, "stores", "docker:29.9.3-dind", store)

    client = client_of(site, store(ImageStore.OVERLAY2))
    client.cached_steps("/tmp/app", "app")
    client.sh("docker volume create kept")
    store(ImageStore.CONTAINERD)
    client.wait_for_daemon()
    assert "overlayfs" in client.sh("docker info --format '{{.Driver}}'")
    assert client.sh("docker images -q") == ""
    assert "kept" in client.sh("docker volume ls -q").split()
    assert client.cached_steps("/tmp/app", "other") == set()
    assert client.cached_steps("/tmp/app", "other") == CACHED
    store(ImageStore.OVERLAY2)
    client.wait_for_daemon()
    assert client.sh("docker images --format '{{.Repository}}'").split() == ["app"]
    assert client.sh("docker run --rm app cat result")
    store(ImageStore.CONTAINERD)
    client.wait_for_daemon()
    assert client.sh("docker images --format '{{.Repository}}'").split() == ["other"]
    assert client.sh("docker run --rm other cat result")
