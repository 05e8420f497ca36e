"""The configuration with which a pod uses a daemon."""

from dataclasses import dataclass
from typing import Any

from cdk8s_plus_27 import EnvValue, Workload

from dindcache import _check
from dindcache._names import ObjectName, check_names, reserve_names
from dindcache._typed import check_fields, typed
from dindcache.network import CLIENT_LABELS
from dindcache.tls.certificates import CertificateSecret

_VOLUME = "docker-certificate"


@dataclass(frozen=True, kw_only=True)
class Client:
    """Everything that a pod in one namespace needs to use a daemon.

    :param daemon: Name of the daemon
    :param host: ``DOCKER_HOST`` of the daemon, as this namespace resolves it
    :param secret: Secret with the client certificate; None for a daemon without TLS
    """

    daemon: str
    host: str
    secret: CertificateSecret | None

    def __post_init__(self) -> None:
        """Validate the values."""
        check_fields(self)

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the pod, which the daemon's NetworkPolicy admits."""
        return dict(CLIENT_LABELS)

    @property
    def mount_path(self) -> str:
        """Directory of the client certificate in each container, as in Docker's documentation."""
        return "/certs/client"

    @property
    def environment(self) -> dict[str, str]:
        """Variables of each container that runs ``docker``."""
        tls = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": self.mount_path} if self.secret else {}
        return {"DOCKER_HOST": self.host, **tls}

    @typed
    def pod_template(self, *, container: str) -> dict[str, Any]:
        """Return a pod template with all of this as plain data, for workloads that are not cdk8s constructs.

        Merge it into the values of a Helm chart, a runner's pod template or a workflow (``docs/guides/other-ci.md``).

        :param container: Name of the container that runs ``docker``
        :raises ValueError: The name is not a valid container name
        """
        _check.dns_label("container", container)
        variables = [{"name": name, "value": value} for name, value in self.environment.items()]
        found: dict[str, Any] = {"name": container, "env": variables}
        spec: dict[str, Any] = {"containers": [found]}
        if self.secret:
            found["volumeMounts"] = [{"name": _VOLUME, "mountPath": self.mount_path, "readOnly": True}]
            spec["volumes"] = [self.secret.plain_volume(_VOLUME)]
        return {"metadata": {"labels": self.labels}, "spec": spec}

    @typed
    def connect(self, workload: Workload) -> None:
        """Add the labels to a workload's pods, and the variables and the certificate to its present containers.

        :param workload: Deployment, Job, CronJob or other workload of cdk8s-plus
        :raises ValueError: The workload has no container yet, has a mount at ``mount_path`` or is already the client of a
            daemon
        """
        containers = [*workload.init_containers, *workload.containers]
        path = workload.node.path
        if not containers:
            raise ValueError(f"workload must have its containers before it connects, got none in {path!r}")
        name = ObjectName("daemon of workload", path)
        check_names(workload, f"client of {self.daemon}", name)
        for container in containers:
            if any(mount.path.rstrip("/") == self.mount_path for mount in container.mounts):
                raise ValueError(f"workload must have nothing mounted at {self.mount_path!r}, got it in {container.name!r}")
        reserve_names(workload, f"client of {self.daemon}", name)
        volume = self.secret and self.secret.volume(workload, _VOLUME)
        for label, value in self.labels.items():
            workload.pod_metadata.add_label(label, value)
        for container in containers:
            environment = container.env
            for variable, value in self.environment.items():
                environment.add_variable(variable, EnvValue.from_value(value))
            if volume:
                container.mount(self.mount_path, volume, read_only=True)
