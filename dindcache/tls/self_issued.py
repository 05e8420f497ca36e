"""Certificates from a CA of the daemon's own."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cdk8s import Duration
from constructs import Construct

from dindcache import _check
from dindcache._names import ObjectName
from dindcache._typed import check_fields
from dindcache.images import pinned
from dindcache.pod import PodOptions
from dindcache.tls.certificate_job import CertificateJob
from dindcache.tls.certificates import DOCKER_FILES, Certificates, CertificateSecret, DaemonIdentity
from dindcache.tls.renewal import check_renewal

# Half of the CA's, so that a CA issues certificates of the full lifetime for at least half of its own.
_LONGEST_DAYS = CertificateJob.CA_DAYS // 2
# It is part of the CA's common name, which has at most 64 characters.
_LAST_GENERATION = 10**9


@dataclass(frozen=True, kw_only=True)
class SelfIssued:
    """Certificates from a CA of the daemon's own, with nothing to install.

    A Job issues them. Every hour, a CronJob renews due certificates and restores lost ones.

    :param client_namespaces: Namespaces besides the daemon's own that get a client Secret. Defaults to none
    :param names: Further DNS names and IP addresses under which clients reach the daemon. Defaults to none
    :param lifetime: Lifetime of a certificate, in whole days, at most half of the CA's ten years. Defaults to 90 days
    :param renew_before: Time before its expiry at which a certificate is renewed, in whole seconds. Defaults to 30 days
    :param ca_generation: Number of the CA. Another number replaces the CA in steps (``docs/guides/rotate-ca.md``). Defaults to
        1
    :param kubectl_image: Image of kubectl, which publishes the Secrets. Defaults to an exact release
    :param pod: Options of the Job's pods that differ from the daemon's. Defaults to the daemon's
    :raises ValueError: A name or the image is invalid, or a time or the generation is out of its range
    """

    client_namespaces: Sequence[str] = ()
    names: Sequence[str] = ()
    lifetime: Duration = field(default_factory=lambda: Duration.days(90))
    renew_before: Duration = field(default_factory=lambda: Duration.days(30))
    ca_generation: int = 1
    kubectl_image: str = "registry.k8s.io/kubectl:v1.36.3"
    pod: PodOptions | None = None

    def __post_init__(self) -> None:
        """Validate the values."""
        check_fields(self)
        days = self.lifetime.to_days(integral=False)
        if days != int(days) or not 0 < days <= _LONGEST_DAYS:
            raise ValueError(f"lifetime must be a whole number of days, from 1 to {_LONGEST_DAYS}, got {days:g} days")
        _check.whole_seconds("renew_before", self.renew_before)
        if not 0 < self.ca_generation <= _LAST_GENERATION:
            raise ValueError(f"ca_generation must be from 1 to {_LAST_GENERATION}, got {self.ca_generation}")
        _check.image("kubectl_image", self.kubectl_image)

    def objects(self, daemon: DaemonIdentity) -> Sequence[ObjectName]:
        """Validate the configuration, and return the objects of the Job and the Secrets that it writes."""
        daemon.check_client_namespaces(self.client_namespaces)
        daemon.check_issued(self.names, self.client_namespaces)
        check_renewal(self.lifetime, self.renew_before, daemon.rollout_seconds)
        cas = [ObjectName("Secret", f"{daemon.name}-ca-{self.ca_generation}")]
        return [
            *CertificateJob.objects(daemon, self.client_namespaces),
            *daemon.secrets([daemon.name], self.client_namespaces),
            *cas,
        ]

    def certificates(self, scope: Construct, daemon: DaemonIdentity) -> Certificates:
        """Create the Job that issues the certificates, and the CronJob that renews them."""
        CertificateJob(
            scope,
            "certificates",
            daemon=daemon,
            client_namespaces=self.client_namespaces,
            names=[_check.certificate_name("names", name) for name in self.names],
            lifetime_days=int(self.lifetime.to_days()),
            renew_seconds=int(self.renew_before.to_seconds()),
            ca_generation=self.ca_generation,
            kubectl_image=pinned(scope, self.kubectl_image),
            pod=daemon.pod.override(self.pod),
        )
        return Certificates(
            servers={
                name: CertificateSecret(name=daemon.server_secret_name(daemon.name), items=CertificateJob.items(daemon, name))
                for name in daemon.hostnames
            },
            clients={
                namespace: CertificateSecret(name=daemon.client_secret_name(namespace), items=DOCKER_FILES)
                for namespace in (daemon.namespace, *self.client_namespaces)
            },
        )
