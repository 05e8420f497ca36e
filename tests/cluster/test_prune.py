"""The default prune with each engine and image store: what it removes and what it leaves, also beside builds."""

import time
from collections.abc import Iterator

import pytest
from cdk8s import Cron, Duration

from dindcache import DindDaemon, Engine, ImageStore, NoTls, PruneSchedule, Retention
from tests.framework.client import Client
from tests.framework.cluster import Cluster
from tests.framework.site import new_site

NAMESPACE = "dindcache-prune"
NAMES = ["dind27-overlay2", "dind28-containerd", "dind29-overlay2", "dind29-containerd"]
# What is old, in this test: where all that is young must still be so after some steps, and beside builds.
PATIENT, BUSY = 75, 30

# With the image store overlay2 these two have no time.
FIRST = r"""docker pull -q busybox:latest
printf 'FROM busybox:latest\nRUN echo nameless >name\n' | docker build -q -"""
OLD = r"""docker network create old; docker network create --label dindcache.keep kept; docker network create awaited
docker create --name old busybox; docker create --name kept --label dindcache.keep busybox
docker run --rm --volume /data busybox true; docker run -d --name running busybox sleep 1000
docker volume create named; docker volume create
for tag in old:1 'two:1 -t other:1' 'rebuilt:1 -t rebuilt:2' 'kept:1 --label dindcache.keep' registry.example/base/kept:1 \
    'used:1 -t used:2'; do
    printf 'FROM busybox:latest\nRUN echo %s >name\n' "$tag" | docker build -q -t $tag -
done
docker run -d --name used used:1 sleep 1000"""
# The network is old, the container that will run in it is not. The rebuild is all cached.
YOUNG = r"""docker create --name young --network awaited busybox
printf 'FROM busybox:latest\nRUN echo %s >name\n' 'rebuilt:1 -t rebuilt:2' | docker build -q -t rebuilt:1 -t rebuilt:2 -
docker build -q -t young:1 - <<'END'
FROM busybox:latest
RUN echo young >name
END"""
SHOW = """docker ps -a --format 'container {{.Names}}'; docker network ls --filter type=custom --format 'network {{.Name}}'
docker volume ls --format 'volume {{.Name}}'; docker images --format 'image {{.Repository}}:{{.Tag}}'
docker images -q --filter dangling=true"""


@pytest.fixture(scope="module")
def daemons(cluster: Cluster) -> Iterator[dict[str, DindDaemon]]:
    with new_site(cluster, NAMESPACE) as site:
        daemons = {}
        for name in NAMES:
            chart = site.chart(name)
            release, store = name.removeprefix("dind").split("-")
            daemons[name] = daemon = site.add_daemon(
                chart,
                name,
                image=f"docker:{release}-dind",
                tls=NoTls(),
                engine=Engine(image_store=ImageStore(store)),
                retention=Retention(images=["registry.example/*/*:1"], max_job_duration=Duration.seconds(BUSY)),
                disk_guard=False,  # which would remove what is as old when the node's disk is nearly full
            )
            for schedule, seconds in (("patient", PATIENT), ("busy", BUSY)):
                PruneSchedule(chart, schedule, daemon=daemon, schedule=Cron.annually(), unused_for=Duration.seconds(seconds))
            cluster.apply(chart)
        for name in NAMES:
            cluster.rollout(NAMESPACE, name)
        yield daemons


def prune(cluster: Cluster, name: str, schedule: str, job: str) -> None:
    cluster.kubectl("create", "job", f"{name}-{job}", f"--namespace={NAMESPACE}", f"--from=cronjob/{name}-{schedule}")


def wait(cluster: Cluster, name: str, job: str) -> None:
    cluster.kubectl("wait", f"--namespace={NAMESPACE}", f"job/{name}-{job}", "--for=condition=complete", "--timeout=280s")


@pytest.fixture(scope="module")
def pruned(cluster: Cluster, daemons: dict[str, DindDaemon]) -> dict[str, set[str]]:
    """By daemon what is left."""

    def sh(name: str, script: str) -> str:
        return cluster.kubectl("exec", f"--namespace={NAMESPACE}", f"deployment/{name}", "--", "sh", "-ec", script)

    for name in NAMES:
        sh(name, FIRST)
        prune(cluster, name, "patient", "first")
    for name in NAMES:
        wait(cluster, name, "first")
        sh(name, OLD)
    old = time.monotonic() + PATIENT
    cluster.wait(lambda: time.monotonic() > old, "what there is is old")
    for name in NAMES:
        sh(name, YOUNG)
        prune(cluster, name, "patient", "second")
    for name in NAMES:
        wait(cluster, name, "second")
    return {name: set(sh(name, SHOW).splitlines()) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_old_and_unused_goes_and_the_rest_stays(pruned, name):
    containers = {"container kept", "container running", "container used", "container young"}
    networks = {"network kept", "network awaited"}
    images = {f"image {image}" for image in ("busybox:latest", "kept:1", "registry.example/base/kept:1", "used:1", "used:2")}
    images |= {"image rebuilt:1", "image rebuilt:2", "image young:1"}
    assert pruned[name] == {*containers, *networks, "volume named", *images}


@pytest.mark.parametrize("names", [NAMES[:2], NAMES[2:]], ids=" ".join)
def test_builds_beside_a_prune_lose_nothing(cluster, pruned, daemons, names):
    clients = [Client(cluster, daemons[name], NAMESPACE, cluster.node_names[-1], f"{name}-client") for name in names]
    projects = [(client, f"/tmp/{i}", f"app{i}") for i in range(8) for client in clients]
    before = []
    for client in clients:
        for i in range(8):
            client.write_project(f"/tmp/{i}")
        client.sh("for i in 0 1 2 3 4 5 6 7; do docker build -q -t app$i /tmp/$i; done")
        client.sh("sed -i 's/RUN cat/RUN sleep 30; cat/' /tmp/[0-7]/Dockerfile")
        before.append(set(client.sh("docker images -q --no-trunc").split()))
    old = time.monotonic() + BUSY
    cluster.wait(lambda: time.monotonic() > old, "the images are old")
    builds = [client.start_build(directory, tag, f"docker run --rm {tag} cat result") for client, directory, tag in projects]
    for name in names:
        prune(cluster, name, "busy", "third")
    for name in names:
        wait(cluster, name, "third")
    for client, images in zip(clients, before, strict=True):
        assert images - set(
            client.sh("docker images -q --no-trunc; docker images -q --no-trunc --filter dangling=true").split()
        )
    for build in builds:
        output, _ = build.communicate(timeout=200)
        assert build.returncode == 0, output
    for client, directory, tag in projects:
        assert client.cached_steps(directory, tag) == {"2/4", "3/4", "4/4"}
