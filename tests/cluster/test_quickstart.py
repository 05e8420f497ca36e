"""docs/quickstart.md: ``dist/`` is applied, a build on another node is cached, also after a restart and a prune."""

import json
import re
from typing import Any

import pytest
from cdk8s import App, Cron, Yaml

from dindcache import Prune, PruneSchedule
from main import JOBS_NAMESPACE, NAMESPACE, DockerCache
from tests.framework import pages
from tests.framework.client import Client
from tests.framework.cluster import Cluster
from tests.framework.site import APP, Site
from tests.framework.support import REGISTRY

PAGE = "docs/quickstart.md"
JOBS = JOBS_NAMESPACE


@pytest.fixture(scope="module")
def cache(cluster: Cluster, site: Site, tmp_path_factory: pytest.TempPathFactory) -> DockerCache:
    directory = tmp_path_factory.mktemp("clone")
    app = App(outdir=str(directory / "dist"))
    chart = DockerCache(
        app,
        "docker-cache",
        hostname=cluster.hostnames[0],
        path=site.directory(),
        registry_mirrors=cluster.registry_mirrors,
        insecure_registries=[REGISTRY],
    )
    PruneSchedule(chart, "clear-all", daemon=chart.daemon, schedule=Cron.annually(), prune=Prune.EVERYTHING)
    app.synth()
    pages.run(cluster, pages.block(PAGE, "## 3. The daemon"), directory)
    return chart


@pytest.fixture(scope="module")
def client(site: Site, cache: DockerCache) -> Client:
    return site.client(cache.daemon)


def test_the_claim_is_bound_to_its_volume(cluster, cache):
    claim = cluster.get("persistentvolumeclaim", "docker", f"--namespace={NAMESPACE}")
    assert claim["status"]["phase"] == "Bound"
    assert claim["spec"]["volumeName"] == f"{NAMESPACE}.docker"


def test_a_second_apply_changes_nothing(cluster, cache):
    manifests = Yaml.stringify(*cache.to_json())

    def applied() -> list[Any]:
        items: list[Any] = json.loads(cluster.kubectl("get", "-f", "-", "-o", "json", stdin=manifests))["items"]
        for item in items:
            item.pop("status", None)  # controllers go on writing it
            del item["metadata"]["resourceVersion"]
        return items

    before = applied()
    cluster.apply(cache)
    assert applied() == before
    diff = cluster.run("diff", "-f", "-", stdin=manifests)
    assert (diff.returncode, diff.stdout) == (0, "")


def test_a_build_on_another_node_is_cached_and_pushed(cluster, client):
    (daemon,) = cluster.get("pods", f"--namespace={NAMESPACE}", f"--selector=app={APP}")["items"]
    assert daemon["spec"]["nodeName"] == cluster.node_names[0]
    if len(cluster.node_names) > 1:
        assert cluster.node_names[-1] != cluster.node_names[0]
    image = f"{REGISTRY}/app:first"
    client.write_project("/tmp/app")
    assert client.cached_steps("/tmp/app", image) == set()
    client.sh("date +%s >/tmp/app/source")
    assert client.cached_steps("/tmp/app", image) == {"2/4"}
    assert client.cached_steps("/tmp/app", image) == {"2/4", "3/4", "4/4"}
    client.sh(f"docker push {image}; docker rmi {image}")
    assert client.run(f"docker image inspect {image}").returncode != 0
    source = client.sh("cat /tmp/app/source").strip()
    assert client.sh(f"docker run --rm {image} cat result").splitlines()[0] == source


def test_the_pod_of_the_page_builds_and_its_second_build_is_cached(cluster, cache, tmp_path):
    output = pages.run(cluster, pages.block(PAGE, "## 4. Build twice"), tmp_path)
    first, _, again = output.partition("docker build -t again")
    cached = r"RUN sleep 10; date >built\n#\d+ CACHED"
    assert not re.search(cached, first)
    assert re.search(cached, again)


def test_the_cache_outlives_the_daemons_pod(cluster, client):
    client.write_project("/tmp/kept")
    client.cached_steps("/tmp/kept", "kept")
    cluster.delete_pod(NAMESPACE, APP)
    cluster.rollout(NAMESPACE, APP)
    assert client.cached_steps("/tmp/kept", "kept") == {"2/4", "3/4", "4/4"}


def test_the_commands_of_the_page_on_disk_space(cluster, client, tmp_path):
    page = "docs/guides/disk-space.md"
    assert "\nleft: " in pages.run(cluster, pages.block(page, "## Remove what is unused"), tmp_path)
    pages.run(cluster, pages.block(page, "## When the disk is nearly full"), tmp_path)


@pytest.mark.parametrize(
    ("schedule", "images_left", "cached"),
    [("clear-cache", True, {"2/4", "3/4", "4/4"}), ("clear-all", False, set())],
)
def test_a_prune_removes_what_it_is_for(cluster, client, schedule, images_left, cached):
    client.write_project("/tmp/pruned")
    client.cached_steps("/tmp/pruned", "pruned")
    cluster.run_now(NAMESPACE, f"{APP}-{schedule}")
    assert bool(client.sh("docker images -q").split()) is images_left
    assert client.cached_steps("/tmp/pruned", "pruned") == cached
    assert cluster.get("persistentvolumeclaim", "docker", f"--namespace={NAMESPACE}")["status"]["phase"] == "Bound"
