"""How a daemon and its clients trust each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cdk8s import ApiObject, ApiObjectMetadata, Duration, JsonPatch
from constructs import Construct

from dindcache import _check
from dindcache.certificates import Certificates, CertificateSecret, DaemonIdentity
from dindcache.issuer import Issuer

_DOCKER_FILES = {"ca.pem": "ca.pem", "cert.pem": "cert.pem", "key.pem": "key.pem"}
_TLS_SECRET_FILES = {"ca.crt": "ca.pem", "tls.crt": "cert.pem", "tls.key": "key.pem"}


class Tls(Protocol):
    """One of `SelfIssued`, `CertManager`, `GivenSecrets` and `NoTls`."""

    @property
    def client_namespaces(self) -> Sequence[str]:
        """Beside the daemon's own: where clients get a certificate."""
        ...

    def check(self, daemon: DaemonIdentity) -> None:
        """Refuse what cannot be, before there is a half of it.

        :raises ValueError: with the value and what would be right
        """

    def certificates(self, scope: Construct, daemon: DaemonIdentity) -> Certificates | None:
        """Make the objects that issue, and say where the certificates are; None for none."""


@dataclass(frozen=True, kw_only=True)
class SelfIssued:
    """The daemon's own CA: a Job issues, a CronJob renews each hour what is due and heals what was lost. Nothing to install.

    :param client_namespaces: beside the daemon's own: where clients get a Secret
    :param names: further DNS names and IP addresses that clients may use for the daemon
    :param lifetime: of a certificate, in whole days; by default 90 days
    :param renew_before: how long before its end the next one is issued; by default 30 days
    :param generation: of the CA, which has ten years; the next number replaces it in steps, while the old one still counts
        (``docs/tls.md``)
    :param kubectl_image: what publishes the Secrets
    """

    client_namespaces: Sequence[str] = ()
    names: Sequence[str] = ()
    lifetime: Duration = field(default_factory=lambda: Duration.days(90))
    renew_before: Duration = field(default_factory=lambda: Duration.days(30))
    generation: int = 1
    kubectl_image: str = "registry.k8s.io/kubectl:v1.36.3"

    def check(self, daemon: DaemonIdentity) -> None:
        """As `Tls` has it."""
        daemon.check_client_namespaces(self.client_namespaces)
        daemon.check_issued(self.names, self.client_namespaces)
        days = self.lifetime.to_days(integral=False)
        if days != int(days) or not 0 < days < 3650:
            raise ValueError(f"lifetime must be whole days below the CA's 3650, got {days} days")
        _check_renewal(self.lifetime, self.renew_before, daemon.handover)
        if self.generation < 1:
            raise ValueError(f"generation must be 1 or more, got {self.generation}")

    def certificates(self, scope: Construct, daemon: DaemonIdentity) -> Certificates:
        """As `Tls` has it."""
        Issuer(
            scope,
            "issuer",
            daemon=daemon,
            client_namespaces=self.client_namespaces,
            names=[_check.certificate_name(name) for name in self.names],
            lifetime_days=int(self.lifetime.to_days()),
            renew_seconds=int(self.renew_before.to_seconds()),
            generation=self.generation,
            kubectl_image=self.kubectl_image,
        )
        namespaces = (daemon.namespace, *self.client_namespaces)
        return Certificates(
            server=CertificateSecret(name=daemon.server_secret_name, items=_DOCKER_FILES),
            clients={
                namespace: CertificateSecret(name=daemon.client_secret_name(namespace), items=_DOCKER_FILES)
                for namespace in namespaces
            },
        )


