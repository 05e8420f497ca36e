"""The default prune with each engine and image store: what it removes and what it leaves, also beside builds."""

import time
from collections.abc import Iterator

import pytest
from cdk8s import Cron, Duration, Size

from dindcache import Engine, ImageStore, NoTls, PruneSchedule, Retention
from tests.framework.client import Client
from tests.framework.cluster import Cluster
from tests.framework.site import new_site

NAMESPACE = "dindcache-prune"
NAMES = ["dind27-overlay2", "dind28-containerd", "dind29-overlay2", "dind29-containerd"]
# What is old, in this test: where all that is young must still be so after some steps, and beside builds.
PATIENT, BUSY = 75, 30

# The pulled image, and with the image store OVERLAY2 the one without a name, have no time of their own.
OLD = r"""docker pull -q busybox:latest
printf 'FROM busybox:latest\nRUN echo nameless >name\n' | docker build -q -
for tag in old:1 'two:1 -t other:1' 'rebuilt:1 -t rebuilt:2' 'kept:1 --label dindcache.keep' registry.example/base/kept:1 \
    'held:1 -t held:2' run:1; do
    printf 'FROM busybox:latest\nRUN echo %s >name\n' "$tag" | docker build -q -t $tag -
done
docker network create old; docker network create --label dindcache.keep kept; docker network create awaited
docker volume create; docker volume create old; docker volume create used; docker volume create pattern-1
docker volume create --label dindcache.keep kept
docker create --name old --volume /data busybox; docker run -d --name running --volume of-a-job:/data busybox sleep 1000
docker create --name kept --label dindcache.keep busybox
docker run -d --name service --label dindcache.keep --volume held:/data held:1 sleep 1000
docker run --rm --volume used:/data run:1 true
docker buildx create --name builder --bootstrap"""
# The network is old, the container that will run in it is not. The rebuild is all cached.
YOUNG = r"""tag='rebuilt:1 -t rebuilt:2'
printf 'FROM busybox:latest\nRUN echo %s >name\n' "$tag" | docker build -q -t $tag -
printf 'FROM busybox:latest\nRUN echo young >name\n' | docker build -q -t young:1 -
docker run --rm --volume used:/data run:1 true
docker create --name young --network awaited busybox"""
SHOW = """docker ps -a --format 'container {{.Names}}'; docker network ls --filter type=custom --format 'network {{.Name}}'
docker volume ls --format 'volume {{.Name}}' | grep -v -e dindcache-last-used- -e dindcache-prune-
docker images --format 'image {{.Repository}}:{{.Tag}}'; docker images -q --filter dangling=true"""
LEFT = {
    *(f"container {name}" for name in ("kept", "service", "young")),
    *(f"network {name}" for name in ("kept", "awaited")),
    *(f"volume {name}" for name in ("used", "pattern-1", "kept", "held")),
    *(f"image {name}:1" for name in ("kept", "registry.example/base/kept", "held", "run", "rebuilt", "young")),
    *("image busybox:latest", "image held:2", "image rebuilt:2"),
    # Used until the prune removed their containers.
    *("volume of-a-job", "image moby/buildkit:buildx-stable-1"),
}


@pytest.fixture(scope="module")
def clients(cluster: Cluster) -> Iterator[dict[str, Client]]:
    """By daemon."""
    with new_site(cluster, NAMESPACE) as site:
        daemons = {}
        for name in NAMES:
            chart = site.chart(name)
            release, store = name.removeprefix("dind").split("-")
            daemons[name] = daemon = site.add_daemon(
                chart,
                name,
                disk="size=3g",  # or the guard removes what is as old when the node's disk is nearly full
                storage=Size.gibibytes(3),
                image=f"docker:{release}-dind",
                tls=NoTls(),
                engine=Engine(image_store=ImageStore(store)),
                retention=Retention(
                    images=["registry.example/*/*:1"], volumes=["pattern-*"], max_job_duration=Duration.seconds(BUSY)
                ),
            )
            for schedule, seconds in (("patient", PATIENT), ("busy", BUSY)):
                PruneSchedule(
                    chart,
                    schedule,
                    daemon=daemon,
                    schedule=Cron.annually(),
                    unused_for=Duration.seconds(seconds),
                    image="docker:29-cli",  # the registry of ../shared/cluster has no older client
                )
            cluster.apply(chart)
        for name in NAMES:
            cluster.rollout(NAMESPACE, name)
        yield {name: site.client(daemons[name], name=f"{name}-client") for name in NAMES}


def prune(cluster: Cluster, name: str, schedule: str, job: str) -> None:
    cluster.kubectl("create", "job", f"{name}-{job}", f"--namespace={NAMESPACE}", f"--from=cronjob/{name}-{schedule}")


def wait(cluster: Cluster, name: str, job: str) -> None:
    cluster.kubectl("wait", f"--namespace={NAMESPACE}", f"job/{name}-{job}", "--for=condition=complete", "--timeout=600s")


@pytest.fixture(scope="module")
def pruned(cluster: Cluster, clients: dict[str, Client]) -> dict[str, set[str]]:
    """By daemon what is left. The logs of the prunes are printed, for a test that fails."""
    for client in clients.values():
        client.sh(OLD)
    old = time.monotonic() + PATIENT
    cluster.wait(lambda: time.monotonic() > old, "what there is is old")
    for name, client in clients.items():
        client.sh(YOUNG)
        prune(cluster, name, "patient", "first")
    for name in NAMES:
        wait(cluster, name, "first")
        print(cluster.kubectl("logs", f"--namespace={NAMESPACE}", f"job/{name}-first"))
    return {name: set(client.sh(SHOW).splitlines()) for name, client in clients.items()}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_old_and_unused_goes_and_the_rest_stays(pruned, name):
    assert pruned[name] == LEFT


@pytest.mark.parametrize("names", [NAMES[:2], NAMES[2:]], ids=" ".join)
@pytest.mark.usefixtures("pruned")
def test_builds_beside_a_prune_lose_nothing(cluster, clients, names):
    chosen = [clients[name] for name in names]
    projects = [(client, f"/tmp/{i}", f"app{i}") for i in range(8) for client in chosen]
    before = []
    for client in chosen:
        for i in range(8):
            client.write_project(f"/tmp/{i}")
        client.sh("for i in 0 1 2 3 4 5 6 7; do docker build -q -t app$i /tmp/$i; done")
        client.sh("sed -i 's/RUN cat/RUN sleep 30; cat/' /tmp/[0-7]/Dockerfile")
        before.append(set(client.sh("docker images -q --no-trunc").split()))
    old = time.monotonic() + BUSY
    cluster.wait(lambda: time.monotonic() > old, "the images are old")
    builds = [client.start_build(directory, tag, f"docker run --rm {tag} cat result") for client, directory, tag in projects]
    for name in names:
        prune(cluster, name, "busy", "second")
    for name in names:
        wait(cluster, name, "second")
    for client, images in zip(chosen, before, strict=True):
        assert images - set(
            client.sh("docker images -q --no-trunc; docker images -q --no-trunc --filter dangling=true").split()
        )
    for build in builds:
        output, _ = build.communicate(timeout=600)
        assert build.returncode == 0, output
    for client, directory, tag in projects:
        assert client.cached_steps(directory, tag) == {"2/4", "3/4", "4/4"}
