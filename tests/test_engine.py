import json

import pytest
from cdk8s import ApiObject, App, Chart, Duration, JsonPatch, Size
from cdk8s_plus_27 import NodeLabelQuery, NodeTaintQuery

from dindcache import AddressPool, ClaimedVolume, DindDaemon, Engine, ImageStore, LocalVolume, Ulimit

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def test_everything_of_the_engine(chart, golden):
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(50))
    engine = Engine(
        image_store=ImageStore.CONTAINERD,
        address_pools=[AddressPool(base="172.30.0.0/16"), AddressPool(base="fd00:30::/48", size=64)],
        dns=["10.0.0.53", "fd00::53"],
        log_max_size=Size.gibibytes(1),
        log_max_files=1,
        ulimits={"nofile": Ulimit(soft=1024, hard=524288), "core": Ulimit(soft=0, hard=-1)},
        max_concurrent_downloads=6,
        max_concurrent_uploads=10,
        http_proxy="http://proxy.example:3128",
        https_proxy="http://proxy.example:3128",
        no_proxy="localhost,.svc",
        registry_certificates={"registry.example:5000": PEM, "other.example": PEM},
        settings={"max-download-attempts": 10},
    )
    DindDaemon(chart, "docker-dind", volume=volume, engine=engine)
    golden(chart)


def test_the_defaults_leave_the_engine_its_own():
    assert json.loads(Engine().daemon_json()) == {
        "features": {"containerd-snapshotter": False},
        "log-driver": "json-file",
        "log-opts": {"max-file": "3", "max-size": "10240k"},
        "storage-driver": "overlay2",
    }


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"address_pools": [AddressPool(base="172.30.0.1/16")]}, "address pool must be a network .* got '172.30.0.1/16'"),
        ({"address_pools": [AddressPool(base="172.30.0.0/16", size=8)]}, "must be from 16 to 30, got 8"),
        ({"address_pools": [AddressPool(base="172.30.0.0/16", size=31)]}, "must be from 16 to 30, got 31"),
        ({"dns": ["dns.example"]}, "dns must be an IP address, got 'dns.example'"),
        ({"log_max_size": Size.kibibytes(0)}, "log_max_size must be more than zero, got '0Ki'"),
        ({"log_max_files": 0}, "log_max_files must be at least 1, got 0"),
        ({"max_concurrent_downloads": 0}, "max_concurrent_downloads must be at least 1, got 0"),
        ({"max_concurrent_uploads": -1}, "max_concurrent_uploads must be at least 1, got -1"),
        ({"ulimits": {"files": Ulimit(soft=1, hard=1)}}, "ulimit must be one of .* got 'files'"),
        ({"ulimits": {"nofile": Ulimit(soft=-5, hard=-1)}}, "ulimit nofile must have a soft limit .* got -5 and -1"),
        ({"ulimits": {"nofile": Ulimit(soft=-1, hard=1)}}, "ulimit nofile must have a soft limit .* got -1 and 1"),
        ({"ulimits": {"nofile": Ulimit(soft=2, hard=1)}}, "ulimit nofile must have a soft limit .* got 2 and 1"),
        ({"http_proxy": "proxy:3128"}, "http_proxy must be a URL .* got 'proxy:3128'"),
        ({"https_proxy": "https://"}, "https_proxy must be a URL .* got 'https://'"),
        ({"registry_certificates": {"https://a.example": PEM}}, r"registry must be host\[:port\], got 'https://a.example'"),
        ({"registry_certificates": {"a.example": "ca.crt"}}, "certificates of registry a.example must be PEM, got 'ca.crt'"),
        ({"settings": {"hosts": []}}, "engine setting 'hosts' must not be given, it is set by the image's entrypoint"),
        ({"settings": {"mtu": 1400}}, "engine setting 'mtu' .* the start script"),
        ({"settings": {"shutdown-timeout": 3600}}, "engine setting 'shutdown-timeout' .* the pod's grace period"),
        ({"settings": {"log-opts": {}}}, "engine setting 'log-opts' .* log_max_size"),
    ],
)
def test_bad_input_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        Engine(**bad)


@pytest.fixture
def volume(chart):
    return ClaimedVolume(chart, "docker", storage=Size.gibibytes(50))


