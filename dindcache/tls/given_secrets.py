"""Certificates that you issue yourself."""

from collections.abc import Sequence
from dataclasses import dataclass

from constructs import Construct

from dindcache import _check
from dindcache._names import ObjectName
from dindcache._typed import check_fields
from dindcache.tls.certificates import DOCKER_FILES, Certificates, CertificateSecret, DaemonIdentity


@dataclass(frozen=True, kw_only=True)
class GivenSecrets:
    """Secrets that you create, each with ``ca.pem``, ``cert.pem`` and ``key.pem`` (``docs/guides/certificates.md`` shows how).

    :param server: Name of the daemon's Secret, in its namespace
    :param client: Name of the clients' Secret, in the daemon's namespace and in each of the others
    :param client_namespaces: Namespaces besides the daemon's own that have the clients' Secret. Defaults to none
    :raises ValueError: A name is invalid, or both are the same
    """

    server: str
    client: str
    client_namespaces: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Validate the names."""
        check_fields(self)
        _check.dns_subdomain("server", self.server)
        _check.dns_subdomain("client", self.client)
        if self.server == self.client:
            raise ValueError(f"server and client must be two Secrets, got {self.server!r} for both")

    def objects(self, daemon: DaemonIdentity) -> Sequence[ObjectName]:
        """Validate the client namespaces, and return no objects."""
        daemon.check_client_namespaces(self.client_namespaces)
        return ()

    def certificates(self, scope: Construct, daemon: DaemonIdentity) -> Certificates:  # noqa: ARG002 - it creates nothing
        """Return the given Secrets."""
        client = CertificateSecret(name=self.client, items=DOCKER_FILES)
        return Certificates(
            servers=dict.fromkeys(daemon.hostnames, CertificateSecret(name=self.server, items=DOCKER_FILES)),
            clients=dict.fromkeys((daemon.namespace, *self.client_namespaces), client),
        )
