"""The configuration of the engine."""

import json
from typing import Any

import pytest
from cdk8s import Duration, Size

from dindcache import AddressPool, BuildCache, CacheRule, ClaimedVolume, DindDaemon, Engine, ImageStore, Ulimit

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.fixture
def volume(chart):
    return ClaimedVolume(chart, "docker", storage=Size.gibibytes(50))


def test_everything_of_the_engine(chart, golden, volume):
    build_cache = BuildCache(
        reserved_space=Size.gibibytes(12),
        max_used_space=Size.gibibytes(36),
        min_free_space=Size.mebibytes(7500),
        sources=CacheRule(unused_for=Duration.minutes(90), when_larger_than=Size.gibibytes(1)),
        cache_mounts=CacheRule(unused_for=Duration.days(30), when_larger_than=Size.gibibytes(30)),
    )
    engine = Engine(
        version="29.9",
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
    DindDaemon(chart, "docker-dind", volume=volume, engine=engine, build_cache=build_cache)
    golden(chart)


def daemon_json(**settings: Any) -> Any:
    return json.loads(Engine(**settings).daemon_json(builder={}))


def test_the_defaults_leave_the_rest_to_the_engine():
    defaults = daemon_json()
    assert defaults == {
        "builder": {},
        "features": {"containerd-snapshotter": False},
        "log-driver": "json-file",
        "log-opts": {"max-file": "3", "max-size": "10240k"},
        "storage-driver": "overlay2",
    }


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"dns": ["dns.example"]}, "dns must be an IP address, got 'dns.example'"),
        ({"log_max_size": Size.kibibytes(0)}, "log_max_size must be a whole number of KiB, .* got '0Ki'"),
        ({"log_max_size": Size.mebibytes(1.1)}, "log_max_size must be a whole number of KiB, .* got '1.1Mi'"),
        ({"log_max_files": 0}, "log_max_files must be at least 1, got 0"),
        ({"max_concurrent_downloads": 0}, "max_concurrent_downloads must be at least 1, got 0"),
        ({"max_concurrent_uploads": -1}, "max_concurrent_uploads must be at least 1, got -1"),
        ({"ulimits": {"files": Ulimit(soft=1, hard=1)}}, "ulimits must be of .* got 'files'"),
        ({"http_proxy": "proxy:3128"}, "http_proxy must be a URL .* got 'proxy:3128'"),
        ({"https_proxy": "https://"}, "https_proxy must be a URL .* got 'https://'"),
        ({"proxy_secret": "Proxy"}, "proxy_secret must be .* got 'Proxy'"),
        (
            {"proxy_secret": "proxy", "no_proxy": ".svc"},
            "no_proxy must be left to the Secret 'proxy', got '.svc'",
        ),
        (
            {"registry_certificates": {"https://a.example": PEM}},
            r"registry_certificates must be host\[:port\], got 'https://a.example'",
        ),
        ({"registry_certificates": {"a.example": "ca.crt"}}, "registry_certificates of a.example must be PEM, got 'ca.crt'"),
        ({"settings": {"hosts": []}}, r"settings must leave 'hosts' to the daemon's tls, got \[\]"),
        ({"settings": {"mtu": 1400}}, "settings must leave 'mtu' to the start script"),
        ({"settings": {"shutdown-timeout": 3600}}, "settings must leave 'shutdown-timeout' to nothing: the pod's grace period"),
        ({"settings": {"log-opts": {}}}, "settings must leave 'log-opts' to log_max_size"),
        ({"settings": {"builder": {}}}, "settings must leave 'builder' to build_cache of the daemon"),
        ({"settings": {"bridge": "none"}}, "settings\\['bridge'\\] must not be 'none'"),
        ({"settings": {"labels": {"a"}}}, r"settings\['labels'\] must be JSON, got {'a'}"),
        ({"settings": {"debug": float("nan")}}, r"settings\['debug'\] must be JSON, got nan"),
        *(
            ({"version": version}, f"version must be one such as .* got '{version}'")
            for version in ("", "latest", "v29", "9", "29.", "29.9.3.1", "29-dind")
        ),
    ],
)
def test_bad_input_is_rejected(bad, message):
    with pytest.raises(ValueError, match=message):
        Engine(**bad)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"base": "172.30.0.1/16"}, "base must be a network .* got '172.30.0.1/16'"),
        ({"base": "172.30.0.0/16", "size": 8}, "size of 172.30.0.0/16 must be from 16 to 30, got 8"),
        ({"base": "172.30.0.0/16", "size": 31}, "size of 172.30.0.0/16 must be from 16 to 30, got 31"),
    ],
)
def test_a_bad_address_pool_is_rejected(bad, message):
    with pytest.raises(ValueError, match=message):
        AddressPool(**bad)


@pytest.mark.parametrize(("soft", "hard"), [(-5, -1), (-1, 1), (2, 1)])
def test_a_bad_ulimit_is_rejected(soft, hard):
    with pytest.raises(ValueError, match=f"soft limit must be from 0 to the hard limit, got {soft} and {hard}"):
        Ulimit(soft=soft, hard=hard)


def test_a_collection_is_a_copy():
    servers, settings = ["10.0.0.53"], {"debug": True}
    engine = Engine(dns=servers, settings=settings)
    servers.append("no address")
    settings["hosts"] = True
    assert (engine.dns, engine.settings) == (("10.0.0.53",), {"debug": True})


