"""Write the dashboard for Grafana: ``python dashboards/grafana.py``. ``make golden`` runs it."""

from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueColorMode, VisibilityMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PATH = Path(__file__).parent.parent / "dindcache" / "prometheus" / "dashboard.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
CACHED, PRIVATE = ',cached="true"', ',shared="false"'
CHOSEN = 'namespace=~"$namespace",app=~"$app"'
RED, YELLOW, GREEN = "red", "yellow", "green"


def steps(window: str, by: str = "", further: str = "") -> str:
    """Return the expression of the steps in a window."""
    return f"sum{by}(increase(dindcache_build_steps_total{{{CHOSEN}{further}}}[{window}]))"


def ratio(window: str, by: str = "") -> str:
    """Return the expression of the share of steps that were cached, where a fully cached build has all of them."""
    return f"{steps(window, by, CACHED)} / {steps(window, by)}"


def saved(window: str, by: str = "") -> str:
    """Return the expression of the seconds that the cached steps would have taken, as long as the others took on average."""
    seconds = f"sum{by}(increase(dindcache_build_step_seconds_total{{{CHOSEN}}}[{window}]))"
    cached, others = (steps(window, by, f',cached="{value}"') for value in ("true", "false"))
    return f"{cached} * {seconds} / {others}"


def increase(metric: str, window: str, by: str = "", further: str = "") -> str:
    """Return the expression of a counter's increase in a window."""
    return f"sum{by}(increase(dindcache_{metric}{{{CHOSEN}{further}}}[{window}]))"


def gauge(metric: str, further: str = "") -> str:
    """Return the expression of a gauge."""
    return f"dindcache_{metric}{{{CHOSEN}{further}}}"


def query(expression: str, legend: str = "", *, as_table: bool = False) -> prometheus.Dataquery:
    """Return a query: of the last value for a table, of a range otherwise."""
    built = prometheus.Dataquery().expr(expression).legend_format(legend).datasource(SOURCE)
    return built.instant().format(PromQueryFormat.TABLE) if as_table else built.range()


