"""The alerts of a daemon or a fleet, for Prometheus' operator."""

from collections.abc import Mapping
from typing import Any

from constructs import Construct

from dindcache import _check
from dindcache._names import ObjectName, chart_of, reserve
from dindcache._typed import typed
from dindcache.cleanup.disk_guard import DiskGuard
from dindcache.daemon import DindDaemon
from dindcache.fleet import DindFleet
from dindcache.prometheus.alerts import alerts
from dindcache.prometheus.monitored import create, monitored


class PrometheusRule(Construct):
    """A PrometheusRule with the alerts of every daemon that has `Monitoring` (``docs/reference/metrics.md``).

    :param daemon: Daemon or fleet, with ``monitoring``
    :param labels: Labels by which a Prometheus finds the object, such as ``{"release": "kube-prometheus-stack"}`` for its Helm
        chart's default values. Defaults to none
    :param free_percent: Free space of the disk below which the alert ``DindcacheDiskFull`` fires, in percent, below the 20 % at
        which the disk guard begins. Defaults to 17, at which it also removes what was used recently
    :param runbooks: URL of the page that the alerts link to, with a section for each. Defaults to the path of
        ``docs/reference/troubleshooting.md``
    :raises ValueError: A label is invalid, the percentage is out of its range, a daemon has no metrics, or another construct of
        the app creates an object of this name
    """

    @typed
    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        daemon: DindDaemon | DindFleet,
        labels: Mapping[str, str] | None = None,
        free_percent: int = DiskGuard.URGENT_PERCENT[0],
        runbooks: str = "docs/reference/troubleshooting.md",
    ) -> None:
        chart_of(scope)
        labels = labels or {}
        _check.labels("labels", labels)
        most = DiskGuard.LOW_PERCENT[0] - 1
        if not 1 <= free_percent <= most:
            raise ValueError(f"free_percent must be from 1 to {most}, since the disk guard begins above, got {free_percent}")
        daemons = monitored(daemon)
        reserve(scope, id, ObjectName("PrometheusRule", daemon.name))

        super().__init__(scope, id)
        names = [found.name for found in daemons]
        rules: list[dict[str, Any]] = []
        for alert in alerts(free_percent=free_percent):
            every = (
                [_matchers(daemon.namespace, name) for name in names] if alert.per_daemon else [_any(daemon.namespace, names)]
            )
            rules += [alert.rule(matchers, runbooks) for matchers in every]
        spec = {"groups": [{"name": f"dindcache.{daemon.name}", "rules": rules}]}
        self.prometheus_rule = create(self, kind="PrometheusRule", name=daemon.name, daemon=daemon, labels=labels, spec=spec)


def _matchers(namespace: str | None, name: str) -> str:
    return f'namespace="{namespace}",app="{name}"' if namespace else f'app="{name}"'


def _any(namespace: str | None, names: list[str]) -> str:
    if len(names) == 1:
        return _matchers(namespace, names[0])
    matchers = f'app=~"{"|".join(names)}"'
    return f'namespace="{namespace}",{matchers}' if namespace else matchers
