"""The Docker daemon that all jobs build with."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import jsii
from cdk8s import ApiObject, Chart, Duration
from cdk8s_plus_27 import ContainerResources, Deployment, Workload, k8s
from constructs import Construct

from dindcache import _check
from dindcache._names import ObjectName, chart_of, reserve
from dindcache._typed import typed
from dindcache.build_cache import BuildCache
from dindcache.cleanup.disk_guard import DiskGuard
from dindcache.cleanup.retention import Retention
from dindcache.daemon.client import Client
from dindcache.daemon.engine_pod import CONTAINER_NAMES, EnginePod, add_socket
from dindcache.daemon.files import DaemonFiles, daemon_files
from dindcache.daemon.timing import Timing
from dindcache.engine import Engine
from dindcache.images import DEFAULT_IMAGE, client_image, pinned
from dindcache.mirror import RegistryMirror
from dindcache.monitoring import Monitoring
from dindcache.monitoring.exporter import MetricsExporter
from dindcache.network import ClientPolicy, service_props
from dindcache.pod import PodOptions
from dindcache.tls.certificates import DaemonIdentity, Tls
from dindcache.tls.self_issued import SelfIssued
from dindcache.volume import DataVolume, claim_volume

_TLS_PORT, _PORT = 2376, 2375  # Docker's own
# The usual names of their RuntimeClasses begin so.
_SANDBOXES = ("gvisor", "kata", "runsc", "sysbox")
CERTIFICATES_PATH = "/certs/server"
"""Directory of the daemon's own certificate."""


