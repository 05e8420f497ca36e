"""The relief on a small file system: it makes room before the kubelet would evict the pod, and never of builds that run."""

from collections.abc import Iterator

import pytest
from cdk8s import ApiObject, Duration, JsonPatch, Size

from dindcache import Engine, ImageStore, NoTls, Retention
from tests.framework.client import Client
from tests.framework.cluster import ROOT, Cluster
from tests.framework.site import new_site

NAMESPACE = "dindcache-pressure"
# With the oldest engine and the newest.
IMAGES = {"overlay2": "docker:27-dind", "containerd": "docker:29.9.3-dind"}
STORES = list(IMAGES)
SECONDS = 5  # old, in this test


@pytest.fixture(scope="module")
def clients(cluster: Cluster) -> Iterator[dict[str, Client]]:
    with new_site(cluster, NAMESPACE) as site:
        daemons = {}
        for name in STORES:
            chart = site.chart(name)
            daemons[name] = daemon = site.add_daemon(
                chart,
                name,
                disk="size=1500m,nr_inodes=20000",
                storage=Size.mebibytes(1500),
                image=IMAGES[name],
                tls=NoTls(),
                engine=Engine(image_store=ImageStore(name)),
                retention=Retention(images=["kept*"], max_job_duration=Duration.seconds(SECONDS)),
            )
            # In proportion to what is old.
            poll = JsonPatch.add("/spec/template/spec/containers/1/env/-", {"name": "POLL_SECONDS", "value": "1"})
            ApiObject.of(daemon.deployment).add_json_patch(poll)
            site.start(chart)
        yield {name: site.client(daemons[name], name=f"client-{name}") for name in STORES}
        assert [cluster.restarts(NAMESPACE, name) for name in STORES] == [0, 0]


def free(cluster: Cluster, name: str) -> tuple[float, float]:
    """Percent of the room and of the inodes."""
    numbers = cluster.on_node(cluster.node_names[0], f"stat -f -c '%b %a %c %d' {ROOT}/{NAMESPACE}/{name}")
    blocks, available, inodes, free_inodes = map(int, numbers.split())
    return 100 * available / blocks, 100 * free_inodes / inodes


def build(client: Client, tag: str, command: str) -> None:
    client.sh(f"printf 'FROM busybox:latest\nRUN {command}\n' | docker build -q -t {tag} -")


def images(client: Client) -> set[str]:
    return set(client.sh("docker images --format '{{.Repository}}:{{.Tag}}'").split())


def fill(cluster: Cluster, name: str, percent: int) -> None:
    """Leave so much of the room, with a file that is not the engine's."""
    filler = f"{ROOT}/{NAMESPACE}/{name}/filler"
    cluster.on_node(cluster.node_names[0], f"rm -f {filler}")
    megabytes = int((free(cluster, name)[0] - percent) * 15)
    cluster.on_node(cluster.node_names[0], f"dd if=/dev/zero of={filler} bs=1M count={megabytes} 2>/dev/null")


def test_images_never_fill_the_disk(cluster, clients, processors):
    fillings = {}
    for name, client in clients.items():
        build(client, "kept:1", "head -c 1000000 /dev/urandom >/file")
        client.write_project("/tmp/hot")
        fill(cluster, name, 18)
        # The image store containerd keeps each layer twice.
        size = 1250000 if name == "containerd" else 2500000
        fillings[name] = client.start(
            rf"""for i in $(seq 24); do
                printf 'FROM busybox:latest\nRUN head -c {size} /dev/urandom >/file%s\n' $i | docker build -q -t big:$i -
                docker build -q -t hot /tmp/hot
                sleep 3 # the guard takes ten to find what is old
            done
            # Here, for a moment later they are old.
            docker build --progress=plain -t hot /tmp/hot
            docker images --format '{{{{.Repository}}}}:{{{{.Tag}}}}'"""
        )
    lowest = dict.fromkeys(STORES, 100.0)
    while any(filling.poll() is None for filling in fillings.values()):
        lowest = {name: min(lowest[name], free(cluster, name)[0]) for name in STORES}
    for name, filling in fillings.items():
        output, _ = filling.communicate()
        assert filling.returncode == 0, output
        left = set(output.split())
        assert {"kept:1", "hot:latest", "big:24"} <= left
        assert "big:1" not in left
        assert clients[name].steps(output, "CACHED") == {"2/4", "3/4", "4/4"}
    assert all(15 < percent < 18 for percent in lowest.values()), lowest


@pytest.mark.parametrize("name", STORES)
def test_builds_beside_a_relief_lose_nothing(cluster, clients, name):
    client = clients[name]
    fill(cluster, name, 60)
    build(client, "old:1", "head -c 250000000 /dev/zero | tr 0 1 >/file")
    for i in range(8):
        client.write_project(f"/tmp/{i}")
        client.sh(f"sed -i 's/RUN cat/RUN sleep 30; cat/' /tmp/{i}/Dockerfile")
    builds = [client.start_build(f"/tmp/{i}", f"app{i}", then=f"docker run --rm app{i} cat result") for i in range(8)]
    fill(cluster, name, 17)
    cluster.wait(lambda: free(cluster, name)[0] > 20 and "old:1" not in images(client), "the old image makes room")
    for process in builds:
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
    for i in range(8):
        assert client.cached_steps(f"/tmp/{i}", f"app{i}") == {"2/4", "3/4", "4/4"}


def test_files_are_relieved_too(cluster, clients):
    name = STORES[0]
    client = clients[name]
    fill(cluster, name, 60)
    build(client, "files:1", "mkdir /files; cd /files; for file in $(seq 4000); do echo a >$file; done")
    files = int((free(cluster, name)[1] - 8) * 200)
    directory = f"{ROOT}/{NAMESPACE}/{name}/files"
    cluster.on_node(cluster.node_names[0], f"mkdir {directory}; cd {directory}; seq {files} | xargs touch")
    # The image may be too young at first, and what did not help is not tried again for a minute.
    cluster.wait(lambda: free(cluster, name)[1] > 10 and "files:1" not in images(client), "the image makes room for inodes")
