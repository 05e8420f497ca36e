"""The panels of the dashboard as one SVG, of what Prometheus answered to their queries."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.plot import COLOURS

COLUMNS, WIDTH, HEIGHT = 3, 4.2, 2.3
# For each unit of Grafana: its factor, and what follows the number.
UNITS = {"percentunit": (100, " %"), "bytes": (1 / (1 << 20), " MiB"), "s": (1, " s"), "short": (1, "")}


def svg(panels: Sequence[Mapping[str, Any]]) -> str:
    """Return the picture."""
    rows = -(-len(panels) // COLUMNS)
    # The same numbers draw the same file.
    with mpl.rc_context({"svg.hashsalt": "dindcache", "svg.fonttype": "none", "font.size": 8, "axes.titlesize": 9}):
        figure = Figure(figsize=(COLUMNS * WIDTH, rows * HEIGHT), layout="constrained")
        axes = list(figure.subplots(rows, COLUMNS).flat)
        for axis in axes:
            axis.set_axis_off()
        for axis, panel in zip(axes, panels, strict=False):
            _draw(axis, panel)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return drawn.getvalue()


def _draw(axis: Axes, panel: Mapping[str, Any]) -> None:
    axis.set_title(panel["title"], loc="left", fontweight="bold")
    factor, suffix = UNITS[panel["unit"]]
    series = [(one["label"], [(minute, value * factor) for minute, value in one["points"]]) for one in panel["series"]]
    if panel["type"] == "timeseries":
        axis.set_axis_on()
        for number, (label, points) in enumerate(series):
            minutes, values = zip(*points, strict=True) if points else ((), ())
            axis.plot(minutes, values, label=label or panel["title"], color=COLOURS[number % len(COLOURS)], linewidth=1.2)
        axis.set_ylim(bottom=0)
        axis.set_xlabel("minutes")
        axis.yaxis.set_major_formatter(f"{{x:g}}{suffix}")
        axis.spines[["top", "right"]].set_visible(False)
        if series:
            axis.legend(fontsize=6, frameon=False)
    elif panel["type"] == "stat":
        axis.text(0.5, 0.5, "".join(f"{points[-1][1]:.4g}{suffix}" for _, points in series), ha="center", va="center", size=22)
    else:
        for number, (label, points) in enumerate(sorted(series, key=lambda one: -one[1][-1][1])):
            axis.text(0, 0.9 - number / 8, label)
            axis.text(1, 0.9 - number / 8, f"{points[-1][1]:.4g}{suffix}", ha="right")
