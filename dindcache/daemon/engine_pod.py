"""The pod of a daemon: one container that waits for the lock, and one that runs the engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdk8s import ApiObjectMetadata, Duration, Size
from cdk8s_plus_27 import (
    Container,
    ContainerLifecycle,
    ContainerPort,
    ContainerResources,
    ContainerSecurityContextProps,
    Deployment,
    DeploymentStrategy,
    EmptyDirMedium,
    EnvValue,
    Handler,
    ImagePullPolicy,
    LabelSelector,
    PodSecurityContextProps,
    Probe,
    Secret,
    SecretValue,
    Volume,
)
from constructs import Construct

from dindcache._patch import patch_pod
from dindcache._scripts import SCRIPTS_DIRECTORY, SCRIPTS_PATH, script_command
from dindcache.cleanup.disk_guard import UNPRIVILEGED_ROOT, DiskGuard
from dindcache.daemon.files import DaemonFiles
from dindcache.daemon.timing import LIVENESS_FAILURES, LIVENESS_PERIOD_SECONDS, Timing
from dindcache.monitoring.exporter import COLLECTOR_NAME, EXPORTER_NAME
from dindcache.pod import PodOptions

LOCK_NAME = "wait-for-lock"
"""Name of the container that waits for the lock."""

CONTAINER_NAMES = (LOCK_NAME, DiskGuard.NAME, COLLECTOR_NAME, EXPORTER_NAME)
"""Names of the containers besides the engine's, which is named after the daemon."""

DATA_PATH = "/var/lib/docker/"
"""Directory of the data root."""

_SOCKET_PATH = "/run/dindcache"
_PERIOD_SECONDS = {"startup": 5, "liveness": LIVENESS_PERIOD_SECONDS, "readiness": 5}


# What an engine needs that is not privileged, in a user namespace, whose capabilities reach nothing outside of it.
_USER_NAMESPACE: dict[str, Any] = {
    # Mounts; the bridge and the firewall; the network namespaces of containers whose user is not root (moby #52268).
    "securityContext/capabilities": {"add": ["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE"]},
    # A container gets a /proc of its own only where nothing of the visible one is masked.
    "securityContext/procMount": "Unmasked",
    # The default profiles forbid mount and unshare.
    "securityContext/seccompProfile": {"type": "Unconfined"},
    "securityContext/appArmorProfile": {"type": "Unconfined"},
    "securityContext/seLinuxOptions": {"type": "spc_t"},
}


