"""The objects for Prometheus' operator and for Grafana."""

import json
import re
from typing import Any

import pytest
from cdk8s import Chart, Duration, Size

from dindcache import ClaimedVolume, DindDaemon, DindFleet, Monitoring
from dindcache.monitoring.metrics import METRICS
from dindcache.prometheus import GrafanaDashboard, PodMonitor, PrometheusRule
from dindcache.prometheus.alerts import alerts
from dindcache.prometheus.dashboard import dashboard_json


@pytest.fixture
def volume(chart):
    return ClaimedVolume(chart, "data", storage=Size.gibibytes(50))


@pytest.fixture
def daemon(chart, volume):
    return DindDaemon(chart, "docker-dind", volume=volume, monitoring=Monitoring())


def fleet(chart: Chart, **props: Any) -> DindFleet:
    volumes = {name: ClaimedVolume(chart, name, storage=Size.gibibytes(50)) for name in ("a", "b", "c")}
    given: dict[str, Any] = {"monitoring": Monitoring(), **props}
    return DindFleet(chart, "docker", volumes=volumes, **given)


def test_prometheus_objects(chart, golden):
    docker = fleet(chart, monitoring=Monitoring(tls_secret="metrics-tls"), cordoned=["c"])  # noqa: S106 - its name
    kept = {"PodMonitor", "PrometheusRule"}
    PodMonitor(chart, "pod-monitor", daemon=docker, labels={"release": "prometheus"}, interval=Duration.seconds(10))
    PrometheusRule(
        chart, "alerts", daemon=docker, labels={"release": "prometheus"}, free_percent=10, runbooks="https://a.example/b"
    )
    objects = [manifest for manifest in chart.to_json() if manifest["kind"] in kept]

    class Only:
        def to_json(self):
            return objects

    golden(Only())


def test_a_pod_monitor_finds_the_daemon_or_the_fleet(chart, daemon, find):
    PodMonitor(chart, "pod-monitor", daemon=daemon)
    PodMonitor(chart, "others", daemon=fleet(chart))
    assert find("PodMonitor", "docker-dind")["spec"]["selector"] == {"matchLabels": {"app": "docker-dind"}}
    assert find("PodMonitor", "docker")["spec"]["selector"] == {"matchLabels": {"dindcache/fleet": "docker"}}
    ports = [
        port["name"]
        for c in find("Deployment", "docker-dind")["spec"]["template"]["spec"]["containers"]
        for port in c.get("ports", [])
    ]
    (endpoint,) = find("PodMonitor", "docker-dind")["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in ports


def test_a_cordoned_daemon_is_not_down(chart, find):
    PrometheusRule(chart, "alerts", daemon=fleet(chart, cordoned=["b"]))
    (group,) = find("PrometheusRule")["spec"]["groups"]
    down = [rule["expr"] for rule in group["rules"] if rule["alert"] == "DindcacheDown"]
    assert down == [f'absent(dindcache_engine_up{{namespace="kube-ops",app="docker-{name}"}} == 1)' for name in ("a", "c")]
    assert "docker-b" not in json.dumps(group)


@pytest.mark.parametrize("construct", [PodMonitor, PrometheusRule])
def test_a_daemon_without_metrics_is_rejected(chart, volume, construct):
    daemon = DindDaemon(chart, "docker-dind", volume=volume)
    with pytest.raises(
        ValueError, match=re.escape("daemon must have metrics, as with monitoring=Monitoring(), got 'docker-dind'")
    ):
        construct(chart, "x", daemon=daemon)
    with pytest.raises(ValueError, match="daemon must have metrics, .* got 'docker-b'"):
        construct(chart, "x", daemon=fleet(chart, overrides={"b": {"monitoring": None}}))
    assert chart.node.try_find_child("x") is None


@pytest.mark.parametrize(
    ("construct", "props", "message"),
    [
        (PodMonitor, {"interval": Duration.seconds(0)}, "interval must be a whole number of seconds, .* got 0 s"),
        (PodMonitor, {"labels": {"release": "a b"}}, "labels .*must .* got 'a b'"),
        (PrometheusRule, {"labels": {"a b": "c"}}, "labels must .* got 'a b'"),
        (PrometheusRule, {"free_percent": 20}, "free_percent must be from 1 to 19, since the disk guard begins above, got 20"),
        (PrometheusRule, {"free_percent": 0}, "free_percent must be from 1 to 19, .* got 0"),
    ],
)
def test_bad_input_is_rejected_and_nothing_is_left(chart, daemon, construct, props, message):
    with pytest.raises(ValueError, match=message):
        construct(chart, "x", daemon=daemon, **props)
    assert chart.node.try_find_child("x") is None


def test_daemons_of_a_fleet_have_one_certificate_for_metrics(chart):
    other = {"b": {"monitoring": Monitoring(tls_secret="other")}}  # noqa: S106 - its name
    with pytest.raises(ValueError, match="daemons must have one tls_secret, got .*'other'"):
        PodMonitor(chart, "x", daemon=fleet(chart, overrides=other))


def test_the_sidecar_of_grafana_finds_the_dashboard(chart, find):
    GrafanaDashboard(chart, "docker-dashboard")
    config_map = find("ConfigMap")
    assert config_map["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert json.loads(config_map["data"]["dindcache.json"])["uid"] == "dindcache"
    with pytest.raises(ValueError, match="name must .* got 'A'"):
        GrafanaDashboard(chart, "other", name="A")
    with pytest.raises(ValueError, match="labels .*must .* got 'a b'"):
        GrafanaDashboard(chart, "other", labels={"a": "a b"})


TEXTS = {
    "alerts": " ".join(alert.expression + alert.summary for alert in alerts(free_percent=17)),
    "dashboard": dashboard_json(),
}


@pytest.mark.parametrize("what", TEXTS)
def test_only_metrics_of_the_table_are_asked_for(what):
    names = {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"dindcache_([a-z_]*[a-z])", TEXTS[what])}
    assert names <= {metric.name for metric in METRICS}


def test_the_dashboard_shows_every_metric_but_those_of_single_projects():
    hidden = {"project_info", "images", "containers", "volumes", "disk_size_bytes", "collected_timestamp_seconds"}
    hidden |= {"certificate_not_before_timestamp_seconds", "draining_rejects", "drains_total", "lock_waits_total"}
    hidden |= {"prune_last_run_timestamp_seconds", "prune_last_run_failed"}
    missing = {metric.name for metric in METRICS if f"dindcache_{metric.name}" not in TEXTS["dashboard"]}
    assert missing <= hidden
