"""A daemon that survives: no build in flight fails when it is replaced, and two never meet on one data-root."""

import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cdk8s import App, Chart, Duration, Size, Yaml

from dindcache import DindDaemon, LocalVolume
from tests.framework.cluster import REGISTRY, ROOT, Client, Cluster

NAMESPACE = "dindcache-survive"
APP = "docker-dind"
SLOW = "FROM busybox:latest\nRUN head -c 1000000 /dev/urandom >/dependencies\nCOPY source .\nRUN sleep 20; cat source >result\n"


def survive_chart(
    cluster: Cluster, *, image: str = "docker:29.9.3-dind", drain: Duration | None = None
) -> tuple[Chart, DindDaemon]:
    chart = Chart(App(), "survive", namespace=NAMESPACE, disable_resource_name_hashes=True)
    volume = LocalVolume(chart, "docker", hostname=cluster.hostnames[0], path=f"{ROOT}/survive", storage=Size.gibibytes(5))
    daemon = DindDaemon(
        chart,
        APP,
        volume=volume,
        image=image,
        drain_timeout=drain or Duration.minutes(4),
        registry_mirrors=cluster.registry_mirrors,
        insecure_registries=[REGISTRY],
    )
    return chart, daemon


@pytest.fixture(scope="module")
def daemon(cluster: Cluster) -> Iterator[DindDaemon]:
    cluster.on_node(cluster.node_names[0], f"rm -rf {ROOT}/survive; mkdir -p {ROOT}/survive")
    cluster.create_namespace(NAMESPACE)
    chart, daemon = survive_chart(cluster)
    cluster.apply(chart)
    cluster.rollout(NAMESPACE, APP)
    yield daemon
    cluster.forget(NAMESPACE, f"persistentvolume/{NAMESPACE}-docker", f"storageclass/{NAMESPACE}-docker")
    cluster.on_node(cluster.node_names[0], f"rm -rf {ROOT}/survive")


@pytest.fixture(scope="module")
def client(cluster: Cluster, daemon: DindDaemon) -> Client:
    return Client(cluster, daemon, NAMESPACE, cluster.node_names[-1])


@pytest.fixture
def settled(cluster: Cluster, daemon: DindDaemon) -> None:
    """The daemon as the chart has it."""
    chart, _ = survive_chart(cluster)
    cluster.apply(chart)
    settle(cluster)


def settle(cluster: Cluster) -> None:
    """Wait for one pod of the daemon, ready."""
    cluster.rollout(NAMESPACE, APP)
    cluster.wait(lambda: len(cluster.pods(NAMESPACE, APP)) == 1, "one pod of the daemon")


def write_slow_project(client: Client, directory: str) -> None:
    client.write_project(directory)
    client.sh(f"printf '{SLOW}' >{directory}/Dockerfile".replace("\n", "\\n"))


def finish(process: "subprocess.Popen[str]") -> None:
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output


def delete_pod(cluster: Cluster) -> None:
    cluster.kubectl("delete", "pod", f"--namespace={NAMESPACE}", f"--selector=app={APP}", "--wait=false")


def upgrade(cluster: Cluster) -> None:
    chart, _ = survive_chart(cluster, image="docker:29-dind")
    cluster.apply(chart)


def drain_node(cluster: Cluster) -> None:
    node_name = cluster.node_names[0]
    try:
        cluster.kubectl(
            "drain", node_name, "--ignore-daemonsets", "--delete-emptydir-data", "--force", f"--pod-selector=app={APP}"
        )
    finally:
        cluster.kubectl("uncordon", node_name)


@pytest.mark.parametrize("restart", [delete_pod, upgrade, drain_node])
def test_builds_in_flight_finish(cluster, client, settled, restart: Callable[[Cluster], None]):
    name = restart.__name__.replace("_", "-")
    for directory in (f"/tmp/{name}-build", f"/tmp/{name}-push"):
        write_slow_project(client, directory)
    (before,) = cluster.pods(NAMESPACE, APP)
    image = f"{REGISTRY}/{name}"
    build = client.start_build(f"/tmp/{name}-build", name)
    push = client.start_build(f"/tmp/{name}-push", image, then=f"docker push {image}")
    restart(cluster)
    finish(build)
    finish(push)
    cluster.wait(lambda: before["metadata"]["uid"] not in uids(cluster), "the old pod is gone")
    cluster.rollout(NAMESPACE, APP)
    assert client.cached_steps(f"/tmp/{name}-build", name) == {"2/4", "3/4", "4/4"}


def uids(cluster: Cluster) -> list[str]:
    return [pod["metadata"]["uid"] for pod in cluster.pods(NAMESPACE, APP)]


def test_a_drain_ends_under_a_steady_load_of_new_builds(cluster, client, settled):
    drain = 120
    chart, _ = survive_chart(cluster, drain_timeout=Duration.seconds(drain))
    cluster.apply(chart)
    cluster.rollout(NAMESPACE, APP)
    client.write_project("/tmp/steady")
    build = "date >/tmp/steady/source; docker build -q /tmp/steady >/tmp/built 2>&1 || :"
    load = client.start(f"while [ ! -e /tmp/stop ]; do {build}; sleep 0.2; done")
    cluster.wait(lambda: client.run("grep -q sha256 /tmp/built").returncode == 0, "the load")
    (before,) = cluster.pods(NAMESPACE, APP)
    begin = time.monotonic()
    delete_pod(cluster)
    cluster.wait(lambda: before["metadata"]["uid"] not in uids(cluster), "the drain ends", seconds=240)
    took = time.monotonic() - begin
    client.sh("touch /tmp/stop")
    load.communicate(timeout=60)
    cluster.rollout(NAMESPACE, APP)
    # Half of the drain with new clients, 10 s without a client, then the engine's own end: not the deadline.
    assert drain / 2 < took < drain / 2 + 10 + 25


