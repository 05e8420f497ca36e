"""A daemon recovers from crashes, full disks and hungry builds without help."""

import random

import pytest
from cdk8s import Duration, Size
from cdk8s_plus_27 import ContainerResources, MemoryResources

from dindcache import AddressPool, DindDaemon, Engine, Ulimit
from tests.framework.client import Client
from tests.framework.kills import KILLS_PER_POD, PROCESSES, lost_layers, renew, serves
from tests.framework.site import APP, Site

NAMESPACE = "dindcache-crash"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.fixture(scope="module")
def filler(site: Site) -> str:
    """Path of a file on the daemon's disk, a file system of its own, so that only this daemon has a full one."""
    return f"{site.directory(disk='size=600m')}/filler"


@pytest.fixture(scope="module")
def daemon(site: Site, filler: str) -> DindDaemon:
    return site.daemon(
        storage=Size.mebibytes(600),
        engine=Engine(
            address_pools=[AddressPool(base="172.30.0.0/16")],
            ulimits={"nofile": Ulimit(soft=1024, hard=4096)},
            max_concurrent_downloads=6,
            max_concurrent_uploads=6,
            registry_certificates={"registry.example:5000": PEM},
            settings={"debug": True},
        ),
        drain_timeout=Duration.minutes(2),
        disk_guard=False,  # it would reclaim space
        resources=ContainerResources(memory=MemoryResources(limit=Size.mebibytes(1000))),
    )


@pytest.fixture(scope="module")
def client(site: Site, daemon: DindDaemon) -> Client:
    return site.client(daemon)


@pytest.fixture
def fresh(client: Client, daemon: DindDaemon) -> None:
    renew(client, APP)


@pytest.mark.parametrize("process", PROCESSES)
def test_a_kill_at_any_moment_loses_no_finished_layer(client, fresh, process):
    moment = random.Random(process)  # noqa: S311 - the same moments in each run
    for _ in range(KILLS_PER_POD):
        # A build takes about 5 s, and its export one more.
        assert not lost_layers(client, APP, process, moment.uniform(0, 6))


@pytest.mark.parametrize("connected", [True, False])
def test_a_hung_engine_is_replaced(cluster, client, fresh, processors, connected):
    follower = client.start("docker events") if connected else None
    (pod,) = cluster.pods(NAMESPACE, APP)
    before = cluster.restarts(NAMESPACE, APP)
    cluster.signal(NAMESPACE, APP, "dockerd", "STOP")
    # Six probes of at most 15 s, the 15 s that the pod has to end, and the start.
    cluster.wait(lambda: cluster.restarts(NAMESPACE, APP) == before + 1, "the container is restarted")
    serves(client)
    assert cluster.pods(NAMESPACE, APP)[0]["metadata"]["uid"] == pod["metadata"]["uid"]
    if follower:
        follower.kill()
        follower.communicate()


def test_a_busy_engine_is_not_restarted(cluster, client, fresh, processors):
    client.sh(
        """mkdir -p /tmp/busy; cd /tmp/busy
        printf 'FROM busybox:latest\nARG number\nRUN sleep 0; timeout 45 sh -c "while :; do :; done" || :\n' >Dockerfile"""
    )
    builds = [client.start_build(f"--build-arg=number={i} /tmp/busy", f"busy{i}") for i in range(8)]
    memory = "cat $(grep -lxE 'Name:.(dockerd|containerd)' /proc/[0-9]*/status) | sed -n 's/^VmRSS: *\\([0-9]*\\) kB/\\1/p'"
    arguments = ["exec", f"--namespace={NAMESPACE}", f"deployment/{APP}", "--", "sh", "-c", memory]
    # What the start script keeps for the engine on cgroup v2.
    assert sum(map(int, cluster.kubectl(*arguments).split())) < 200 * 1024
    delete_pod = ["delete", "pod", f"--namespace={NAMESPACE}", f"--selector=app={APP}", "--wait=false"]
    for build in builds[:4]:
        output, _ = build.communicate(timeout=600)
        assert build.returncode == 0, output
    assert cluster.restarts(NAMESPACE, APP) == 0
    cluster.kubectl(*delete_pod)
    for build in builds[4:]:
        output, _ = build.communicate(timeout=600)
        assert build.returncode == 0, output


