"""Two daemons that share nothing. Start from it to keep merge requests away from the releases of protected branches.

Each has a node whose taint only its own pods tolerate, and a namespace for the jobs of its group.
"""

from pathlib import Path

from cdk8s import App, Chart, Cron, Size
from cdk8s_plus_27 import k8s
from constructs import Construct

from dindcache import BuildNamespace, DindDaemon, LocalVolume, PodOptions, PodSecurity, PruneSchedule, SelfIssued


class TrustGroup(Chart):
    """The daemon of one group, in a namespace of its own, and the namespace of the group's jobs."""

    def __init__(self, scope: Construct, id: str, *, hostname: str, storage: Size) -> None:
        super().__init__(scope, id, namespace=f"docker-{id}")
        jobs = BuildNamespace(self, "jobs", name=f"jobs-{id}", pod_security=PodSecurity.BASELINE)
        BuildNamespace(self, "namespace")
        volume = LocalVolume(self, "docker", hostname=hostname, path="/mnt/docker", storage=storage)
        daemon = DindDaemon(
            self,
            "docker-dind",
            volume=volume,
            tls=SelfIssued(client_namespaces=[jobs.name]),
            pod=PodOptions(tolerations=[k8s.Toleration(key="docker", operator="Equal", value=id, effect="NoSchedule")]),
        )
        PruneSchedule(self, "clear-cache", daemon=daemon, schedule=Cron.daily())


def build(app: App) -> None:
    """Create every chart of this app."""
    TrustGroup(app, "protected", hostname="node1", storage=Size.gibibytes(50))
    TrustGroup(app, "merge-requests", hostname="node2", storage=Size.gibibytes(100))


if __name__ == "__main__":
    app = App(outdir=str(Path(__file__).parent))
    build(app)
    app.synth()
