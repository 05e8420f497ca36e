"""A real Prometheus scrapes a daemon while builds run whose numbers the script knows."""

import base64
import json
import re
import time
from collections.abc import Mapping
from typing import Any

import pytest
from cdk8s import ApiObject, Cron, Duration, JsonPatch, Size

from dindcache import DindDaemon, Monitoring, PruneSchedule, Retention
from dindcache.monitoring.metrics import METRICS
from dindcache.prometheus import PodMonitor
from tests.framework.alert_cases import promtool_tests, rules
from tests.framework.certificates import Authority
from tests.framework.client import Client
from tests.framework.cluster import KUBECTL, processes, start
from tests.framework.prometheus import Prometheus, dashboard_panels
from tests.framework.site import APP, Site
from tests.framework.support import idle_deployment

NAMESPACE = "dindcache-monitoring"
SCRAPER = {"app.kubernetes.io/name": "prometheus"}
MAX_PROJECTS = 10
NODE = 0


PROPS: dict[str, Any] = {
    "node": NODE,
    "disk": "size=1g",
    "storage": Size.gibibytes(1),
    "drain_timeout": Duration.seconds(20),
    "retention": Retention(max_job_duration=Duration.seconds(5)),
    "monitoring": Monitoring(interval=Duration.seconds(2), max_projects=MAX_PROJECTS),
}


@pytest.fixture(scope="module")
def daemon(site: Site) -> DindDaemon:
    chart = site.chart()
    daemon = site.add_daemon(chart, **PROPS)
    # In proportion to the interval.
    index = [container.name for container in daemon.deployment.containers].index("metrics")
    environment = ApiObject.of(daemon.deployment).to_json()["spec"]["template"]["spec"]["containers"][index]["env"]
    variable = [variable["name"] for variable in environment].index("USAGE_SECONDS")
    path = f"/spec/template/spec/containers/{index}/env/{variable}/value"
    ApiObject.of(daemon.deployment).add_json_patch(JsonPatch.replace(path, "1"))
    prune_chart = site.chart("prune")
    PruneSchedule(prune_chart, "prune", daemon=daemon, schedule=Cron.monthly())
    site.start(chart)
    site.cluster.apply(prune_chart)
    return daemon


@pytest.fixture(scope="module")
def client(site: Site, daemon: DindDaemon) -> Client:
    return site.client(daemon)


@pytest.fixture(scope="module")
def prometheus(site: Site, daemon: DindDaemon, client: Client) -> Prometheus:
    spec = json.loads(json.dumps(rules()).replace('namespace=\\"ci\\"', f'namespace=\\"{NAMESPACE}\\"'))
    for rule in spec["groups"][0]["rules"]:
        rule["for"] = "4s"  # of minutes and hours
    files = {
        "rules.yaml": spec,
        "own-rules.yaml": rules(),
        "tests.yaml": {**promtool_tests(), "rule_files": ["own-rules.yaml"]},
    }
    chart = site.chart("objects")
    monitor = PodMonitor(chart, "pod-monitor", daemon=daemon).pod_monitor.to_json()
    prometheus = Prometheus(site.cluster, NAMESPACE, monitor=monitor, files=files, labels=SCRAPER)
    site.cluster.wait(lambda: prometheus.values("dindcache_engine_up == 1"), "the metrics")
    return prometheus


def build(client: Client, project: str, dockerfile: str, *, fails: bool = False) -> None:
    """Build in a directory of the project, whose file ``source`` is new."""
    client.sh(f"mkdir -p /{project}; head -c 9 /dev/urandom >/{project}/source")
    command = (
        f"docker build -q --build-arg BUILDKIT_CACHE_MOUNT_NS={project} -t {project} -f - /{project} <<'EOF'\n{dockerfile}\nEOF"
    )
    done = client.run(command)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr


