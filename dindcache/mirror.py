"""A mirror of Docker Hub in the cluster, from which daemons pull base images."""

from cdk8s import ApiObject, Duration
from cdk8s_plus_27 import Namespaces, Pods, k8s
from constructs import Construct

from dindcache import _check
from dindcache._names import ObjectName, chart_of, reserve
from dindcache._typed import typed
from dindcache.images import pinned
from dindcache.network import ingress_policy, service_props
from dindcache.pod import PodOptions, restricted_container, restricted_pod
from dindcache.volume import DataVolume

_PORT = 5000  # the image's own
_DATA = "data"


class RegistryMirror(Construct):
    """A registry that pulls an image of Docker Hub once, and serves it to all daemons from then on.

    It is the official registry as a pull-through cache. What it has, it also serves while Docker Hub is down, but it does not
    start then. Only daemons with ``mirror=`` reach it, without TLS: the NetworkPolicy admits their pods by a label, in every
    namespace. Use it for public images: whoever builds on one of the daemons can pull what the credentials can.

    :param volume: Volume for the images: a `LocalVolume`, a `ClaimedVolume`, or an object with ``storage``, ``claim`` and
        ``hostname``
    :param name: Name of the Deployment and of the Service, and thus the host name of the mirror. Defaults to the id
    :param image: Image of the registry, of version 3. Defaults to an exact release
    :param upstream: URL of the registry that it mirrors. Daemons use a mirror for images of Docker Hub only. Defaults to Docker
        Hub
    :param credentials_secret: Name of a Secret in the mirror's namespace with ``username`` and ``password``, which raise the
        limits of Docker Hub. Defaults to none
    :param keep_for: Time from the pull of an image until it is removed, in whole seconds. Then it is pulled again on demand.
        Defaults to seven days
    :param pod: Options of the pod. Defaults to none
    :raises ValueError: A value is invalid, or another construct of the app creates an object of this name
    """

    @typed
    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        volume: DataVolume,
        name: str | None = None,
        image: str = "registry:3.0.0",
        upstream: str = "https://registry-1.docker.io",
        credentials_secret: str | None = None,
        keep_for: Duration | None = None,
        pod: PodOptions | None = None,
    ) -> None:
        chart, name = chart_of(scope), id if name is None else name
        pod = PodOptions() if pod is None else pod
        _check.service_name("name", name)
        _check.image("image", image)
        _check.url("upstream", upstream)
        if credentials_secret is not None:
            _check.dns_subdomain("credentials_secret", credentials_secret)
        seconds = _check.whole_seconds("keep_for", Duration.days(7) if keep_for is None else keep_for)
        own = [ObjectName(kind, name) for kind in ("Deployment", "Service", "NetworkPolicy")]
        reserve(scope, id, *own, ObjectName("daemon of volume", volume.claim.node.path))

        super().__init__(scope, id)
        self.name, self.namespace = name, chart.namespace
        self.host = f"{name}.{chart.namespace}.svc:{_PORT}" if chart.namespace else f"{name}:{_PORT}"
        self.url = f"http://{self.host}"
        self.labels = {"dindcache/mirror": name}
        """Labels of the pods that the NetworkPolicy admits."""
        environment = {
            "REGISTRY_PROXY_REMOTEURL": upstream,
            "REGISTRY_PROXY_TTL": f"{seconds}s",
            "OTEL_TRACES_EXPORTER": "none",  # or it logs that nothing collects them
        }
        self.deployment = self._deployment(image, environment, credentials_secret, volume.claim, pod)
        self.service = k8s.KubeService(self, "service", **service_props(name=name, port=_PORT))
        daemons = Pods.select(self, "daemons", labels=self.labels, namespaces=Namespaces.all(self, "namespaces"))
        self.network_policy = ingress_policy(self, name=name, port=_PORT, peer=daemons)

    def _deployment(
        self, image: str, environment: dict[str, str], credentials: str | None, claim: ApiObject, options: PodOptions
    ) -> k8s.KubeDeployment:
        labels = {"app": self.name}
        variables = [k8s.EnvVar(name=key, value=value) for key, value in environment.items()]
        for key in ("username", "password") if credentials else ():
            source = k8s.EnvVarSource(secret_key_ref=k8s.SecretKeySelector(name=credentials, key=key))
            variables.append(k8s.EnvVar(name=f"REGISTRY_PROXY_{key.upper()}", value_from=source))
        answers = k8s.Probe(http_get=k8s.HttpGetAction(path="/v2/", port=k8s.IntOrString.from_number(_PORT)), timeout_seconds=5)
        container = k8s.Container(
            name=self.name,
            image=pinned(self, image),
            image_pull_policy="IfNotPresent",
            env=variables,
            ports=[k8s.ContainerPort(container_port=_PORT)],
            readiness_probe=answers,
            security_context=restricted_container(),
            volume_mounts=[k8s.VolumeMount(name=_DATA, mount_path="/var/lib/registry")],
        )
        claimed = k8s.PersistentVolumeClaimVolumeSource(claim_name=claim.name)
        spec = k8s.PodSpec(
            automount_service_account_token=False,
            security_context=restricted_pod(),
            containers=[container],
            volumes=[k8s.Volume(name=_DATA, persistent_volume_claim=claimed)],
            **options.props(),
        )
        metadata = k8s.ObjectMeta(labels={**(options.labels or {}), **labels}, annotations=options.annotations)
        return k8s.KubeDeployment(
            self,
            "deployment",
            metadata=k8s.ObjectMeta(name=self.name, labels=labels),
            spec=k8s.DeploymentSpec(
                replicas=1,
                strategy=k8s.DeploymentStrategy(type="Recreate"),  # two must not write to one volume
                selector=k8s.LabelSelector(match_labels=labels),
                template=k8s.PodTemplateSpec(metadata=metadata, spec=spec),
            ),
        )
