"""The one Docker daemon that all jobs build with."""

from collections.abc import Mapping, Sequence
from typing import Any

import jsii
from cdk8s import ApiObject, ApiObjectMetadata, Chart, Duration, JsonPatch
from cdk8s_plus_27 import (
    ContainerLifecycle,
    ContainerPort,
    ContainerResources,
    ContainerSecurityContextProps,
    Deployment,
    DeploymentStrategy,
    EnvValue,
    Handler,
    ImagePullPolicy,
    ISecret,
    LabelSelector,
    Node,
    NodeLabelQuery,
    NodeTaintQuery,
    PodSecurityContextProps,
    Probe,
    Workload,
    k8s,
)
from constructs import Construct, IValidation

from dindcache import _check
from dindcache._names import is_taken, take
from dindcache.engine import Engine
from dindcache.files import DaemonFiles
from dindcache.volume import ClaimedVolume, LocalVolume

_PORT = 2375
# After the drain: the engine gives its containers 15 s, then itself.
_SHUTDOWN_SECONDS = 60
# For an engine that recovers a large data-root after a crash.
_RECOVERY_SECONDS = 600
_STARTUP_PERIOD_SECONDS = 5


class DindDaemon(Construct):
    """A Docker daemon in a pod, its data on a volume, behind a Service that jobs use as their ``DOCKER_HOST``.

    One at a time: an init container waits while another daemon has the volume. Before the pod ends it waits for its clients,
    at most ``drain``; what it cannot see are containers that run detached, and a client that follows logs holds it. It is
    ready when the engine answers, and one that hangs is restarted after three answers missing, 10 s apart. It listens without
    TLS: whoever reaches the port is root on its node.

    :param volume: where the engine keeps its data; one daemon a volume
    :param name: of the Deployment, the Service (so the host that clients write) and the label ``app``; by default the id
    :param image: of the engine; by default an exact release, so that a restart never upgrades it
    :param engine: its configuration, ``daemon.json``; a change restarts the daemon
    :param registry_mirrors: URLs of mirrors of Docker Hub, tried in this order
    :param insecure_registries: ``host[:port]`` or networks of registries without TLS
    :param engine_flags: further flags of dockerd, each a word such as ``--debug``
    :param drain: how long a daemon that is to end waits for its clients at most, in whole seconds; by default 30 minutes. From
        half of it on it takes no new ones. The pod's grace period, the Deployment's progress deadline and the time to start
        follow from it
    :param resources: of the daemon's container, and of the init container before it; by default none, neither requests nor
        limits
    :param nodes: labels of the nodes that it may run on; only for a `ClaimedVolume`, a `LocalVolume` has its node
    :param tolerations: taints of nodes on which it may run
    :param priority_class_name: of the pod; by default the cluster's default priority
    :param runtime_class_name: of the pod; by default the node's own runtime
    :param image_pull_secrets: Secrets to pull the image with
    :param annotations: of the pod, beside the one that keeps the cluster autoscaler from evicting it
    :raises ValueError: the name is invalid or taken in this chart, the volume has a daemon, a mirror is no URL, a registry no
        host, an engine flag is no flag or one that is set already, drain is no whole number of seconds, or nodes are given
        for a `LocalVolume`
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        volume: LocalVolume | ClaimedVolume,
        name: str | None = None,
        image: str = "docker:29.9.3-dind",
        engine: Engine | None = None,
        registry_mirrors: Sequence[str] = (),
        insecure_registries: Sequence[str] = (),
        engine_flags: Sequence[str] = (),
        drain: Duration | None = None,
        resources: ContainerResources | None = None,
        nodes: Sequence[NodeLabelQuery] = (),
        tolerations: Sequence[NodeTaintQuery] = (),
        priority_class_name: str | None = None,
        runtime_class_name: str | None = None,
        image_pull_secrets: Sequence[ISecret] = (),
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        name = _check.service_name("daemon name", id if name is None else name)
        if is_taken(Chart.of(scope), f"daemon {name}"):
            raise ValueError(f"daemon name must be unique in a chart, got {name!r} twice")
        if is_taken(volume, "daemon"):
            raise ValueError(f"volume must have one daemon, got {volume.node.path!r} for a second, {name!r}")
        if nodes and isinstance(volume, LocalVolume):
            raise ValueError(f"nodes must be left to the local volume, got {len(nodes)} queries with {volume.node.path!r}")
        for what, class_name in (("priority class", priority_class_name), ("runtime class", runtime_class_name)):
            if class_name is not None:
                _check.dns_subdomain(f"{what} name", class_name)
        drain_seconds = _check.whole_seconds("drain", drain or Duration.minutes(30))
        engine = engine or Engine()
        flags = [
            *(f"--registry-mirror={_check.url('registry mirror', mirror)}" for mirror in registry_mirrors),
            *(f"--insecure-registry={_check.insecure_registry(registry)}" for registry in insecure_registries),
            *engine.checked_flags(engine_flags),
            "--tls=false",  # said out loud, or the engine warns and sleeps for 16 s at each start
        ]

        super().__init__(scope, id)
        take(Chart.of(self), f"daemon {name}")
        take(volume, "daemon")
        self.name = name
        labels = {"app": name}
        volume.claim.metadata.add_label("app", name)
        files = DaemonFiles(self, "files", name=name, engine=engine)
        startup_seconds = drain_seconds + _RECOVERY_SECONDS
        self.deployment = Deployment(
            self,
            "deployment",
            metadata=ApiObjectMetadata(name=name, labels=labels),
            replicas=1,
            strategy=DeploymentStrategy.recreate(),
            select=False,
            pod_metadata=ApiObjectMetadata(
                labels=labels,
                annotations={
                    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                    **(annotations or {}),
                    # A change of the ConfigMap alone would restart nothing.
                    "checksum/config": files.checksum,
                },
            ),
            # Never an fsGroup: the kubelet would rewrite the owners of the whole data-root.
            security_context=PodSecurityContextProps(ensure_non_root=False),
            termination_grace_period=Duration.seconds(drain_seconds + _SHUTDOWN_SECONDS),
            progress_deadline=Duration.seconds(drain_seconds + _SHUTDOWN_SECONDS + startup_seconds),
        )
        self.deployment.select(LabelSelector.of(labels=labels))
        for taint in tolerations:
            self.deployment.scheduling.tolerate(Node.tainted(taint))
        if nodes:
            self.deployment.scheduling.attract(Node.labeled(*nodes))
        lock = ["sh", _script("lock.sh")]
        wait = self.deployment.add_init_container(
            name="wait-for-lock",
            image=image,
            image_pull_policy=ImagePullPolicy.IF_NOT_PRESENT,
            command=[*lock, "true"],
            resources=resources or ContainerResources(),  # what is not asked for twice, and what a quota may want to see
            # Only root may read the data-root.
            security_context=ContainerSecurityContextProps(ensure_non_root=False, user=0),
        )
        wait.mount(DaemonFiles.SCRIPTS_PATH, files.scripts, read_only=True)
        wait.mount("/var/lib/docker/", volume, read_only=True)
        self.container = self.deployment.add_container(
            name=name,
            image=image,
            image_pull_policy=ImagePullPolicy.IF_NOT_PRESENT,
            command=[*lock, "sh", _script("start.sh")],
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
            lifecycle=ContainerLifecycle(
                pre_stop=Handler.from_command(["sh", _script("drain.sh"), str(drain_seconds), str(_PORT)])
            ),
            startup=_probe("alive.sh", _STARTUP_PERIOD_SECONDS, failures=-(-startup_seconds // _STARTUP_PERIOD_SECONDS)),
            liveness=_probe("alive.sh", 10),
            readiness=_probe("ready.sh", 5),
        )
        self.container.mount("/var/lib/docker/", volume)
        self.container.mount(DaemonFiles.SCRIPTS_PATH, files.scripts, read_only=True)
        self.container.mount(DaemonFiles.ENGINE_PATH, files.engine, read_only=True)
        self._patch(
            {
                # A hung engine has no clients to wait for.
                "containers/0/livenessProbe/terminationGracePeriodSeconds": 15,
                "priorityClassName": priority_class_name,
                "runtimeClassName": runtime_class_name,
                "imagePullSecrets": [{"name": secret.name} for secret in image_pull_secrets],
            }
        )
        self.node.add_validation(_OwnProcesses(self.deployment))
        self.service = k8s.KubeService(
            self,
            "service",
            metadata=k8s.ObjectMeta(name=name, labels=labels),
            spec=k8s.ServiceSpec(
                ports=[k8s.ServicePort(port=_PORT, target_port=k8s.IntOrString.from_number(_PORT))],
                selector=labels,
            ),
        )

    def _patch(self, pod: dict[str, Any]) -> None:
        """What cdk8s-plus has no props for."""
        patches = [JsonPatch.add(f"/spec/template/spec/{path}", value) for path, value in pod.items() if value]
        ApiObject.of(self.deployment).add_json_patch(*patches)

    @property
    def host(self) -> str:
        """What a client in the daemon's own namespace writes as its ``DOCKER_HOST``."""
        return f"tcp://{self.name}:{_PORT}"

    def host_from(self, namespace: str | None) -> str:
        """What a client in a namespace writes as its ``DOCKER_HOST``.

        :param namespace: the client's, None for that of ``kubectl apply``
        :raises ValueError: it is another than the daemon's, and the daemon's chart has none
        """
        own = Chart.of(self).namespace
        if namespace == own:
            return self.host
        if own is None:
            raise ValueError(f"daemon's chart must have a namespace to have clients in another one, got {namespace!r}")
        return f"tcp://{self.name}.{own}.svc:{_PORT}"

    def connect(self, workload: Workload) -> None:
        """Make a workload a client: ``DOCKER_HOST`` in each container that it has now, init containers too.

        :param workload: a Deployment, Job, CronJob or other workload of cdk8s-plus, in any chart
        :raises ValueError: the workload has no container yet, or is of another namespace while the daemon's chart has none
        """
        containers = [*workload.init_containers, *workload.containers]
        if not containers:
            raise ValueError(f"workload must have its containers before it connects, got none in {workload.node.path!r}")
        host = self.host_from(Chart.of(workload).namespace)
        for container in containers:
            container.env.add_variable("DOCKER_HOST", EnvValue.from_value(host))


@jsii.implements(IValidation)
class _OwnProcesses:
    """Refuse, when the app is synthesized, a patch that would break the lock."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    @jsii.member(jsii_name="validate")
    def validate(self) -> list[str]:
        pod = ApiObject.of(self._deployment).to_json()["spec"]["template"]["spec"]
        return [
            f"{field} must be off, an engine that outlives its container keeps the lock"
            for field in ("hostPID", "shareProcessNamespace")
            if pod.get(field)
        ]


def _script(name: str) -> str:
    return f"{DaemonFiles.SCRIPTS_PATH}/{name}"


def _probe(script: str, period: int, failures: int = 3) -> Probe:
    return Probe.from_command(
        ["sh", _script(script)],
        period_seconds=Duration.seconds(period),
        timeout_seconds=Duration.seconds(5),
        failure_threshold=failures,
    )
