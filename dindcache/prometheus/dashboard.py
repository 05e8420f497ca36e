"""The dashboard for Grafana."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from cdk8s_plus_27 import k8s
from constructs import Construct

from dindcache import _check
from dindcache._names import ObjectName, chart_of, reserve
from dindcache._typed import typed


class GrafanaDashboard(Construct):
    """A ConfigMap with a dashboard of all daemons and fleets, which the sidecar of Grafana's Helm chart finds.

    One is enough for a cluster: the dashboard has a choice of daemons.

    :param name: Name of the ConfigMap. Defaults to the id
    :param labels: Labels by which the sidecar finds it. Defaults to those of the chart's default values,
        ``{"grafana_dashboard": "1"}``
    :raises ValueError: The name or a label is invalid, or another construct of the app creates a ConfigMap of this name
    """

    @typed
    def __init__(self, scope: Construct, id: str, *, name: str | None = None, labels: Mapping[str, str] | None = None) -> None:
        chart_of(scope)
        name = id if name is None else name
        _check.dns_subdomain("name", name)
        labels = {"grafana_dashboard": "1"} if labels is None else labels
        _check.labels("labels", labels)
        reserve(scope, id, ObjectName("ConfigMap", name))

        super().__init__(scope, id)
        self.config_map = k8s.KubeConfigMap(
            self,
            "config-map",
            metadata=k8s.ObjectMeta(name=name, labels=dict(labels)),
            data={"dindcache.json": dashboard_json()},
        )


@cache
def dashboard_json() -> str:
    """Return the dashboard, which ``dashboards/grafana.py`` writes."""
    return (Path(__file__).parent / "dashboard.json").read_text()