def wait_for(prometheus: Prometheus, expression: str, expected: Mapping[str, float], *labels: str) -> None:
    found: dict[str, float] = {}

    def is_there() -> bool:
        nonlocal found
        found = prometheus.values(expression, *labels)
        return found == expected

    try:
        prometheus.cluster.wait(is_there, f"{expression}: {expected}")
    except AssertionError:
        assert found == expected


THREE_STEPS = "FROM busybox:latest\nRUN echo {0}\nRUN --mount=type=cache,target=/c echo {0} >/c/file\nCOPY source ."


def test_builds_and_steps_have_the_values_that_the_script_knows(client, prometheus):
    for project, builds in (("p1", 3), ("p2", 1)):
        for _ in range(builds):
            build(client, project, THREE_STEPS.format(project))
    # Fully cached: a hit ratio of 100 %.
    same = "FROM busybox:latest\nRUN echo same\nRUN echo again"
    for _ in range(2):
        build(client, "p3", same)
    build(client, "p4", "FROM busybox:latest\nRUN false\nRUN true", fails=True)
    build(client, "p4", "FROM busybox:latest\nRUN dd if=/dev/zero of=/dev/full", fails=True)
    ended = {"p1 completed": 3, "p2 completed": 1, "p3 completed": 2, "p4 failed": 2}
    wait_for(prometheus, "dindcache_builds_total", ended, "project", "status")
    # The two steps before the source are cached from the second build on.
    steps = {"p1 true": 4, "p1 false": 5, "p2 true": 0, "p2 false": 3, "p3 true": 2, "p3 false": 2, "p4 true": 0, "p4 false": 2}
    wait_for(prometheus, "dindcache_build_steps_total", steps, "project", "cached")
    wait_for(prometheus, "dindcache_builds_without_space_total", {"": 1})
    wait_for(prometheus, "dindcache_build_duration_seconds_count", {"": 8})
    wait_for(prometheus, 'dindcache_build_duration_seconds_bucket{le="+Inf"}', {"": 8})
    wait_for(prometheus, "dindcache_engine_info", {"29.9.3 overlay2": 1}, "version", "image_store")


def test_a_build_that_runs_and_one_that_is_canceled(client, prometheus):
    client.sh("mkdir -p /slow; printf 'FROM busybox:latest\\nRUN sleep 60\\n' >/slow/Dockerfile")
    process = client.start("exec timeout -s INT 8 docker build -q --build-arg BUILDKIT_CACHE_MOUNT_NS=p4 /slow")
    wait_for(prometheus, "dindcache_builds_running", {"": 1})
    process.wait()
    wait_for(prometheus, "dindcache_builds_running", {"": 0})
    wait_for(prometheus, 'dindcache_builds_total{status="canceled"}', {"p4": 1}, "project")


def test_what_the_engine_holds(client, prometheus):
    client.sh("docker volume create volume; docker run -d --name running busybox:latest sleep 1000")
    images = len(client.sh("docker image ls -q --all").split())
    wait_for(prometheus, "dindcache_images", {"": images})
    wait_for(prometheus, "dindcache_containers", {"": 1})
    mounts = prometheus.values("dindcache_cache_mount_bytes", "project")
    assert mounts.keys() == {"p1", "p2"}
    assert all(size > 0 for size in mounts.values())
    cache = prometheus.values("sum by (kind) (dindcache_build_cache_bytes)", "kind")
    assert {"regular", "exec.cachemount", "source.local"} <= cache.keys()
    size, free = (prometheus.values(f"dindcache_disk_{what}_bytes")[""] for what in ("size", "free"))
    assert size == 1 << 30
    assert 0 < free < size
    client.sh("docker rm --force running")


def test_a_place_in_the_queue_is_a_build_that_waits(client, prometheus):
    client.sh("docker run -d --rm --name place --label dindcache.place busybox:latest sleep 1000")
    wait_for(prometheus, "dindcache_builds_waiting", {"": 1})
    client.sh("docker rm --force place")
    wait_for(prometheus, "dindcache_builds_waiting", {"": 0})


