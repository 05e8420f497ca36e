"""Three daemons on three nodes. Start from it when one node is not enough: each project builds on one of them.

A GitLab Runner with the configuration of ``GitLabRunner(daemon=fleet, namespace="gitlab-jobs")`` gives each job the daemon with
the layers of its project.
"""

from collections.abc import Sequence
from pathlib import Path

from cdk8s import App, Chart, Cron, Size
from constructs import Construct

from dindcache import BuildNamespace, DindFleet, LocalStorageClass, LocalVolume, PodSecurity, SelfIssued


class DockerFleet(Chart):
    """The daemons in a namespace, and the namespace of the jobs."""

    def __init__(self, scope: Construct, id: str, *, hostnames: Sequence[str], storage: Size) -> None:
        super().__init__(scope, id, namespace="kube-ops")
        BuildNamespace(self, "namespace")
        jobs = BuildNamespace(self, "jobs", name="gitlab-jobs", pod_security=PodSecurity.BASELINE)
        storage_class = LocalStorageClass(self, "local")
        volumes = {
            hostname: LocalVolume(
                self, f"docker-{hostname}", hostname=hostname, path="/mnt/docker", storage=storage, storage_class=storage_class
            )
            for hostname in hostnames
        }
        self.fleet = DindFleet(self, "docker-dind", volumes=volumes, tls=SelfIssued(client_namespaces=[jobs.name]))
        self.fleet.schedule_prune("clear-cache", schedule=Cron.daily())


def build(app: App) -> None:
    """Create every chart of this app."""
    DockerFleet(app, "fleet", hostnames=["node1", "node2", "node3"], storage=Size.gibibytes(100))


if __name__ == "__main__":
    app = App(outdir=str(Path(__file__).parent))
    build(app)
    app.synth()
