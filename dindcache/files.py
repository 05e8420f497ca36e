"""The files that a daemon's pod gets: its engine's configuration and the scripts around it."""

from hashlib import sha256
from pathlib import Path

from cdk8s_plus_27 import ConfigMap, PathMapping, Volume, k8s
from constructs import Construct

from dindcache.engine import Engine

_NAMES = ("alive.sh", "drain.sh", "lock.sh", "ready.sh", "relieve.sh", "reload.sh", "start.sh", "unused.sh")
_SCRIPTS = [Path(__file__).parent / "scripts" / name for name in _NAMES]


class DaemonFiles(Construct):
    """A ConfigMap with ``daemon.json``, the certificates of registries and the scripts, as two volumes of a pod.

    :param name: the ConfigMap's
    :param daemon_json: the engine's configuration
    :param engine: whose certificates of registries go beside it
    """

    SCRIPTS_PATH = "/etc/dindcache"
    """Where the scripts are mounted."""

    ENGINE_PATH = "/etc/docker"
    """Where the engine looks for its configuration."""

    def __init__(self, scope: Construct, id: str, *, name: str, daemon_json: str, engine: Engine) -> None:
        super().__init__(scope, id)
        certificates = {f"registry-{i}.crt": pem for i, pem in enumerate(engine.registry_certificates.values())}
        data = {
            "daemon.json": daemon_json,
            **certificates,
            **{script.name: script.read_text() for script in _SCRIPTS},
        }
        k8s.KubeConfigMap(self, "config-map", metadata=k8s.ObjectMeta(name=name, labels={"app": name}), data=data)
        self.checksum = sha256("\0".join(f"{key}\0{data[key]}" for key in sorted(data)).encode()).hexdigest()
        """Of all the files, so that a pod can carry it and change with them."""
        config_map = ConfigMap.from_config_map_name(self, "reference", name)
        self.scripts = Volume.from_config_map(
            self,
            "scripts",
            config_map,
            name="scripts",
            items={script.name: PathMapping(path=script.name) for script in _SCRIPTS},
        )
        paths = {"daemon.json": "daemon.json"} | {
            key: f"certs.d/{host}/ca.crt" for key, host in zip(certificates, engine.registry_certificates, strict=True)
        }
        self.engine = Volume.from_config_map(
            self,
            "engine",
            config_map,
            name="engine",
            items={key: PathMapping(path=path) for key, path in paths.items()},
        )