def test_the_certificate(site, prometheus):
    data = site.cluster.get("secret", f"--namespace={NAMESPACE}", f"{APP}-server")["data"]["cert.pem"]
    left = prometheus.values("dindcache_certificate_not_after_timestamp_seconds - time()")[""]
    assert data
    assert left == pytest.approx(90 * 86400, abs=3700)


def test_a_pod_without_the_label_does_not_reach_the_port(site, client, prometheus):
    (pod,) = site.cluster.pods(NAMESPACE, APP)
    address = f"{pod['status']['podIP']}:9324"
    assert prometheus.values("up", "instance") == {address: 1}
    assert client.run(f"wget -q -T 5 -O - http://{address}/metrics").returncode != 0


def test_200_projects_stay_within_the_cap(client, prometheus, processors):
    script = "for i in $(seq 200); do docker build -q --build-arg BUILDKIT_CACHE_MOUNT_NS=many$i /many >/dev/null; done"
    client.sh(f"mkdir -p /many; printf 'FROM busybox:latest\\nRUN true\\n' >/many/Dockerfile; {script}")
    wait_for(prometheus, "sum(dindcache_builds_total)", {"": 209})
    projects = prometheus.values("count by (project) (dindcache_builds_total)", "project")
    assert len(projects) == MAX_PROJECTS + 1
    assert prometheus.values('dindcache_builds_total{project="other"}')[""] == 200 - (MAX_PROJECTS - 4)


def test_every_query_of_the_dashboard_runs_and_most_have_an_answer(prometheus):
    expressions = [target["expr"] for panel in dashboard_panels() for target in panel["targets"]]
    assert len(expressions) > 25
    empty = set()
    for expression in expressions:
        if not prometheus.query(prometheus.of_dashboard(expression, "10m")):
            empty.add(expression)
    # Nothing was removed yet, nothing drained, and nothing waited for the lock.
    allowed = ("removed_", "drain_seconds", "lock_wait")
    assert not {expression for expression in empty if not any(word in expression for word in allowed)}


def test_promtool_of_the_image_agrees_with_the_alerts(prometheus):
    prometheus.sh("cd /etc/prometheus; promtool test rules tests.yaml")
    prometheus.sh("wget -q -O - http://127.0.0.1:9090/api/v1/rules >/dev/null")


def exporter(site: Site, signal: str) -> str:
    """Send a signal to the exporter."""
    (pod,) = site.cluster.pods(NAMESPACE, APP)
    script = f'for p in {processes(pod)}; do [ "$(cat /proc/$p/comm)" != node_exporter ] || kill -{signal} $p; done'
    return site.cluster.on_node(site.cluster.node_names[NODE], script)


@pytest.mark.parametrize("signal", ["STOP", "CONT", "KILL"])
def test_nothing_that_happens_to_the_exporter_reaches_builds(site, client, prometheus, processors, signal):
    exporter(site, signal)
    end = time.monotonic() + 15
    while time.monotonic() < end:
        client.sh("docker version >/dev/null; echo 'FROM busybox:latest' | docker build -q -")
    (pod,) = site.cluster.pods(NAMESPACE, APP)
    assert all(status["ready"] for status in pod["status"]["containerStatuses"])
    assert site.cluster.restarts(NAMESPACE, APP) == 0
    if signal != "STOP":
        site.cluster.wait(lambda: prometheus.values("time() - timestamp(dindcache_engine_up) < 3"), "the metrics")