class DindDaemon(Construct):
    """A Docker daemon in a pod, with its data on a volume, behind a Service that clients use as their ``DOCKER_HOST``.

    Only one daemon uses a volume at a time: an init container waits until the previous one releases it. On shutdown the pod
    waits up to ``drain_timeout`` for connected clients; a client that follows logs keeps it waiting, detached containers do
    not. The engine is restarted after six failed probes, 10 s apart. Every pod with a client certificate and the client label
    can connect, and has root on the daemon's node.

    :param volume: Volume for the engine's data: a `LocalVolume`, a `ClaimedVolume`, or an object with ``storage``, ``claim``
        and ``hostname``. A volume can have only one daemon
    :param name: Name of the Deployment and of the Service, and thus the host name that clients use; also the value of the label
        ``app``. Defaults to the id
    :param image: Image of the engine. Defaults to an exact release, so that a restart never upgrades it. If its tag does not
        contain the engine's version, ``engine`` must
    :param tls: Authentication of the daemon and its clients: `SelfIssued`, `CertManager`, `GivenSecrets` or `NoTls`. Defaults
        to a CA of the daemon's own, with nothing to install
    :param engine: Configuration of the engine. A change restarts the daemon
    :param build_cache: Budget of the build cache. Defaults to half of the volume
    :param retention: Objects that stay when space is reclaimed. Defaults to those that are in use, are young or have the label
        ``dindcache.keep``
    :param disk_guard: Whether a second container reclaims space when the disk is nearly full. Defaults to True
    :param monitoring: Metrics for Prometheus, and the report. Requires Engine 28 or later. Defaults to none
    :param traces: URL of an OpenTelemetry collector, such as ``http://collector:4318``, that gets the engine's spans over HTTP,
        those of builds included. Defaults to none
    :param mirror: Mirror of Docker Hub in this app, which is tried first. Defaults to none
    :param registry_mirrors: URLs of further mirrors of Docker Hub, tried in this order. Defaults to none
    :param insecure_registries: Registries without TLS, as ``host[:port]`` or networks. Defaults to none
    :param engine_flags: Further flags of dockerd, each a word such as ``--debug``. Defaults to none
    :param drain_timeout: Longest time that a terminating daemon waits for its clients, in whole seconds. Halfway through, it
        rejects new ones. The pod's grace period, the Deployment's progress deadline and the time to start derive from it.
        Defaults to 30 minutes
    :param reload_timeout: Longest time that a daemon with a renewed certificate waits for a moment without clients, in whole
        seconds. Then it drains. Defaults to a day
    :param resources: Resources of the engine's container and of the init container. If they request exactly their limits of
        CPU and memory, so do the other containers, and the pod is Guaranteed. Defaults to no requests and no limits
    :param user_namespace: Whether the engine's container runs unprivileged in a user namespace of the pod, so that a client is
        not root on the node. Requires an empty data root, and nodes with Kubernetes 1.33, containerd 2.1 with
        ``cgroup_writable``, Linux 6.3 and cgroup v2 or later ones. Defaults to False
    :param seccomp_profile: Path of a seccomp profile in the kubelet's directory for them, such as
        ``profiles/dindcache.json``, which each node of the daemon must have. Only with ``user_namespace``. Defaults to none,
        ``Unconfined``
    :param node_selector: Labels of the nodes that the daemon can run on. Only for a volume whose node is not known. Defaults to
        any node
    :param runtime_class_name: Name of the RuntimeClass of the pod. Defaults to the node's own runtime
    :param pod: Options of every pod of the daemon, including those of its certificates and its prunes. Defaults to none
    :raises ValueError: A value is invalid, does not fit another, or names an object that another construct of the app creates
    """

    @typed
    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        volume: DataVolume,
        name: str | None = None,
        image: str = DEFAULT_IMAGE,
        tls: Tls | None = None,
        engine: Engine | None = None,
        build_cache: BuildCache | None = None,
        retention: Retention | None = None,
        disk_guard: bool = True,
        monitoring: Monitoring | None = None,
        traces: str | None = None,
        mirror: RegistryMirror | None = None,
        registry_mirrors: Sequence[str] = (),
        insecure_registries: Sequence[str] = (),
        engine_flags: Sequence[str] = (),
        drain_timeout: Duration | None = None,
        reload_timeout: Duration | None = None,
        resources: ContainerResources | None = None,
        user_namespace: bool = False,
        seccomp_profile: str | None = None,
        node_selector: Mapping[str, str] | None = None,
        runtime_class_name: str | None = None,
        pod: PodOptions | None = None,
    ) -> None:
        chart, name = chart_of(scope), id if name is None else name
        tls = SelfIssued() if tls is None else tls
        engine = Engine() if engine is None else engine
        pod = PodOptions() if pod is None else pod
        resources = ContainerResources() if resources is None else resources

        _check_names(name, image, runtime_class_name)
        client, image = pinned(scope, client_image(image)), pinned(scope, image)
        _check_user_namespace(
            user_namespace=user_namespace, seccomp_profile=seccomp_profile, runtime_class_name=runtime_class_name
        )
        _check_volume(chart, volume, node_selector or {})
        _check.resources("resources", resources)
        timing = Timing.of(drain_timeout=drain_timeout, reload_timeout=reload_timeout)
        identity = DaemonIdentity(
            name=name,
            namespace=chart.namespace,
            labels={"app": name},
            image=image,
            hostnames={name: volume.hostname},
            rollout_seconds=timing.rollout,
            pod=pod,
        )
        release = engine.release(image)
        builder = (BuildCache() if build_cache is None else build_cache).settings(storage=volume.storage, release=release)
        _check_monitoring(monitoring, traces, release, image)
        data = daemon_files(engine, daemon_json=engine.daemon_json(builder=builder), monitoring=monitoring)
        if mirror:
            registry_mirrors = [mirror.url, *registry_mirrors]
            # The builder of Engine 27 speaks https to every other mirror, whatever its URL says.
            insecure_registries = [mirror.host, *insecure_registries]
        flags = _flags(engine, engine_flags, registry_mirrors=registry_mirrors, insecure_registries=insecure_registries)
        reserve(scope, id, *_objects(name, volume), *tls.objects(identity))

        super().__init__(scope, id)
        self.name, self.namespace, self.image, self.volume, self.engine = name, chart.namespace, image, volume, engine
        self.retention = Retention() if retention is None else retention
        self.drain_timeout, self.reload_timeout = Duration.seconds(timing.drain), Duration.seconds(timing.reload)
        self.timing, self.pod, self.monitoring = timing, pod, monitoring
        self.client_image = client
        self._certificates = tls.certificates(self, identity)
        self.port = _TLS_PORT if self._certificates else _PORT
        files = DaemonFiles(self, "files", name=name, data=data, engine=engine)
        engine_pod = EnginePod(
            name=name,
            image=image,
            port=self.port,
            flags=[*flags, *_listeners(self.port, is_encrypted=self._certificates is not None)],
            timing=timing,
            resources=resources,
            options=pod,
            user_namespace=user_namespace,
            seccomp_profile=seccomp_profile,
            node_selector=node_selector or {},
            runtime_class_name=runtime_class_name,
            proxy_secret=engine.proxy_secret,
            traces=traces,
        )
        volume.claim.metadata.add_label("app", name)
        data_volume = claim_volume(self, volume.claim)
        self.deployment = engine_pod.deployment(self, "deployment", files=files, data=data_volume)
        (self.container,) = self.deployment.containers
        for label, value in (mirror.labels if mirror else {}).items():
            self.deployment.pod_metadata.add_label(label, value)
        certificate = None
        if self._certificates:
            certificate = CERTIFICATES_PATH, self._certificates.servers[name].volume(self.deployment, "certificate")
            self.container.mount(*certificate, read_only=True)
        socket = add_socket(self, "socket", self.container) if disk_guard or monitoring else None
        if disk_guard and socket:
            DiskGuard(
                self,
                "disk-guard",
                deployment=self.deployment,
                image=image,
                resources=resources,
                data=data_volume,
                scripts=files.copy,
                socket=socket,
                retention=self.retention,
            )
        self.service = self._service()
        namespaces = [chart.namespace, *tls.client_namespaces] if chart.namespace else []
        self.client_policy = ClientPolicy(self, "client-policy", name=name, port=self.port, namespaces=namespaces)
        if monitoring and socket:
            MetricsExporter(
                self,
                "metrics",
                deployment=self.deployment,
                monitoring=monitoring,
                image=image,
                resources=resources,
                port=self.port,
                image_store=engine.image_store,
                retention=self.retention,
                data=data_volume,
                scripts=files.copy,
                socket=socket,
                certificate=certificate,
            )
            self.client_policy.allow_scrapers(
                monitoring.PORT, labels=monitoring.scraper_labels, namespaces=monitoring.scraper_namespaces
            )

    def _service(self) -> k8s.KubeService:
        service = _CheckedService(self, "service", **service_props(name=self.name, port=self.port))
        service.deployment = self.deployment
        return service

    @typed
    def client(self, namespace: str | None = None) -> Client:
        """Return everything that a pod needs to use this daemon.

        :param namespace: Namespace of the pod. Defaults to the daemon's own
        :raises ValueError: The namespace gets no client Secret, or is given although the daemon's chart has no namespace
        """
        namespace = self.namespace if namespace is None else namespace
        host = self.name
        if namespace != self.namespace:
            if self.namespace is None:
                raise ValueError(f"chart of daemon {self.name!r} must have a namespace for clients in {namespace!r}, got None")
            host = f"{self.name}.{self.namespace}.svc"
        secret = None
        if self._certificates:
            secret = self._certificates.clients.get(namespace)
            if secret is None:
                raise ValueError(
                    f"daemon {self.name!r} issues no client certificate in namespace {namespace!r}: add it to client_namespaces"
                )
        return Client(daemon=self.name, host=f"tcp://{host}:{self.port}", secret=secret)

    @typed
    def connect(self, workload: Workload) -> None:
        """Make a workload a client: add the label to its pods, and the variables and the certificate to its containers.

        :param workload: Deployment, Job, CronJob or other workload of cdk8s-plus, in any chart, with all its containers
        :raises ValueError: The workload has no container yet, is already the client of a daemon, or its namespace gets no
            client Secret
        """
        namespace = workload.metadata.namespace  # its chart's, unless it has its own
        if namespace is None and self.namespace is not None:
            raise ValueError(
                f"workload must have a namespace to be a client of {self.name!r}, got none in {workload.node.path!r}"
            )
        self.client(namespace).connect(workload)