OWNED = "engine flag .* must not be given, it is set by "
REPEATS = "engine flag must not repeat a key of settings, got "


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("mtu=1450", "engine flag must be a word such as .* got 'mtu=1450'"),
        ("-", "engine flag must be a word"),
        ("--", "engine flag must be a word"),
        ("--label a=b", "engine flag must be a word"),
        *((flag, f"{OWNED}the image's entrypoint") for flag in ("--tlsverify", "-H=tcp://:1", "--host=tcp://:1", "-p=/x")),
        *((flag, f"{OWNED}the volumes") for flag in ("--data-root=/elsewhere", "-g=/elsewhere", "--config-file=/x")),
        *((flag, f"{OWNED}image_store") for flag in ("--storage-driver=vfs", "-s=vfs", "--feature=a=b")),
        ("--mtu=1400", f"{OWNED}the start script"),
        ("--registry-mirror=https://a.example", f"{OWNED}registry_mirrors"),
        ("--insecure-registry=a.example", f"{OWNED}insecure_registries"),
        ("--dns=1.1.1.1", f"{OWNED}dns"),
        ("--http-proxy=http://a.example", f"{OWNED}http_proxy"),
        ("--log-opt=max-size=1m", f"{OWNED}log_max_size"),
        ("--live-restore", f"{OWNED}nothing"),
        ("--shutdown-timeout=5", f"{OWNED}nothing: the pod's grace period"),
        ("--label=a=b", REPEATS),
        ("-D", REPEATS),
    ],
)
def test_a_flag_that_something_else_sets_is_refused(chart, volume, flag, message):
    engine = Engine(settings={"labels": ["c=d"], "debug": True})
    with pytest.raises(ValueError, match=message):
        DindDaemon(chart, "docker-dind", volume=volume, engine=engine, engine_flags=[flag])
    DindDaemon(chart, "docker-dind", volume=volume, engine=engine, engine_flags=["--host-gateway-ip=10.0.0.1", "-l=warn"])


def test_a_proxy_may_have_a_password_that_no_error_repeats():
    assert "http://user:secret@proxy.example:3128" in Engine(http_proxy="http://user:secret@proxy.example:3128").daemon_json()
    with pytest.raises(ValueError, match="http_proxy must be a URL") as refused:
        Engine(http_proxy="http://user:secret@proxy.example:3128?a=b")
    assert "secret" not in str(refused.value)


def checksum(find, name: str) -> str:
    found: str = find("Deployment", name)["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
    return found


def test_the_configuration_rolls_the_daemon_and_nothing_else_does(chart, find):
    for name, engine in {"first": Engine(), "same": Engine(), "other": Engine(log_max_files=4)}.items():
        DindDaemon(chart, name, volume=ClaimedVolume(chart, f"{name}-data", storage=Size.gibibytes(1)), engine=engine)
    assert checksum(find, "first") == checksum(find, "same")
    assert checksum(find, "first") != checksum(find, "other")


@pytest.mark.parametrize(("drain", "times"), [(30, (1860, 2400, 4260)), (0, (60, 600, 660))])
def test_the_times_follow_from_the_drain(chart, find, volume, drain, times):
    grace, startup, progress = times
    DindDaemon(chart, "docker-dind", volume=volume, drain=Duration.minutes(drain))
    spec = find("Deployment")["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert container["lifecycle"]["preStop"]["exec"]["command"][-3:] == [str(drain * 30), str(drain * 60), "2376"]
    assert pod["terminationGracePeriodSeconds"] == grace
    assert container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"] == startup
    assert spec["progressDeadlineSeconds"] == progress
    assert container["livenessProbe"]["terminationGracePeriodSeconds"] == 15


def test_a_place_on_the_node(chart, find, volume):
    DindDaemon(
        chart,
        "docker-dind",
        volume=volume,
        nodes=[NodeLabelQuery.is_("disk", "nvme")],
        tolerations=[NodeTaintQuery.is_("dedicated", "ci")],
        priority_class_name="ci",
        runtime_class_name="sysbox-runc",
        annotations={"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"},
    )
    template = find("Deployment")["spec"]["template"]
    pod = template["spec"]
    (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term == {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["nvme"]}]}
    assert pod["tolerations"] == [{"key": "dedicated", "operator": "Equal", "value": "ci"}]
    assert pod["priorityClassName"] == "ci"
    assert pod["runtimeClassName"] == "sysbox-runc"
    assert "fsGroup" not in pod["securityContext"]
    assert template["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "true"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"priority_class_name": "CI"}, "priority class name .* got 'CI'"),
        ({"runtime_class_name": ""}, "runtime class name .* got ''"),
        ({"drain": Duration.millis(1500)}, "drain must be whole seconds, got 1.5 s"),
    ],
)
def test_bad_places_and_times_are_refused(chart, volume, bad, message):
    with pytest.raises(ValueError, match=message):
        DindDaemon(chart, "docker-dind", volume=volume, **bad)
    DindDaemon(chart, "docker-dind", volume=volume)


def test_a_local_volume_has_its_node(chart):
    volume = LocalVolume(chart, "docker", hostname="node1", path="/mnt/docker", storage=Size.gibibytes(1))
    with pytest.raises(ValueError, match="nodes must be left to the local volume, got 1 queries with 'test/docker'"):
        DindDaemon(chart, "docker-dind", volume=volume, nodes=[NodeLabelQuery.exists("disk")])


@pytest.mark.parametrize(("patched", "field"), [("hostPid", "hostPID"), ("shareProcessNamespace", "shareProcessNamespace")])
def test_what_breaks_the_lock_is_refused_at_synthesis(tmp_path, patched, field):
    app = App(outdir=str(tmp_path))
    chart = Chart(app, "test")
    daemon = DindDaemon(chart, "docker-dind", volume=ClaimedVolume(chart, "docker", storage=Size.gibibytes(1)))
    app.synth()
    ApiObject.of(daemon.deployment).add_json_patch(JsonPatch.add(f"/spec/template/spec/{patched}", value=True))
    with pytest.raises(RuntimeError, match=f"{field} must be off, an engine that outlives its container keeps the lock"):
        app.synth()
