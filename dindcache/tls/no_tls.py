"""A daemon without TLS."""

from collections.abc import Sequence
from dataclasses import dataclass

from constructs import Construct

from dindcache._names import ObjectName
from dindcache.tls.certificates import DaemonIdentity


@dataclass(frozen=True, kw_only=True)
class NoTls:
    """Plain TCP: everyone who reaches the port is root on the daemon's node.

    Only the NetworkPolicy protects the port, and it does not apply to containers and build steps of the daemon itself, which
    reach the port inside its pod. The policy admits clients in the daemon's namespace; ``client_policy.allow_from`` admits
    others.
    """

    @property
    def client_namespaces(self) -> Sequence[str]:
        """No namespaces, since no client Secret exists."""
        return ()

    def objects(self, daemon: DaemonIdentity) -> Sequence[ObjectName]:  # noqa: ARG002 - nothing depends on it
        """Return no objects."""
        return ()

    def certificates(self, scope: Construct, daemon: DaemonIdentity) -> None:
        """Create nothing."""
