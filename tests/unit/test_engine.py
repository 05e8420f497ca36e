import json
from typing import Any

import pytest
from cdk8s import ApiObject, App, Chart, Duration, JsonPatch, Size
from cdk8s_plus_27 import NodeLabelQuery, NodeTaintQuery

from dindcache import AddressPool, ClaimedVolume, DindDaemon, Engine, BuildCache, ImageStore, LocalVolume, Ulimit, CacheRule

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def test_everything_of_the_engine(chart, golden):
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(50))
    engine = Engine(
        version="29.9",
        garbage_collection=BuildCache(
            reserved_space=Size.gibibytes(12),
            max_used_space=Size.gibibytes(36),
            min_free_space=Size.mebibytes(7500),
            sources=CacheRule(unused_for=Duration.minutes(90), when_larger_than=Size.gibibytes(1)),
            cache_mounts=CacheRule(unused_for=Duration.days(30), when_larger_than=Size.gibibytes(30)),
        ),
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


def daemon_json(image: str = "docker:29.9.3-dind", storage: Size | None = None, **settings: Any) -> Any:
    return json.loads(Engine(**settings).daemon_json(image=image, storage=storage or Size.gibibytes(50)))


def policy(image: str = "docker:29.9.3-dind", storage: Size | None = None, **sizes: Any) -> Any:
    collection = daemon_json(image, storage, garbage_collection=BuildCache(**sizes))["builder"]["gc"]
    assert collection["enabled"] is True
    return collection["policy"]


def test_the_defaults_leave_the_engine_its_own():
    defaults = daemon_json()
    assert defaults.pop("builder")
    assert defaults == {
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
        ({"settings": {"builder": {}}}, "engine setting 'builder' must not be given, it is set by garbage_collection"),
        *(
            ({"version": version}, f"engine version must be one such as .* got '{version}'")
            for version in ("", "latest", "v29", "9", "29.", "29.9.3.1", "29-dind")
        ),
    ],
)
def test_bad_input_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        Engine(**bad)


def test_the_build_cache_has_half_of_the_volume_and_leaves_a_fifth_free():
    assert policy() == [
        {"filter": ["type=source.local", "until=72h"], "maxUsedSpace": "10GiB"},
        {"filter": ["type=source.git.checkout", "until=72h"], "maxUsedSpace": "10GiB"},
        {"filter": ["type=exec.cachemount", "until=336h"], "maxUsedSpace": "10GiB"},
        {"reservedSpace": "10GiB", "maxUsedSpace": "25GiB", "minFreeSpace": "10GiB"},
        {"all": True, "maxUsedSpace": "25GiB"},
    ]


@pytest.mark.parametrize(
    ("storage", "sizes"),
    [
        (Size.gibibytes(5), ("1GiB", "2560MiB", "1GiB")),  # the article's
        (Size.gibibytes(12), ("2457MiB", "6GiB", "2457MiB")),
        (Size.mebibytes(600), ("120MiB", "300MiB", "120MiB")),
        (Size.mebibytes(5.3), ("1MiB", "2MiB", "1MiB")),
        (Size.tebibytes(2), ("419430MiB", "1024GiB", "419430MiB")),
    ],
)
def test_the_budget_goes_by_the_volume(storage, sizes):
    rest = policy(storage=storage)[-2]
    assert (rest["reservedSpace"], rest["maxUsedSpace"], rest["minFreeSpace"]) == sizes


def test_an_older_engine_gets_the_one_size_that_it_knows():
    assert policy("docker:27.5.1-dind", max_used_space=Size.gibibytes(20)) == [
        {"filter": ["type=source.local", "until=72h"], "keepStorage": "10GiB"},
        {"filter": ["type=source.git.checkout", "until=72h"], "keepStorage": "10GiB"},
        {"filter": ["type=exec.cachemount", "until=336h"], "keepStorage": "10GiB"},
        {"keepStorage": "20GiB"},
        {"all": True, "keepStorage": "20GiB"},
    ]
    assert policy("docker:27-dind")[-1] == {"all": True, "keepStorage": "25GiB"}
    assert policy("docker:27-dind", max_used_space=Size.gibibytes(50))[-1] == {"all": True, "keepStorage": "50GiB"}


def test_a_default_makes_way_for_what_is_given():
    assert policy(max_used_space=Size.gibibytes(5))[-2]["reservedSpace"] == "5GiB"
    assert policy(min_free_space=Size.gibibytes(30))[-2]["maxUsedSpace"] == "20GiB"
    # But the free space does not, nor the most for what is reserved.
    with pytest.raises(ValueError, match="got 45GiB and 10GiB"):
        policy(max_used_space=Size.gibibytes(45))
    with pytest.raises(ValueError, match="got 30GiB and 25GiB"):
        policy(reserved_space=Size.gibibytes(30))


def test_the_same_values_give_the_same_file_and_another_volume_another():
    first, same, larger = (
        Engine().daemon_json(image="docker:29.9.3-dind", storage=storage)
        for storage in (Size.gibibytes(50), Size.mebibytes(51200), Size.gibibytes(51))
    )
    assert first == same
    assert first != larger


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (Duration.days(14), "336h"),
        (Duration.minutes(90), "90m"),
        (Duration.seconds(5400), "90m"),
        (Duration.seconds(61), "61s"),
        (Duration.seconds(9223372036), "9223372036s"),
    ],
)
def test_a_time_is_written_as_go_parses_it(duration, text):
    assert policy(cache_mounts=CacheRule(unused_for=duration))[2]["filter"] == ["type=exec.cachemount", f"until={text}"]


