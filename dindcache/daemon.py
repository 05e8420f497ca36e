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
from dindcache.access import Access
from dindcache.certificates import CertificateSecret, DaemonIdentity
from dindcache.engine import Engine
from dindcache.files import DaemonFiles
from dindcache.keep import Keep
from dindcache.relief import Relief
from dindcache.tls import SelfIssued, Tls
from dindcache.volume import ClaimedVolume, LocalVolume

# Docker's own: with and without TLS.
_TLS_PORT, _PORT = 2376, 2375
# After the drain: the engine gives its containers 15 s, then itself.
_SHUTDOWN_SECONDS = 60
# For an engine that recovers a large data-root after a crash.
_RECOVERY_SECONDS = 600
_STARTUP_PERIOD_SECONDS = 5
# Until the kubelet has written a Secret that changed into the pod: its sync period and its cache's, a minute each, and room.
_SYNC_SECONDS = 600
# Where the image's entrypoint and Docker's documentation have it.
CLIENT_PATH = "/certs/client"
"""Where a client has its certificate."""


class DindDaemon(Construct):
    """A Docker daemon in a pod, its data on a volume, behind a Service that jobs use as their ``DOCKER_HOST``.

    One at a time: an init container waits while another daemon has the volume. Before the pod ends it waits for its clients,
    at most ``drain``; what it cannot see are containers that run detached, and a client that follows logs holds it. It is
    ready when the engine answers, and one that hangs is restarted after three answers missing, 10 s apart. Who has a client
    certificate and the client label is let in, and is root on the daemon's node.

    :param volume: where the engine keeps its data; one daemon a volume
    :param name: of the Deployment, the Service (so the host that clients write) and the label ``app``; by default the id
    :param image: of the engine; by default an exact release, so that a restart never upgrades it. Where its tag does not say
        the engine's version, ``engine`` must
    :param tls: how daemon and clients trust each other: `SelfIssued`, `CertManager`, `GivenSecrets` or `NoTls`; by default a CA
        of its own issues, with nothing to install
    :param reload: how long a daemon whose certificate was renewed waits at most for a moment without clients, in whole
        seconds; by default a day. Then it drains
    :param engine: its configuration, ``daemon.json``; a change restarts the daemon
    :param registry_mirrors: URLs of mirrors of Docker Hub, tried in this order
    :param insecure_registries: ``host[:port]`` or networks of registries without TLS
    :param keep: what stays when room is made; by default nothing but what is in use, young or has the label ``dindcache.keep``
    :param relief: whether a second container removes images and build cache when the disk is nearly full
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
    :param annotations: of the pod, beside one that keeps the cluster autoscaler from evicting it and one that makes ``kubectl
        logs`` show the engine's
    :raises ValueError: the name is invalid or taken in this chart, the volume has a daemon, a mirror is no URL, a registry no
        host, an engine flag is no flag or one that is set already, drain or reload is no whole number of seconds, nodes are
        given for a `LocalVolume`, the engine's version cannot be told, its garbage collection does not fit the volume, or what
        ``tls`` says cannot be
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        volume: LocalVolume | ClaimedVolume,
        name: str | None = None,
        image: str = "docker:29.9.3-dind",
        tls: Tls | None = None,
        reload: Duration | None = None,
        engine: Engine | None = None,
        registry_mirrors: Sequence[str] = (),
        insecure_registries: Sequence[str] = (),
        engine_flags: Sequence[str] = (),
        keep: Keep | None = None,
        relief: bool = True,
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
        chart = Chart.of(scope)
        _check_place(chart, name, volume, nodes)
        for what, class_name in (("priority class", priority_class_name), ("runtime class", runtime_class_name)):
            if class_name is not None:
                _check.dns_subdomain(f"{what} name", class_name)
        drain_seconds = _check.whole_seconds("drain", drain or Duration.minutes(30))
        reload_seconds = _check.whole_seconds("reload", reload or Duration.days(1))
        tls = tls or SelfIssued()
        identity = DaemonIdentity(
            name=name,
            namespace=chart.namespace,
            image=image,
            image_pull_secrets=image_pull_secrets,
            hostname=volume.hostname if isinstance(volume, LocalVolume) else None,
            handover=reload_seconds + drain_seconds + _SYNC_SECONDS,
        )
        tls.check(identity)
        engine = engine or Engine()
        daemon_json = engine.daemon_json(image=image, storage=volume.storage)
        flags = [
            *(f"--registry-mirror={_check.url('registry mirror', mirror)}" for mirror in registry_mirrors),
            *(f"--insecure-registry={_check.insecure_registry(registry)}" for registry in insecure_registries),
            *engine.checked_flags(engine_flags),
        ]

        super().__init__(scope, id)
        take(chart, f"daemon {name}")
        take(volume, "daemon")
        self.name = name
        self._namespace = identity.namespace
        self.keep = keep or Keep()
        self._certificates = tls.certificates(self, identity)
        self.closed_seconds = drain_seconds - drain_seconds // 2 + _SHUTDOWN_SECONDS
        """How long it takes no new clients before it ends, at most."""
        self._port = _TLS_PORT if self._certificates else _PORT
        # Said out loud: with an empty file for a certificate the image's entrypoint would serve without TLS, and without either
        # the engine warns and sleeps for 16 s at each start.
        flags.append("--tlsverify" if self._certificates else "--tls=false")
        labels = {"app": name}
        volume.claim.metadata.add_label("app", name)
        files = DaemonFiles(self, "files", name=name, daemon_json=daemon_json, engine=engine)
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
                    "kubectl.kubernetes.io/default-container": name,
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
            command=[*lock, "sh", _script("start.sh"), str(self._port), str(reload_seconds), str(drain_seconds)],
            args=flags,
            env_variables={"DOCKER_TLS_CERTDIR": EnvValue.from_value("/certs" if self._certificates else "")},
            ports=[ContainerPort(name="daemon-port", number=self._port)],
            resources=resources or ContainerResources(),
            security_context=ContainerSecurityContextProps(
                privileged=True,
                allow_privilege_escalation=True,
                ensure_non_root=False,
                read_only_root_filesystem=False,
            ),
            lifecycle=ContainerLifecycle(
                pre_stop=Handler.from_command(
                    ["sh", _script("drain.sh"), str(drain_seconds // 2), str(drain_seconds), str(self._port)]
                )
            ),
            startup=_probe("alive.sh", _STARTUP_PERIOD_SECONDS, failures=-(-startup_seconds // _STARTUP_PERIOD_SECONDS)),
            liveness=_probe("alive.sh", 10),
            readiness=_probe("ready.sh", 5),
        )
        self.container.mount("/var/lib/docker/", volume)
        self.container.mount(DaemonFiles.SCRIPTS_PATH, files.scripts, read_only=True)
        self.container.mount(DaemonFiles.ENGINE_PATH, files.engine, read_only=True)
        if self._certificates:
            certificate = self._certificates.server.volume(self.deployment, "certificate")
            self.container.mount("/certs/server", certificate, read_only=True)
        if relief:
            Relief(self, "relief", deployment=self.deployment, image=image, volume=volume, files=files, keep=self.keep)
        self._patch(
            {
                # A hung engine has no clients to wait for.
                "containers/0/livenessProbe/terminationGracePeriodSeconds": 15,
                # It owns what it opens.
                "initContainers/0/securityContext/capabilities": {"drop": ["ALL"]},
                "initContainers/0/securityContext/seccompProfile": {"type": "RuntimeDefault"},
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
                ports=[k8s.ServicePort(port=self._port, target_port=k8s.IntOrString.from_number(self._port))],
                selector=labels,
            ),
        )
        self.access = Access(
            self,
            "access",
            name=name,
            port=self._port,
            namespaces=[identity.namespace, *tls.client_namespaces] if identity.namespace else [],
        )

    def _patch(self, pod: dict[str, Any]) -> None:
        """What cdk8s-plus has no props for."""
        patches = [JsonPatch.add(f"/spec/template/spec/{path}", value) for path, value in pod.items() if value]
        ApiObject.of(self.deployment).add_json_patch(*patches)

    @property
    def host(self) -> str:
        """What a client in the daemon's own namespace writes as its ``DOCKER_HOST``."""
        return f"tcp://{self.name}:{self._port}"

    def host_from(self, namespace: str | None) -> str:
        """What a client in a namespace writes as its ``DOCKER_HOST``.

        :param namespace: the client's, None for that of ``kubectl apply``
        :raises ValueError: it is another than the daemon's, and the daemon's chart has none
        """
        if namespace == self._namespace:
            return self.host
        if self._namespace is None:
            raise ValueError(f"daemon's chart must have a namespace to have clients in another one, got {namespace!r}")
        return f"tcp://{self.name}.{self._namespace}.svc:{self._port}"

    def client_secret_from(self, namespace: str | None) -> CertificateSecret | None:
        """The Secret with a client's certificate in a namespace; None for a daemon without TLS.

        :param namespace: the client's, None for that of ``kubectl apply``
        :raises ValueError: it gets none
        """
        if self._certificates is None:
            return None
        if namespace not in self._certificates.clients:
            raise ValueError(f"client's namespace must be one of client_namespaces to have a client Secret, got {namespace!r}")
        return self._certificates.clients[namespace]

    def environment_from(self, namespace: str | None) -> dict[str, str]:
        """The variables of a client in a namespace, whose certificate is mounted at ``/certs/client``.

        :param namespace: the client's, None for that of ``kubectl apply``
        :raises ValueError: it gets no client Secret
        """
        variables = {"DOCKER_HOST": self.host_from(namespace)}
        if self.client_secret_from(namespace):
            variables |= {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": CLIENT_PATH}
        return variables

    def connect(self, workload: Workload) -> None:
        """Make a workload a client, with the label that the NetworkPolicy admits, ``DOCKER_HOST`` and a certificate.

        Each container that it has now gets them, init containers too.

        :param workload: a Deployment, Job, CronJob or other workload of cdk8s-plus, in any chart
        :raises ValueError: the workload has no container yet, is a client already, or its namespace gets no client Secret
        """
        containers = [*workload.init_containers, *workload.containers]
        if not containers:
            raise ValueError(f"workload must have its containers before it connects, got none in {workload.node.path!r}")
        if is_taken(workload, "client of a daemon"):
            raise ValueError(f"workload must be the client of one daemon, got {workload.node.path!r} again for {self.name!r}")
        namespace = workload.metadata.namespace  # its chart's, unless it has its own
        variables = self.environment_from(namespace)
        secret = self.client_secret_from(namespace)
        take(workload, "client of a daemon")
        volume = secret and secret.volume(workload, "docker-certificate")
        for label, value in Access.CLIENT_LABELS.items():
            workload.pod_metadata.add_label(label, value)
        for container in containers:
            environment = container.env
            for variable, value in variables.items():
                environment.add_variable(variable, EnvValue.from_value(value))
            if volume:
                container.mount(CLIENT_PATH, volume, read_only=True)


def _check_place(chart: Chart, name: str, volume: LocalVolume | ClaimedVolume, nodes: Sequence[NodeLabelQuery]) -> None:
    if is_taken(chart, f"daemon {name}"):
        raise ValueError(f"daemon name must be unique in a chart, got {name!r} twice")
    if is_taken(volume, "daemon"):
        raise ValueError(f"volume must have one daemon, got {volume.node.path!r} for a second, {name!r}")
    if nodes and isinstance(volume, LocalVolume):
        raise ValueError(f"nodes must be left to the local volume, got {len(nodes)} queries with {volume.node.path!r}")


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