def _check_names(name: str, image: str, runtime_class_name: str | None) -> None:
    _check.service_name("name", name)
    if name in CONTAINER_NAMES:
        raise ValueError(f"name must not be that of another container of the pod, got {name!r}")
    _check.image("image", image)
    if runtime_class_name is not None:
        _check.dns_subdomain("runtime_class_name", runtime_class_name)


def _check_user_namespace(*, user_namespace: bool, seccomp_profile: str | None, runtime_class_name: str | None) -> None:
    if seccomp_profile is not None:
        if not user_namespace:
            raise ValueError(
                "seccomp_profile must be left out without user_namespace=True, since a privileged container has none, got"
                f" {seccomp_profile!r}"
            )
        path = PurePosixPath(seccomp_profile)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise ValueError(
                "seccomp_profile must be a path in the kubelet's directory of profiles, such as 'profiles/dindcache.json', got"
                f" {seccomp_profile!r}"
            )
    if user_namespace and runtime_class_name and runtime_class_name.startswith(_SANDBOXES):
        raise ValueError(
            "user_namespace must be left out with a RuntimeClass whose sandbox has a kernel or user namespaces of its own, got"
            f" runtime_class_name={runtime_class_name!r}"
        )


def _check_monitoring(monitoring: Monitoring | None, traces: str | None, release: int, image: str) -> None:
    if monitoring:
        monitoring.check_release(release, image)
    if traces is not None:
        _check.url("traces", traces)


