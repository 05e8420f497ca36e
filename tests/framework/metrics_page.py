"""The reference page of metrics and alerts, from the tables in the code."""

from dindcache.cleanup.disk_guard import DiskGuard
from dindcache.monitoring.metrics import METRICS
from dindcache.prometheus.alerts import alerts

_INTRODUCTION = """# Metrics and alerts

`make golden` writes this page from `dindcache/monitoring/metrics.py` and `dindcache/prometheus/alerts.py`.
[Metrics, alerts and a dashboard](../guides/monitoring.md) says how to turn them on.

## Metrics

Times are in seconds, sizes in bytes. Counters outlive the pod, since they are saved on the daemon's volume. `project` is what
keeps cache mounts apart: the project's ID in a job of GitLab, otherwise the repository if the client had `git`, otherwise
`unknown`. The labels `namespace`, `pod`, `app` (the daemon) and `dindcache_fleet` come from Prometheus.

| metric | type | labels | meaning |
| --- | --- | --- | --- |
"""


def metrics_page() -> str:
    """Return the text of the page."""
    metrics = ""
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        metrics += f"| `dindcache_{metric.name}` | {metric.kind} | {labels} | {metric.help} |\n"
    rules = ""
    for alert in alerts(free_percent=DiskGuard.URGENT_PERCENT[0]):
        expression = alert.expression.replace("{%s}", "").replace("{%s,", "{")
        rules += f"\n### Dindcache{alert.name}\n\n"
        rules += f"Severity {alert.severity}, after {alert.pending}. [What to do](troubleshooting.md#{alert.runbook}).\n\n"
        rules += f"```promql\n{expression}\n```\n"
    return f"{_INTRODUCTION}{metrics}\n## Alerts\n{rules}"
