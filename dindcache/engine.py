"""The configuration of the engine: ``/etc/docker/daemon.json`` and ``/etc/docker/certs.d``."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from cdk8s import Size

from dindcache import _check
from dindcache._typed import check_fields


class ImageStore(Enum):
    """The store of the engine's images (``docs/explanation/build-cache.md``).

    After a change, the images of the previous store stay but are not listed.
    """

    OVERLAY2 = "overlay2"
    """Builds take half to two thirds of the time and a third of the disk space (``benchmarks/image_store.py``)."""

    CONTAINERD = "containerd"
    """The default of Engine 29. It exports a cache to a registry, builds for several platforms and writes attestations."""


@dataclass(frozen=True, kw_only=True)
class AddressPool:
    """A range of addresses for the networks that jobs create.

    :param base: Network such as ``172.30.0.0/16``. It must not overlap the networks of the cluster's pods and Services
    :param size: Prefix length of each network. Defaults to 24
    :raises ValueError: The base is not a network, or the size does not fit it
    """

    base: str
    size: int = 24

    def __post_init__(self) -> None:
        """Validate the range."""
        check_fields(self)
        network = _check.network("base", self.base)
        longest = network.max_prefixlen - 2
        if not network.prefixlen <= self.size <= longest:
            raise ValueError(f"size of {self.base} must be from {network.prefixlen} to {longest}, got {self.size}")


@dataclass(frozen=True, kw_only=True)
class Ulimit:
    """A resource limit for the processes of each container.

    :param soft: Limit that a process starts with; -1 for none
    :param hard: Limit up to which a process can raise the soft one; -1 for none
    :raises ValueError: The soft limit is above the hard one, or a limit is below -1
    """

    soft: int
    hard: int

    def __post_init__(self) -> None:
        """Validate the limits."""
        check_fields(self)
        soft, hard = (float("inf") if value == -1 else value for value in (self.soft, self.hard))
        if not 0 <= soft <= hard:
            raise ValueError(f"soft limit must be from 0 to the hard limit, got {self.soft} and {self.hard}")


# The owners of keys and flags. The engine exits if a flag and a key set the same option.
_OWNERS = {
    **dict.fromkeys(("hosts", "host", "tls", "tlsverify", "tlscacert", "tlscert", "tlskey"), "the daemon's tls"),
    **dict.fromkeys(("mtu", "default-network-opts", "default-network-opt"), "the start script, from the pod's network"),
    "cgroup-parent": "the start script, from the pod's cgroup",
    **dict.fromkeys(("data-root", "graph", "config-file"), "the volumes of the pod"),
    **dict.fromkeys(("registry-mirrors", "registry-mirror"), "registry_mirrors"),
    **dict.fromkeys(("insecure-registries", "insecure-registry"), "insecure_registries"),
    **dict.fromkeys(("storage-driver", "features", "feature"), "image_store"),
    "builder": "build_cache of the daemon",
    **dict.fromkeys(("default-address-pools", "default-address-pool"), "address_pools"),
    "dns": "dns",
    **dict.fromkeys(("log-driver", "log-opts", "log-opt"), "log_max_size and log_max_files"),
    **dict.fromkeys(("default-ulimits", "default-ulimit"), "ulimits"),
    "max-concurrent-downloads": "max_concurrent_downloads",
    "max-concurrent-uploads": "max_concurrent_uploads",
    **dict.fromkeys(("proxies", "http-proxy", "https-proxy", "no-proxy"), "http_proxy, https_proxy and no_proxy"),
    "live-restore": "nothing: containers end with the pod of their engine",
    "userns-remap": "nothing: it uses another directory of the volume",
    "pidfile": "the image's entrypoint",
    "shutdown-timeout": "nothing: the pod's grace period relies on the engine's own 15 s",
}
# As in the tags of the official images.
_VERSION = r"[1-9][0-9](?:\.[0-9]+){0,2}"
# The names of setrlimit(2).
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


# Earlier releases of dockerd have no --default-network-opt, which the start script needs for the MTU.
_OLDEST_RELEASE = 24


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The configuration of a `DindDaemon`'s engine, which becomes its ``daemon.json``.

    :param version: Version of the engine in the daemon's image, such as ``29.9.3`` or ``29``. Defaults to the version in
        the image's tag, and is required if the tag has none, as in ``docker:dind``. It decides which keys are written: an
        engine that is older than this ignores the sizes of the build cache and removes all of it
    :param image_store: Store of the engine's images. Defaults to the faster one (``docs/explanation/build-cache.md``)
    :param address_pools: Ranges for the networks that jobs create. Defaults to the engine's own, which can overlap the
        cluster's
    :param dns: Addresses of the name servers for containers and build steps. Defaults to those of the pod
    :param log_max_size: Size at which the log of a container is rotated, in whole KiB. Defaults to 10 MiB
    :param log_max_files: Number of log files that are kept for each container. Defaults to 3
    :param ulimits: Limits by their names, such as ``{"nofile": Ulimit(soft=1024, hard=524288)}``. Defaults to those of the pod
    :param max_concurrent_downloads: Number of layers pulled at once for each image. Defaults to the engine's own, 3
    :param max_concurrent_uploads: Number of layers pushed at once for each image. Defaults to the engine's own, 5
    :param http_proxy: URL of the proxy for pulls and pushes over HTTP, without a password. Defaults to none
    :param https_proxy: URL of the proxy for pulls and pushes over HTTPS, without a password. Defaults to none
    :param no_proxy: Hosts that the engine reaches without the proxy, separated by commas. Defaults to none
    :param proxy_secret: Name of a Secret in the daemon's namespace whose keys ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY``
        replace these three props, for a proxy with a password. Defaults to none
    :param registry_certificates: Certificate authorities of each registry, as PEM by ``host[:port]``. Defaults to none
    :param settings: Further keys of ``daemon.json``. Keys that another prop sets are rejected. Defaults to none
    :raises ValueError: A value is out of its range, or a key of ``settings`` is set by something else
    """

    version: str | None = None
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
    proxy_secret: str | None = None
    registry_certificates: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Reject values on which the engine would exit."""
        check_fields(self)
        if self.version is not None and not re.fullmatch(_VERSION, self.version):
            raise ValueError(f"version must be one such as '29.9.3' or '29', got {self.version!r}")
        for server in self.dns:
            _check.ip_address("dns", server)
        _check.whole_kibibytes("log_max_size", self.log_max_size)
        for what in ("log_max_files", "max_concurrent_downloads", "max_concurrent_uploads"):
            number = getattr(self, what)
            if number is not None and number < 1:
                raise ValueError(f"{what} must be at least 1, got {number}")
        for name in self.ulimits:
            if name not in _ULIMITS:
                raise ValueError(f"ulimits must be of {', '.join(_ULIMITS)}, got {name!r}")
        self._check_proxies()
        for host, certificates in self.registry_certificates.items():
            _check.registry_host("registry_certificates", host)
            if "-----BEGIN CERTIFICATE-----" not in certificates:
                raise ValueError(f"registry_certificates of {host} must be PEM, got {certificates[:40]!r}")
        self._check_settings()

    def _check_proxies(self) -> None:
        for what, proxy in (("http_proxy", self.http_proxy), ("https_proxy", self.https_proxy)):
            if proxy is not None:
                _check.proxy(what, proxy)
        if self.proxy_secret is not None:
            _check.dns_subdomain("proxy_secret", self.proxy_secret)
            for what in ("http_proxy", "https_proxy", "no_proxy"):
                if getattr(self, what) is not None:
                    raise ValueError(f"{what} must be left to the Secret {self.proxy_secret!r}, got {getattr(self, what)!r}")

    def _check_settings(self) -> None:
        for key, value in self.settings.items():
            if key in _OWNERS:
                raise ValueError(f"settings must leave {key!r} to {_OWNERS[key]}, got {value!r}")
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError):
                raise ValueError(f"settings[{key!r}] must be JSON, got {value!r}") from None
        if self.settings.get("bridge") == "none":
            raise ValueError("settings['bridge'] must not be 'none': build steps have no network without it, got 'none'")

    def release(self, image: str) -> int:
        """Return the release of the engine in an image, such as 29.

        :raises ValueError: The version is unknown, is not the image's or is too old, or the image is rootless
        """
        tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
        if "rootless" in tag:
            raise ValueError(f"image must not be a rootless one, whose data is not on the volume, got {image!r}")
        match = re.fullmatch(rf"({_VERSION})(?:-(?:alpha|beta|rc)\.[0-9]+)?-dind(?:-.+)?", tag)
        told, given = (version.split(".") if version else [] for version in (match and match[1], self.version))
        if not told and not given:
            right = "in the image's tag, as in 'docker:29.9.3-dind', or given, as in Engine(version='29')"
            raise ValueError(f"version of the engine must be {right}, got image {image!r}")
        if any(ours != theirs for ours, theirs in zip(given, told, strict=False)):
            raise ValueError(f"version must be the image's, got {self.version!r} for {image!r}")
        release = int((told or given)[0])
        if release < _OLDEST_RELEASE:
            raise ValueError(f"version of the engine must be {_OLDEST_RELEASE} or later, got {release} for {image!r}")
        return release

    def check_flags(self, flags: Sequence[str]) -> None:
        """Check further flags of dockerd against this configuration and against the flags that the daemon sets.

        :raises ValueError: A word is not a flag, or repeats a flag or a key that is already set
        """
        for flag in flags:
            match = re.fullmatch(r"-([A-Za-z])(=.*)?|--([a-z][-a-z0-9]*)(=.*)?", flag, re.DOTALL)
            if not match:
                raise ValueError(f"engine_flags must be words such as '--debug' or '--bip=10.0.0.1/24', got {flag!r}")
            name = match[3] or _SHORT_FLAGS.get(match[1], match[1])
            if name in _OWNERS:
                raise ValueError(f"engine_flags must leave {flag!r} to {_OWNERS[name]}")
            if self.settings.keys() & {name, f"{name}s"}:  # the key of a repeatable flag is plural
                raise ValueError(f"engine_flags must not repeat a key of settings, got {flag!r}")
            if name == "bridge" and "=none" in match.group(2, 4):
                raise ValueError(
                    f"engine_flags must not disable the bridge: build steps have no network without it, got {flag!r}"
                )

    def daemon_json(self, *, builder: Mapping[str, Any]) -> str:
        """Return the text of ``daemon.json``, which is always the same for the same values.

        :param builder: Value of the key ``builder``, from the `BuildCache`
        """
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
        settings = {
            **self.settings,
            # Explicit in both cases: otherwise the engine decides by the contents of the data root.
            "features": {"containerd-snapshotter": self.image_store is ImageStore.CONTAINERD},
            **({"storage-driver": "overlay2"} if self.image_store is ImageStore.OVERLAY2 else {}),
            "log-driver": "json-file",
            "log-opts": {"max-size": f"{int(self.log_max_size.to_kibibytes())}k", "max-file": str(self.log_max_files)},
            **{key: value for key, value in optional.items() if value},
            "builder": builder,
        }
        return json.dumps(settings, indent=2, sort_keys=True) + "\n"
