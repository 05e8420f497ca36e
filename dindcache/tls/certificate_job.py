"""The Job that issues a daemon's certificates and the CronJob that renews them."""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import ClassVar

from cdk8s_plus_27 import k8s
from constructs import Construct

from dindcache._names import ObjectName
from dindcache._scripts import FilesConfigMap, read_scripts
from dindcache.pod import PodOptions
from dindcache.tls.certificate_pod import STATE_KEY, STATE_LABEL, certificate_pod
from dindcache.tls.certificates import DaemonIdentity

# Certificates start this far in the past, since clocks differ.
_BACKDATE_SECONDS = 3600


class CertificateJob(Construct):
    """A Job that issues certificates at once, a CronJob that renews due ones every hour, and their permissions.

    They read no Secret through the API: the kubelet mounts the Secrets of the daemon's own namespace, and keys are generated in
    the pod. The response to a patch contains the whole Secret, however, so treat their token as equivalent to the CA's key. It
    can also delete the Jobs of the daemon's namespace, since each Job deletes its predecessors. A return to an earlier
    configuration therefore creates a new Job, which issues at once.

    The pods prefer another node than the daemon's, where every client is root.

    :param daemon: Daemon that the certificates are for
    :param client_namespaces: Namespaces besides the daemon's own that get a client Secret
    :param names: Further names of the server, in the format of openssl
    :param lifetime_days: Lifetime of a certificate, in days
    :param renew_seconds: Time before its expiry at which a certificate is renewed, in seconds
    :param ca_generation: Number of the CA
    :param kubectl_image: Image of kubectl, which publishes the Secrets
    :param pod: Options of the pods
    """

    CA_DAYS: ClassVar[int] = 3650
    """Lifetime of the CA, in days."""

    @staticmethod
    def items(daemon: DaemonIdentity, name: str) -> dict[str, str]:
        """Return the files of one daemon by their keys in the server Secret, which all daemons of a fleet share."""
        prefix = "" if name == daemon.name else f"{name}."
        return {"ca.pem": "ca.pem", f"{prefix}cert.pem": "cert.pem", f"{prefix}key.pem": "key.pem"}

    @staticmethod
    def objects(daemon: DaemonIdentity, client_namespaces: Sequence[str]) -> list[ObjectName]:
        """Return the objects for these namespaces, except the Job itself, whose name contains a checksum."""
        own = [ObjectName(kind, _name(daemon)) for kind in ("ServiceAccount", "Role", "RoleBinding", "ConfigMap", "CronJob")]
        others = [(kind, namespace) for kind in ("Role", "RoleBinding") for namespace in client_namespaces]
        return own + [ObjectName(kind, _name_elsewhere(daemon), namespace) for kind, namespace in others]

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        daemon: DaemonIdentity,
        client_namespaces: Sequence[str],
        names: Sequence[str],
        lifetime_days: int,
        renew_seconds: int,
        ca_generation: int,
        kubectl_image: str,
        pod: PodOptions,
    ) -> None:
        super().__init__(scope, id)
        self._daemon = daemon
        self._name = _name(daemon)
        clients = {namespace: daemon.client_secret_name(namespace) for namespace in (daemon.namespace, *client_namespaces)}
        secrets = {
            "ca": f"{daemon.name}-ca-{ca_generation}",
            "server": daemon.server_secret_name(daemon.name),
            "client": clients[daemon.namespace],
        }
        self._allow(secrets.values(), clients)
        # Either can be the CA that this one replaces.
        secrets |= {"previous": f"{daemon.name}-ca-{ca_generation - 1}", "next": f"{daemon.name}-ca-{ca_generation + 1}"}
        # If the chart has no namespace, the kubelet inserts the pod's own.
        server = [f"DNS:{name}" for name in daemon.server_names("@", daemon.namespace or "$(NAMESPACE)")]
        environment = {
            "NAME": daemon.name,
            "SERVERS": " ".join(daemon.hostnames),
            "SERVER_NAMES": ",".join([*server, "IP:127.0.0.1", *names]),
            "CLIENTS": " ".join(f"{namespace or '$(NAMESPACE)'}/{secret}" for namespace, secret in clients.items()),
            "CA_GENERATION": str(ca_generation),
            "CA_DAYS": str(self.CA_DAYS),
            # The time during which certificates expire early, with their CA, plus that of the three steps to another CA.
            "CA_NOTICE_SECONDS": str(lifetime_days * 86400 + 3 * daemon.rollout_seconds),
            "LIFETIME_DAYS": str(lifetime_days),
            "RENEW_SECONDS": str(renew_seconds),
            "ROLLOUT_SECONDS": str(daemon.rollout_seconds),
            "BACKDATE_SECONDS": str(_BACKDATE_SECONDS),
        }
        template = certificate_pod(
            daemon=daemon,
            service_account=self._name,
            kubectl_image=kubectl_image,
            environment=environment,
            secrets=secrets,
            options=pod,
        )
        self._run(template)

    def _allow(self, secrets: Collection[str], clients: Mapping[str | None, str]) -> None:
        # Server-side apply is a patch that also creates a missing object, so even "create" can be limited to names.
        apply = partial(k8s.PolicyRule, api_groups=[""], resources=["secrets"], verbs=["create", "patch"])
        replace = k8s.PolicyRule(api_groups=["batch"], resources=["jobs"], verbs=["deletecollection"])
        own = self._daemon.namespace
        k8s.KubeServiceAccount(self, "service-account", metadata=self._metadata(), automount_service_account_token=False)
        self._role("role", self._name, own, [apply(resource_names=list(secrets)), replace])
        for namespace, secret in clients.items():
            if namespace != own:
                name = _name_elsewhere(self._daemon)
                self._role(f"role-{namespace}", name, namespace, [apply(resource_names=[secret])])

    def _role(self, id: str, name: str, namespace: str | None, rules: Sequence[k8s.PolicyRule]) -> None:
        k8s.KubeRole(self, id, metadata=self._metadata(name, namespace), rules=rules)
        k8s.KubeRoleBinding(
            self,
            f"{id}-binding",
            metadata=self._metadata(name, namespace),
            role_ref=k8s.RoleRef(api_group="rbac.authorization.k8s.io", kind="Role", name=name),
            subjects=[k8s.Subject(kind="ServiceAccount", name=self._name, namespace=self._daemon.namespace)],
        )

    def _run(self, template: k8s.PodTemplateSpec) -> None:
        # The retries last for more than an hour, until the CronJob runs too.
        spec = partial(k8s.JobSpec, template=template, backoff_limit=12)
        # A Job is immutable, so its name contains a checksum of everything that it applies.
        scripts = read_scripts("common.sh", "tls/issue.sh")
        applied = json.dumps([k8s.KubeJob.manifest(spec=spec()), scripts], sort_keys=True)
        state = sha256(applied.encode()).hexdigest()[:8]
        FilesConfigMap(self, "files", name=self._name, app=self._daemon.name, data={STATE_KEY: state, **scripts})
        # Without a deadline: the Job waits for a node or an image, or is replaced.
        k8s.KubeJob(self, "job", metadata=self._metadata(f"{self._name}-{state}", state=state), spec=spec())
        k8s.KubeCronJob(
            self,
            "cron-job",
            metadata=self._metadata(),
            spec=k8s.CronJobSpec(
                schedule="17 * * * *",
                concurrency_policy="Forbid",
                starting_deadline_seconds=1800,
                successful_jobs_history_limit=1,
                failed_jobs_history_limit=1,
                job_template=k8s.JobTemplateSpec(spec=spec(active_deadline_seconds=3600)),
            ),
        )

    def _metadata(self, name: str | None = None, namespace: str | None = None, state: str | None = None) -> k8s.ObjectMeta:
        labels = {"app": self._daemon.name, **({STATE_LABEL: state} if state else {})}
        return k8s.ObjectMeta(name=name or self._name, namespace=namespace or self._daemon.namespace, labels=labels)


def _name(daemon: DaemonIdentity) -> str:
    return f"{daemon.name}-certs"


def _name_elsewhere(daemon: DaemonIdentity) -> str:
    return f"{daemon.name}.{daemon.namespace}-certs"