def waits(cluster: Cluster, app: str) -> Any:
    """The youngest pod of an app, once its init container runs."""

    def waiting() -> Any:
        for pod in cluster.pods(NAMESPACE, app)[-1:]:
            (status,) = pod["status"].get("initContainerStatuses") or [{"state": {}}]
            if "running" in status["state"]:
                return pod
        return None

    return cluster.wait(waiting, f"a pod of {app} in its init container")


def first_log(cluster: Cluster) -> str:
    """What a pod that waits says. Nodes that share a machine remove each other's logs now and then: ask another pod then."""

    def log() -> str:
        pod = waits(cluster, "mistake")["metadata"]["name"]
        said = cluster.run("logs", f"--namespace={NAMESPACE}", pod, "--container=wait-for-lock").stdout
        if not said:
            cluster.kubectl("delete", "pod", f"--namespace={NAMESPACE}", pod, "--wait")
        return said

    found: str = cluster.wait(log, "the init container's log")
    return found


@pytest.mark.parametrize("force", [False, True])
def test_a_replacement_waits_for_a_daemon_that_ends(cluster, client, settled, force):
    write_slow_project(client, "/tmp/replaced")
    client.sh("date >/tmp/replaced/source")
    build = client.start_build("/tmp/replaced", "replaced")
    if force:
        cluster.kubectl("delete", "pod", f"--namespace={NAMESPACE}", f"--selector=app={APP}", "--grace-period=0", "--force")
        build.communicate(timeout=200)  # the kubelet ends it at once, and the build with it
    else:
        delete_pod(cluster)
        pod = waits(cluster, APP)
        assert pod["metadata"]["uid"] == uids(cluster)[-1]
        finish(build)
    settle(cluster)
    assert cluster.restarts(NAMESPACE, APP) == 0
    assert client.cached_steps("/tmp/replaced", "replaced") >= {"2/4", "3/4"}


def mistake(cluster: Cluster, *, init: bool) -> str:
    """A second Deployment on the same claim; without the init container its probes have no patience."""
    chart, _ = survive_chart(cluster)
    (deployment,) = (o for o in chart.to_json() if o["kind"] == "Deployment")
    labels = {"app": "mistake"}
    deployment["metadata"] |= {"name": "mistake", "labels": labels}
    deployment["spec"]["selector"]["matchLabels"] = labels
    deployment["spec"]["template"]["metadata"]["labels"] = labels
    if not init:
        pod = deployment["spec"]["template"]["spec"]
        del pod["initContainers"]
        for probe in ("startupProbe", "livenessProbe"):
            pod["containers"][0][probe] |= {"periodSeconds": 1, "failureThreshold": 1}
    return Yaml.stringify(deployment)


@pytest.mark.parametrize("init", [True, False])
def test_a_second_deployment_waits_until_the_first_ends(cluster, client, settled, init):
    client.write_project("/tmp/mistake")
    client.cached_steps("/tmp/mistake", "mistake")
    manifest = mistake(cluster, init=init)
    cluster.kubectl("apply", "-f", "-", stdin=manifest)
    try:
        if init:
            assert "another daemon holds /var/lib/docker, waiting for it to end" in first_log(cluster)
        else:
            cluster.wait(
                lambda: [
                    status["state"]
                    for pod in cluster.pods(NAMESPACE, "mistake")
                    for status in pod["status"].get("containerStatuses", [])
                    if status["name"] == APP and "running" in status["state"]
                ],
                "the second container runs",
            )
        # The first goes on: a build takes longer than probes that fail at once would let the second live.
        write_slow_project(client, "/tmp/meanwhile")
        client.sh("docker build -t meanwhile /tmp/meanwhile")
        assert cluster.restarts(NAMESPACE, APP) == cluster.restarts(NAMESPACE, "mistake") == 0
        ready = cluster.get("deployment", "mistake", f"--namespace={NAMESPACE}")["status"].get("readyReplicas", 0)
        assert ready == 0
        cluster.kubectl("scale", f"--namespace={NAMESPACE}", f"deployment/{APP}", "--replicas=0")
        cluster.rollout(NAMESPACE, "mistake")
        assert cluster.restarts(NAMESPACE, "mistake") == 0
    finally:
        cluster.kubectl("delete", "-f", "-", "--wait", stdin=manifest)
    chart, _ = survive_chart(cluster)
    cluster.apply(chart)
    cluster.rollout(NAMESPACE, APP)
    assert client.cached_steps("/tmp/mistake", "mistake") == {"2/4", "3/4", "4/4"}


def test_a_waiting_pod_is_gone_at_once_when_deleted(cluster, settled):
    manifest = mistake(cluster, init=True)
    cluster.kubectl("apply", "-f", "-", stdin=manifest)
    waits(cluster, "mistake")
    cluster.kubectl("delete", "-f", "-", "--wait=false", stdin=manifest)
    cluster.wait(lambda: not cluster.pods(NAMESPACE, "mistake"), "the waiting pod is gone", seconds=15)
