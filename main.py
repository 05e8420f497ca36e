"""The app: edit the values below, then ``make synth`` or ``cdk8s synth`` writes dist/."""

from collections.abc import Sequence

from cdk8s import App, Chart, Cron, JsonPatch, Size
from cdk8s_plus_27 import k8s
from constructs import Construct

from dindcache import DindDaemon, LocalVolume, PruneSchedule

NAMESPACE = "kube-ops"
HOSTNAME = "node1"  # the node whose disk holds the cache: its label kubernetes.io/hostname
PATH = "/mnt/k8s/docker"  # a directory there that exists
STORAGE = Size.gibibytes(50)
REGISTRY_MIRRORS: Sequence[str] = ()  # mirrors of Docker Hub, such as "https://mirror.example"
INSECURE_REGISTRIES: Sequence[str] = ()  # registries without TLS, such as "registry.example:5000"


class DockerCache(Chart):
    """A namespace with one daemon, its volume on a node, and what clears it each week."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        hostname: str = HOSTNAME,
        path: str = PATH,
        registry_mirrors: Sequence[str] = REGISTRY_MIRRORS,
        insecure_registries: Sequence[str] = INSECURE_REGISTRIES,
    ) -> None:
        super().__init__(scope, id, namespace=NAMESPACE, disable_resource_name_hashes=True)
        namespace = k8s.KubeNamespace(
            self,
            "namespace",
            # The daemon is privileged, and so must be what the namespace allows.
            metadata=k8s.ObjectMeta(name=NAMESPACE, labels={"pod-security.kubernetes.io/enforce": "privileged"}),
        )
        # cdk8s stamps the chart's namespace on every object, on a Namespace too.
        namespace.add_json_patch(JsonPatch.remove("/metadata/namespace"))
        volume = LocalVolume(self, "docker", hostname=hostname, path=path, storage=STORAGE)
        self.daemon = DindDaemon(
            self,
            "docker-dind",
            volume=volume,
            registry_mirrors=registry_mirrors,
            insecure_registries=insecure_registries,
        )
        PruneSchedule(self, "clear-cache", daemon=self.daemon, schedule=Cron.weekly())


def build(app: App) -> None:
    """Every chart of this app."""
    DockerCache(app, "docker-cache")


if __name__ == "__main__":
    app = App()
    build(app)
    app.synth()
