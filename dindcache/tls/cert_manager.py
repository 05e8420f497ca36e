"""Certificates that cert-manager issues."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cdk8s import ApiObjectMetadata, Duration
from constructs import Construct

from dindcache import _check
from dindcache._names import ObjectName
from dindcache._patch import custom_object
from dindcache._typed import check_fields
from dindcache.tls.certificates import Certificates, CertificateSecret, DaemonIdentity
from dindcache.tls.renewal import check_renewal

_TLS_SECRET_FILES = {"ca.crt": "ca.pem", "tls.crt": "cert.pem", "tls.key": "key.pem"}
_KEY = {"algorithm": "ECDSA", "size": 256}


@dataclass(frozen=True, kw_only=True)
class CertManager:
    """Certificates that cert-manager issues, from a CA of the daemon's own or from a ClusterIssuer of the cluster.

    :param cluster_issuer: Name of a ClusterIssuer with a CA. Everyone with a certificate from this CA is a client, so the CA
        must sign only for the clients of this daemon. Defaults to an Issuer with a CA of its own in the daemon's namespace,
        which serves only clients in that namespace
    :param client_namespaces: Namespaces besides the daemon's own that get a client Secret. They require ``cluster_issuer``.
        Defaults to none
    :param names: Further DNS names and IP addresses under which clients reach the daemon. Defaults to none
    :param lifetime: Lifetime of a certificate, in whole hours. Defaults to 90 days
    :param renew_before: Time before its expiry at which a certificate is renewed, in whole hours. Defaults to 30 days
    :raises ValueError: A name is invalid, or a time is not a whole number of hours
    """

    cluster_issuer: str | None = None
    client_namespaces: Sequence[str] = ()
    names: Sequence[str] = ()
    lifetime: Duration = field(default_factory=lambda: Duration.days(90))
    renew_before: Duration = field(default_factory=lambda: Duration.days(30))

    def __post_init__(self) -> None:
        """Validate the names and times."""
        check_fields(self)
        if self.cluster_issuer is not None:
            _check.dns_subdomain("cluster_issuer", self.cluster_issuer)
        elif self.client_namespaces:
            got = self.client_namespaces[0]
            raise ValueError(f"client_namespaces need a cluster_issuer, since an Issuer has one namespace, got {got!r}")
        for what, duration in (("lifetime", self.lifetime), ("renew_before", self.renew_before)):
            hours = duration.to_hours(integral=False)
            if hours != int(hours):
                raise ValueError(f"{what} must be a whole number of hours, got {hours:g} h")

    def objects(self, daemon: DaemonIdentity) -> Sequence[ObjectName]:
        """Validate the configuration, and return the objects of cert-manager and the Secrets that it writes."""
        daemon.check_client_namespaces(self.client_namespaces)
        daemon.check_issued(self.names, self.client_namespaces)
        check_renewal(self.lifetime, self.renew_before, daemon.rollout_seconds)
        secrets = daemon.secrets(daemon.hostnames, self.client_namespaces)
        found = [*secrets, *(secret._replace(kind="Certificate") for secret in secrets)]
        if self.cluster_issuer is None:
            ca = f"{daemon.name}-ca"
            found += [ObjectName(kind, ca) for kind in ("Issuer", "Certificate", "Secret")]
            found.append(ObjectName("Issuer", f"{daemon.name}-self-signed"))
        return found

    def certificates(self, scope: Construct, daemon: DaemonIdentity) -> Certificates:
        """Create the objects of cert-manager."""
        issuer = {"kind": "ClusterIssuer", "name": self.cluster_issuer}
        if self.cluster_issuer is None:
            issuer = {"kind": "Issuer", "name": self._own_ca(scope, daemon)}
        leaf: dict[str, Any] = {
            "duration": _hours(self.lifetime),
            "renewBefore": _hours(self.renew_before),
            # A leaked key is useless once its certificate has expired.
            "privateKey": {**_KEY, "rotationPolicy": "Always"},
            "issuerRef": issuer,
        }
        further = [_check.certificate_name("names", name).partition(":") for name in self.names]
        servers = {}
        for host in daemon.hostnames:
            name = daemon.server_secret_name(host)
            names = {"secretName": name, "commonName": f"{host} server"}
            server = {
                **leaf,
                **names,
                "dnsNames": [
                    *daemon.server_names(host, daemon.namespace),
                    *(name for kind, _, name in further if kind == "DNS"),
                ],
                "ipAddresses": ["127.0.0.1", *(name for kind, _, name in further if kind == "IP")],
                "usages": ["digital signature", "server auth"],
            }
            _create(scope, daemon, "Certificate", name, server)
            servers[host] = CertificateSecret(name=name, items=_TLS_SECRET_FILES)
        clients = {}
        for namespace in (daemon.namespace, *self.client_namespaces):
            name = daemon.client_secret_name(namespace)
            names = {"secretName": name, "commonName": f"{daemon.name} client"}
            client = {**leaf, **names, "usages": ["digital signature", "client auth"]}
            _create(scope, daemon, "Certificate", name, client, namespace=namespace)
            clients[namespace] = CertificateSecret(name=name, items=_TLS_SECRET_FILES)
        return Certificates(servers=servers, clients=clients)

    def _own_ca(self, scope: Construct, daemon: DaemonIdentity) -> str:
        ca, self_signed = f"{daemon.name}-ca", f"{daemon.name}-self-signed"
        _create(scope, daemon, "Issuer", self_signed, {"selfSigned": {}})
        signed_by_itself = {
            "isCA": True,
            "commonName": f"{daemon.name} CA",
            "secretName": ca,
            "duration": "87600h",
            # Always the same key, so that certificates from before and after a renewal of the CA match.
            "privateKey": {**_KEY, "rotationPolicy": "Never"},
            "issuerRef": {"kind": "Issuer", "name": self_signed},
        }
        _create(scope, daemon, "Certificate", ca, signed_by_itself)
        _create(scope, daemon, "Issuer", ca, {"ca": {"secretName": ca}})
        return ca


def _create(
    scope: Construct, daemon: DaemonIdentity, kind: str, name: str, spec: Mapping[str, Any], *, namespace: str | None = None
) -> None:
    namespace = namespace or daemon.namespace
    metadata = ApiObjectMetadata(name=name, namespace=namespace, labels={"app": daemon.name})
    path = f"{kind}-{namespace}-{name}".lower()
    custom_object(scope, path, api_version="cert-manager.io/v1", kind=kind, metadata=metadata, spec=spec)


def _hours(duration: Duration) -> str:
    return f"{int(duration.to_hours())}h"
