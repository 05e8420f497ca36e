"""The engine's configuration, typed: what becomes ``/etc/docker/daemon.json`` and ``/etc/docker/certs.d``."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from cdk8s import Size

from dindcache import _check
from dindcache.garbage_collection import GarbageCollection


class ImageStore(Enum):
    """Where the engine keeps images. ``docs/engine.md`` has the measurements; a change leaves the other's images unused."""

    OVERLAY2 = "overlay2"
    """Builds in half to two thirds of the time, on a third of the disk (our measurement)."""

    CONTAINERD = "containerd"
    """What Engine 29 takes by itself: exports a cache to a registry, builds for several platforms, writes attestations."""


@dataclass(frozen=True, kw_only=True)
class AddressPool:
    """Where the engine takes networks from for its bridges.

    :param base: such as ``172.30.0.0/16``; must not overlap the cluster's pods and Services
    :param size: of each network, as the length of its prefix
    """

    base: str
    size: int = 24


@dataclass(frozen=True, kw_only=True)
class Ulimit:
    """A limit of each container's processes.

    :param soft: what they begin with; -1 is no limit
    :param hard: what they may raise it to; -1 is no limit
    """

    soft: int
    hard: int


# What sets these, as keys and as flags; the engine exits on a flag and a key for one thing.
_OWNERS = {
    **dict.fromkeys(("hosts", "host", "tls", "tlsverify", "tlscacert", "tlscert", "tlskey"), "the image's entrypoint"),
    **dict.fromkeys(("mtu", "default-network-opts", "default-network-opt"), "the start script, from the pod's network"),
    "cgroup-parent": "the start script, from the pod's cgroup",
    **dict.fromkeys(("data-root", "graph", "config-file"), "the volumes of the pod"),
    **dict.fromkeys(("registry-mirrors", "registry-mirror"), "registry_mirrors"),
    **dict.fromkeys(("insecure-registries", "insecure-registry"), "insecure_registries"),
    **dict.fromkeys(("storage-driver", "features", "feature"), "image_store"),
    "builder": "garbage_collection",
    **dict.fromkeys(("default-address-pools", "default-address-pool"), "address_pools"),
    "dns": "dns",
    **dict.fromkeys(("log-driver", "log-opts", "log-opt"), "log_max_size and log_max_files"),
    **dict.fromkeys(("default-ulimits", "default-ulimit"), "ulimits"),
    "max-concurrent-downloads": "max_concurrent_downloads",
    "max-concurrent-uploads": "max_concurrent_uploads",
    **dict.fromkeys(("proxies", "http-proxy", "https-proxy", "no-proxy"), "http_proxy, https_proxy and no_proxy"),
    "live-restore": "nothing: the engine's containers end with its pod",
    "userns-remap": "nothing: it makes another data-root of the volume",
    "pidfile": "the image's entrypoint",
    "shutdown-timeout": "nothing: the pod's grace period goes by the engine's own 15 s",
}
# As the official images have it in their tags.
_VERSION = r"[1-9][0-9](?:\.[0-9]+){0,2}"
# As setrlimit(2) has them.
_ULIMITS = "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
_SHORT_FLAGS = {
    "D": "debug",
    "G": "group",
    "H": "host",
    "b": "bridge",
    "g": "graph",
    "l": "log-level",
    "p": "pidfile",
    "s": "storage-driver",
}


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What a `DindDaemon` writes into the engine's ``daemon.json``.

    :param version: of the engine in the daemon's image, such as ``29.9.3`` or ``29``; by default what the image's tag says, and
        needed where that says none, as with ``docker:dind``. It decides which keys are written: an engine older than it says
        would take the budget for none, and drop all of its cache
    :param garbage_collection: of the build cache; by default a `GarbageCollection` that goes by the volume's size
    :param image_store: where images are kept; by default the faster one, ``docs/engine.md`` says when to choose the other
    :param address_pools: for networks that jobs create; by default the engine's own, of which a cluster may use a part itself
    :param dns: servers that containers and build steps ask; by default those of the pod, so the cluster's
    :param log_max_size: of a container's log before it is rotated
    :param log_max_files: that are kept of a container's log
    :param ulimits: by name, such as ``{"nofile": Ulimit(soft=1024, hard=524288)}``; by default the pod's
    :param max_concurrent_downloads: layers pulled at once for each image; by default the engine's own number, 3
    :param max_concurrent_uploads: layers pushed at once for each image; by default the engine's own number, 5
    :param http_proxy: what the engine pulls and pushes through; by default none
    :param https_proxy: the same for https
    :param no_proxy: hosts to reach without the proxy, comma-separated
    :param registry_certificates: by ``host[:port]`` of a registry, the certificate authorities that it is trusted by (PEM)
    :param settings: anything else of ``daemon.json``, by its key; those that something here sets are refused
    :raises ValueError: a value is out of its range, or a key of ``settings`` is set by something else
    """

    version: str | None = None
    garbage_collection: GarbageCollection = field(default_factory=GarbageCollection)
    image_store: ImageStore = ImageStore.OVERLAY2
    address_pools: Sequence[AddressPool] = ()
    dns: Sequence[str] = ()
    log_max_size: Size = field(default_factory=lambda: Size.mebibytes(10))
    log_max_files: int = 3
    ulimits: Mapping[str, Ulimit] = field(default_factory=dict)
    max_concurrent_downloads: int | None = None
    max_concurrent_uploads: int | None = None
    http_proxy: str | None = None
    https_proxy: str | None = None
    no_proxy: str | None = None
    registry_certificates: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what the engine would exit on."""
        _check_version(self.version)
        for pool in self.address_pools:
            _check_pool(pool)
        for server in self.dns:
            _check.ip_address("dns", server)
        _check.more_than_zero("log_max_size", self.log_max_size)
        for what in ("log_max_files", "max_concurrent_downloads", "max_concurrent_uploads"):
            number = getattr(self, what)
            if number is not None and number < 1:
                raise ValueError(f"{what} must be at least 1, got {number}")
        for name, limit in self.ulimits.items():
            _check_ulimit(name, limit)
        for what, proxy in (("http_proxy", self.http_proxy), ("https_proxy", self.https_proxy)):
            if proxy is not None:
                _check.proxy(what, proxy)
        for host, certificates in self.registry_certificates.items():
            _check_certificates(host, certificates)
        for key in self.settings.keys() & _OWNERS.keys():
            raise ValueError(f"engine setting {key!r} must not be given, it is set by {_OWNERS[key]}")

    def daemon_json(self, *, image: str, storage: Size) -> str:
        """The file, the same for the same values.

        :param image: of the engine, whose tag tells its version
        :param storage: of the volume that it keeps its data on
        :raises ValueError: the version cannot be told or is not the image's, or the garbage collection does not fit it or the
            volume
        """
        builder = self.garbage_collection.settings(storage=storage, release=self._release(image))
        return json.dumps({**self._settings(), "builder": builder}, indent=2, sort_keys=True) + "\n"

    def checked_flags(self, flags: Sequence[str]) -> Sequence[str]:
        """The flags, if dockerd takes them beside this configuration and all that sets flags of its own.

        :raises ValueError: one is no flag, or repeats a flag or a key that is set already
        """
        for flag in flags:
            match = re.fullmatch(r"-([A-Za-z])(=.*)?|--([a-z][-a-z0-9]*)(=.*)?", flag, re.DOTALL)
            if not match:
                raise ValueError(f"engine flag must be a word such as '--debug' or '--bip=10.0.0.1/24', got {flag!r}")
            name = match[3] or _SHORT_FLAGS.get(match[1], match[1])
            if name in _OWNERS:
                raise ValueError(f"engine flag {flag!r} must not be given, it is set by {_OWNERS[name]}")
            if self.settings.keys() & {name, f"{name}s"}:  # a flag that can be repeated has its key in the plural
                raise ValueError(f"engine flag must not repeat a key of settings, got {flag!r}")
        return flags

    def _release(self, image: str) -> int:
        tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
        match = re.fullmatch(rf"({_VERSION})(?:-(?:alpha|beta|rc)\.[0-9]+)?-dind(?:-.+)?", tag)
        told, given = (version.split(".") if version else [] for version in (match and match[1], self.version))
        if not told and not given:
            right = "in its tag, as in 'docker:29.9.3-dind', or given, as in Engine(version='29')"
            raise ValueError(f"engine version of an image must be {right}, got {image!r}")
        if any(ours != theirs for ours, theirs in zip(given, told, strict=False)):
            raise ValueError(f"engine version must be the image's, got {self.version!r} for {image!r}")
        return int((told or given)[0])

    def _settings(self) -> dict[str, Any]:
        proxies = {"http-proxy": self.http_proxy, "https-proxy": self.https_proxy, "no-proxy": self.no_proxy}
        optional = {
            "default-address-pools": [{"base": pool.base, "size": pool.size} for pool in self.address_pools],
            "dns": list(self.dns),
            "default-ulimits": {
                name: {"Name": name, "Soft": limit.soft, "Hard": limit.hard} for name, limit in self.ulimits.items()
            },
            "max-concurrent-downloads": self.max_concurrent_downloads,
            "max-concurrent-uploads": self.max_concurrent_uploads,
            "proxies": {key: value for key, value in proxies.items() if value is not None},
        }
        return {
            **self.settings,
            # Said either way: by itself the engine goes by what it finds in the data-root.
            "features": {"containerd-snapshotter": self.image_store is ImageStore.CONTAINERD},
            **({"storage-driver": "overlay2"} if self.image_store is ImageStore.OVERLAY2 else {}),
            "log-driver": "json-file",
            "log-opts": {"max-size": f"{self.log_max_size.to_kibibytes()}k", "max-file": str(self.log_max_files)},
            **{key: value for key, value in optional.items() if value},
        }


def _check_version(version: str | None) -> None:
    if version is not None and not re.fullmatch(_VERSION, version):
        raise ValueError(f"engine version must be one such as '29.9.3' or '29', got {version!r}")


def _check_pool(pool: AddressPool) -> None:
    network = _check.network("address pool", pool.base)
    longest = network.max_prefixlen - 2
    if not network.prefixlen <= pool.size <= longest:
        raise ValueError(f"size of address pool {pool.base} must be from {network.prefixlen} to {longest}, got {pool.size}")


def _check_ulimit(name: str, limit: Ulimit) -> None:
    if name not in _ULIMITS:
        raise ValueError(f"ulimit must be one of {', '.join(_ULIMITS)}, got {name!r}")
    soft, hard = (float("inf") if value == -1 else value for value in (limit.soft, limit.hard))
    if not 0 <= soft <= hard:
        raise ValueError(f"ulimit {name} must have a soft limit from 0 to its hard one, got {limit.soft} and {limit.hard}")


def _check_certificates(host: str, certificates: str) -> None:
    _check.registry_host("registry", host)
    if "-----BEGIN CERTIFICATE-----" not in certificates:
        raise ValueError(f"certificates of registry {host} must be PEM, got {certificates[:40]!r}")
