"""The pod that issues certificates and publishes them as Secrets."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from cdk8s_plus_27 import k8s

from dindcache._scripts import SCRIPTS_PATH, script_command
from dindcache.pod import PodOptions, restricted_container, restricted_pod
from dindcache.tls.certificates import DaemonIdentity

STATE_LABEL = "dindcache/certificates"
"""Label of a Job that issues certificates: the checksum of everything that it applies."""

STATE_KEY = "state"
"""Key of the ConfigMap with the checksum of the current Job."""

_TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - where kubectl looks


def certificate_pod(
    *,
    daemon: DaemonIdentity,
    service_account: str,
    kubectl_image: str,
    environment: Mapping[str, str],
    secrets: Mapping[str, str],
    options: PodOptions,
) -> k8s.PodTemplateSpec:
    """Return the template of the pod.

    :param daemon: Daemon that the certificates are for
    :param service_account: Name of the ServiceAccount, and of the ConfigMap with the scripts and the state
    :param kubectl_image: Image of kubectl, which publishes the Secrets
    :param environment: Variables of the script that issues certificates
    :param secrets: Names of the Secrets that are mounted if they exist, by directory
    :param options: Options of the pod
    """
    issued = [k8s.VolumeMount(name=key, mount_path=f"/issued/{key}", read_only=True) for key in secrets]
    issue = k8s.Container(
        name="issue",
        image=daemon.image,
        command=script_command("issue.sh"),
        env=[_namespace(), *(k8s.EnvVar(name=key, value=value) for key, value in environment.items())],
        volume_mounts=[
            k8s.VolumeMount(name="work", mount_path="/work"),
            k8s.VolumeMount(name="out", mount_path="/out"),
            k8s.VolumeMount(name="config", mount_path=SCRIPTS_PATH, read_only=True),
            *issued,
        ],
        **_container(),
    )
    end_predecessors = _kubectl(
        "end-predecessors", kubectl_image, "delete", f"--raw={_predecessors(daemon)}", env=[_state(service_account)]
    )
    # Keys are never written to a disk of the node.
    memory = k8s.EmptyDirVolumeSource(medium="Memory")
    volumes = [
        k8s.Volume(name="work", empty_dir=memory),
        k8s.Volume(name="out", empty_dir=memory),
        k8s.Volume(name="config", config_map=k8s.ConfigMapVolumeSource(name=service_account)),
        *(
            k8s.Volume(name=key, secret=k8s.SecretVolumeSource(secret_name=name, optional=True, default_mode=0o440))
            for key, name in secrets.items()
        ),
        k8s.Volume(name="token", projected=_token()),
    ]
    spec = k8s.PodSpec(
        service_account_name=service_account,
        automount_service_account_token=False,  # the container that issues needs none
        restart_policy="Never",  # a retry mounts Secrets that another run has issued in the meantime
        affinity=_away_from(daemon),
        security_context=restricted_pod(),
        init_containers=[end_predecessors, issue, _publish("publish-ca", kubectl_image, "ca.yaml")],
        containers=[_publish("publish", kubectl_image, "certificates.yaml")],
        volumes=volumes,
        **options.props(),
    )
    metadata = k8s.ObjectMeta(annotations=options.annotations, labels=options.labels)
    return k8s.PodTemplateSpec(metadata=metadata if options.annotations or options.labels else None, spec=spec)


def _predecessors(daemon: DaemonIdentity) -> str:
    # As a collection, so that the Role needs no permission to read Jobs.
    selector = quote(f"app={daemon.name},{STATE_LABEL},{STATE_LABEL}!=")
    return f"/apis/batch/v1/namespaces/$(NAMESPACE)/jobs?labelSelector={selector}$(STATE)&propagationPolicy=Background"


def _state(config_map: str) -> k8s.EnvVar:
    # Not in the template: a pod that starts late must not delete the Job that has replaced its own.
    key = k8s.ConfigMapKeySelector(name=config_map, key=STATE_KEY)
    return k8s.EnvVar(name="STATE", value_from=k8s.EnvVarSource(config_map_key_ref=key))


def _publish(name: str, image: str, file: str) -> k8s.Container:
    # Only this file: ca.yaml contains the CA's key.
    manifest = k8s.VolumeMount(name="out", mount_path=f"/out/{file}", sub_path=file, read_only=True)
    arguments = ("--server-side", "--force-conflicts", "--field-manager=dindcache", f"--filename=/out/{file}")
    return _kubectl(name, image, "apply", *arguments, mounts=[manifest])


def _kubectl(
    name: str, image: str, *arguments: str, env: Sequence[k8s.EnvVar] = (), mounts: Sequence[k8s.VolumeMount] = ()
) -> k8s.Container:
    return k8s.Container(
        name=name,
        image=image,
        command=["kubectl"],
        args=list(arguments),
        env=[_namespace(), k8s.EnvVar(name="HOME", value="/tmp"), *env],  # noqa: S108 - its cache, which goes nowhere
        volume_mounts=[*mounts, k8s.VolumeMount(name="token", mount_path=_TOKEN_PATH, read_only=True)],
        **_container(),
    )


def _namespace() -> k8s.EnvVar:
    field = k8s.ObjectFieldSelector(field_path="metadata.namespace")
    return k8s.EnvVar(name="NAMESPACE", value_from=k8s.EnvVarSource(field_ref=field))


def _container() -> dict[str, Any]:
    """Return the common fields of all containers. The resources are for namespaces with a quota, as in the cluster tests."""

    def amounts(cpu: str, memory: str) -> dict[str, k8s.Quantity]:
        return {"cpu": k8s.Quantity.from_string(cpu), "memory": k8s.Quantity.from_string(memory)}

    return {
        "image_pull_policy": "IfNotPresent",
        "resources": k8s.ResourceRequirements(requests=amounts("10m", "64Mi"), limits=amounts("1", "256Mi")),
        "security_context": restricted_container(),
    }


def _away_from(daemon: DaemonIdentity) -> k8s.Affinity:
    """Prefer another node than the daemon's, where every client is root."""
    elsewhere = k8s.PodAffinityTerm(
        topology_key="kubernetes.io/hostname", label_selector=k8s.LabelSelector(match_labels=daemon.labels)
    )
    pods = k8s.PodAntiAffinity(
        preferred_during_scheduling_ignored_during_execution=[
            k8s.WeightedPodAffinityTerm(weight=100, pod_affinity_term=elsewhere)
        ]
    )
    hostnames = [hostname for hostname in daemon.hostnames.values() if hostname is not None]
    if not hostnames:
        return k8s.Affinity(pod_anti_affinity=pods)
    # The daemon may not have been scheduled yet.
    other = k8s.NodeSelectorRequirement(key="kubernetes.io/hostname", operator="NotIn", values=hostnames)
    node = k8s.PreferredSchedulingTerm(weight=100, preference=k8s.NodeSelectorTerm(match_expressions=[other]))
    nodes = k8s.NodeAffinity(preferred_during_scheduling_ignored_during_execution=[node])
    return k8s.Affinity(node_affinity=nodes, pod_anti_affinity=pods)


def _token() -> k8s.ProjectedVolumeSource:
    """Return the token volume that Kubernetes adds to pods by default, with the API server's defaults."""
    certificate = k8s.KeyToPath(key="ca.crt", path="ca.crt")
    field = k8s.ObjectFieldSelector(api_version="v1", field_path="metadata.namespace")
    namespace = k8s.DownwardApiVolumeFile(path="namespace", field_ref=field)
    return k8s.ProjectedVolumeSource(
        sources=[
            k8s.VolumeProjection(service_account_token=k8s.ServiceAccountTokenProjection(path="token", expiration_seconds=600)),
            k8s.VolumeProjection(config_map=k8s.ConfigMapProjection(name="kube-root-ca.crt", items=[certificate])),
            k8s.VolumeProjection(downward_api=k8s.DownwardApiProjection(items=[namespace])),
        ]
    )
