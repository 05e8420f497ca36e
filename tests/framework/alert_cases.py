"""Cases for ``promtool test rules``: each alert fires when it should, and not otherwise."""

from typing import Any

from cdk8s import App, Chart, Size

from dindcache import ClaimedVolume, DindDaemon, Monitoring
from dindcache.prometheus import PrometheusRule

_LABELS = 'namespace="ci",app="docker-dind"'


def rules() -> Any:
    """Return the rules of a daemon as Prometheus reads them."""
    chart = Chart(App(), "alerts", namespace="ci", disable_resource_name_hashes=True)
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(50))
    daemon = DindDaemon(chart, "docker-dind", volume=volume, monitoring=Monitoring())
    rule = PrometheusRule(chart, "alerts", daemon=daemon)
    return rule.prometheus_rule.to_json()["spec"]


def _series(name: str, values: str, further: str = "") -> dict[str, str]:
    return {"series": f"dindcache_{name}{{{_LABELS}{further}}}", "values": values}


def _disk(free: int, inodes: int) -> list[dict[str, str]]:
    return [
        _series("disk_free_bytes", f"{free}x1000"),
        _series("disk_size_bytes", "100x1000"),
        _series("disk_inodes_free", f"{inodes}x1000"),
        _series("disk_inodes", "100x1000"),
    ]


def _steps(cached_now: int) -> list[dict[str, str]]:
    """Return a day with 90 of 100 steps cached each hour, then six hours with another number."""
    project = ',project="4711"'
    return [
        _series("build_steps_total", f"0+90x24 {24 * 90 + cached_now}+{cached_now}x7", f'{project},cached="true"'),
        _series("build_steps_total", f"0+10x24 {24 * 10 + 100 - cached_now}+{100 - cached_now}x7", f'{project},cached="false"'),
    ]


# The series, the time, the interval between samples, and the alerts that fire.
CASES: dict[str, tuple[list[dict[str, str]], str, str, set[str]]] = {
    "all is well": ([*_disk(50, 50), _series("draining_rejects", "0x1000")], "10h", "1m", set()),
    "at the threshold": (_disk(20, 10), "10h", "1m", set()),
    "the disk guard works": (_disk(19, 50), "1h", "1m", set()),
    "the disk stays nearly full": (_disk(19, 50), "7h", "1m", {"DiskLow"}),
    "inodes stay nearly used up": (_disk(50, 9), "7h", "1m", {"DiskLow"}),
    "the disk guard loses for a moment": (_disk(16, 50), "9m", "1m", set()),
    "the disk guard loses": (_disk(16, 50), "11m", "1m", {"DiskFull"}),
    "the disk guard loses inodes": (_disk(50, 7), "11m", "1m", {"DiskFull"}),
    "builds fail for lack of space": (
        [_series("builds_without_space_total", "0x5 1x100")],
        "10m",
        "1m",
        {"BuildsWithoutSpace"},
    ),
    "builds failed a while ago": ([_series("builds_without_space_total", "0x5 1x100")], "30m", "1m", set()),
    "the engine answers": ([_series("engine_up", "1x100")], "30m", "1m", set()),
    "the engine does not answer": ([_series("engine_up", "0x100")], "11m", "1m", {"Down"}),
    "the engine restarts": ([_series("engine_up", "0x5 1x100")], "11m", "1m", set()),
    "the engine crashes": ([_series("engine_starts_total", "0x5 4x100", ',reason="unexpected"')], "30m", "1m", {"Restarts"}),
    "the engine is upgraded often": ([_series("engine_starts_total", "0x5 4x100", ',reason="pod"')], "30m", "1m", set()),
    "a drain rejects": ([_series("draining_rejects", "1x100")], "3m", "1m", {"DrainRejects"}),
    "a drain waits": ([_series("draining_rejects", "0x100")], "30m", "1m", set()),
    "a certificate is renewed": (
        [
            _series("certificate_not_before_timestamp_seconds", "0x1000"),
            _series("certificate_not_after_timestamp_seconds", f"{10 * 3600}x1000"),
        ],
        "8h",
        "1m",
        set(),
    ),
    "a certificate is not renewed": (
        [
            _series("certificate_not_before_timestamp_seconds", "0x1000"),
            _series("certificate_not_after_timestamp_seconds", f"{10 * 3600}x1000"),
        ],
        "9h10m",
        "1m",
        {"CertificateNotRenewed"},
    ),
    "the cache works": (_steps(90), "30h", "1h", set()),
    "the cache works less well": (_steps(60), "30h", "1h", set()),
    "the cache stopped working": (_steps(5), "30h", "1h", {"HitRatioCollapsed"}),
    "a prune fails": ([_series("prune_last_run_failed", "1x100")], "10m", "1m", {"PruneFails"}),
    "a prune succeeds": ([_series("prune_last_run_failed", "0x100")], "10m", "1m", set()),
    "the metrics are stale": ([_series("collected_timestamp_seconds", "0x100")], "11m", "1m", {"MetricsStale"}),
    "the metrics are fresh": ([_series("collected_timestamp_seconds", "0+60x100")], "30m", "1m", set()),
}


def promtool_tests() -> Any:
    """Return the input of ``promtool test rules``, beside a file ``rules.yaml``."""
    tests = []
    for name, (series, time, interval, firing) in CASES.items():
        up = [] if any("engine_up" in one["series"] for one in series) else [_series("engine_up", "1x1000")]
        check = {
            "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": time,
            "exp_samples": [{"labels": f'{{alertname="Dindcache{alert}"}}', "value": 1} for alert in sorted(firing)],
        }
        tests.append({"name": name, "interval": interval, "input_series": [*series, *up], "promql_expr_test": [check]})
    return {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