@dataclass(frozen=True, kw_only=True)
class CertManager:
    """Certificates of cert-manager, whose objects these are: a CA of the daemon's own, or a ClusterIssuer that is there.

    :param cluster_issuer: what signs, a ClusterIssuer of a CA. Whoever gets a certificate of this CA is a client, so it must
        sign for this daemon's clients alone; by default an Issuer with a CA of its own in the daemon's namespace, which serves
        clients there alone
    :param client_namespaces: beside the daemon's own: where clients get a Secret; only with a ClusterIssuer
    :param names: further DNS names and IP addresses that clients may use for the daemon
    :param lifetime: of a certificate; by default 90 days
    :param renew_before: how long before its end the next one is issued; by default 30 days
    """

    cluster_issuer: str | None = None
    client_namespaces: Sequence[str] = ()
    names: Sequence[str] = ()
    lifetime: Duration = field(default_factory=lambda: Duration.days(90))
    renew_before: Duration = field(default_factory=lambda: Duration.days(30))

    def check(self, daemon: DaemonIdentity) -> None:
        """As `Tls` has it."""
        daemon.check_client_namespaces(self.client_namespaces)
        if self.cluster_issuer is None:
            for namespace in self.client_namespaces:
                raise ValueError(f"client namespaces need a cluster issuer, an Issuer has one namespace, got {namespace!r}")
        else:
            _check.dns_subdomain("cluster issuer", self.cluster_issuer)
        daemon.check_issued(self.names, self.client_namespaces)
        for what, duration in (("lifetime", self.lifetime), ("renewal", self.renew_before)):
            hours = duration.to_hours(integral=False)
            if hours != int(hours):
                raise ValueError(f"{what} must be whole hours, got {hours:g} h")
        _check_renewal(self.lifetime, self.renew_before, daemon.handover)

    def certificates(self, scope: Construct, daemon: DaemonIdentity) -> Certificates:
        """As `Tls` has it."""

        def make(kind: str, name: str, spec: Mapping[str, Any], namespace: str | None = daemon.namespace) -> None:
            metadata = ApiObjectMetadata(name=name, namespace=namespace, labels={"app": daemon.name})
            api_object = ApiObject(
                scope, f"{kind}-{namespace}-{name}".lower(), api_version="cert-manager.io/v1", kind=kind, metadata=metadata
            )
            api_object.add_json_patch(JsonPatch.add("/spec", spec))

        ca, self_signed = f"{daemon.name}-ca", f"{daemon.name}-self-signed"
        issuer = {"kind": "ClusterIssuer", "name": self.cluster_issuer}
        key = {"algorithm": "ECDSA", "size": 256}
        if self.cluster_issuer is None:
            issuer = {"kind": "Issuer", "name": ca}
            make("Issuer", self_signed, {"selfSigned": {}})
            signed_by_itself = {
                "isCA": True,
                "commonName": f"{daemon.name} CA",
                "secretName": ca,
                "duration": "87600h",
                # The same key for ever, so that certificates from before and after its own renewal go together.
                "privateKey": {**key, "rotationPolicy": "Never"},
                "issuerRef": {"kind": "Issuer", "name": self_signed},
            }
            make("Certificate", ca, signed_by_itself)
            make("Issuer", ca, {"ca": {"secretName": ca}})
        leaf: dict[str, Any] = {
            "duration": _hours(self.lifetime),
            "renewBefore": _hours(self.renew_before),
            # A key that was seen is of no use for longer than its certificate.
            "privateKey": {**key, "rotationPolicy": "Always"},
            "issuerRef": issuer,
        }
        further = [name.partition(":") for name in map(_check.certificate_name, self.names)]
        server = {
            **leaf,
            "secretName": daemon.server_secret_name,
            "commonName": f"{daemon.name} server",
            "dnsNames": [*daemon.server_names(), *(name for kind, _, name in further if kind == "DNS")],
            "ipAddresses": ["127.0.0.1", *(name for kind, _, name in further if kind == "IP")],
            "usages": ["digital signature", "server auth"],
        }
        make("Certificate", daemon.server_secret_name, server)
        clients = {}
        for namespace in (daemon.namespace, *self.client_namespaces):
            name = daemon.client_secret_name(namespace)
            client = {
                **leaf,
                "secretName": name,
                "commonName": f"{daemon.name} client",
                "usages": ["digital signature", "client auth"],
            }
            make("Certificate", name, client, namespace)
            clients[namespace] = CertificateSecret(name=name, items=_TLS_SECRET_FILES)
        return Certificates(server=CertificateSecret(name=daemon.server_secret_name, items=_TLS_SECRET_FILES), clients=clients)


@dataclass(frozen=True, kw_only=True)
class GivenSecrets:
    """Secrets that you make yourself, each with ``ca.pem``, ``cert.pem`` and ``key.pem`` (``docs/tls.md`` shows how).

    :param server: the name of the daemon's, in its namespace
    :param client: the name of its clients', in the daemon's namespace and in each of the others
    :param client_namespaces: beside the daemon's own: where you put the client Secret
    """

    server: str
    client: str
    client_namespaces: Sequence[str] = ()

    def check(self, daemon: DaemonIdentity) -> None:
        """As `Tls` has it."""
        daemon.check_client_namespaces(self.client_namespaces)
        _check.dns_subdomain("server Secret", self.server)
        _check.dns_subdomain("client Secret", self.client)
        if self.server == self.client:
            raise ValueError(f"server and client must have Secrets of their own, got {self.server!r} for both")

    def certificates(self, scope: Construct, daemon: DaemonIdentity) -> Certificates:  # noqa: ARG002 - it makes nothing
        """As `Tls` has it."""
        client = CertificateSecret(name=self.client, items=_DOCKER_FILES)
        return Certificates(
            server=CertificateSecret(name=self.server, items=_DOCKER_FILES),
            clients=dict.fromkeys((daemon.namespace, *self.client_namespaces), client),
        )


@dataclass(frozen=True, kw_only=True)
class NoTls:
    """Plain TCP: whoever reaches the port is root on the daemon's node.

    The NetworkPolicy is all that keeps others away, and it does not hold for containers and build steps of the daemon itself,
    which reach the port inside its pod.

    :param client_namespaces: nowhere, for nobody gets a certificate
    """

    client_namespaces: Sequence[str] = ()

    def check(self, daemon: DaemonIdentity) -> None:  # noqa: ARG002 - nothing depends on it
        """As `Tls` has it."""
        for namespace in self.client_namespaces:
            raise ValueError(f"client namespaces need TLS, let them in by the daemon's access, got {namespace!r} without TLS")

    def certificates(self, scope: Construct, daemon: DaemonIdentity) -> None:
        """As `Tls` has it."""


def _check_renewal(lifetime: Duration, renew_before: Duration, handover: int) -> None:
    renew_hours, hours = (duration.to_hours(integral=False) for duration in (renew_before, lifetime))
    if hours <= renew_hours:
        raise ValueError(f"lifetime must be longer than its renewal before the end, got {hours:g} h and {renew_hours:g} h")
    if renew_hours * 3600 <= handover:
        raise ValueError(
            f"renewal must come before the end by more than the daemon takes to reload, {handover / 3600:g} h, "
            f"got {renew_hours:g} h"
        )


def _hours(duration: Duration) -> str:
    return f"{int(duration.to_hours())}h"
