"""The containers that collect and serve the metrics of a daemon."""

import json
import re
from pathlib import Path

import pytest
from cdk8s import Duration, Size
from cdk8s_plus_27 import Pods

import dindcache
from dindcache import ClaimedVolume, DindDaemon, DindFleet, Engine, Monitoring, NoTls
from dindcache._scripts import read_script
from dindcache.monitoring.exporter import SCRIPTS
from dindcache.monitoring.metrics import METRICS, metrics_text


@pytest.fixture
def volume(chart):
    return ClaimedVolume(chart, "docker", storage=Size.gibibytes(50))


@pytest.fixture
def pod(find):
    def pod():
        template = find("Deployment")["spec"]["template"]
        return template, {container["name"]: container for container in template["spec"]["containers"]}

    return pod


def test_monitoring(chart, volume, golden):
    monitoring = Monitoring(
        scraper_labels={"app": "scraper"},
        scraper_namespaces=["monitoring"],
        interval=Duration.seconds(5),
        max_projects=200,
        tls_secret="metrics-tls",  # noqa: S106 - its name
        annotations=True,
        image="registry.example/node-exporter:v1.12.1",
    )
    DindDaemon(chart, "docker-dind", volume=volume, monitoring=monitoring, traces="https://collector.example:4318")
    golden(chart)


def test_a_daemon_without_monitoring_has_nothing_of_it(chart, volume, find):
    DindDaemon(chart, "docker-dind", volume=volume)
    assert "metrics" not in json.dumps(find("Deployment"))
    assert not {key for key in find("ConfigMap", "docker-dind")["data"] if "metrics" in key}


