"""The certificates of a daemon and of its clients: their names, and the Secrets that hold them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cdk8s_plus_27 import PathMapping, Secret, Volume
from constructs import Construct

from dindcache import _check
from dindcache._names import ObjectName
from dindcache._typed import check_fields
from dindcache.pod import PodOptions

DOCKER_FILES = {"ca.pem": "ca.pem", "cert.pem": "cert.pem", "key.pem": "key.pem"}
"""The keys of a Secret that has Docker's own file names."""

# The name of a CronJob has at most 52 characters.
_LONGEST_NAME = 52 - len("-certs")


@dataclass(frozen=True, kw_only=True)
class CertificateSecret:
    """A Secret with a certificate, its key and the CA that it trusts.

    :param name: Name of the Secret
    :param items: File name, one of ``ca.pem``, ``cert.pem`` and ``key.pem``, by the Secret's key
    :raises ValueError: A value has the wrong type
    """

    name: str
    items: Mapping[str, str]

    def __post_init__(self) -> None:
        """Validate the values."""
        check_fields(self)

    def volume(self, scope: Construct, id: str) -> Volume:
        """Return the three files as a volume of a pod.

        :param scope: Scope of the construct
        :param id: Id of the construct, and name of the volume
        """
        items = {key: PathMapping(path=path) for key, path in self.items.items()}
        return Volume.from_secret(scope, id, Secret.from_secret_name(scope, f"{id}-secret", self.name), name=id, items=items)

    def plain_volume(self, name: str) -> dict[str, Any]:
        """Return the volume as plain data."""
        items = [{"key": key, "path": path} for key, path in self.items.items()]
        return {"name": name, "secret": {"secretName": self.name, "items": items}}


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """The Secrets of a daemon or of the daemons of a fleet, and of their clients.

    :param servers: Secret of each daemon by the daemon's name
    :param clients: Secrets of its clients by namespace; None stands for the namespace of ``kubectl apply``
    """

    servers: Mapping[str, CertificateSecret]
    clients: Mapping[str | None, CertificateSecret]


@dataclass(frozen=True, kw_only=True)
class DaemonIdentity:
    """The properties of a daemon, or of a fleet of daemons, that its certificates depend on.

    :param name: Name of the daemon or of the fleet
    :param namespace: Namespace of its chart
    :param labels: Labels that only the pods of the daemon, or of every daemon of the fleet, have
    :param image: Image of the engine, which contains openssl
    :param hostnames: Hostname of each daemon's node by the daemon's name; None if it is not known. Every client is root there
    :param rollout_seconds: Longest time until a daemon serves a renewed certificate, in seconds
    :param pod: Options of its pods
    """

    name: str
    namespace: str | None
    labels: Mapping[str, str]
    image: str
    hostnames: Mapping[str, str | None]
    rollout_seconds: int
    pod: PodOptions = field(default_factory=PodOptions)

    @staticmethod
    def server_names(daemon: str, namespace: str | None) -> list[str]:
        """Return every DNS name of a daemon's Service, and ``localhost`` for its own pod."""
        service = [f"{daemon}.{namespace}{end}" for end in ("", ".svc", ".svc.cluster.local") if namespace]
        return [daemon, *service, "localhost"]

    @staticmethod
    def server_secret_name(owner: str) -> str:
        """Return the name of the Secret of a daemon, or of all daemons of a fleet, unless it is given."""
        return f"{owner}-server"

    def client_secret_name(self, namespace: str | None) -> str:
        """Return the name of a namespace's client Secret, which no other daemon uses in that namespace.

        It is a DNS label, since a GitLab Runner names a volume after it. The name of a daemon has no ``--``, so the first
        ``--`` separates it from its namespace.
        """
        return f"{self.name}-client" if namespace == self.namespace else f"{self.name}--{self.namespace}-client"

    def check_client_namespaces(self, namespaces: Sequence[str]) -> None:
        """Check the namespaces that get a client Secret.

        :raises ValueError: A namespace is invalid, the daemon's own or listed twice, or the daemon's chart has no namespace
        """
        seen: set[str | None] = {self.namespace}
        for namespace in namespaces:
            _check.dns_label("client_namespaces", namespace)
            if self.namespace is None:
                raise ValueError(f"client_namespaces need a namespace of the daemon's chart, got {namespace!r} without one")
            if namespace in seen:
                raise ValueError(f"client_namespaces must be other than the daemon's, each once, got {namespace!r} twice")
            seen.add(namespace)

    def check_issued(self, names: Sequence[str], namespaces: Sequence[str]) -> None:
        """Check the names that certificates are issued for.

        :raises ValueError: A name cannot be in a certificate, or the name of an object would be too long or ambiguous
        """
        if len(self.name) > _LONGEST_NAME:
            raise ValueError(f"name must have at most {_LONGEST_NAME} characters to issue certificates, got {self.name!r}")
        if "--" in self.name:
            raise ValueError(f"name must not contain '--', which separates it from its namespace, got {self.name!r}")
        for namespace in namespaces:
            _check.dns_label("name of the client Secret", self.client_secret_name(namespace))
        for name in names:
            _check.certificate_name("names", name)

    def secrets(self, servers: Iterable[str], namespaces: Sequence[str]) -> list[ObjectName]:
        """Return the Secrets of daemons, and of their clients in the own namespace and in others."""
        own = [*map(self.server_secret_name, servers), self.client_secret_name(self.namespace)]
        return [ObjectName("Secret", name) for name in own] + [
            ObjectName("Secret", self.client_secret_name(namespace), namespace) for namespace in namespaces
        ]


class Tls(Protocol):
    """The authentication of a daemon and its clients: `SelfIssued`, `CertManager`, `GivenSecrets` or `NoTls`."""

    @property
    def client_namespaces(self) -> Sequence[str]:
        """Namespaces besides the daemon's own that get a client Secret."""
        ...

    def objects(self, daemon: DaemonIdentity) -> Sequence[ObjectName]:
        """Validate the configuration for a daemon, and return the objects that ``certificates`` creates.

        :raises ValueError: The configuration does not fit the daemon
        """
        ...

    def certificates(self, scope: Construct, daemon: DaemonIdentity) -> Certificates | None:
        """Create the objects that issue certificates, and return the Secrets; None for a daemon without TLS."""
        ...
