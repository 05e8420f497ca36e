"""The one Docker daemon that all jobs build with."""

from collections.abc import Mapping, Sequence

from cdk8s import ApiObject, ApiObjectMetadata, Chart, Duration, JsonPatch
from cdk8s_plus_27 import (
    ContainerPort,
    ContainerResources,
    ContainerSecurityContextProps,
    Deployment,
    DeploymentStrategy,
    EnvValue,
    ImagePullPolicy,
    ISecret,
    LabelSelector,
    Node,
    NodeTaintQuery,
    PodSecurityContextProps,
    Probe,
    Workload,
    k8s,
)
from constructs import Construct

from dindcache import _check
from dindcache._names import is_taken, take
from dindcache.volume import ClaimedVolume, LocalVolume

_PORT = 2375
# Flags that the image's entrypoint or this construct sets: dockerd exits on one that is given twice, and another data-root
# would not be the volume.
_OWN_FLAGS = ("--host", "-H", "--tls", "--data-root", "--registry-mirror", "--insecure-registry")


class DindDaemon(Construct):
    """A Docker daemon in a pod, its data on a volume, behind a Service that jobs use as their ``DOCKER_HOST``.

    One replica, replaced by Recreate: never two daemons on one volume during an upgrade. It is ready when the engine
    answers, which is later than when its port opens. It listens without TLS: whoever reaches the port is root on its node.

    :param volume: where the engine keeps its data; one daemon a volume
    :param name: of the Deployment, the Service (so the host that clients write) and the label ``app``; by default the id
    :param image: of the engine; by default an exact release, so that a restart never upgrades it
    :param registry_mirrors: URLs of mirrors of Docker Hub, tried in this order
    :param insecure_registries: ``host[:port]`` or networks of registries without TLS
    :param engine_flags: further flags of dockerd, each a word such as ``--mtu=1450``
    :param resources: of the daemon's container; by default none, neither requests nor limits
    :param tolerations: taints of nodes on which it may run
    :param image_pull_secrets: Secrets to pull the image with
    :param annotations: of the pod
    :raises ValueError: the name is invalid or taken in this chart, the volume has a daemon, a mirror is no URL, a registry no
        host, or an engine flag is no flag or one that is set already
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        volume: LocalVolume | ClaimedVolume,
        name: str | None = None,
        image: str = "docker:29.9.3-dind",
        registry_mirrors: Sequence[str] = (),
        insecure_registries: Sequence[str] = (),
        engine_flags: Sequence[str] = (),
        resources: ContainerResources | None = None,
        tolerations: Sequence[NodeTaintQuery] = (),
        image_pull_secrets: Sequence[ISecret] = (),
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        name = _check.service_name("daemon name", id if name is None else name)
        if is_taken(Chart.of(scope), f"daemon {name}"):
            raise ValueError(f"daemon name must be unique in a chart, got {name!r} twice")
        if is_taken(volume, "daemon"):
            raise ValueError(f"volume must have one daemon, got {volume.node.path!r} for a second, {name!r}")
        flags = [
            *(f"--registry-mirror={_check.mirror_url(mirror)}" for mirror in registry_mirrors),
            *(f"--insecure-registry={_check.registry(registry)}" for registry in insecure_registries),
            *(_engine_flag(flag) for flag in engine_flags),
            "--tls=false",  # said out loud, or the engine warns and sleeps for 16 s at each start
        ]

        super().__init__(scope, id)
        take(Chart.of(self), f"daemon {name}")
        take(volume, "daemon")
        self.name = name
        labels = {"app": name}
        volume.claim.metadata.add_label("app", name)
        self.deployment = Deployment(
            self,
            "deployment",
            metadata=ApiObjectMetadata(name=name, labels=labels),
            replicas=1,
            strategy=DeploymentStrategy.recreate(),
            select=False,
            pod_metadata=ApiObjectMetadata(labels=labels, annotations=dict(annotations or {})),
            security_context=PodSecurityContextProps(ensure_non_root=False),
        )
        self.deployment.select(LabelSelector.of(labels=labels))
        for taint in tolerations:
            self.deployment.scheduling.tolerate(Node.tainted(taint))
        if image_pull_secrets:
            ApiObject.of(self.deployment).add_json_patch(
                JsonPatch.add("/spec/template/spec/imagePullSecrets", [{"name": secret.name} for secret in image_pull_secrets])
            )
        self.container = self.deployment.add_container(
            name=name,
            image=image,
            image_pull_policy=ImagePullPolicy.IF_NOT_PRESENT,
            args=flags,
            env_variables={"DOCKER_TLS_CERTDIR": EnvValue.from_value("")},
            ports=[ContainerPort(name="daemon-port", number=_PORT)],
            resources=resources or ContainerResources(),
            security_context=ContainerSecurityContextProps(
                privileged=True,
                allow_privilege_escalation=True,
                ensure_non_root=False,
                read_only_root_filesystem=False,
            ),
            # The port opens before the engine serves; this asks the engine. On its socket: a DOCKER_HOST in the container's
            # environment must not send the question elsewhere.
            readiness=Probe.from_command(
                ["docker", "--host=unix:///var/run/docker.sock", "version"],
                period_seconds=Duration.seconds(5),
                timeout_seconds=Duration.seconds(5),
            ),
        )
        self.container.mount("/var/lib/docker/", volume)
        self.service = k8s.KubeService(
            self,
            "service",
            metadata=k8s.ObjectMeta(name=name, labels=labels),
            spec=k8s.ServiceSpec(
                ports=[k8s.ServicePort(port=_PORT, target_port=k8s.IntOrString.from_number(_PORT))],
                selector=labels,
            ),
        )

    @property
    def host(self) -> str:
        """What a client in the daemon's own namespace writes as its ``DOCKER_HOST``."""
        return f"tcp://{self.name}:{_PORT}"

    def connect(self, workload: Workload) -> None:
        """Make a workload a client: ``DOCKER_HOST`` in each container that it has now, init containers too.

        :param workload: a Deployment, Job, CronJob or other workload of cdk8s-plus, in any chart
        :raises ValueError: the workload has no container yet, or is of another namespace while the daemon's chart has none
        """
        containers = [*workload.init_containers, *workload.containers]
        if not containers:
            raise ValueError(f"workload must have its containers before it connects, got none in {workload.node.path!r}")
        own, other = Chart.of(self).namespace, Chart.of(workload).namespace
        host = self.host
        if other != own:
            if own is None:
                raise ValueError(f"daemon's chart must have a namespace to connect one of another namespace, got {other!r}")
            host = f"tcp://{self.name}.{own}.svc:{_PORT}"
        for container in containers:
            container.env.add_variable("DOCKER_HOST", EnvValue.from_value(host))


def _engine_flag(flag: str) -> str:
    if not flag.startswith("-"):
        raise ValueError(f"engine flag must start with '-', got {flag!r}")
    for own in _OWN_FLAGS:
        if flag.startswith(own):
            raise ValueError(f"engine flag must not be one that the daemon sets itself ({own}), got {flag!r}")
    return flag
