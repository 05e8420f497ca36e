"""Objects for Prometheus with its operator, and for Grafana with its sidecar, that read the metrics of a daemon or a fleet."""

from dindcache.prometheus.dashboard import GrafanaDashboard
from dindcache.prometheus.pod_monitor import PodMonitor
from dindcache.prometheus.prometheus_rule import PrometheusRule

__all__ = ["GrafanaDashboard", "PodMonitor", "PrometheusRule"]