def fill(site: Site, percent: int) -> None:
    """Leave so much of the disk, with one more file that is not the engine's."""
    directory, node = site.directory(), site.cluster.node_names[NODE]
    blocks, available = map(int, site.cluster.on_node(node, f"stat -f -c '%b %a' {directory}").split())
    size = max(0, available - blocks * percent // 100) * 4096
    site.cluster.on_node(node, f"head -c {size} /dev/zero >{directory}/foreign.{time.monotonic_ns()}")


def test_the_disk_guard_reclaims_and_is_counted(site, client, prometheus, processors):
    for i in range(4):
        client.sh(f"printf 'FROM busybox:latest\\nRUN head -c 100000000 /dev/urandom >/{i}\\n' | docker build -q -t big{i} -")
    time.sleep(6)  # older than the longest job
    fill(site, 18)
    site.cluster.wait(lambda: prometheus.values('dindcache_reclaims_total{result="enough"} > 0'), "a reclaim")
    site.cluster.wait(lambda: prometheus.values('dindcache_removed_objects_total{by="disk-guard",kind="image"} > 0'), "images")
    site.cluster.wait(lambda: prometheus.values("100 * dindcache_disk_free_bytes / dindcache_disk_size_bytes > 24"), "space")


def test_a_disk_that_stays_full_fires(site, prometheus):
    alerts = {"DindcacheDiskLow", "DindcacheDiskFull"}

    def fires() -> bool:
        fill(site, 5)  # again, since the disk guard removes what it may
        in_vain = prometheus.values('dindcache_reclaims_total{result="short"} > 0')
        return bool(alerts <= prometheus.firing() and in_vain)

    site.cluster.wait(fires, "the alerts, and a reclaim in vain")
    site.cluster.on_node(site.cluster.node_names[NODE], f"rm -f {site.directory()}/foreign.*")
    site.cluster.wait(lambda: not alerts & prometheus.firing(), "the end of the alerts")


def test_a_prune_leaves_its_result(site, daemon, client, prometheus):
    client.sh("docker volume create unused; docker run --name old busybox:latest true")
    time.sleep(6)
    site.cluster.run_now(NAMESPACE, f"{APP}-prune")
    wait_for(prometheus, "dindcache_prune_last_run_failed", {"": 0})
    assert prometheus.values('dindcache_removed_objects_total{by="prune",kind="container"}')[""] >= 1


def test_a_crash_and_a_new_pod_reset_no_counter(site, client, prometheus):
    before = prometheus.values("sum(dindcache_builds_total)")[""]
    site.cluster.signal(NAMESPACE, APP, "dockerd", "KILL")
    wait_for(prometheus, 'dindcache_engine_starts_total{reason="unexpected"}', {"": 1})
    site.cluster.delete_pod(NAMESPACE, APP)
    site.cluster.rollout(NAMESPACE, APP)
    prometheus.discover()
    client.wait_for_daemon()
    wait_for(prometheus, 'max by (app) (dindcache_engine_starts_total{reason="pod"})', {"": 2})
    wait_for(prometheus, 'max by (app) (dindcache_drains_total{reason="shutdown"})', {"": 1})
    assert prometheus.values("max(sum by (pod) (dindcache_builds_total))")[""] >= before


def test_the_report(site, client):
    output = site.cluster.kubectl(
        "exec", f"--namespace={NAMESPACE}", f"deployment/{APP}", "--container=metrics", "--", "sh", "/etc/dindcache/report.sh"
    )
    assert re.search(r"^p1 +3 +0 +44 %", output, re.MULTILINE), output
    assert re.search(r"^p3 +2 +0 +50 %", output, re.MULTILINE), output
    assert "Build Cache" in output


def test_every_metric_was_seen(prometheus):
    seen = set(prometheus.values('count by (__name__) (last_over_time({__name__=~"dindcache_.*"}[1h]))', "__name__"))
    names = {re.sub("_(bucket|sum|count)$", "", name.removeprefix("dindcache_")) for name in seen}
    # The disk guard removed no build cache here.
    assert {metric.name for metric in METRICS} - names <= {"removed_cache_bytes_total", "project_info"}


def test_a_port_with_tls(site):
    authority, other = Authority(), Authority("other")
    secret, served = "metrics-tls", "127.0.0.1:9324"

    def give(signer: Authority, ca: bytes) -> None:
        issued = signer.issue("subjectAltName = DNS:secure\nextendedKeyUsage = serverAuth")
        data = {"tls.crt": issued["cert.pem"], "tls.key": issued["key.pem"], "ca.crt": ca}
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        metadata = {"name": secret, "namespace": NAMESPACE}
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded}
        site.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    give(authority, authority.certificate)
    daemon = site.daemon("secure", node=1, monitoring=Monitoring(interval=Duration.seconds(2), tls_secret=secret))
    monitor = PodMonitor(site.chart("secure-monitor"), "pod-monitor", daemon=daemon).pod_monitor.to_json()
    prometheus = Prometheus(site.cluster, NAMESPACE, monitor=monitor, labels=SCRAPER, name="secure-prometheus")
    site.cluster.wait(lambda: prometheus.values('dindcache_engine_up{app="secure"} == 1'), "the metrics")
    metrics = ["exec", f"--namespace={NAMESPACE}", "deployment/secure", "--container=metrics", "--", "sh", "-c"]
    assert site.cluster.run(*metrics, f"wget -q -O - http://{served}/metrics").returncode != 0
    give(other, authority.certificate)
    issuer = f"openssl s_client -connect {served} </dev/null 2>/dev/null | openssl x509 -noout -issuer"
    # The kubelet writes a changed Secret into a pod within two minutes.
    site.cluster.wait(lambda: "other" in site.cluster.run(*metrics, issuer).stdout, "the renewed certificate")
    # A new connection, since a scrape each two seconds keeps the last one open.
    site.cluster.kubectl("rollout", "restart", f"--namespace={NAMESPACE}", "deployment/secure-prometheus")
    site.cluster.rollout(NAMESPACE, "secure-prometheus")
    prometheus.discover()
    site.cluster.wait(lambda: prometheus.values("up") == {"": 0}, "another CA is not trusted")
    assert site.cluster.restarts(NAMESPACE, "secure") == 0