@pytest.mark.parametrize(
    ("image", "version", "release"),
    [
        ("docker:29.9.3-dind", None, 29),
        ("docker:28-dind", None, 28),
        ("docker:24.0-dind", None, 24),
        ("registry.example:5000/mirror/docker:27.5.1-dind-alpine3.20", None, 27),
        ("docker:29.0.0-rc.1-dind", None, 29),
        (f"docker:29-dind@sha256:{'0' * 64}", None, 29),
        ("docker:29-dind", "29.9.3", 29),
        ("docker:29.9.3-dind", "29", 29),
        ("docker:dind", "29", 29),
        ("docker:latest", "27.5.1", 27),
        (f"docker@sha256:{'1' * 64}", "27", 27),
        ("registry.example:5000/ours", "28", 28),
    ],
)
def test_the_release_is_that_of_the_image(image, version, release):
    assert Engine(version=version).release(image) == release


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
def test_an_image_that_does_not_tell_its_release_is_rejected(chart, volume, image):
    with pytest.raises(ValueError, match=f"version of the engine must be in the image's tag, .* got image '{image}'"):
        DindDaemon(chart, "docker-dind", volume=volume, image=image)
    DindDaemon(chart, "docker-dind", volume=volume, image=image, engine=Engine(version="29"))


@pytest.mark.parametrize("version", ["28", "29.8", "29.9.2"])
def test_a_version_other_than_the_images_is_rejected(version):
    with pytest.raises(ValueError, match=f"version must be the image's, got '{version}' for 'docker:29.9.3-dind'"):
        Engine(version=version).release("docker:29.9.3-dind")


@pytest.mark.parametrize(
    ("image", "version", "message"),
    [
        ("docker:23-dind", None, "version of the engine must be 24 or later, got 23 for 'docker:23-dind'"),
        ("docker:20.10.24-dind", None, "version of the engine must be 24 or later, got 20"),
        ("docker:dind", "23.0", "version of the engine must be 24 or later, got 23 for 'docker:dind'"),
        ("docker:29-dind-rootless", None, "image must not be a rootless one, .* got 'docker:29-dind-rootless'"),
        ("docker:dind-rootless", "29", "image must not be a rootless one, .* got 'docker:dind-rootless'"),
    ],
)
def test_an_engine_that_could_not_start_is_rejected(chart, volume, image, version, message):
    with pytest.raises(ValueError, match=message):
        DindDaemon(chart, "docker-dind", volume=volume, image=image, engine=Engine(version=version))


OWNED = "engine_flags must leave '.*' to "
REPEATS = "engine_flags must not repeat a key of settings, got "


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("mtu=1450", "engine_flags must be words such as .* got 'mtu=1450'"),
        ("-", "engine_flags must be words"),
        ("--", "engine_flags must be words"),
        ("--label a=b", "engine_flags must be words"),
        *((flag, f"{OWNED}the daemon's tls") for flag in ("--tlsverify", "-H=tcp://:1", "--host=tcp://:1")),
        *((flag, f"{OWNED}the volumes") for flag in ("--data-root=/elsewhere", "-g=/elsewhere", "--config-file=/x")),
        *((flag, f"{OWNED}image_store") for flag in ("--storage-driver=vfs", "-s=vfs", "--feature=a=b")),
        ("-p=/x", f"{OWNED}the image's entrypoint"),
        ("--bridge=none", "engine_flags must not disable the bridge"),
        ("-b=none", "engine_flags must not disable the bridge"),
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
def test_a_flag_that_something_else_sets_is_rejected(chart, volume, flag, message):
    engine = Engine(settings={"labels": ["c=d"], "debug": True})
    with pytest.raises(ValueError, match=message):
        DindDaemon(chart, "docker-dind", volume=volume, engine=engine, engine_flags=[flag])
    DindDaemon(chart, "docker-dind", volume=volume, engine=engine, engine_flags=["--host-gateway-ip=10.0.0.1", "-l=warn"])


@pytest.mark.parametrize("what", ["http_proxy", "https_proxy"])
@pytest.mark.parametrize("proxy", ["http://user:secret@proxy.example:3128", "https://secret@proxy.example"])
def test_the_password_of_a_proxy_belongs_into_a_secret(what, proxy):
    """No password is in a ConfigMap or in Git, and no error repeats one."""
    with pytest.raises(ValueError, match=f"{what} must have no user and no password: .* name it in proxy_secret") as rejected:
        Engine(**{what: proxy})
    assert "secret@" not in str(rejected.value)


def test_a_secret_gives_the_proxies(chart, find, volume):
    DindDaemon(chart, "docker-dind", volume=volume, engine=Engine(proxy_secret="proxy"))  # noqa: S106 - a name
    (container, _) = find("Deployment")["spec"]["template"]["spec"]["containers"]
    proxies = [variable for variable in container["env"] if "valueFrom" in variable]
    assert proxies == [
        {"name": name, "valueFrom": {"secretKeyRef": {"key": name, "name": "proxy", "optional": True}}}
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    ]


def checksum(find, name: str) -> str:
    found: str = find("Deployment", name)["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
    return found


def test_a_change_of_the_configuration_rolls_the_daemon(chart, find):
    for name, engine in {"first": Engine(), "same": Engine(), "other": Engine(log_max_files=4)}.items():
        DindDaemon(chart, name, volume=ClaimedVolume(chart, f"{name}-data", storage=Size.gibibytes(1)), engine=engine)
    assert checksum(find, "first") == checksum(find, "same")
    assert checksum(find, "first") != checksum(find, "other")
