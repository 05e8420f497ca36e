"""A daemon with metrics, alerts and a dashboard. Start from it if Prometheus' operator and Grafana run in the cluster.

The labels are those that the Helm chart kube-prometheus-stack looks for by default, under the release name of the same name.
"""

from pathlib import Path

from cdk8s import ApiObjectMetadata, App, Chart, Size
from constructs import Construct

from dindcache import BuildNamespace, DindDaemon, LocalVolume, Monitoring
from dindcache.prometheus import GrafanaDashboard, PodMonitor, PrometheusRule
from imports.com.coreos.monitoring import PrometheusRule as OwnRule
from imports.com.coreos.monitoring import (
    PrometheusRuleSpec,
    PrometheusRuleSpecGroups,
    PrometheusRuleSpecGroupsRules,
    PrometheusRuleSpecGroupsRulesExpr,
)

FOUND_BY_PROMETHEUS = {"release": "kube-prometheus-stack"}


class MonitoredCache(Chart):
    """The daemon, what Prometheus and Grafana need to know of it, and an alert of one's own."""

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id, namespace="kube-ops", disable_resource_name_hashes=True)
        BuildNamespace(self, "namespace")
        volume = LocalVolume(self, "docker", hostname="node1", path="/mnt/k8s/docker", storage=Size.gibibytes(50))
        daemon = DindDaemon(self, "docker-dind", volume=volume, monitoring=Monitoring(scraper_namespaces=["monitoring"]))
        PodMonitor(self, "pod-monitor", daemon=daemon, labels=FOUND_BY_PROMETHEUS)
        PrometheusRule(self, "alerts", daemon=daemon, labels=FOUND_BY_PROMETHEUS)
        GrafanaDashboard(self, "docker-dashboard")
        matcher = f'app="{daemon.name}"'
        slow = PrometheusRuleSpecGroupsRules(
            alert="BuildsTakeLong",
            expr=PrometheusRuleSpecGroupsRulesExpr.from_string(
                f"histogram_quantile(0.95, sum by (le) (rate(dindcache_build_duration_seconds_bucket{{{matcher}}}[1h]))) > 900"
            ),
            for_="30m",
        )
        OwnRule(
            self,
            "own-alerts",
            metadata=ApiObjectMetadata(name="docker-dind-own", labels=FOUND_BY_PROMETHEUS),
            spec=PrometheusRuleSpec(groups=[PrometheusRuleSpecGroups(name="own", rules=[slow])]),
        )


def build(app: App) -> None:
    """Create every chart of this app."""
    MonitoredCache(app, "monitoring")


if __name__ == "__main__":
    app = App(outdir=str(Path(__file__).parent))
    build(app)
    app.synth()
