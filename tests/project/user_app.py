"""A user's app with dindcache installed: it subclasses each construct. Arguments: a hostname, a path, a registry mirror."""

import sys
from pathlib import Path

from cdk8s import App, Chart, Cron, Size
from constructs import Construct

from dindcache import ClaimedVolume, DindDaemon, LocalStorageClass, LocalVolume, PruneSchedule
from dindcache.gitlab import GitLabCi, GitLabRunner
from dindcache.prometheus import GrafanaDashboard


class DiskClass(LocalStorageClass):
    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id, name="user-app-disks")


class DiskVolume(LocalVolume):
    def __init__(self, scope: Construct, id: str, *, hostname: str, path: str) -> None:
        storage_class = DiskClass(scope, "disks")
        super().__init__(
            scope,
            id,
            hostname=hostname,
            path=path,
            storage=Size.gibibytes(5),
            storage_class=storage_class,
        )


class CloudVolume(ClaimedVolume):
    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id, storage=Size.gibibytes(5), storage_class_name="fast")


class Builder(DindDaemon):
    def __init__(self, scope: Construct, id: str, *, volume: LocalVolume, registry_mirror: str) -> None:
        super().__init__(scope, id, volume=volume, registry_mirrors=[registry_mirror])
        self.deployment.metadata.add_annotation("owner", "user")


class NightlyPrune(PruneSchedule):
    def __init__(self, scope: Construct, id: str, *, daemon: DindDaemon) -> None:
        super().__init__(scope, id, daemon=daemon, schedule=Cron.daily())


class Board(GrafanaDashboard):
    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id, labels={"dashboard": "yes"})


class Runner(GitLabRunner):
    def config(self) -> str:
        return "# by user\n" + super().config()


class Template(GitLabCi):
    def template(self) -> str:
        return "# by user\n" + super().template()


hostname, path, registry_mirror = sys.argv[1:]
app = App()
chart = Chart(app, "user-app", namespace="user-app", disable_resource_name_hashes=True)
builder = Builder(
    chart, "builder", volume=DiskVolume(chart, "disk", hostname=hostname, path=path), registry_mirror=registry_mirror
)
NightlyPrune(chart, "prune", daemon=builder)
CloudVolume(chart, "cloud")
Board(chart, "board")
app.synth()
(Path(app.outdir) / "config.toml").write_text(Runner(daemon=builder, namespace="user-app").config())
(Path(app.outdir) / "docker.gitlab-ci.yml").write_text(Template(daemon=builder).template())