@pytest.mark.parametrize("command", ["docker build /tmp/hungry", "docker run --rm busybox tail /dev/zero"])
def test_too_much_memory_kills_the_build_or_the_container_only(cluster, client, fresh, command):
    # First: a base is another to the cache once it is an image of the engine's (docs/engine.md).
    client.sh("docker pull -q busybox:latest")
    client.write_project("/tmp/modest")
    client.cached_steps("/tmp/modest", "modest")
    client.sh("mkdir -p /tmp/hungry; printf 'FROM busybox:latest\nRUN tail /dev/zero\n' >/tmp/hungry/Dockerfile")
    done = client.run(command)
    assert done.returncode != 0
    assert cluster.restarts(NAMESPACE, APP) == 0
    assert client.cached_steps("/tmp/modest", "modest") == {"2/4", "3/4", "4/4"}


def test_a_full_disk_fails_builds_but_not_the_daemon(cluster, client, fresh, filler):
    client.write_project("/tmp/kept")
    client.cached_steps("/tmp/kept", "kept")
    node_name = cluster.node_names[0]
    cluster.on_node(node_name, f"dd if=/dev/zero of={filler} bs=1M 2>/dev/null || :")
    client.write_project("/tmp/full")
    done = client.run("docker build /tmp/full")
    assert done.returncode != 0
    assert "no space left on device" in done.stderr
    cluster.rollout(NAMESPACE, APP, seconds=60)
    assert cluster.restarts(NAMESPACE, APP) == 0
    cluster.on_node(node_name, f"rm {filler}")
    assert client.cached_steps("/tmp/kept", "kept") == {"2/4", "3/4", "4/4"}
    assert client.cached_steps("/tmp/full", "full") == {"2/4"}  # the same command in both


def test_the_lock_needs_no_space(cluster, client, fresh, filler):
    client.write_project("/tmp/kept")
    client.cached_steps("/tmp/kept", "kept")
    cluster.on_node(cluster.node_names[0], f"dd if=/dev/zero of={filler} bs=1M 2>/dev/null || :")
    cluster.delete_pod(NAMESPACE, APP)

    def waited() -> bool:
        (status,) = cluster.pods(NAMESPACE, APP)[-1]["status"].get("initContainerStatuses") or [{"state": {}}]
        return bool(status["state"].get("terminated", {}).get("reason") == "Completed")

    cluster.wait(waited, "the lock is free on a full disk")
    cluster.on_node(cluster.node_names[0], f"rm {filler}")
    cluster.rollout(NAMESPACE, APP)
    assert client.cached_steps("/tmp/kept", "kept") == {"2/4", "3/4", "4/4"}


def test_the_engine_has_its_configuration(cluster, client, daemon):
    show = "cat /etc/docker/certs.d/registry.example:5000/ca.crt"
    arguments = ["exec", f"--namespace={NAMESPACE}", f"deployment/{APP}", "--", "sh", "-c", show]
    assert cluster.kubectl(*arguments) == PEM
    assert client.sh("docker info --format '{{.Debug}} {{.Driver}}'").split() == ["true", "overlay2"]
    assert client.sh("docker run --rm busybox sh -c 'ulimit -Hn'").split()[0] == "4096"
    client.sh("docker network create pool")
    assert client.sh("docker network inspect pool --format '{{(index .IPAM.Config 0).Subnet}}'").startswith("172.30.")


def test_everything_has_the_pods_mtu(cluster, client, daemon):
    (pod,) = cluster.pods(NAMESPACE, APP)
    show = "cat /sys/class/net/eth0/mtu"
    arguments = ["exec", f"--namespace={NAMESPACE}", pod["metadata"]["name"], "--", "sh", "-c", show]
    mtu = cluster.kubectl(*arguments).strip()
    client.sh(
        f"""mkdir -p /tmp/mtu; printf 'FROM busybox:latest\nRUN {show} >mtu\n' >/tmp/mtu/Dockerfile
        docker network create user; docker build -t mtu /tmp/mtu"""
    )
    for run in (f"busybox {show}", f"--network=user busybox {show}", "mtu cat mtu"):
        assert client.sh(f"docker run --rm {run}").split()[0] == mtu
