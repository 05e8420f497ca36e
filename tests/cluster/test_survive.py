"""A daemon is replaced without failing a build in flight, and two never use one data root."""

import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from cdk8s import Chart, Duration, Yaml

from tests.framework.client import Client
from tests.framework.cluster import Cluster
from tests.framework.site import Site
from tests.framework.support import REGISTRY

NAMESPACE = "dindcache-survive"
APP = "survive-dind"  # a drain of the node selects pods by this name in every namespace
SLOW = "FROM busybox:latest\nRUN head -c 1000000 /dev/urandom >/dependencies\nCOPY source .\nRUN sleep 20; cat source >result\n"


def node(cluster: Cluster) -> int:
    """Return the number of a node that no other test uses, since this one is drained."""
    return 1 if len(cluster.node_names) > 2 else 0


def survive_chart(site: Site, *, image: str = "docker:29.9.3-dind", drain_seconds: int = 240) -> Chart:
    chart = site.chart(APP)
    drain_timeout = Duration.seconds(drain_seconds)
    site.add_daemon(chart, APP, node=node(site.cluster), image=image, drain_timeout=drain_timeout)
    return chart


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    daemon = site.daemon(APP, node=node(site.cluster), drain_timeout=Duration.seconds(240))
    return site.client(daemon)


@pytest.fixture
def settled(cluster: Cluster, site: Site, client: Client) -> None:
    """Give the daemon its own configuration again."""
    cluster.apply(survive_chart(site))
    settle(cluster)


def settle(cluster: Cluster) -> None:
    """Wait for one pod of the daemon, ready."""
    cluster.rollout(NAMESPACE, APP)
    cluster.wait(lambda: len(cluster.pods(NAMESPACE, APP)) == 1, "one pod of the daemon")


def write_slow_project(client: Client, directory: str) -> None:
    client.write_project(directory)
    client.sh(f"printf '{SLOW}' >{directory}/Dockerfile".replace("\n", "\\n"))


def finish(process: "subprocess.Popen[str]") -> None:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output


def delete_pod(site: Site) -> None:
    delete(site.cluster)
    assert waits(site.cluster, APP)["metadata"]["uid"] == uids(site.cluster)[-1]


def upgrade(site: Site) -> None:
    site.cluster.apply(survive_chart(site, image="docker:29-dind"))


def drain_node(site: Site) -> None:
    cluster = site.cluster
    node_name = cluster.node_names[node(cluster)]
    try:
        cluster.kubectl(
            "drain", node_name, "--ignore-daemonsets", "--delete-emptydir-data", "--force", f"--pod-selector=app={APP}"
        )
    finally:
        cluster.kubectl("uncordon", node_name)


@pytest.mark.parametrize("restart", [delete_pod, upgrade, drain_node])
def test_builds_in_flight_finish(cluster, site, client, settled, restart: Callable[[Site], None]):
    name = restart.__name__.replace("_", "-")
    for directory in (f"/tmp/{name}-build", f"/tmp/{name}-push"):
        write_slow_project(client, directory)
    (before,) = cluster.pods(NAMESPACE, APP)
    image = f"{REGISTRY}/{name}"
    build = client.start_build(f"/tmp/{name}-build", name)
    push = client.start_build(f"/tmp/{name}-push", image, then=f"docker push {image}")
    restart(site)
    finish(build)
    finish(push)
    cluster.wait(lambda: before["metadata"]["uid"] not in uids(cluster), "the old pod is gone")
    settle(cluster)
    assert cluster.restarts(NAMESPACE, APP) == 0
    assert client.cached_steps(f"/tmp/{name}-build", name) == {"2/4", "3/4", "4/4"}


def delete(cluster: Cluster, *options: str) -> None:
    cluster.kubectl("delete", "pod", f"--namespace={NAMESPACE}", f"--selector=app={APP}", *(options or ["--wait=false"]))


def uids(cluster: Cluster) -> list[str]:
    return [pod["metadata"]["uid"] for pod in cluster.pods(NAMESPACE, APP)]


def test_a_drain_ends_under_a_steady_load_of_new_builds(cluster, site, client, settled, processors):
    drain = 120
    cluster.apply(survive_chart(site, drain_seconds=drain))
    settle(cluster)
    client.write_project("/tmp/steady")
    build = "date >/tmp/steady/source; docker build -q /tmp/steady >/tmp/built 2>&1 || :"
    load = client.start(f"while [ ! -e /tmp/stop ]; do {build}; sleep 0.2; done")
    cluster.wait(lambda: client.run("grep -q sha256 /tmp/built").returncode == 0, "the load")
    (before,) = cluster.pods(NAMESPACE, APP)
    begin = time.monotonic()
    delete(cluster)
    cluster.wait(lambda: before["metadata"]["uid"] not in uids(cluster), "the drain ends")
    took = time.monotonic() - begin
    client.sh("touch /tmp/stop")
    load.communicate(timeout=600)
    cluster.rollout(NAMESPACE, APP)
    # Half of the drain with new clients, 10 s without a client, then the engine's own end: not the deadline.
    assert drain / 2 < took < drain / 2 + 10 + 25


