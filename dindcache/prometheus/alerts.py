"""The alerts, each with its expression, its duration and the words of its message."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dindcache.cleanup.disk_guard import DiskGuard

# Percent of the certificate's lifetime. It is renewed with a third left, by default.
_CERTIFICATE_LEFT = 20


@dataclass(frozen=True, kw_only=True)
class Alert:
    """An alert.

    :param name: Name without the prefix ``Dindcache``
    :param expression: Expression, with ``%s`` for the matchers of a daemon's labels
    :param pending: Time that the expression holds before the alert fires, as Prometheus writes it
    :param severity: Label ``severity``: critical or warning
    :param summary: What is wrong, with the labels of the expression
    :param runbook: Anchor of the section of the troubleshooting page
    :param per_daemon: Whether each daemon needs a rule of its own
    """

    name: str
    expression: str
    pending: str
    severity: str
    summary: str
    runbook: str
    per_daemon: bool = False

    def rule(self, matchers: str, runbooks: str) -> dict[str, Any]:
        """Return the alert as a rule of Prometheus."""
        return {
            "alert": f"Dindcache{self.name}",
            "expr": self.expression.replace("%s", matchers),
            "for": self.pending,
            "labels": {"severity": self.severity},
            "annotations": {"summary": self.summary, "runbook_url": f"{runbooks}#{self.runbook}"},
        }


def alerts(*, free_percent: int) -> Sequence[Alert]:
    """Return all alerts.

    :param free_percent: Free space of the disk below which the disk guard is losing
    """
    low, low_inodes = DiskGuard.LOW_PERCENT
    _, inodes = DiskGuard.URGENT_PERCENT
    return (
        Alert(
            name="DiskFull",
            expression=f"100 * dindcache_disk_free_bytes{{%s}} / dindcache_disk_size_bytes < {free_percent}"
            f" or 100 * dindcache_disk_inodes_free{{%s}} / dindcache_disk_inodes < {inodes}",
            pending="10m",
            severity="critical",
            summary="The disk guard of {{ $labels.app }} does not keep up: {{ $value | humanize }} % of the disk are free",
            runbook="the-disk-is-nearly-full",
        ),
        Alert(
            name="DiskLow",
            expression=f"100 * dindcache_disk_free_bytes{{%s}} / dindcache_disk_size_bytes < {low}"
            f" or 100 * dindcache_disk_inodes_free{{%s}} / dindcache_disk_inodes < {low_inodes}",
            pending="6h",
            severity="warning",
            summary="The disk of {{ $labels.app }} stays nearly full: {{ $value | humanize }} % are free",
            runbook="the-disk-is-nearly-full",
        ),
        Alert(
            name="BuildsWithoutSpace",
            expression="increase(dindcache_builds_without_space_total{%s}[15m]) > 0",
            pending="0m",
            severity="critical",
            summary="Builds on {{ $labels.app }} fail for lack of space",
            runbook="the-disk-is-nearly-full",
        ),
        Alert(
            name="Down",
            expression="absent(dindcache_engine_up{%s} == 1)",
            pending="10m",
            severity="critical",
            summary="The daemon {{ $labels.app }} does not answer, or is not scraped",
            runbook="the-daemon-is-down",
            per_daemon=True,
        ),
        Alert(
            name="Restarts",
            expression='increase(dindcache_engine_starts_total{%s,reason="unexpected"}[1h]) > 2',
            pending="0m",
            severity="warning",
            summary="The engine of {{ $labels.app }} crashed or was killed {{ $value | humanize }} times in an hour",
            runbook="the-daemon-is-down",
        ),
        Alert(
            name="DrainRejects",
            expression="dindcache_draining_rejects{%s} == 1",
            pending="2m",
            severity="warning",
            summary="{{ $labels.app }} drains and rejects new clients, because builds did not end in half of its drain_timeout",
            runbook="a-drain-takes-long",
        ),
        Alert(
            name="CertificateNotRenewed",
            expression="100 * (dindcache_certificate_not_after_timestamp_seconds{%s} - time())"
            " / (dindcache_certificate_not_after_timestamp_seconds - dindcache_certificate_not_before_timestamp_seconds)"
            f" < {_CERTIFICATE_LEFT}",
            pending="1h",
            severity="critical",
            summary="The certificate of {{ $labels.app }} was not renewed: {{ $value | humanize }} % of its lifetime are left",
            runbook="a-certificate-was-not-renewed",
        ),
        Alert(
            name="HitRatioCollapsed",
            expression=f"{_ratio('6h')} < 0.5 * {_ratio('7d')} and {_ratio('7d')} > 0.2"
            " and sum by (namespace, app, project) (increase(dindcache_build_steps_total{%s}[6h])) > 20",
            pending="30m",
            severity="warning",
            summary="Builds of {{ $labels.project }} on {{ $labels.app }} find {{ $value | humanizePercentage }} of their steps"
            " cached, less than half of the week's",
            runbook="the-cache-stopped-working",
        ),
        Alert(
            name="PruneFails",
            expression="dindcache_prune_last_run_failed{%s} == 1",
            pending="0m",
            severity="warning",
            summary="The last prune of {{ $labels.app }} failed",
            runbook="a-prune-fails",
        ),
        Alert(
            name="MetricsStale",
            expression="time() - dindcache_collected_timestamp_seconds{%s} > 300",
            pending="5m",
            severity="warning",
            summary="The metrics of {{ $labels.app }} are {{ $value | humanizeDuration }} old",
            runbook="the-metrics-are-missing",
        ),
    )


def _steps(window: str, further: str = "") -> str:
    return f"sum by (namespace, app, project) (increase(dindcache_build_steps_total{{%s{further}}}[{window}]))"


def _ratio(window: str) -> str:
    cached = _steps(window, ',cached="true"')
    return f"({cached} / {_steps(window)})"