def thresholds(*steps: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    """Return colours, each from a value on."""
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([Threshold(value, color) for value, color in steps])


def number(title: str, help: str, expression: str, unit: str, *colors: tuple[float | None, str]) -> stat.Panel:
    """Return a panel with one number."""
    panel = stat.Panel().title(title).description(help).datasource(SOURCE).unit(unit).span(6).height(4)
    panel = panel.with_target(query(expression)).reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.color_mode(BigValueColorMode.BACKGROUND).thresholds(thresholds(*colors)) if colors else panel


def lines(title: str, help: str, unit: str, *queries: tuple[str, str]) -> timeseries.Panel:
    """Return a panel with lines over time."""
    panel = timeseries.Panel().title(title).description(help).datasource(SOURCE).unit(unit).span(8).height(8)
    panel = panel.min(0).fill_opacity(10).show_points(VisibilityMode.NEVER)
    for expression, legend in queries:
        panel = panel.with_target(query(expression, legend))
    return panel


def list_of(title: str, help: str, expression: str, unit: str) -> table.Panel:
    """Return a panel with a table, the largest value first."""
    panel = table.Panel().title(title).description(help).datasource(SOURCE).unit(unit).span(8).height(8)
    return panel.with_target(query(f"topk(10, {expression})", as_table=True))


def build() -> dashboard.Dashboard:
    """Return the dashboard, which answers: is it healthy, is it worth it, and who fills it."""
    by_project = " by (project) "
    source = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    built = dashboard.Dashboard("dindcache").uid("dindcache").tags(["dindcache", "docker", "ci"]).editable()
    built = built.tooltip(DashboardCursorSync.CROSSHAIR).refresh("1m").time("now-24h", "now").timezone("browser")
    built = built.with_variable(source)
    for name in ("namespace", "app"):
        matcher = '{namespace=~"$namespace"}' if name == "app" else ""
        variable = dashboard.QueryVariable(name).label({"namespace": "Namespace", "app": "Daemon"}[name]).datasource(SOURCE)
        variable = variable.query(f"label_values(dindcache_engine_info{matcher}, {name})").refresh(
            VariableRefresh.ON_TIME_RANGE_CHANGED
        )
        every = VariableOption(text="All", value="$__all", selected=True)
        built = built.with_variable(variable.multi(True).include_all(True).current(every))  # noqa: FBT003 - the SDK's

    return (
        built.with_row(dashboard.Row("Is it healthy, is it worth it?"))
        .with_panel(
            number(
                "Daemons that answer",
                "Share of the chosen daemons whose engine answers.",
                f"avg({gauge('engine_up')})",
                "percentunit",
                (None, RED),
                (1, GREEN),
            )
        )
        .with_panel(
            number(
                "Free space of the fullest disk",
                "The disk guard begins at 20 %, and removes what was used recently at 17 %.",
                f"min({gauge('disk_free_bytes')} / {gauge('disk_size_bytes')})",
                "percentunit",
                (None, RED),
                (0.17, YELLOW),
                (0.25, GREEN),
            )
        )
        .with_panel(
            number(
                "Cached steps",
                "Share of the steps that builds found cached. A build of which every step is cached has 100 %.",
                ratio("$__range"),
                "percentunit",
                (None, RED),
                (0.3, YELLOW),
                (0.6, GREEN),
            )
        )
        .with_panel(
            number(
                "Time saved",
                "Time that the cached steps would have taken, if each took as long as those that ran.",
                saved("$__range"),
                "s",
            )
        )
        .with_row(dashboard.Row("Cache"))
        .with_panel(
            lines("Cached steps", "Per project, of the last hour.", "percentunit", (ratio("1h", by_project), "{{project}}"))
        )
        .with_panel(
            list_of(
                "Slowest projects",
                "Time of their builds in the chosen range.",
                increase("build_seconds_total", "$__range", by_project),
                "s",
            )
        )
        .with_panel(
            list_of("Time saved", "By project, in the chosen range.", saved("$__range", by_project), "s"),
        )
        .with_panel(
            lines(
                "Builds",
                "Builds that ended, per hour.",
                "short",
                (increase("builds_total", "1h", " by (status) "), "{{status}}"),
            )
        )
        .with_panel(
            lines(
                "Duration",
                "Of the builds that ended in an hour.",
                "s",
                *(
                    (
                        f"histogram_quantile({share}, {increase('build_duration_seconds_bucket', '1h', ' by (le) ')})",
                        f"{share * 100:.0f} %",
                    )
                    for share in (0.5, 0.95)
                ),
            )
        )
        .with_panel(
            lines(
                "Builds at once",
                "Waiting builds exist only with a limit.",
                "short",
                (f"sum({gauge('builds_running')})", "running"),
                (f"sum({gauge('builds_waiting')})", "waiting"),
            )
        )
        .with_row(dashboard.Row("Disk"))
        .with_panel(
            lines(
                "Free space",
                "Of each daemon's file system.",
                "percentunit",
                (f"{gauge('disk_free_bytes')} / {gauge('disk_size_bytes')}", "{{app}} space"),
                (f"{gauge('disk_inodes_free')} / {gauge('disk_inodes')}", "{{app}} inodes"),
            )
        )
        .with_panel(
            lines(
                "What fills it",
                "A layer that an image shares is part of the images.",
                "bytes",
                (f"sum({gauge('image_bytes')})", "images"),
                (f"sum by (kind) ({gauge('build_cache_bytes', PRIVATE)})", "cache: {{kind}}"),
                (f"sum({gauge('volume_bytes')})", "volumes"),
                (f"sum({gauge('container_bytes')})", "containers"),
            )
        )
        .with_panel(
            list_of(
                "Who fills it",
                "Cache mounts by project. Layers have no owner.",
                f"sum{by_project}({gauge('cache_mount_bytes')})",
                "bytes",
            )
        )
        .with_panel(
            lines(
                "Removed objects",
                "By the disk guard and by prunes, per hour.",
                "short",
                (increase("removed_objects_total", "1h", " by (by, kind) "), "{{by}}: {{kind}}"),
            )
        )
        .with_panel(
            lines(
                "Reclaims",
                "Times that the disk guard reclaimed space, per hour. Short: not enough could be removed.",
                "short",
                (increase("reclaims_total", "1h", " by (result) "), "{{result}}"),
                (increase("builds_without_space_total", "1h"), "builds that failed"),
            )
        )
        .with_panel(
            lines(
                "Build cache removed by the disk guard",
                "Per hour.",
                "bytes",
                (increase("removed_cache_bytes_total", "1h"), "removed"),
            )
        )
        .with_row(dashboard.Row("Daemon"))
        .with_panel(
            lines(
                "Starts of the engine",
                "Per hour, by their reason.",
                "short",
                (increase("engine_starts_total", "1h", " by (app, reason) "), "{{app}} {{reason}}"),
            )
        )
        .with_panel(
            lines(
                "Drains and waits for the lock",
                "Time, per hour, and of a drain that lasts.",
                "s",
                (increase("drain_seconds_total", "1h", " by (reason) "), "drains: {{reason}}"),
                (increase("lock_wait_seconds_total", "1h"), "lock"),
                (f"max by (app) ({gauge('draining_seconds')})", "{{app}} drains since"),
            )
        )
        .with_panel(
            list_of(
                "Certificates",
                "Time until they expire.",
                f"max by (app) ({gauge('certificate_not_after_timestamp_seconds')} - time())",
                "s",
            )
        )
        .with_row(dashboard.Row("Fleet"))
        .with_panel(
            lines("Builds at once", "On each daemon.", "short", (f"sum by (app) ({gauge('builds_running')})", "{{app}}"))
        )
        .with_panel(
            lines("Cached steps", "On each daemon, of the last hour.", "percentunit", (ratio("1h", " by (app) "), "{{app}}"))
        )
        .with_panel(
            list_of(
                "Versions",
                "Engine and image store of each daemon.",
                f"count by (app, version, image_store) ({gauge('engine_info')})",
                "short",
            )
        )
    )


if __name__ == "__main__":
    PATH.write_text(JSONEncoder(sort_keys=True, indent=2).encode(build().build()) + "\n")
