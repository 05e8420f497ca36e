"""A plot as SVG: panels of lines over the days of a month."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from benchmarks.plot import COLOURS, STYLE, document

LEFT, WIDTH, HEIGHT, RIGHT, HEAD, FOOT = 70, 640, 190, 120, 40, 30
# A pattern for each line, so that lines on top of each other stay visible.
DASHES = ("none", "7 3", "2 3")
LINES = """.line { fill: none; stroke-width: 2 } .axis { fill: none; stroke: #59636e }
    .limit { stroke: #59636e; stroke-dasharray: 1 4 }
    @media (prefers-color-scheme: dark) { .axis, .limit { stroke: #9198a1 } }"""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Lines on one scale, which starts at 0.

    :param heading: Meaning of the lines, with the unit
    :param top: End of the scale
    :param lines: Points of each line, by label. A point is a day and a value
    :param limits: Values for comparison, by label
    """

    heading: str
    top: float
    lines: Mapping[str, Sequence[tuple[float, float]]]
    limits: Mapping[str, float] = field(default_factory=dict)


def svg(title: str, days: int, panels: Sequence[Panel]) -> str:
    """Return the plot. The legend of the first panel applies to all panels."""
    body = [f'<text class="head" x="12" y="22">{escape(title)}</text>']
    for number, label in enumerate(panels[0].lines):
        x = LEFT + number * WIDTH / len(panels[0].lines)
        body.append(
            f'<path class="line" {_pen(number)} d="M{x:.0f} 42h28"/><text x="{x + 34:.0f}" y="46">{escape(label)}</text>'
        )
    y = 56.0
    for panel in panels:
        y += HEAD
        body += _panel(panel, days, y)
        y += HEIGHT + FOOT
    return document(title, LEFT + WIDTH + RIGHT, round(y + 8), f"{STYLE}\n    {LINES}", body)


def _pen(number: int) -> str:
    return f'stroke="{COLOURS[number % len(COLOURS)]}" stroke-dasharray="{DASHES[number % len(DASHES)]}"'


def _panel(panel: Panel, days: int, y: float) -> list[str]:
    bottom = y + HEIGHT

    def at(day: float, value: float) -> str:
        return f"{LEFT + day * WIDTH / days:.1f} {bottom - value * HEIGHT / panel.top:.1f}"

    body = [
        f'<text class="head" x="12" y="{y - 12}">{escape(panel.heading)}</text>',
        f'<path class="axis" d="M{LEFT} {y}V{bottom}H{LEFT + WIDTH}"/>',
        f'<text class="number" x="{LEFT + WIDTH + 8}" y="{bottom + 18}">day</text>',
    ]
    for value in (0, panel.top / 2, panel.top):
        x, height = at(0, value).split()
        body.append(f'<text class="number" x="{float(x) - 8}" y="{float(height) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for day in range(0, days + 1, 7):  # Mondays
        x, height = at(day, 0).split()
        body += [
            f'<path class="axis" d="M{x} {height}v5"/>',
            f'<text class="number" x="{x}" y="{bottom + 18}" text-anchor="middle">{day}</text>',
        ]
    for label, value in panel.limits.items():
        x, height = at(days, value).split()
        body += [
            f'<path class="limit" d="M{at(0, value)}H{x}"/>',
            f'<text class="number" x="{float(x) + 8:.1f}" y="{float(height) + 4:.1f}">{escape(label)}</text>',
        ]
    for number, points in enumerate(panel.lines.values()):
        path = "L".join(at(day, value) for day, value in points)
        body.append(f'<path class="line" {_pen(number)} d="M{path}"/>')
    return body
