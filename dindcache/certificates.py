"""A daemon's certificates: what they go by, and where they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdk8s_plus_27 import ISecret, PathMapping, Secret, Volume
from constructs import Construct

from dindcache import _check


@dataclass(frozen=True, kw_only=True)
class CertificateSecret:
    """A Secret with a certificate.

    :param name: the Secret's
    :param items: which of its keys are the ``ca.pem``, ``cert.pem`` and ``key.pem`` of Docker
    """

    name: str
    items: Mapping[str, str]

    def volume(self, scope: Construct, id: str) -> Volume:
        """Its three files as a volume.

        :param scope: of the construct, so the pod's workload
        :param id: of the construct, and the volume's name
        """
        items = {key: PathMapping(path=path) for key, path in self.items.items()}
        return Volume.from_secret(scope, id, Secret.from_secret_name(scope, f"{id}-secret", self.name), name=id, items=items)


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Where certificates are.

    :param server: the daemon's
    :param clients: those of its clients, by their namespace, None for that of ``kubectl apply``
    """

    server: CertificateSecret
    clients: Mapping[str | None, CertificateSecret]


@dataclass(frozen=True, kw_only=True)
class DaemonIdentity:
    """What a certificate of a daemon goes by.

    :param name: the daemon's
    :param namespace: its chart's
    :param image: the engine's, which has openssl
    :param image_pull_secrets: what pulls it
    :param hostname: of its node, where it is known: a client of the daemon is root there
    :param handover: how long it takes a daemon to serve with what was renewed, in seconds
    """

    name: str
    namespace: str | None
    image: str
    image_pull_secrets: Sequence[ISecret]
    hostname: str | None
    handover: int

    def server_names(self) -> list[str]:
        """Every name of the daemon's Service, and those of its own pod."""
        service = [f"{self.name}.{self.namespace}{end}" for end in ("", ".svc", ".svc.cluster.local") if self.namespace]
        return [self.name, *service, "localhost"]

    @property
    def server_secret_name(self) -> str:
        """The daemon's own Secret's name, where it is not given."""
        return f"{self.name}-server"

    def client_secret_name(self, namespace: str | None) -> str:
        """A client Secret's name, which no other daemon's has in any namespace.

        It is a label, for a GitLab Runner names the volume after it.
        """
        return f"{self.name}-client" if namespace == self.namespace else f"{self.name}--{self.namespace}-client"

    def check_client_namespaces(self, namespaces: Sequence[str]) -> None:
        """Refuse namespaces in which nobody can be a client.

        :raises ValueError: one is invalid, the daemon's own or there twice
        """
        seen: set[str | None] = {self.namespace}
        for namespace in _check.several("client namespaces", namespaces):
            _check.dns_label("client namespace", namespace)
            if self.namespace is None:
                raise ValueError(f"daemon's chart must have a namespace to have clients in another one, got {namespace!r}")
            if namespace in seen:
                raise ValueError(f"client namespaces must be others than the daemon's own, each once, got {namespace!r} twice")
            seen.add(namespace)

    def check_issued(self, names: Sequence[str], namespaces: Sequence[str]) -> None:
        """Refuse what no certificate can hold, and names of objects that would be too long or another daemon's.

        :raises ValueError: with the value
        """
        # A CronJob's name has at most 52 characters, a certificate's common name 64.
        if len(self.name) > 52 - len("-issuer"):
            raise ValueError(f"daemon name must have at most 45 characters to issue certificates, got {self.name!r}")
        for part in (self.name, self.namespace or ""):
            if "--" in part:
                raise ValueError(
                    f"client Secret's name parts daemon and namespace by '--', which neither may have, got {part!r}"
                )
        for namespace in namespaces:
            _check.dns_label("client Secret's name", self.client_secret_name(namespace))
        for name in _check.several("certificate names", names):
            _check.certificate_name(name)
