"""The scripts that ConfigMaps carry."""

from pathlib import Path

from cdk8s import Cron, Size

import dindcache
from dindcache import ClaimedVolume, DindDaemon, Monitoring, PruneSchedule

SCRIPTS = {path.name: path.read_text() for path in Path(dindcache.__file__).parent.rglob("*.sh")}


def test_a_config_map_has_the_text_of_the_files(chart):
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(50))
    daemon = DindDaemon(chart, "docker-dind", volume=volume, monitoring=Monitoring())
    PruneSchedule(chart, "prune", daemon=daemon, schedule=Cron.daily())
    carried: set[str] = set()
    for config_map in (manifest for manifest in chart.to_json() if manifest["kind"] == "ConfigMap"):
        scripts = {key: text for key, text in config_map["data"].items() if key.endswith(".sh")}
        assert scripts.items() <= SCRIPTS.items()
        carried |= scripts.keys()
    # The others are in the jobs of a pipeline.
    package = Path(dindcache.__file__).parent
    gitlab = {path.name for directory in ("gitlab", "fleet") for path in (package / directory).glob("*.sh")}
    assert carried == SCRIPTS.keys() - gitlab