def waits(cluster: Cluster, app: str) -> Any:
    """Wait until the youngest pod of an app is in its init container, and return the pod."""

    def waiting() -> Any:
        for pod in cluster.pods(NAMESPACE, app)[-1:]:
            (status,) = pod["status"].get("initContainerStatuses") or [{"state": {}}]
            if "running" in status["state"]:
                return pod
        return None

    return cluster.wait(waiting, f"a pod of {app} in its init container")


def first_log(cluster: Cluster) -> str:
    """Return the log of a waiting pod. Nodes that share a machine sometimes remove each other's logs: then ask another pod."""

    def log() -> str:
        # What the kubelet says of a log that is gone is output too.
        pod = waits(cluster, "mistake")["metadata"]["name"]
        said = cluster.run("logs", f"--namespace={NAMESPACE}", pod, "--container=wait-for-lock").stdout
        if said.startswith("dindcache: "):
            return said
        cluster.kubectl("delete", "pod", f"--namespace={NAMESPACE}", pod, "--wait")
        return ""

    found: str = cluster.wait(log, "the init container's log")
    return found


def test_a_replacement_waits_for_a_daemon_that_is_killed(cluster, client, settled):
    write_slow_project(client, "/tmp/killed")
    build = client.start_build("/tmp/killed", "killed")
    delete(cluster, "--grace-period=0", "--force")
    build.communicate(timeout=600)  # the kubelet ends the daemon at once, and the build with it
    settle(cluster)
    assert cluster.restarts(NAMESPACE, APP) == 0
    assert client.cached_steps("/tmp/killed", "killed") >= {"2/4", "3/4"}


def mistake(site: Site, *, init: bool) -> str:
    """Return a second Deployment on the same claim; if its init container does not wait, its probes have no patience."""
    (deployment,) = (o for o in survive_chart(site).to_json() if o["kind"] == "Deployment")
    labels = {"app": "mistake"}
    deployment["metadata"] |= {"name": "mistake", "labels": labels}
    deployment["spec"]["selector"]["matchLabels"] = labels
    deployment["spec"]["template"]["metadata"]["labels"] = labels
    if not init:
        pod = deployment["spec"]["template"]["spec"]
        pod["initContainers"][0]["command"] = ["sh", "-c", "cp -RL $CONFIG/* $FILES"]
        for probe in ("startupProbe", "livenessProbe"):
            pod["containers"][0][probe] |= {"periodSeconds": 1, "failureThreshold": 1}
    return Yaml.stringify(deployment)


@pytest.mark.parametrize("init", [True, False])
def test_a_second_deployment_waits_until_the_first_ends(cluster, site, client, settled, init):
    client.write_project("/tmp/mistake")
    client.cached_steps("/tmp/mistake", "mistake")
    manifest = mistake(site, init=init)
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
        # The first daemon is not disturbed. The build takes longer than impatient probes would let the second one live.
        write_slow_project(client, "/tmp/other")
        client.sh("docker build -t other /tmp/other")
        assert cluster.restarts(NAMESPACE, APP) == cluster.restarts(NAMESPACE, "mistake") == 0
        ready = cluster.get("deployment", "mistake", f"--namespace={NAMESPACE}")["status"].get("readyReplicas", 0)
        assert ready == 0
        cluster.kubectl("scale", f"--namespace={NAMESPACE}", f"deployment/{APP}", "--replicas=0")
        cluster.rollout(NAMESPACE, "mistake")
        assert cluster.restarts(NAMESPACE, "mistake") == 0
    finally:
        cluster.kubectl("delete", "-f", "-", "--wait", stdin=manifest)
    cluster.apply(survive_chart(site))
    settle(cluster)
    assert client.cached_steps("/tmp/mistake", "mistake") == {"2/4", "3/4", "4/4"}


def test_a_waiting_pod_ends_at_once_when_deleted(cluster, site, settled, processors):
    manifest = mistake(site, init=True)
    cluster.kubectl("apply", "-f", "-", stdin=manifest)
    waits(cluster, "mistake")
    cluster.kubectl("delete", "-f", "-", "--wait=false", stdin=manifest)
    cluster.wait(lambda: not cluster.pods(NAMESPACE, "mistake"), "the waiting pod is gone", seconds=15)
