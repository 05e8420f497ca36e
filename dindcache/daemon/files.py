"""The files of a daemon's pod: the engine's configuration and the scripts."""

from collections.abc import Mapping
from hashlib import sha256

from cdk8s import Size
from cdk8s_plus_27 import EmptyDirMedium, Volume
from constructs import Construct

from dindcache._scripts import SCRIPTS_DIRECTORY, FilesConfigMap, read_scripts
from dindcache.engine import Engine
from dindcache.monitoring import exporter
from dindcache.monitoring.monitoring import Monitoring

_SCRIPTS = (
    "common.sh",
    "daemon/prepare.sh",
    "daemon/lock.sh",
    "daemon/start.sh",
    "daemon/user-namespace.sh",
    "daemon/alive.sh",
    "daemon/ready.sh",
    "daemon/drain.sh",
    "daemon/reload-certificate.sh",
    "daemon/check-certificate.sh",
    "cleanup/bytes.sh",
    "cleanup/guard-disk.sh",
    "cleanup/last-used.sh",
    "cleanup/remember-use.sh",
    "cleanup/remove-unused.sh",
)
# The API server's limit for the data of a ConfigMap, in bytes.
_LARGEST = 1 << 20


def daemon_files(engine: Engine, *, daemon_json: str, monitoring: Monitoring | None) -> dict[str, str]:
    """Return the files of a daemon by their keys in its ConfigMap.

    :raises ValueError: The files are too large for a ConfigMap because of the certificates of registries
    """
    certificates = {f"registry-{i}.crt": pem for i, pem in enumerate(engine.registry_certificates.values())}
    data = {"daemon.json": daemon_json, **certificates, **read_scripts(*_SCRIPTS)}
    if monitoring:
        data |= {**read_scripts(*exporter.SCRIPTS), **exporter.monitoring_files(monitoring)}
    size = sum(len(key) + len(text.encode()) for key, text in data.items())
    if size > _LARGEST:
        given = sum(len(pem.encode()) for pem in certificates.values())
        most = _LARGEST - size + given
        raise ValueError(f"registry_certificates must have at most {most} bytes, which fit a ConfigMap, got {given}")
    return data


class DaemonFiles(Construct):
    """A ConfigMap with the files of a daemon, and the volume to which its pod copies them when it starts.

    With the copy, a draining pod keeps the files that it started with while an upgrade changes the ConfigMap.

    :param name: Name of the ConfigMap
    :param data: Files by their keys
    :param engine: Engine whose registry certificates are among the files
    """

    ENGINE_DIRECTORY = "docker"
    """Directory of the engine's configuration in both volumes, next to that of the scripts."""

    def __init__(self, scope: Construct, id: str, *, name: str, data: Mapping[str, str], engine: Engine) -> None:
        super().__init__(scope, id)
        paths = {key: f"{SCRIPTS_DIRECTORY}/{key}" for key in data if key.endswith(".sh") or key.startswith("metrics")}
        paths["daemon.json"] = f"{self.ENGINE_DIRECTORY}/daemon.json"
        for i, host in enumerate(engine.registry_certificates):
            paths[f"registry-{i}.crt"] = f"{self.ENGINE_DIRECTORY}/certs.d/{host}/ca.crt"
        self.checksum = sha256("\0".join(f"{key}\0{data[key]}" for key in sorted(data)).encode()).hexdigest()
        """Checksum of all files. In the pod template, it restarts the pod when a file changes."""
        self.source = FilesConfigMap(self, "source", name=name, app=name, data=data, paths=paths).volume
        """Volume of the ConfigMap."""
        # In memory: a full disk of the node would have no space for them.
        size = Size.mebibytes(2)
        self.copy = Volume.from_empty_dir(self, "copy", "files", medium=EmptyDirMedium.MEMORY, size_limit=size)
        """Volume of the copy."""
