"""What the metrics of a busy daemon cost, and its dashboard: ``python -m benchmarks.metrics KUBECONFIG [MIRROR]``.

Four projects build twenty times a minute for twenty minutes on a daemon with metrics. After 15 minutes its pod is replaced.
Prints the share of a core and the memory that each of the two containers took until then, with the defaults. A Prometheus
answers the queries of the dashboard: their answers are written to ``results/metrics.json``. ``make golden`` draws them.
"""

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from cdk8s import Size

from benchmarks import arguments
from dindcache import DindDaemon, Monitoring
from dindcache.monitoring.exporter import COLLECTOR_NAME, EXPORTER_NAME
from dindcache.prometheus import PodMonitor
from tests.framework.client import Client
from tests.framework.cluster import PREFIX, Cluster
from tests.framework.prometheus import Prometheus, dashboard_panels
from tests.framework.site import APP, Site, new_site
from tests.framework.support import support

NAMESPACE = f"{PREFIX}-metrics"
PAUSE_SECONDS = 3
STEP_SECONDS = 15

# Of "shop" the source changes each time, of "docs" every fifth time, of "search" the dependencies, and "legacy" uses no cache.
PREPARE = """mkdir -p /p
cat >/p/Dockerfile <<'END'
FROM busybox:latest
ARG dependencies
RUN --mount=type=cache,target=/cache echo $dependencies; head -c 100000 /dev/urandom >>/cache/file; cp /cache/file dependencies
COPY source .
RUN sleep 0.2; cat source >built
RUN [ "$(cat source)" != broken ]
END"""
BUILDS = {
    "shop": ("{0}", ""),
    "search": ("{0}", "--build-arg dependencies={0}"),
    "docs": ("{1}", ""),
    "legacy": ("{2}", "--no-cache"),
}


def build(client: Client, number: int) -> None:
    """Build the next project, every tenth time of the last one with an error."""
    project, (source, options) = list(BUILDS.items())[number % len(BUILDS)]
    turn = number // len(BUILDS)
    values = (turn, turn // 5, "broken" if turn % 10 == 9 else turn)
    client.run(
        f"echo {source.format(*values)} >/p/source; docker build -q -t {project}:{turn % 3}"
        f" --build-arg BUILDKIT_CACHE_MOUNT_NS={project} {options.format(*values)} /p"
    )


def usage(cluster: Cluster, container: str) -> tuple[float, float]:
    """Return the MiB and the seconds of a core that a container takes and took."""
    script = """m=$(cat /sys/fs/cgroup/memory.current 2>/dev/null || cat /sys/fs/cgroup/memory/memory.usage_in_bytes)
    c=$(sed -n 's/^usage_usec //p' /sys/fs/cgroup/cpu.stat 2>/dev/null)
    n=$(cat /sys/fs/cgroup/cpuacct/cpuacct.usage 2>/dev/null)
    echo "$m ${c:-$((${n:-0} / 1000))}" """
    pod = ["exec", f"--namespace={NAMESPACE}", f"deployment/{APP}", f"--container={container}", "--", "sh", "-c", script]
    memory, microseconds = map(int, cluster.kubectl(*pod).split())
    return memory / (1 << 20), microseconds / 1e6


def answers(prometheus: Prometheus, begin: float, end: float) -> list[dict[str, Any]]:
    """Return what the panels show of a time: for each line or row its label, and its minutes and values."""
    shown = []
    for panel in dashboard_panels():
        series = []
        for target in panel["targets"]:
            expression = prometheus.of_dashboard(target["expr"], f"{end - begin:.0f}s")
            first = begin if panel["type"] == "timeseries" else end
            for found in prometheus.range(expression, begin=first, end=end, step=STEP_SECONDS):
                metric = found["metric"]
                legend = target.get("legendFormat") or " ".join(metric.values())
                label = re.sub(r"{{(\w+)}}", lambda name, metric=metric: metric.get(name[1], ""), legend)
                points = [(round((at - begin) / 60, 2), float(f"{float(value):.4g}")) for at, value in found["values"]]
                series.append({"label": label, "points": [point for point in points if point[1] == point[1]]})
        unit = panel["fieldConfig"]["defaults"]["unit"]
        shown.append({"title": panel["title"], "type": panel["type"], "unit": unit, "series": series})
    return shown


def plot(results: dict[str, Any]) -> str:
    """Return the picture of the dashboard."""
    from benchmarks import panels  # noqa: PLC0415 - Python 3.10 has no matplotlib of the pinned version

    return panels.svg(results["panels"])


def run(site: Site, daemon: DindDaemon, minutes: float) -> dict[str, Any]:
    """Build, and return what the containers took and what the dashboard shows."""
    client = site.client(daemon)
    monitor = PodMonitor(site.chart("monitor"), "pod-monitor", daemon=daemon).pod_monitor.to_json()
    labels = {"app.kubernetes.io/name": "prometheus"}
    prometheus = Prometheus(site.cluster, NAMESPACE, monitor=monitor, labels=labels, interval=f"{STEP_SECONDS}s")
    client.sh(PREPARE)
    before = {name: usage(site.cluster, name) for name in (COLLECTOR_NAME, EXPORTER_NAME)}
    cost: dict[str, Any] = {}
    started, begin, builds = time.time(), time.monotonic(), 0
    while (now := time.monotonic() - begin) < 60 * minutes:
        if now > 45 * minutes and not cost:
            cost = {"builds a minute": round(60 * builds / now)}
            for name, (_, seconds) in before.items():
                memory, later = usage(site.cluster, name)
                cost[name] = {"% of a core": round(100 * (later - seconds) / now, 1), "MiB": round(memory)}
            site.cluster.delete_pod(NAMESPACE, APP)
            site.cluster.rollout(NAMESPACE, APP)
            prometheus.discover()
        build(client, builds)
        builds += 1
        time.sleep(max(0, builds * PAUSE_SECONDS - (time.monotonic() - begin)))
    return {"minutes": minutes, "cost": cost, "panels": answers(prometheus, started, time.time())}


def main() -> int:
    """Build, and print what the containers took."""
    parser = arguments.parser(__doc__, "metrics.json")
    parser.add_argument("--minutes", type=float, default=20)
    given = parser.parse_args()
    cluster = Cluster(given.kubeconfig, given.registry_mirror)
    with support(cluster), new_site(cluster, NAMESPACE) as site:
        daemon = site.daemon(monitoring=Monitoring(), disk="size=2g", storage=Size.gibibytes(2))
        results = run(site, daemon, given.minutes)
    # A panel a line.
    *head, last = (f'"{key}": {json.dumps(value)}' for key, value in results.items())
    lines = [*head, last.replace('{"title"', '\n{"title"')]
    Path(given.results, "metrics.json").write_text("{" + ",\n".join(lines) + "}\n")
    print(json.dumps(results["cost"], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