def test_what_serves_the_metrics_has_no_rights(chart, volume, pod):
    DindDaemon(chart, "docker-dind", volume=volume, monitoring=Monitoring())
    _, containers = pod()
    for name, user in (("metrics", 0), ("metrics-exporter", 65534)):
        security = containers[name]["securityContext"]
        assert security["runAsUser"] == user
        assert not security["privileged"]
        assert not security["allowPrivilegeEscalation"]
        assert security["readOnlyRootFilesystem"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    exported = {mount["mountPath"]: mount.get("readOnly") for mount in containers["metrics-exporter"]["volumeMounts"]}
    assert exported == {"/run/dindcache.metrics": True, "/etc/dindcache": True}
    # Only a directory of its own on the daemon's volume is writable.
    mounts = {mount["mountPath"]: mount for mount in containers["metrics"]["volumeMounts"] if not mount.get("readOnly")}
    assert mounts.keys() == {"/run/dindcache.metrics", "/var/lib/dindcache"}
    assert mounts["/var/lib/dindcache"]["subPath"] == "dindcache"
    # A port's name has at most 15 characters.
    assert all(len(port["name"]) <= 15 for container in containers.values() for port in container.get("ports", []))


def test_no_probe_of_them_can_make_the_pod_unready(chart, volume, pod):
    DindDaemon(chart, "docker-dind", volume=volume, monitoring=Monitoring())
    _, containers = pod()
    for name in ("metrics", "metrics-exporter"):
        assert not {key for key in containers[name] if "probe" in key.lower()}


def test_monitoring_needs_no_disk_guard_and_no_tls(chart, volume, pod):
    DindDaemon(chart, "docker-dind", volume=volume, monitoring=Monitoring(), disk_guard=False, tls=NoTls())
    _, containers = pod()
    assert containers.keys() == {"docker-dind", "metrics", "metrics-exporter"}
    for name in ("docker-dind", "metrics"):
        assert "/run/dindcache" in {mount["mountPath"] for mount in containers[name]["volumeMounts"]}


def test_the_network_policy_admits_prometheus_to_the_port_and_nobody_else(chart, volume, find):
    daemon = DindDaemon(chart, "docker-dind", volume=volume, monitoring=Monitoring())
    clients, scrapers = find("NetworkPolicy")["spec"]["ingress"]
    assert [port["port"] for port in clients["ports"]] == [2376]
    assert [port["port"] for port in scrapers["ports"]] == [9324]
    (peer,) = scrapers["from"]
    assert peer["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}
    assert peer["namespaceSelector"] == {}
    daemon.client_policy.allow_metrics_from(Pods.select(chart, "others", labels={"app": "agent"}))
    assert [port["port"] for port in find("NetworkPolicy")["spec"]["ingress"][2]["ports"]] == [9323, 9324]


def test_each_daemon_of_a_fleet_has_metrics(chart):
    volumes = {name: ClaimedVolume(chart, name, storage=Size.gibibytes(50)) for name in ("a", "b")}
    DindFleet(chart, "docker", volumes=volumes, monitoring=Monitoring())
    deployments = [manifest for manifest in chart.to_json() if manifest["kind"] == "Deployment"]
    assert len(deployments) == 2
    for deployment in deployments:
        assert "metrics" in {container["name"] for container in deployment["spec"]["template"]["spec"]["containers"]}


def test_only_the_engine_knows_the_collector_of_traces(chart, volume, pod):
    DindDaemon(chart, "docker-dind", volume=volume, monitoring=Monitoring(), traces="http://collector:4318")
    template, containers = pod()
    variables = {variable["name"]: variable.get("value") for variable in containers["docker-dind"]["env"]}
    assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:4318"
    assert variables["OTEL_EXPORTER_OTLP_PROTOCOL"] == "http/protobuf"
    assert variables["OTEL_SERVICE_NAME"] == "docker-dind"
    assert json.dumps(template).count("OTEL_") == 3


@pytest.mark.parametrize(
    ("props", "message"),
    [
        ({"scraper_labels": {}}, "scraper_labels must have a label, or every pod reaches the metrics, got {}"),
        ({"scraper_labels": {"a b": "c"}}, "scraper_labels must .* got 'a b'"),
        ({"scraper_labels": {"app": "a b"}}, "scraper_labels .*must .* got 'a b'"),
        ({"scraper_namespaces": ["A"]}, "scraper_namespaces must .* got 'A'"),
        ({"interval": Duration.seconds(0)}, "interval must be a whole number of seconds, .* got 0 s"),
        ({"interval": Duration.seconds(61)}, "interval must be at most 60 s, or its alerts come late, got 61 s"),
        ({"max_projects": 0}, "max_projects must be from 1 to 500, got 0"),
        ({"max_projects": 501}, "max_projects must be from 1 to 500, got 501"),
        ({"tls_secret": "A"}, "tls_secret must .* got 'A'"),
        ({"image": "a b"}, "image must .* got 'a b'"),
    ],
)
def test_bad_options_are_rejected(props, message):
    with pytest.raises(ValueError, match=message):
        Monitoring(**props)


def test_an_engine_without_history_and_a_bad_collector_are_rejected(chart, volume):
    with pytest.raises(ValueError, match="monitoring must be left out before Engine 28: .* got 'docker:27.5.1-dind'"):
        DindDaemon(chart, "docker-dind", volume=volume, image="docker:27.5.1-dind", monitoring=Monitoring())
    with pytest.raises(ValueError, match="monitoring must be left out before Engine 28"):
        DindDaemon(chart, "docker-dind", volume=volume, image="a/dind", engine=Engine(version="27"), monitoring=Monitoring())
    with pytest.raises(ValueError, match="traces must be .* got 'collector:4318'"):
        DindDaemon(chart, "docker-dind", volume=volume, traces="collector:4318")
    DindDaemon(chart, "docker-dind", volume=volume, image="docker:28.5.2-dind", monitoring=Monitoring())


def test_the_scripts_write_the_metrics_of_the_table_and_no_others():
    text = "".join(read_script(path) for path in SCRIPTS)
    written = set(re.findall(r"dindcache_([a-z_]+[a-z])", text)) | set(re.findall(r"\bsample \"?([a-z_]+[a-z])", text))
    # Names that scripts put together.
    written |= {"certificate_not_before_timestamp_seconds", "certificate_not_after_timestamp_seconds", "images", "image_bytes"}
    written |= {"containers", "container_bytes", "volumes", "volume_bytes"}
    parts = ("_bucket", "_sum", "_count")
    names = {re.sub(f"({'|'.join(parts)})$", "", name) for name in written} - {"certificate"}
    assert names == {metric.name for metric in METRICS}


def test_names_follow_the_conventions_of_prometheus():
    for metric in METRICS:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert metric.help.endswith("."), metric.name
        assert "\n" not in metric.help
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for line in metrics_text().splitlines():
        assert re.fullmatch(r"dindcache_\S+ (counter|gauge|histogram) \S.*", line)


def test_scripts_of_the_engine_look_where_the_metrics_are_mounted():
    package = Path(dindcache.__file__).parent
    defaults = {path.name: set(re.findall(r"METRICS:-([^}]*)", path.read_text())) for path in package.rglob("*.sh")}
    found = {name: values for name, values in defaults.items() if values}
    assert found.keys() == {"common.sh", "start.sh", "drain.sh", "reload-certificate.sh"}
    assert all(values == {"/run/dindcache.metrics"} for values in found.values())
