"""A daemon for GitHub Actions. Start from it if actions-runner-controller runs your jobs.

It also writes ``github-actions.values.yaml``: values for the chart ``gha-runner-scale-set`` in the namespace ``arc-runners``.
"""

from pathlib import Path
from typing import Any

from cdk8s import App, Chart, Cron, Size, Yaml

from dindcache import BuildNamespace, DindDaemon, LocalVolume, PodSecurity, PruneSchedule, SelfIssued

RUNNERS = "arc-runners"


def build(app: App) -> DindDaemon:
    """Create every chart of this app."""
    chart = Chart(app, "github-actions", namespace="docker")
    BuildNamespace(chart, "namespace")
    BuildNamespace(chart, "runners", name=RUNNERS, pod_security=PodSecurity.BASELINE)
    volume = LocalVolume(chart, "docker", hostname="node1", path="/mnt/docker", storage=Size.gibibytes(100))
    daemon = DindDaemon(chart, "docker-dind", volume=volume, tls=SelfIssued(client_namespaces=[RUNNERS]))
    PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.daily())
    return daemon


def values(daemon: DindDaemon) -> dict[str, Any]:
    """Return values of a runner scale set whose jobs use the daemon. Leave ``containerMode`` unset."""
    template = daemon.client(RUNNERS).pod_template(container="runner")
    (runner,) = template["spec"]["containers"]
    runner |= {"image": "ghcr.io/actions/actions-runner:latest", "command": ["/home/runner/run.sh"]}
    return {"githubConfigUrl": "https://github.com/example/app", "githubConfigSecret": "github-app", "template": template}


if __name__ == "__main__":
    app = App(outdir=str(Path(__file__).parent))
    daemon = build(app)
    app.synth()
    (Path(app.outdir) / "github-actions.values.yaml").write_text(Yaml.stringify(values(daemon)))
