"""What makes a daemon's certificates and renews them."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from cdk8s import Chart
from cdk8s_plus_27 import k8s
from constructs import Construct

from dindcache._names import take
from dindcache.certificates import DaemonIdentity

_SCRIPT = Path(__file__).parent / "scripts" / "issue.sh"
_USER = 10000  # above those that a node has


class Issuer(Construct):
    """A Job that issues at once, a CronJob that renews each hour what is due, and what they may do: write these Secrets.

    They read none: the kubelet mounts what there is in the daemon's own namespace, and the keys are made in the pod. But who
    may patch a Secret sees it in the answer, so their token is worth the CA's key.

    It prefers another node than the daemon's, for clients of the daemon are root there.

    :param daemon: whose certificates
    :param client_namespaces: beside its own
    :param names: further names of the server
    :param lifetime_days: of a certificate
    :param renew_seconds: how long before its end the next one is issued
    :param generation: of the CA
    :param kubectl_image: what publishes
    """

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
        generation: int,
        kubectl_image: str,
    ) -> None:
        super().__init__(scope, id)
        self._daemon = daemon
        self._name = f"{daemon.name}-issuer"
        take(Chart.of(self), f"cron job {self._name}")
        clients = {namespace: daemon.client_secret_name(namespace) for namespace in (daemon.namespace, *client_namespaces)}
        issued = {
            "ca": f"{daemon.name}-ca-{generation}",
            "server": daemon.server_secret_name,
            "client": clients[daemon.namespace],
        }
        k8s.KubeServiceAccount(self, "service-account", metadata=self._metadata(), automount_service_account_token=False)
        self._allow("role", self._name, list(issued.values()), daemon.namespace)
        for namespace in client_namespaces:
            name = f"{daemon.name}.{daemon.namespace}-issuer"
            self._allow(f"role-{namespace}", name, [clients[namespace]], namespace)
        script = _SCRIPT.read_text()
        k8s.KubeConfigMap(self, "config-map", metadata=self._metadata(), data={_SCRIPT.name: script})
        environment = {
            "NAME": daemon.name,
            "GENERATION": str(generation),
            "HANDOVER_SECONDS": str(daemon.handover),
            "LIFETIME_DAYS": str(lifetime_days),
            "RENEW_SECONDS": str(renew_seconds),
            # Where the chart has no namespace, the pod's own.
            "CLIENTS": " ".join(f"{namespace or '$(NAMESPACE)'}/{secret}" for namespace, secret in clients.items()),
        }
        if generation > 1:
            issued["previous"] = f"{daemon.name}-ca-{generation - 1}"
        pod = self._pod(kubectl_image, names, environment, issued)
        job = k8s.JobSpec(template=k8s.PodTemplateSpec(spec=pod), backoff_limit=6, active_deadline_seconds=600)
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
                job_template=k8s.JobTemplateSpec(spec=job),
            ),
        )
        # A Job cannot be changed: another one issues something else, and one that is done stays for GitOps to find. Its pod is
        # what this file makes of these values.
        pull_secrets = [secret.name for secret in daemon.image_pull_secrets]
        values = [daemon.image, kubectl_image, *names, *environment.values(), *pull_secrets, daemon.hostname or ""]
        says = "\0".join([*values, script, Path(__file__).read_text()])
        k8s.KubeJob(self, "job", metadata=self._metadata(f"{self._name}-{sha256(says.encode()).hexdigest()[:8]}"), spec=job)

    def _metadata(self, name: str | None = None, namespace: str | None = None) -> k8s.ObjectMeta:
        labels = {"app": self._daemon.name}
        return k8s.ObjectMeta(name=name or self._name, namespace=namespace or self._daemon.namespace, labels=labels)

    def _allow(self, id: str, name: str, secrets: Sequence[str], namespace: str | None) -> None:
        # Server-side apply is a patch that creates what is missing, under a name that is known.
        rule = k8s.PolicyRule(api_groups=[""], resources=["secrets"], resource_names=list(secrets), verbs=["create", "patch"])
        k8s.KubeRole(self, id, metadata=self._metadata(name, namespace), rules=[rule])
        k8s.KubeRoleBinding(
            self,
            f"{id}-binding",
            metadata=self._metadata(name, namespace),
            role_ref=k8s.RoleRef(api_group="rbac.authorization.k8s.io", kind="Role", name=name),
            subjects=[k8s.Subject(kind="ServiceAccount", name=self._name, namespace=self._daemon.namespace)],
        )

    def _pod(
        self, kubectl_image: str, names: Sequence[str], environment: Mapping[str, str], issued: Mapping[str, str]
    ) -> k8s.PodSpec:
        resources = _resources()
        namespace = k8s.EnvVarSource(field_ref=k8s.ObjectFieldSelector(field_path="metadata.namespace"))
        issue = k8s.Container(
            name="issue",
            image=self._daemon.image,
            image_pull_policy="IfNotPresent",
            command=["sh", f"/etc/dindcache/{_SCRIPT.name}"],
            args=list(names) or None,
            env=[
                k8s.EnvVar(name="NAMESPACE", value_from=namespace),
                *(k8s.EnvVar(name=key, value=value) for key, value in environment.items()),
            ],
            resources=resources,
            security_context=_unprivileged(),
            volume_mounts=[
                k8s.VolumeMount(name="work", mount_path="/work"),
                k8s.VolumeMount(name="script", mount_path="/etc/dindcache", read_only=True),
                *(k8s.VolumeMount(name=key, mount_path=f"/issued/{key}", read_only=True) for key in issued),
            ],
        )
        other_node = k8s.NodeSelectorRequirement(
            key="kubernetes.io/hostname", operator="NotIn", values=[self._daemon.hostname or ""]
        )
        elsewhere = k8s.PodAffinityTerm(
            topology_key="kubernetes.io/hostname", label_selector=k8s.LabelSelector(match_labels={"app": self._daemon.name})
        )
        affinity = k8s.Affinity(
            # The daemon may have no node yet when this starts.
            node_affinity=k8s.NodeAffinity(
                preferred_during_scheduling_ignored_during_execution=[
                    k8s.PreferredSchedulingTerm(weight=100, preference=k8s.NodeSelectorTerm(match_expressions=[other_node]))
                ]
            )
            if self._daemon.hostname
            else None,
            pod_anti_affinity=k8s.PodAntiAffinity(
                preferred_during_scheduling_ignored_during_execution=[
                    k8s.WeightedPodAffinityTerm(weight=100, pod_affinity_term=elsewhere)
                ]
            ),
        )
        return k8s.PodSpec(
            service_account_name=self._name,
            automount_service_account_token=False,  # the script's container needs none
            restart_policy="Never",  # all over again: what another run has issued meanwhile is mounted anew
            affinity=affinity,
            image_pull_secrets=[k8s.LocalObjectReference(name=s.name) for s in self._daemon.image_pull_secrets] or None,
            security_context=k8s.PodSecurityContext(
                run_as_non_root=True,
                run_as_user=_USER,
                run_as_group=_USER,
                fs_group=_USER,
                seccomp_profile=k8s.SeccompProfile(type="RuntimeDefault"),
            ),
            init_containers=[issue, _apply("publish-ca", kubectl_image, "ca.yaml", resources)],
            containers=[_apply("publish", kubectl_image, "certificates.yaml", resources)],
            volumes=[
                # Keys are never on a disk of the node.
                k8s.Volume(name="work", empty_dir=k8s.EmptyDirVolumeSource(medium="Memory")),
                k8s.Volume(name="script", config_map=k8s.ConfigMapVolumeSource(name=self._name)),
                *(
                    k8s.Volume(name=key, secret=k8s.SecretVolumeSource(secret_name=secret, optional=True, default_mode=0o440))
                    for key, secret in issued.items()
                ),
                k8s.Volume(name="token", projected=_token()),
            ],
        )


def _apply(name: str, image: str, file: str, resources: k8s.ResourceRequirements) -> k8s.Container:
    return k8s.Container(
        name=name,
        image=image,
        image_pull_policy="IfNotPresent",
        command=["kubectl"],
        args=["apply", "--server-side", "--force-conflicts", "--field-manager=dindcache", f"--filename=/work/out/{file}"],
        env=[k8s.EnvVar(name="HOME", value="/tmp")],  # noqa: S108 - where its cache would go: nowhere
        resources=resources,
        security_context=_unprivileged(),
        volume_mounts=[
            k8s.VolumeMount(name="work", mount_path="/work", read_only=True),
            k8s.VolumeMount(name="token", mount_path="/var/run/secrets/kubernetes.io/serviceaccount", read_only=True),
        ],
    )


def _resources() -> k8s.ResourceRequirements:
    """For namespaces with a quota; the cluster tests run within it."""

    def amounts(cpu: str, memory: str) -> dict[str, k8s.Quantity]:
        return {"cpu": k8s.Quantity.from_string(cpu), "memory": k8s.Quantity.from_string(memory)}

    return k8s.ResourceRequirements(requests=amounts("10m", "64Mi"), limits=amounts("1", "256Mi"))


def _unprivileged() -> k8s.SecurityContext:
    return k8s.SecurityContext(
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        capabilities=k8s.Capabilities(drop=["ALL"]),
    )


def _token() -> k8s.ProjectedVolumeSource:
    """What the kubelet mounts by itself, for the containers that need it."""
    certificate = k8s.KeyToPath(key="ca.crt", path="ca.crt")
    namespace = k8s.DownwardApiVolumeFile(path="namespace", field_ref=k8s.ObjectFieldSelector(field_path="metadata.namespace"))
    return k8s.ProjectedVolumeSource(
        sources=[
            k8s.VolumeProjection(service_account_token=k8s.ServiceAccountTokenProjection(path="token", expiration_seconds=600)),
            k8s.VolumeProjection(config_map=k8s.ConfigMapProjection(name="kube-root-ca.crt", items=[certificate])),
            k8s.VolumeProjection(downward_api=k8s.DownwardApiProjection(items=[namespace])),
        ]
    )
