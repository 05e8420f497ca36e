"""Constructs of your own. Start from it to give several teams one construct with the defaults of your company."""

from pathlib import Path

from cdk8s import App, Chart, Cron, Duration, Size
from constructs import Construct

from dindcache import AddressPool, BuildNamespace, ClaimedVolume, DindDaemon, Engine, PodOptions, PruneSchedule, Retention


class CompanyDaemon(DindDaemon):
    """A daemon with the mirror, the networks and the labels of the company, on a volume of its StorageClass."""

    def __init__(self, scope: Construct, id: str, *, team: str, storage: Size) -> None:
        super().__init__(
            scope,
            id,
            volume=ClaimedVolume(scope, f"{id}-data", storage=storage, storage_class_name="fast-ssd"),
            registry_mirrors=["https://mirror.example"],
            engine=Engine(address_pools=[AddressPool(base="172.30.0.0/16")]),
            retention=Retention(images=["registry.example/base/*:*"], max_job_duration=Duration.hours(4)),
            pod=PodOptions(labels={"team": team}),
        )
        PruneSchedule(self, "clear-cache", daemon=self, schedule=Cron.daily())
        # The parts of a construct are public, so that you can change them further.
        self.deployment.metadata.add_annotation("example.com/owner", team)


def build(app: App) -> None:
    """Create every chart of this app."""
    for team in ("shop", "search"):
        chart = Chart(app, f"subclass-{team}", namespace=f"{team}-ci")
        BuildNamespace(chart, "namespace")
        CompanyDaemon(chart, "docker", team=team, storage=Size.gibibytes(100))


if __name__ == "__main__":
    app = App(outdir=str(Path(__file__).parent))
    build(app)
    app.synth()
