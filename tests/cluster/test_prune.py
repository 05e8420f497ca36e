"""The default prune with each engine and image store: what it removes and what it leaves, also beside builds."""

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from cdk8s import App, Chart, Cron, Duration, Size

from dindcache import DindDaemon, Engine, ImageStore, Keep, LocalVolume, NoTls, PruneSchedule
from tests.cluster.cluster import ROOT, Client, Cluster

NAMESPACE = "dindcache-prune"
NAMES = [f"dind{release}-{store.value}" for release in ("27", "28", "29") for store in ImageStore]
SECONDS = 20  # old, in this test

OLD = """docker pull -q busybox:latest
docker network create old; docker network create --label dindcache.keep kept; docker network create awaited
docker create --name old busybox; docker create --name kept --label dindcache.keep busybox
docker run --rm --volume /data busybox true; docker run -d --name running busybox sleep 1000
docker volume create named; docker volume create
for tag in old:1 'two:1 -t other:1' 'rebuilt:1 -t rebuilt:2' 'kept:1 --label dindcache.keep' registry.example/base/kept:1 \
    'used:1 -t used:2'; do
    printf 'FROM busybox:latest\nRUN echo %s >name\n' "$tag" | docker build -q -t $tag -
done
docker run -d --name used used:1 sleep 1000
printf 'FROM busybox:latest\nRUN echo nameless >name\n' | docker build -q -"""
# The network is old, the container that will run in it is not. The rebuild is all cached.
YOUNG = """docker create --name young --network awaited busybox
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
    cluster.create_namespace(NAMESPACE)
    daemons = {}
    for name in NAMES:
        path = f"{ROOT}/prune/{name}"
        cluster.on_node(cluster.node_names[0], f"rm -rf {path}; mkdir -p {path}")
        chart = Chart(App(), name, namespace=NAMESPACE, disable_resource_name_hashes=True)
        release, store = name.removeprefix("dind").split("-")
        daemons[name] = daemon = DindDaemon(
            chart,
            name,
            volume=LocalVolume(chart, f"{name}-data", hostname=cluster.hostnames[0], path=path, storage=Size.gibibytes(5)),
            image=f"docker:{release}-dind",
            tls=NoTls(),
            engine=Engine(image_store=ImageStore(store)),
            keep=Keep(images=["registry.example/*/*:1"], longest_job=Duration.seconds(SECONDS)),
            drain=Duration.seconds(5),
            registry_mirrors=cluster.registry_mirrors,
            insecure_registries=[urlsplit(mirror).netloc for mirror in cluster.registry_mirrors],
        )
        PruneSchedule(
            chart,
            "prune",
            daemon=daemon,
            schedule=Cron.annually(),
            unused_for=Duration.seconds(SECONDS),
        )
        cluster.apply(chart)
    for name in NAMES:
        cluster.rollout(NAMESPACE, name)
    yield daemons
    objects = [f"{kind}/{NAMESPACE}-{name}-data" for name in NAMES for kind in ("persistentvolume", "storageclass")]
    cluster.forget(NAMESPACE, *objects)
    cluster.on_node(cluster.node_names[0], f"rm -rf {ROOT}/prune")


def prune(cluster: Cluster, name: str, job: str) -> None:
    cluster.kubectl("create", "job", f"{name}-{job}", f"--namespace={NAMESPACE}", f"--from=cronjob/{name}-prune")


def log(cluster: Cluster, name: str, job: str) -> str:
    cluster.kubectl("wait", f"--namespace={NAMESPACE}", f"job/{name}-{job}", "--for=condition=complete", "--timeout=90s")
    return cluster.kubectl("logs", f"--namespace={NAMESPACE}", f"job/{name}-{job}")


@pytest.fixture(scope="module")
def pruned(cluster: Cluster, daemons: dict[str, DindDaemon]) -> dict[str, tuple[str, set[str]]]:
    """By daemon what the prune said and what is left."""

    def sh(name: str, script: str) -> str:
        return cluster.kubectl("exec", f"--namespace={NAMESPACE}", f"deployment/{name}", "--", "sh", "-ec", script)

    for name in NAMES:
        sh(name, OLD)
        prune(cluster, name, "first")  # all is young: it but sees what has no time
    for name in NAMES:
        assert "removed" not in log(cluster, name, "first")
    old = time.monotonic() + SECONDS
    cluster.wait(lambda: time.monotonic() > old, "what there is is old")
    for name in NAMES:
        sh(name, YOUNG)
        prune(cluster, name, "second")
    return {name: (log(cluster, name, "second"), set(sh(name, SHOW).splitlines())) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_old_and_unused_goes_and_the_rest_stays(pruned, name):
    said, left = pruned[name]
    containers = {"container kept", "container running", "container used", "container young"}
    networks = {"network kept", "network awaited"}
    images = {f"image {image}" for image in ("busybox:latest", "kept:1", "registry.example/base/kept:1", "used:1", "used:2")}
    images |= {"image rebuilt:1", "image rebuilt:2", "image young:1"}
    assert left == {*containers, *networks, "volume named", *images}
    lines = said.splitlines()
    assert lines[-1].startswith("left: images 6, ")
    removed = [line.split()[1] for line in lines[:-1]]
    assert removed == ["container", "network", "volume", "volume", *["image"] * (len(removed) - 4)]
    assert [line for line in lines if line.startswith("removed image old:1 (last tagged 20")]


@pytest.mark.parametrize("name", NAMES[-2:])
def test_builds_beside_a_prune_lose_nothing(cluster, pruned, daemons, name):
    client = Client(cluster, daemons[name], NAMESPACE, cluster.node_names[-1], f"{name}-client")
    for i in range(8):
        client.write_project(f"/tmp/{i}")
        client.sh(f"echo {i} >/tmp/{i}/source; sed -i 's/RUN cat/RUN sleep 0; cat/' /tmp/{i}/Dockerfile")
        client.cached_steps(f"/tmp/{i}", f"app{i}")
    old = time.monotonic() + SECONDS
    cluster.wait(lambda: time.monotonic() > old, "the images are old")
    for i in range(8):
        client.sh(f"sed -i 's/sleep 0/sleep 10/' /tmp/{i}/Dockerfile")
    builds = [client.start_build(f"/tmp/{i}", f"app{i}", then=f"docker run --rm app{i} cat result") for i in range(8)]
    prune(cluster, name, "busy")
    assert log(cluster, name, "busy").count("removed image app") == 8
    for i, build in enumerate(builds):
        output, _ = build.communicate(timeout=60)
        assert build.returncode == 0, output
        assert output.splitlines()[-1] == str(i)
        assert client.steps(output, "DONE") == {"4/4"}
        assert client.cached_steps(f"/tmp/{i}", f"app{i}") == {"2/4", "3/4", "4/4"}
