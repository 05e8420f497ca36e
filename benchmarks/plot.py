"""A plot as SVG: groups of bars, each from 0 to its median, with a line from its minimum to its maximum."""

import itertools
from collections.abc import Mapping, Sequence
from statistics import median
from xml.sax.saxutils import escape

LEFT, WIDTH, RIGHT, BAR, HEAD = 270, 480, 130, 18, 34
# Colours by Okabe and Ito, which most people can tell apart, and which are visible on white and on black.
COLOURS = ("#e69f00", "#56b4e9", "#cc79a7", "#009e73", "#0072b2", "#888888")
STYLE = """text { font: 13px system-ui, sans-serif; fill: #1f2328 } .head { font-weight: 600 } .number { fill: #59636e }
    .paper { fill: #ffffff } .range { stroke: #1f2328; stroke-width: 1.5 }
    @media (prefers-color-scheme: dark) {
        text { fill: #e6edf3 } .number { fill: #9198a1 } .paper { fill: #0d1117 } .range { stroke: #e6edf3 }
    }"""


def svg(title: str, groups: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Return the plot, in seconds on one scale.

    :param groups: Bars of each group, by heading. A bar has a label and its measurements
    """
    longest = max(max(values) for bars in groups.values() for values in bars.values())
    scale = WIDTH / longest
    labels = list(dict.fromkeys(label for bars in groups.values() for label in bars))
    colours = dict(zip(labels, itertools.cycle(COLOURS), strict=False))
    y = HEAD
    body = [f'<text class="head" x="12" y="22">{escape(title)}</text>']
    for heading, bars in groups.items():
        y += HEAD
        body.append(f'<text class="head" x="12" y="{y - 10}">{escape(heading)}</text>')
        for label, values in bars.items():
            low, middle, high = min(values), median(values), max(values)
            centre = y + BAR / 2
            body += [
                f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>',
                f'<rect x="{LEFT}" y="{y + 2}" width="{middle * scale:.1f}" height="{BAR - 4}" fill="{colours[label]}"/>',
                f'<path class="range" d="M{LEFT + low * scale:.1f} {centre}H{LEFT + high * scale:.1f}"/>',
                f'<text class="number" x="{LEFT + high * scale + 6:.1f}" y="{y + 13}">{middle:.1f} s</text>',
            ]
            y += BAR
    return document(title, LEFT + WIDTH + RIGHT, y + 14, STYLE, body)


def document(title: str, width: int, height: int, style: str, body: Sequence[str]) -> str:
    """Return an SVG document with a background."""
    size = f'width="{width}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {size} role="img">'
    paper = f'<rect class="paper" {size} rx="6"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", f"<style>{style}</style>", paper, *body, "</svg>\n"])