# It answers each request after a second, and keeps it. Some builds of BusyBox have no -k.
COLLECTOR = """echo 'timeout 1 cat >>/tmp/requests' >/tmp/answer
echo 'printf "HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n"' >>/tmp/answer
while :; do nc -l -p 4318 -e sh /tmp/answer; done"""


def test_a_collector_gets_the_steps_of_builds_and_builds_get_no_variables(site):
    chart = site.chart("collector")
    idle_deployment(chart, "collector", "docker:29.9.3-cli", site.cluster.node_names[-1])
    site.cluster.apply(chart)
    site.cluster.rollout(NAMESPACE, "collector")
    pod = [f"--namespace={NAMESPACE}", "deployment/collector", "--", "sh", "-c"]
    collector = start(["kubectl", f"--kubeconfig={site.cluster.kubeconfig}", "exec", *pod, COLLECTOR], env=KUBECTL)
    names = site.cluster.get("pods", f"--namespace={NAMESPACE}")["items"]
    (address,) = (item["status"]["podIP"] for item in names if item["metadata"]["name"].startswith("collector-"))
    daemon = site.daemon("traced", node=1, traces=f"http://{address}:4318")
    client = site.client(daemon, name="traced-client")
    build = "printf 'FROM busybox:latest\\nRUN env; echo traced-step\\n' | docker build --no-cache --progress=plain - 2>&1"
    output = client.sh(build) + client.sh("docker run --rm busybox:latest env")
    assert "traced-step" in output
    assert "OTEL" not in output
    requests = ["exec", *pod, "cat /tmp/requests | tr -cd ' -~'"]
    spans = re.compile(r"POST /v1/traces.*traced.*echo traced-step")

    def are_there() -> bool:
        client.sh(build)  # again, since this collector takes one request at a time
        return bool(spans.search(site.cluster.run(*requests).stdout))

    site.cluster.wait(are_there, "spans")
    collector.terminate()
