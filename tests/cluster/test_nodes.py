"""Nodes that vanish, and nodes that are tainted."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from cdk8s import Cron, Duration
from cdk8s_plus_27 import k8s

from dindcache import PodOptions, PruneSchedule
from tests.framework.client import Client
from tests.framework.cluster import Cluster, processes
from tests.framework.site import APP

NAMESPACE = "dindcache-nodes"
TAINT = "dindcache-test"


def cut_off(client: Client) -> None:
    """Take the network of a client's pod down: like a vanished node, it closes no connection. It ends with the pod."""
    pod = client.cluster.get("pod", client.sh("hostname").strip(), f"--namespace={client.namespace}")
    enter = f"set -- {processes(pod)}; nsenter -t $1 -n ip link set eth0 down"
    client.cluster.on_node(pod["spec"]["nodeName"], enter)


def connections(cluster: Cluster) -> int:
    """Return how many connections to the daemon's port the kernel keeps; none when the engine has ended."""
    count = """awk '$2 ~ /:0948$/ && $4 == "01"' /proc/net/tcp /proc/net/tcp6 | wc -l"""
    done = cluster.run("exec", f"--namespace={NAMESPACE}", f"deployment/{APP}", "--", "sh", "-c", count)
    return int(done.stdout or 0)


def test_clients_on_a_vanished_node_hold_a_drain_for_two_minutes(cluster, site, processors):
    daemon = site.daemon(drain_timeout=Duration.minutes(10))
    # The engine hears nothing of the first one, and the second one does not acknowledge what the engine sends.
    silent, receiving = (site.client(daemon, name=name) for name in ("silent", "receiving"))
    followers = [silent.start("docker events --filter event=never"), receiving.start("docker events")]
    cluster.wait(lambda: connections(cluster) == 2, "both follow the events")
    for client in (silent, receiving):
        cut_off(client)
    engine = f"exec --namespace={NAMESPACE} deployment/{APP} --".split()
    cluster.kubectl(*engine, "docker", "network", "create", "an-event")
    begin = time.monotonic()
    (pod,) = cluster.pods(NAMESPACE, APP)
    cluster.kubectl("delete", "pod", f"--namespace={NAMESPACE}", f"--selector=app={APP}", "--wait=false")
    took = kept = 0.0
    while pod["metadata"]["uid"] in [other["metadata"]["uid"] for other in cluster.pods(NAMESPACE, APP)]:
        took = time.monotonic() - begin
        assert took < 200, "the drain waits for clients that vanished"
        if connections(cluster):
            kept = took
        time.sleep(1)
    assert took < 120 + 20  # the end of the engine included
    # A drain that counts every connection would go on.
    assert kept > took - 20
    for follower in followers:
        follower.kill()
        follower.communicate()


@contextmanager
def tainted_nodes(cluster: Cluster) -> Iterator[None]:
    """Schedule only pods that tolerate it. Running pods go on, and new ones of other tests wait for a moment."""
    try:
        cluster.kubectl("taint", "nodes", "--all", f"{TAINT}=here:NoSchedule")
        yield
    finally:
        cluster.kubectl("taint", "nodes", "--all", f"{TAINT}-")


def wait_until_scheduled(cluster: Cluster, selector: str) -> None:
    def nodes() -> list[str]:
        pods = cluster.get("pods", f"--namespace={NAMESPACE}", f"--selector={selector}")["items"]
        return [pod["spec"]["nodeName"] for pod in pods if "nodeName" in pod["spec"]]

    cluster.wait(nodes, f"a node for {selector}")


def test_the_whole_system_starts_where_every_node_is_tainted(cluster, site):
    name = "tainted"
    tolerations = [k8s.Toleration(key=TAINT, operator="Equal", value="here", effect="NoSchedule")]
    chart = site.chart(name)
    daemon = site.add_daemon(chart, name, pod=PodOptions(tolerations=tolerations))
    PruneSchedule(chart, "clear", daemon=daemon, schedule=Cron.annually())
    (job,) = (manifest["metadata"]["name"] for manifest in chart.to_json() if manifest["kind"] == "Job")
    with tainted_nodes(cluster):
        cluster.apply(chart)
        wait_until_scheduled(cluster, f"job-name={job}")
        wait_until_scheduled(cluster, f"app={name}")
    site.start(chart)
    with tainted_nodes(cluster):
        create = ["create", "job", f"--namespace={NAMESPACE}", f"--from=cronjob/{name}-clear", f"{name}-now"]
        cluster.kubectl(*create)
        wait_until_scheduled(cluster, f"job-name={name}-now")
    cluster.kubectl("wait", f"--namespace={NAMESPACE}", f"job/{name}-now", "--for=condition=Complete", "--timeout=600s")
