"""The containers that collect the metrics of a daemon and serve them."""

import json

from cdk8s import Size
from cdk8s_plus_27 import (
    Container,
    ContainerPort,
    ContainerResources,
    ContainerSecurityContextProps,
    Cpu,
    Deployment,
    EmptyDirMedium,
    EnvValue,
    ImagePullPolicy,
    Secret,
    Volume,
)
from constructs import Construct

from dindcache._patch import patch_pod
from dindcache._scripts import SCRIPTS_DIRECTORY, SCRIPTS_PATH, script_command
from dindcache.cleanup.disk_guard import UNPRIVILEGED, UNPRIVILEGED_ROOT
from dindcache.cleanup.retention import Retention
from dindcache.engine import ImageStore
from dindcache.images import pinned
from dindcache.monitoring.metrics import metrics_text
from dindcache.monitoring.monitoring import Monitoring
from dindcache.pod import sidecar_resources

SCRIPTS = (
    "monitoring/collect.sh",
    "monitoring/builds.sh",
    "monitoring/usage.sh",
    "monitoring/export.sh",
    "monitoring/report.sh",
)
"""Paths of the scripts of these containers."""

COLLECTOR_NAME, EXPORTER_NAME = "metrics", "metrics-exporter"
"""Names of the two containers."""

PORT_NAME = "metrics"
"""Name of the port of the metrics."""

_METRICS_PATH = "/run/dindcache.metrics"
_TLS_PATH = "/certs/metrics"
# Sizes are read from whole volumes, which loads the disk.
_USAGE_SECONDS = 300
# The user of the exporter's image.
_NOBODY = 65534


def monitoring_files(monitoring: Monitoring) -> dict[str, str]:
    """Return the files of the containers besides their scripts, by their keys in the daemon's ConfigMap."""
    tls = {"cert_file": f"{_TLS_PATH}/tls.crt", "key_file": f"{_TLS_PATH}/tls.key"}
    web = {"tls_server_config": tls} if monitoring.tls_secret else {}
    return {"metrics.txt": metrics_text(), "metrics-web.json": json.dumps(web) + "\n"}


class MetricsExporter(Construct):
    """Two containers next to the engine: one reads the engine and writes metrics to a file, one serves the file.

    The first is not a TLS client: it talks to the engine over a second Unix socket, so a drain does not wait for it. It runs as
    root, because only root can use the socket and read the data root, but with no capabilities and with the data root mounted
    read-only, except for a directory of its own. The second has no rights at all.

    :param deployment: Deployment of the daemon
    :param monitoring: Options of the metrics
    :param image: Image of the engine
    :param resources: Resources of the engine's container
    :param port: Port of the daemon
    :param image_store: Store of the engine's images
    :param retention: Objects that stay, for the report
    :param data: Volume with the data root
    :param scripts: Volume with the directory of the scripts
    :param socket: Volume with the engine's second socket, and its directory
    :param certificate: Volume with the daemon's certificate, and its directory; None if it has none
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        deployment: Deployment,
        monitoring: Monitoring,
        image: str,
        resources: ContainerResources,
        port: int,
        image_store: ImageStore,
        retention: Retention,
        data: Volume,
        scripts: Volume,
        socket: tuple[str, Volume],
        certificate: tuple[str, Volume] | None,
    ) -> None:
        super().__init__(scope, id)
        # In memory: on a full disk, the metrics are needed most.
        memory = EmptyDirMedium.MEMORY
        self._metrics = Volume.from_empty_dir(self, "metrics", "metrics", medium=memory, size_limit=Size.mebibytes(4))
        self._deployment, self._scripts, self._resources = deployment, scripts, resources
        for key, value in monitoring.pod_annotations.items():
            deployment.pod_metadata.add_annotation(key, value)
        for container in (*deployment.init_containers, *deployment.containers):
            container.mount(_METRICS_PATH, self._metrics)
        variables = {"METRICS": _METRICS_PATH, "PORT": str(port)}
        self.collector = self._collector(
            image=image,
            variables={
                **variables,
                "STATE": "/var/lib/dindcache",
                "INTERVAL_SECONDS": str(int(monitoring.interval.to_seconds())),
                "USAGE_SECONDS": str(_USAGE_SECONDS),
                "MAX_PROJECTS": str(monitoring.max_projects),
                "IMAGE_STORE": image_store.value,
                **retention.environment,
            },
        )
        self.collector.mount("/var/lib/docker/", data, read_only=True)
        self.collector.mount("/var/lib/dindcache", data, sub_path="dindcache")
        path, volume = socket
        self.collector.mount(path, volume, read_only=True)
        if certificate:
            path, volume = certificate
            self.collector.mount(path, volume, read_only=True)
        self.exporter = self._exporter(monitoring, variables)
        patch_pod(deployment, containers={COLLECTOR_NAME: UNPRIVILEGED_ROOT, EXPORTER_NAME: UNPRIVILEGED})

    def _collector(self, *, image: str, variables: dict[str, str]) -> Container:
        collector = self._deployment.add_container(
            name=COLLECTOR_NAME,
            image=image,
            image_pull_policy=ImagePullPolicy.IF_NOT_PRESENT,
            command=script_command("collect.sh"),
            env_variables={name: EnvValue.from_value(value) for name, value in variables.items()},
            # What it takes: benchmarks/metrics.py.
            resources=sidecar_resources(self._resources, cpu=Cpu.millis(500), memory=Size.mebibytes(128)),
            security_context=ContainerSecurityContextProps(ensure_non_root=False, user=0),
        )
        collector.mount(_METRICS_PATH, self._metrics)
        collector.mount(SCRIPTS_PATH, self._scripts, sub_path=SCRIPTS_DIRECTORY, read_only=True)
        return collector

    def _exporter(self, monitoring: Monitoring, variables: dict[str, str]) -> Container:
        flags = [f"--web.listen-address=:{monitoring.PORT}"]
        if monitoring.tls_secret:
            flags.append(f"--web.config.file={SCRIPTS_PATH}/metrics-web.json")
        exporter = self._deployment.add_container(
            name=EXPORTER_NAME,
            image=pinned(self, monitoring.image),
            image_pull_policy=ImagePullPolicy.IF_NOT_PRESENT,
            command=script_command("export.sh"),
            args=flags,
            env_variables={name: EnvValue.from_value(value) for name, value in variables.items()},
            ports=[ContainerPort(name=PORT_NAME, number=monitoring.PORT)],
            resources=sidecar_resources(self._resources, cpu=Cpu.millis(100), memory=Size.mebibytes(64)),
            security_context=ContainerSecurityContextProps(user=_NOBODY, group=_NOBODY),
        )
        exporter.mount(_METRICS_PATH, self._metrics, read_only=True)
        exporter.mount(SCRIPTS_PATH, self._scripts, sub_path=SCRIPTS_DIRECTORY, read_only=True)
        if monitoring.tls_secret:
            secret = Secret.from_secret_name(self, "tls-secret", monitoring.tls_secret)
            exporter.mount(_TLS_PATH, Volume.from_secret(self, "tls", secret, name="metrics-tls"), read_only=True)
        return exporter
