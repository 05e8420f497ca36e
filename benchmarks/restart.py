"""Compare a restart of the article's daemon with ours: ``python -m benchmarks.restart KUBECONFIG [REGISTRY_MIRROR]``.

Measures the time from a pod's start to its first answer, the gap that a client sees that asks every 100 ms, and how many of
20 running builds a restart fails. Both daemons run on the same node, one after the other. Prints a table, and
writes the runs as JSON.
"""

import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from cdk8s import App, Chart, Duration, Size, Yaml

from benchmarks import arguments
from dindcache import DindDaemon, LocalVolume, NoTls
from tests.framework.cluster import Cluster
from tests.framework.site import Site, new_site
from tests.framework.support import REGISTRY, support

NAMESPACE = "dindcache-bench"
ROUNDS = 3
BUILDS = 20
ARTICLE = Path(__file__).parent.parent / "tests" / "project" / "article.yaml"


def article(site: Site, directory: str) -> list[Any]:
    """Return the article's manifests for this cluster's node and mirror, in the namespace of a site."""
    cluster = site.cluster
    text = ARTICLE.read_text().replace("kube-ops", site.namespace).replace("/mnt/k8s/docker", directory)
    # Cluster-wide names, since the cluster can have the article's own objects.
    text = text.replace("docker-pv", f"{site.namespace}.docker-pv").replace("local-volume", f"{site.namespace}.local-volume")
    manifests = list(yaml.safe_load_all(text))
    kinds = {manifest["kind"]: manifest for manifest in manifests}
    (term,) = kinds["PersistentVolume"]["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    term["matchExpressions"][0]["values"] = [cluster.hostnames[0]]
    (container,) = kinds["Deployment"]["spec"]["template"]["spec"]["containers"]
    mirrors = [f"--registry-mirror={mirror}" for mirror in cluster.registry_mirrors]
    container["args"] = [*mirrors, f"--insecure-registry={REGISTRY}"]
    return manifests


def article_daemon(namespace: str) -> DindDaemon:
    """Return a model of the article's daemon, to which clients can be connected. It is not applied."""
    chart = Chart(App(), "article", namespace=namespace)
    nowhere = LocalVolume(chart, "data", hostname="any", path="/any", storage=Size.gibibytes(5))
    return DindDaemon(chart, "docker-dind", volume=nowhere, tls=NoTls())


class Way:
    """One of the two daemons, with a client on another node."""

    def __init__(self, site: Site, name: str, manifests: list[Any], daemon: DindDaemon) -> None:
        self.cluster, self.name, self.app, self.manifests = site.cluster, name, daemon.name, manifests
        self.apply(manifests)
        self.client = site.client(daemon, name=f"client-{name}")
        self.until_it_serves()
        self.client.sh("docker pull -q busybox")

    def apply(self, manifests: list[Any]) -> None:
        """Apply these objects."""
        self.cluster.kubectl("apply", "-f", "-", stdin=Yaml.stringify(*manifests))

    def until_it_serves(self) -> None:
        """Wait for the first answer."""
        self.client.sh("until docker version >/dev/null 2>&1; do sleep 0.1; done")

    def scale(self, replicas: int) -> None:
        """Start or stop the pod."""
        self.cluster.kubectl("scale", f"--namespace={NAMESPACE}", f"deployment/{self.app}", f"--replicas={replicas}")

    def start(self) -> float:
        """Return the seconds from the request for a pod to its first answer."""
        self.scale(0)
        self.cluster.wait(lambda: not self.cluster.pods(NAMESPACE, self.app), "no pod")
        begin = time.perf_counter()
        self.scale(1)
        self.until_it_serves()
        return time.perf_counter() - begin

    def delete(self) -> None:
        """Delete the pod as an eviction does."""
        selector = f"--selector=app={self.app}"
        self.cluster.kubectl("delete", "pod", f"--namespace={NAMESPACE}", selector, "--wait=false")

    def upgrade(self) -> None:
        """Change the tag of the engine's image; the engine is the same."""
        for manifest in self.manifests:
            if manifest["kind"] == "Deployment":
                pod = manifest["spec"]["template"]["spec"]
                for container in [*pod["containers"], *pod.get("initContainers", [])]:
                    tags = ["docker:29-dind", "docker:29.9.3-dind"]
                    container["image"] = tags[container["image"] == tags[0]]
        self.apply(self.manifests)

    def gap(self, restart: Callable[[], None]) -> float:
        """Return the longest time between two answers during a restart, for a client that asks every 100 ms."""
        ask = "timeout 1 docker version >/dev/null 2>&1 && cut -d' ' -f1 /proc/uptime"
        asking = self.client.start(f"while [ ! -e /tmp/enough ]; do {ask}; sleep 0.1; done; rm /tmp/enough")
        first = asking.stdout.readline() if asking.stdout else ""
        (before,) = self.cluster.pods(NAMESPACE, self.app)
        restart()

        def replaced() -> bool:
            pods = self.cluster.pods(NAMESPACE, self.app)
            return len(pods) == 1 and pods[0]["metadata"]["uid"] != before["metadata"]["uid"]

        self.cluster.wait(replaced, "another pod", seconds=120)
        self.until_it_serves()
        time.sleep(1)  # some answers of the new engine
        self.client.sh("touch /tmp/enough")
        output, _ = asking.communicate(timeout=30)
        answers = [float(line) for line in [first, *output.splitlines()] if line[:1].isdigit()]
        return max(later - earlier for earlier, later in itertools.pairwise(answers))

    def failed_builds(self) -> tuple[int, int]:
        """Return the failed builds: of those running when the pod is deleted, and of as many started soon after."""
        self.client.sh(
            """mkdir -p /tmp/slow; cd /tmp/slow
            printf 'FROM busybox\nARG number\nRUN sleep 30; date >built\n' >Dockerfile"""
        )
        stamp = time.time_ns()
        build = f"docker build --progress=plain --build-arg number={stamp}-$i /tmp/slow >/tmp/slow/$i.log 2>&1 || echo failed"
        in_flight = self.client.start(f"rm -f /tmp/slow/*.log; for i in $(seq {BUILDS}); do ({build}) & done; wait")
        self.client.sh(f"until [ $(grep -l 'RUN sleep' /tmp/slow/*.log | wc -l) = {BUILDS} ]; do sleep 0.2; done")
        self.delete()
        quick = "echo FROM busybox | docker build -q - >/dev/null 2>&1 || echo failed"
        after = self.client.start(f"for i in $(seq {BUILDS}); do ({quick}) & sleep 1.5; done; wait")
        failed = [process.communicate(timeout=300)[0].split().count("failed") for process in (in_flight, after)]
        self.until_it_serves()
        return failed[0], failed[1]


def rounds(site: Site) -> dict[str, list[dict[str, float]]]:
    """Run all rounds, and return the results by daemon."""
    chart = site.chart("ours")
    ours = site.add_daemon(chart, "ours", drain_timeout=Duration.minutes(2))
    ways = [
        Way(site, "article", article(site, site.directory("article")), article_daemon(NAMESPACE)),
        Way(site, "ours", chart.to_json(), ours),
    ]
    runs: dict[str, list[dict[str, float]]] = {way.name: [] for way in ways}
    for number in range(ROUNDS):
        for way in ways if number % 2 else reversed(ways):
            run = {
                "start to the first answer, s": way.start(),
                "gap across a pod's deletion, s": way.gap(way.delete),
                "gap across an upgrade, s": way.gap(way.upgrade),
            }
            run[f"failed of {BUILDS} builds in flight"], run[f"failed of {BUILDS} builds begun after"] = way.failed_builds()
            runs[way.name].append(run)
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    return runs


def main() -> None:
    """Run the rounds."""
    given = arguments.parser(__doc__, "restart.json").parse_args()
    cluster = Cluster(given.kubeconfig, given.registry_mirror)
    with support(cluster), new_site(cluster, NAMESPACE) as site:
        runs = rounds(site)
    given.results.mkdir(exist_ok=True)
    (given.results / "restart.json").write_text(json.dumps(runs, indent=1) + "\n")
    print(f"| median of {ROUNDS} | {' | '.join(runs)} |\n| --- | --- | --- |")
    for what in runs["ours"][0]:
        medians = [statistics.median(run[what] for run in runs[way]) for way in runs]
        print(f"| {what} | {' | '.join(f'{median:.3g}' for median in medians)} |")


if __name__ == "__main__":
    main()
