"""The object with which Prometheus' operator finds the metrics of a daemon or a fleet."""

from collections.abc import Mapping
from typing import Any

from cdk8s import Duration
from constructs import Construct

from dindcache import _check
from dindcache._names import ObjectName, chart_of, reserve
from dindcache._typed import typed
from dindcache.daemon import DindDaemon
from dindcache.fleet import DindFleet
from dindcache.fleet.fleet import FLEET_LABEL
from dindcache.monitoring.exporter import PORT_NAME
from dindcache.prometheus.monitored import create, monitored


class PodMonitor(Construct):
    """A PodMonitor, with which Prometheus' operator scrapes every daemon that has `Monitoring`.

    Each metric gets the labels ``app``, the daemon's name, and ``dindcache_fleet``, the fleet's, from the labels of the pod.

    :param daemon: Daemon or fleet, with ``monitoring``
    :param labels: Labels by which a Prometheus finds the object, such as ``{"release": "kube-prometheus-stack"}`` for its Helm
        chart's default values. Defaults to none
    :param interval: Time between two scrapes, in whole seconds. Defaults to 30 seconds
    :raises ValueError: A label or the interval is invalid, a daemon has no metrics, or another construct of the app creates an
        object of this name
    """

    @typed
    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        daemon: DindDaemon | DindFleet,
        labels: Mapping[str, str] | None = None,
        interval: Duration | None = None,
    ) -> None:
        chart_of(scope)
        labels = labels or {}
        _check.labels("labels", labels)
        seconds = _check.whole_seconds("interval", Duration.seconds(30) if interval is None else interval)
        secrets = {found.monitoring.tls_secret for found in monitored(daemon) if found.monitoring}
        if len(secrets) > 1:
            raise ValueError(f"daemons must have one tls_secret, got {sorted(map(str, secrets))!r}")
        reserve(scope, id, ObjectName("PodMonitor", daemon.name))

        super().__init__(scope, id)
        is_fleet = isinstance(daemon, DindFleet)
        endpoint: dict[str, Any] = {"port": PORT_NAME, "interval": f"{seconds}s", **_tls(daemon.name, secrets.pop())}
        spec = {
            "selector": {"matchLabels": {FLEET_LABEL if is_fleet else "app": daemon.name}},
            "podTargetLabels": ["app", FLEET_LABEL],
            "podMetricsEndpoints": [endpoint],
        }
        self.pod_monitor = create(self, kind="PodMonitor", name=daemon.name, daemon=daemon, labels=labels, spec=spec)


def _tls(name: str, secret: str | None) -> dict[str, Any]:
    if secret is None:
        return {}
    # Pods are scraped by their addresses, which no certificate has.
    config = {"ca": {"secret": {"name": secret, "key": "ca.crt"}}, "serverName": name}
    return {"scheme": "https", "tlsConfig": config}