@pytest.mark.parametrize(
    ("image", "version", "knows_three_sizes"),
    [
        ("docker:29.9.3-dind", None, True),
        ("docker:28-dind", None, True),
        ("docker:27.5-dind", None, False),
        ("registry.example:5000/mirror/docker:27.5.1-dind-alpine3.20", None, False),
        ("registry.example:5000/dind:28.5-dind-rootless", None, True),
        ("docker:29.0.0-rc.1-dind", None, True),
        (f"docker:29-dind@sha256:{'0' * 64}", None, True),
        ("docker:29-dind", "29.9.3", True),
        ("docker:29.9.3-dind", "29", True),
        ("docker:dind", "29", True),
        ("docker:latest", "27.5.1", False),
        (f"docker@sha256:{'1' * 64}", "27", False),
        ("registry.example:5000/ours", "28", True),
    ],
)
def test_the_engines_version_is_that_of_the_image(image, version, knows_three_sizes):
    (rule,) = daemon_json(image, version=version)["builder"]["gc"]["policy"][-1:]
    assert ("maxUsedSpace" in rule, "keepStorage" in rule) == (knows_three_sizes, not knows_three_sizes)


@pytest.mark.parametrize(
    "image",
    [
        "docker:dind",
        "docker:latest",
        "docker",
        f"docker@sha256:{'1' * 64}",
        "registry.example:29/docker",
        "registry.example/29-dind/docker",
        "registry.example/ours:29.9",
        "registry.example/ours:3.1-dind",
        "registry.example/ours:20261124-dind",
        "docker:stable-dind",
    ],
)
def test_an_image_that_does_not_tell_its_engine_is_refused(chart, volume, image):
    with pytest.raises(ValueError, match=f"engine version of an image must be in its tag, .* got '{image}'"):
        DindDaemon(chart, "docker-dind", volume=volume, image=image)
    DindDaemon(chart, "docker-dind", volume=volume, image=image, engine=Engine(version="29"))


@pytest.mark.parametrize("version", ["28", "29.8", "29.9.2"])
def test_a_version_that_is_not_the_images_is_refused(version):
    with pytest.raises(ValueError, match=f"engine version must be the image's, got '{version}' for 'docker:29.9.3-dind'"):
        daemon_json(version=version)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"reserved_space": Size.gibibytes(0)}, "reserved_space must be more than zero, got '0Gi'"),
        ({"max_used_space": Size.kibibytes(0)}, "max_used_space must be more than zero, got '0Ki'"),
        ({"min_free_space": Size.mebibytes(0.3)}, "min_free_space must be whole KiB, got '0.3Mi'"),
        (
            {"max_used_space": Size.gibibytes(51)},
            "max_used_space and min_free_space must fit the volume of 50GiB, got 51GiB and 10GiB",
        ),
        (
            {"max_used_space": Size.gibibytes(40), "min_free_space": Size.kibibytes(10 * 1024 * 1024 + 1)},
            "must fit the volume of 50GiB, got 40GiB and 10485761KiB",
        ),
        ({"min_free_space": Size.gibibytes(50)}, "must fit the volume of 50GiB, got 0GiB and 50GiB"),
        (
            {"max_used_space": Size.gibibytes(20), "reserved_space": Size.gibibytes(21)},
            "reserved_space must be at most max_used_space, got 21GiB and 20GiB",
        ),
        (
            {"sources": CacheRule(unused_for=Duration.days(1), when_larger_than=Size.gibibytes(26))},
            "above of sources must be at most max_used_space, got 26GiB and 25GiB",
        ),
        (
            {"cache_mounts": CacheRule(unused_for=Duration.days(1), when_larger_than=Size.gibibytes(26))},
            "above of cache_mounts must be at most max_used_space, got 26GiB and 25GiB",
        ),
    ],
)
def test_a_bad_budget_is_refused(chart, volume, bad, message):
    with pytest.raises(ValueError, match=message):
        DindDaemon(chart, "docker-dind", volume=volume, engine=Engine(garbage_collection=BuildCache(**bad)))
    DindDaemon(chart, "docker-dind", volume=volume)


def test_a_negative_budget_is_refused_by_cdk8s():
    with pytest.raises(RuntimeError, match="cannot be negative. Received: -1"):
        BuildCache(max_used_space=Size.gibibytes(-1))


@pytest.mark.parametrize("what", ["reserved_space", "min_free_space"])
def test_an_older_engine_does_not_get_a_size_that_it_ignores(what):
    with pytest.raises(ValueError, match=f"{what} must be left out before Engine 28, got '1Gi' for Engine 27"):
        policy("docker:27-dind", **{what: Size.gibibytes(1)})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"longer_than": "14d"}, r"longer_than must be a Duration such as Duration.days\(14\), got '14d'"),
        ({"longer_than": Duration.days(0)}, "longer_than must be from 1 to 9223372036 s, got 0 s"),
        ({"longer_than": Duration.days(106752)}, "longer_than must be from 1 to 9223372036 s, got 9223372800 s"),
        ({"longer_than": Duration.millis(1500)}, "longer_than must be whole seconds, got 1.5 s"),
        ({"longer_than": Duration.days(1), "above": Size.gibibytes(0)}, "above must be more than zero, got '0Gi'"),
    ],
)
def test_a_bad_time_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        Unused(**bad)


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
    assert "http://user:secret@proxy.example:3128" in json.dumps(
        daemon_json(http_proxy="http://user:secret@proxy.example:3128")
    )
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
    DindDaemon(chart, "docker-dind", volume=volume, drain_timeout=Duration.minutes(drain))
    spec = find("Deployment")["spec"]
    pod = spec["template"]["spec"]
    container, _ = pod["containers"]
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