@dataclass(frozen=True, kw_only=True)
class EnginePod:
    """The Deployment of a daemon.

    :param name: Name of the daemon
    :param image: Image of the engine
    :param port: Port of the daemon
    :param flags: Flags of dockerd
    :param timing: Times of the daemon
    :param resources: Resources of its containers
    :param options: Options of all pods of the daemon
    :param user_namespace: Whether it runs in a user namespace
    :param seccomp_profile: Path of its seccomp profile on the node
    :param node_selector: Labels of its nodes
    :param runtime_class_name: Name of its RuntimeClass
    :param proxy_secret: Name of the Secret with the URLs of its proxies
    :param traces: URL of the collector that gets its spans
    """

    name: str
    image: str
    port: int
    flags: Sequence[str]
    timing: Timing
    resources: ContainerResources
    user_namespace: bool
    seccomp_profile: str | None
    options: PodOptions
    node_selector: Mapping[str, str]
    runtime_class_name: str | None
    proxy_secret: str | None
    traces: str | None

    def deployment(self, scope: Construct, id: str, *, files: DaemonFiles, data: Volume) -> Deployment:
        """Create the Deployment with its two containers.

        :param files: Files of the pod
        :param data: Volume with the data root
        """
        labels = {"app": self.name}
        deployment = Deployment(
            scope,
            id,
            metadata=ApiObjectMetadata(name=self.name, labels=labels),
            replicas=1,
            strategy=DeploymentStrategy.recreate(),
            select=False,
            pod_metadata=ApiObjectMetadata(
                labels={**(self.options.labels or {}), **labels},
                annotations={
                    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                    "kubectl.kubernetes.io/default-container": self.name,
                    **(self.options.annotations or {}),
                    # Without it, a change of the ConfigMap would restart nothing.
                    "checksum/config": files.checksum,
                },
            ),
            # Never an fsGroup: the kubelet would change the owner of every file of the data root.
            security_context=PodSecurityContextProps(ensure_non_root=False),
            termination_grace_period=Duration.seconds(self.timing.grace_period),
            progress_deadline=Duration.seconds(self.timing.progress_deadline),
        )
        deployment.select(LabelSelector.of(labels=labels))
        self._add_lock(deployment, files, data)
        self._add_engine(deployment, files, data)
        pod = {
            "nodeSelector": dict(self.node_selector),
            "runtimeClassName": self.runtime_class_name,
            "hostUsers": False if self.user_namespace else None,
            **self.options.spec(),
        }
        engine = {
            # A hung engine has no clients to wait for.
            "livenessProbe/terminationGracePeriodSeconds": 15,
            **(_USER_NAMESPACE if self.user_namespace else {}),
        }
        if self.seccomp_profile is not None:
            profile = {"type": "Localhost", "localhostProfile": self.seccomp_profile}
            engine["securityContext/seccompProfile"] = profile
        patch_pod(deployment, pod, containers={self.name: engine, LOCK_NAME: UNPRIVILEGED_ROOT})
        return deployment

    def _add_lock(self, deployment: Deployment, files: DaemonFiles, data: Volume) -> None:
        lock = deployment.add_init_container(
            name=LOCK_NAME,
            image=self.image,
            image_pull_policy=ImagePullPolicy.IF_NOT_PRESENT,
            command=["sh", f"/config/{SCRIPTS_DIRECTORY}/prepare.sh"],
            env_variables=_variables({"CONFIG": "/config", "FILES": "/files"}),
            # A pod requests the larger of its largest init container and the sum of its other containers, so this adds nothing.
            # A quota can require it.
            resources=self.resources,
            # Only root can read the data root.
            security_context=ContainerSecurityContextProps(ensure_non_root=False, user=0),
        )
        lock.mount("/config", files.source, read_only=True)
        lock.mount("/files", files.copy)
        lock.mount(DATA_PATH, data, read_only=True)

    def _add_engine(self, deployment: Deployment, files: DaemonFiles, data: Volume) -> None:
        mode = {"USER_NAMESPACE": "1"} if self.user_namespace else {}
        engine = deployment.add_container(
            name=self.name,
            image=self.image,
            image_pull_policy=ImagePullPolicy.IF_NOT_PRESENT,
            command=[*script_command("lock.sh"), *script_command("start.sh")],
            args=list(self.flags),
            env_variables=_variables({"PORT": str(self.port), **self.timing.environment, **mode}),
            ports=[ContainerPort(name="daemon-port", number=self.port)],
            resources=self.resources,
            security_context=ContainerSecurityContextProps(
                privileged=not self.user_namespace,
                allow_privilege_escalation=True,
                ensure_non_root=False,
                read_only_root_filesystem=False,
            ),
            lifecycle=ContainerLifecycle(pre_stop=Handler.from_command(script_command("drain.sh"))),
            startup=_probe("startup", failures=-(-self.timing.startup // _PERIOD_SECONDS["startup"])),
            liveness=_probe("liveness"),
            # A busy engine answers late. It keeps its clients as long as it is not restarted.
            readiness=_probe("readiness", failures=LIVENESS_FAILURES * LIVENESS_PERIOD_SECONDS // _PERIOD_SECONDS["readiness"]),
        )
        engine.mount(DATA_PATH, data)
        engine.mount(SCRIPTS_PATH, files.copy, sub_path=SCRIPTS_DIRECTORY, read_only=True)
        engine.mount("/etc/docker", files.copy, sub_path=files.ENGINE_DIRECTORY, read_only=True)
        self._add_proxies(deployment, engine)
        if self.traces is not None:
            # Build steps and containers do not inherit the engine's variables.
            for name, value in {"ENDPOINT": self.traces, "PROTOCOL": "http/protobuf"}.items():
                engine.env.add_variable(f"OTEL_EXPORTER_OTLP_{name}", EnvValue.from_value(value))
            engine.env.add_variable("OTEL_SERVICE_NAME", EnvValue.from_value(self.name))

    def _add_proxies(self, deployment: Deployment, engine: Container) -> None:
        if self.proxy_secret is None:
            return
        secret = Secret.from_secret_name(deployment, "proxies", self.proxy_secret)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
            value = EnvValue.from_secret_value(SecretValue(secret=secret, key=name), optional=True)
            engine.env.add_variable(name, value)


def add_socket(scope: Construct, id: str, engine: Container) -> tuple[str, Volume]:
    """Add a second socket to the engine, for other containers of its pod, and return its directory and the directory's volume.

    :param engine: Container of the engine
    """
    # In memory: on a full disk the engine could not create the socket.
    memory = EmptyDirMedium.MEMORY
    socket = Volume.from_empty_dir(scope, id, "engine-socket", medium=memory, size_limit=Size.mebibytes(1))
    engine.mount(_SOCKET_PATH, socket)
    return _SOCKET_PATH, socket


def _variables(values: Mapping[str, str]) -> dict[str, EnvValue]:
    return {name: EnvValue.from_value(value) for name, value in values.items()}


def _probe(kind: str, failures: int = LIVENESS_FAILURES) -> Probe:
    return Probe.from_command(
        script_command("ready.sh" if kind == "readiness" else "alive.sh"),
        period_seconds=Duration.seconds(_PERIOD_SECONDS[kind]),
        # Longer than the script waits for the answer: on a busy node, starting a process takes seconds.
        timeout_seconds=Duration.seconds(15),
        failure_threshold=failures,
    )