def _check_volume(chart: Chart, volume: DataVolume, node_selector: Mapping[str, str]) -> None:
    _check.labels("node_selector", node_selector)
    if node_selector and volume.hostname is not None:
        raise ValueError(
            f"node_selector must be left out for a volume of node {volume.hostname!r}, got {dict(node_selector)!r}"
        )
    if volume.hostname is not None:
        _check.dns_subdomain("hostname of the volume", volume.hostname, longest=63)
    _check.whole_kibibytes("storage of the volume", volume.storage)
    claim = volume.claim
    if claim.node.root is not chart.node.root:
        raise ValueError(f"volume must be in the app of the daemon, got {claim.node.path!r} of another app")
    if claim.metadata.namespace != chart.namespace:
        got = f"{claim.node.path!r} in {claim.metadata.namespace!r}"
        raise ValueError(f"volume must be in the namespace of the daemon, {chart.namespace!r}, got {got}")


def _objects(name: str, volume: DataVolume) -> list[ObjectName]:
    own = [ObjectName(kind, name) for kind in ("ConfigMap", "Deployment", "Service", "NetworkPolicy")]
    return [*own, ObjectName("daemon of volume", volume.claim.node.path)]


def _listeners(port: int, *, is_encrypted: bool) -> list[str]:
    # Explicit, so that the image's entrypoint adds none of its own: with an empty certificate it would serve plain TCP, and it
    # rejects intermediate CAs that the engine accepts.
    listeners = ["--host=unix:///var/run/docker.sock", f"--host=tcp://0.0.0.0:{port}"]
    if not is_encrypted:
        return [*listeners, "--tls=false"]  # without it the engine warns and sleeps for 16 s at each start
    files = {"tlscacert": "ca.pem", "tlscert": "cert.pem", "tlskey": "key.pem"}
    return [*listeners, "--tlsverify", *(f"--{flag}={CERTIFICATES_PATH}/{file}" for flag, file in files.items())]


def _flags(
    engine: Engine, further: Sequence[str], *, registry_mirrors: Sequence[str], insecure_registries: Sequence[str]
) -> list[str]:
    engine.check_flags(further)
    return [
        *(f"--registry-mirror={_check.url('registry_mirrors', mirror)}" for mirror in registry_mirrors),
        *(f"--insecure-registry={_check.insecure_registry('insecure_registries', host)}" for host in insecure_registries),
        *further,
    ]


class _CheckedService(k8s.KubeService):
    """The Service of a daemon, which rejects patches of the Deployment that would break the lock or the drain.

    A validation of cdk8s would run once per chart of the app: for N daemons in N charts, N² times.
    """

    deployment: Deployment

    @jsii.member(jsii_name="toJson")
    def to_json(self) -> Any:
        """Return the manifest.

        :raises ValueError: A field of the pod breaks the daemon
        """
        pod = ApiObject.of(self.deployment).to_json()["spec"]["template"]["spec"]
        reasons = {
            "hostPID": "an engine that outlives its container keeps the lock",
            "shareProcessNamespace": "an engine that outlives its container keeps the lock",
            "hostNetwork": "the firewall rule of a drain would apply to the node, and no NetworkPolicy to the daemon",
        }
        for field, reason in reasons.items():
            if pod.get(field):
                raise ValueError(f"{field} of Deployment {self.deployment.name!r} must be off: {reason}, got {pod[field]!r}")
        for container in pod["containers"]:
            if pod.get("hostUsers") is False and container.get("volumeDevices"):
                raise ValueError(
                    f"volumeDevices of container {container['name']!r} must be left out: a user namespace has no devices, got"
                    f" {container['volumeDevices']!r}"
                )
        return super().to_json()
