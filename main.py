"""The app. Edit the values below; ``make synth`` or ``cdk8s synth`` then writes dist/, and gitlab/ and templates/ here."""

from collections.abc import Sequence
from pathlib import Path

from cdk8s import App, Chart, Cron, Size
from constructs import Construct

from dindcache import BuildNamespace, DindDaemon, LocalVolume, PodSecurity, PruneSchedule, SelfIssued
from dindcache.gitlab import GitLabCi, GitLabRunner

NAMESPACE = "kube-ops"
JOBS_NAMESPACE = "gitlab-jobs"  # where a GitLab Runner starts its jobs
HOSTNAME = "node1"  # the node whose disk holds the cache: its label kubernetes.io/hostname
PATH = "/mnt/k8s/docker"  # an existing directory on that node
STORAGE = Size.gibibytes(50)
REGISTRY_MIRRORS: Sequence[str] = ()  # mirrors of Docker Hub, such as "https://mirror.example"
INSECURE_REGISTRIES: Sequence[str] = ()  # registries without TLS, such as "registry.example:5000"


class DockerCache(Chart):
    """A namespace with one daemon, its volume on a node, and a daily prune."""

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
        BuildNamespace(self, "namespace")
        BuildNamespace(self, "jobs", name=JOBS_NAMESPACE, pod_security=PodSecurity.BASELINE)
        volume = LocalVolume(self, "docker", hostname=hostname, path=path, storage=STORAGE)
        self.daemon = DindDaemon(
            self,
            "docker-dind",
            volume=volume,
            tls=SelfIssued(client_namespaces=[JOBS_NAMESPACE]),
            registry_mirrors=registry_mirrors,
            insecure_registries=insecure_registries,
        )
        PruneSchedule(self, "clear-cache", daemon=self.daemon, schedule=Cron.daily())


def build(app: App) -> DockerCache:
    """Create every chart of this app."""
    return DockerCache(app, "docker-cache")


def gitlab(daemon: DindDaemon) -> dict[str, str]:
    """Return the files for GitLab by their paths. They are not for the cluster."""
    runner = GitLabRunner(daemon=daemon, namespace=JOBS_NAMESPACE)
    ci = GitLabCi(daemon=daemon)
    return {
        "gitlab/config.toml": runner.config(),
        "gitlab/values.yaml": runner.helm_values(),
        "gitlab/docker.gitlab-ci.yml": ci.template(),
        "templates/docker-build.yml": ci.component(),
    }


if __name__ == "__main__":
    app = App()
    files = gitlab(build(app).daemon)
    app.synth()
    # In this directory, wherever cdk8s synth writes the manifests: a Helm chart or a pipe has no use for them.
    for path, text in files.items():
        file = Path(__file__).parent / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
