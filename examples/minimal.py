"""The smallest app. Start from it for one daemon, one team and a disk of a node."""

from pathlib import Path

from cdk8s import App, Chart, Cron, Size

from dindcache import BuildNamespace, DindDaemon, LocalVolume, PruneSchedule


def build(app: App) -> None:
    """Create every chart of this app."""
    chart = Chart(app, "minimal", namespace="kube-ops")
    BuildNamespace(chart, "namespace")
    volume = LocalVolume(chart, "docker", hostname="node1", path="/mnt/k8s/docker", storage=Size.gibibytes(50))
    daemon = DindDaemon(chart, "docker-dind", volume=volume)
    PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.daily())


if __name__ == "__main__":
    app = App(outdir=str(Path(__file__).parent))
    build(app)
    app.synth()
