"""A daemon on a node with cgroup v2, as every node of today: privileged, and with ``--user-namespaces`` also in one.

This is what a machine without KVM can run in ten minutes. Every other module runs on such a node, too, with ``--daemon-node``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cdk8s import Duration, Size
from cdk8s_plus_27 import ContainerResources, MemoryResources

from dindcache import NoTls, Retention
from tests.framework.client import Client
from tests.framework.cluster import ROOT, Cluster
from tests.framework.site import Site

NAMESPACE = "dindcache-cgroup2"
PROFILE = "profiles/dindcache.json"
LIMIT, DISK = Size.mebibytes(900), Size.mebibytes(1000)


@pytest.fixture(scope="module", params=["privileged", "user-namespace"])
def app(request: pytest.FixtureRequest, cluster: Cluster) -> str:
    """Name of the daemon, after its mode."""
    name: str = request.param
    if "cgroup.controllers" not in cluster.on_node(cluster.node_names[0], "ls /sys/fs/cgroup"):
        pytest.skip("needs a node with cgroup v2 as --daemon-node=NAME")
    if name == "user-namespace" and not cluster.user_namespaces:
        pytest.skip("needs --user-namespaces, and a node that can (docs/guides/user-namespaces.md) as --daemon-node=NAME")
    return name


@pytest.fixture(scope="module")
def client(site: Site, app: str) -> Iterator[Client]:
    """Client of the daemon, whose memory is limited and whose disk is small."""
    mode: dict[str, Any] = {"user_namespace": app == "user-namespace"}
    if mode["user_namespace"]:
        install_profile(site.cluster)
        mode["seccomp_profile"] = PROFILE
    chart = site.chart(app)
    daemon = site.add_daemon(
        chart,
        app,
        disk=f"size={DISK.to_mebibytes():.0f}m",
        storage=DISK,
        tls=NoTls(),
        **mode,
        resources=ContainerResources(memory=MemoryResources(request=Size.mebibytes(100), limit=LIMIT)),
        retention=Retention(max_job_duration=Duration.seconds(5)),
        drain_timeout=Duration.minutes(5),
    )
    site.start(chart)
    yield site.client(daemon, name=f"client-{app}")
    # A slow node cannot run both.
    site.cluster.kubectl("delete", "deployment", app, f"--namespace={NAMESPACE}", "--wait", "--timeout=600s")


def install_profile(cluster: Cluster) -> None:
    """Give the node the seccomp profile of the guide."""
    path = f"/proc/1/root/var/lib/kubelet/seccomp/{PROFILE}"
    text = (Path(__file__).parents[2] / "examples" / "seccomp.json").read_text()
    cluster.on_node(cluster.node_names[0], f"mkdir -p $(dirname {path}); cat >{path} <<'END'\n{text}END")


def test_containers_and_steps_are_in_the_pods_cgroup_with_less_memory_than_it(client, app):
    groups = client.sh("docker run --rm --cgroupns=host busybox:latest cat /proc/self/cgroup")
    build = "printf 'FROM busybox:latest\nRUN cat /proc/self/cgroup\n' | docker build --no-cache --progress=plain -"
    assert "0::" in client.sh(build)
    pod = client.cluster.pods(NAMESPACE, app)[0]["metadata"]["uid"]
    assert pod in groups.replace("_", "-")
    engine = ["exec", f"--namespace={NAMESPACE}", f"deployment/{app}", f"--container={app}", "--", "cat"]
    # Exec still works, so the probes do, and the engine keeps 200 MiB for itself (start.sh).
    limit = int(client.cluster.kubectl(*engine, "/sys/fs/cgroup/docker/memory.max"))
    assert limit == int(LIMIT.to_mebibytes() - 200) << 20


def test_the_engine_has_its_seccomp_profile(client, app):
    if app != "user-namespace":
        pytest.skip("needs a user namespace: a privileged container has no profile")
    # A container without a profile of its own has the pod's: 2 is a filter.
    status = client.sh("docker run --rm --security-opt seccomp=unconfined busybox:latest cat /proc/self/status")
    assert "Seccomp:\t2" in status


def test_a_hungry_build_or_container_dies_alone(client, app):
    before = client.cluster.restarts(NAMESPACE, app)
    build = "printf 'FROM busybox:latest\nRUN tail /dev/zero\n' | docker build -"
    for command in ("docker run --rm busybox:latest tail /dev/zero", build):
        assert client.run(command).returncode != 0
        client.sh("docker version >/dev/null")
    assert client.cluster.restarts(NAMESPACE, app) == before


def test_a_crash_keeps_the_layers(client, app):
    cluster = client.cluster
    client.write_project("/kept")
    client.cached_steps("/kept", "kept")
    before = cluster.restarts(NAMESPACE, app)
    cluster.signal(NAMESPACE, app, "dockerd", "KILL")
    cluster.wait(lambda: cluster.restarts(NAMESPACE, app) > before, "the restart")
    cluster.rollout(NAMESPACE, app)
    client.wait_for_daemon()
    assert client.cached_steps("/kept", "kept") == {"2/4", "3/4", "4/4"}


def test_a_drain_waits_for_a_build_and_keeps_the_layers(client, app):
    client.write_project("/drained")
    client.sh("sed -i 's/RUN cat/RUN sleep 30; cat/' /drained/Dockerfile")
    build = client.start_build("/drained", "drained")
    client.cluster.kubectl("delete", "pod", f"--namespace={NAMESPACE}", f"--selector=app={app}", "--wait=false")
    output, _ = build.communicate(timeout=600)
    assert build.returncode == 0, output
    client.cluster.rollout(NAMESPACE, app)
    client.wait_for_daemon()
    assert client.cached_steps("/drained", "drained") == {"2/4", "3/4", "4/4"}


def test_the_relief_makes_room(client, app):
    client.sh("printf 'FROM busybox:latest\nRUN head -c 100000000 /dev/zero | tr 0 1 >/file\n' | docker build -q -t old:1 -")
    disk = f"{ROOT}/{NAMESPACE}/{app}"
    node = client.cluster.pods(NAMESPACE, app)[0]["spec"]["nodeName"]

    def free() -> float:
        blocks, available = map(int, client.cluster.on_node(node, f"stat -f -c '%b %a' {disk}").split())
        return 100 * available / blocks

    megabytes = int((free() - 17) * DISK.to_mebibytes() / 100)
    client.cluster.on_node(node, f"dd if=/dev/zero of={disk}/filler bs=1M count={megabytes} 2>/dev/null")
    client.cluster.wait(lambda: free() > 20 and not client.sh("docker images -q old:1"), "the old image makes room")
    client.cluster.on_node(node, f"rm {disk}/filler")
    assert client.cached_steps("/kept", "kept")
