"""Figures as SVG: bars, or, where values differ much, points on a logarithmic scale; a line shows the rounds' spread."""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.sax.saxutils import escape

from figures import REFERENCE, Spread, Table

WIDTH, LEFT, RIGHT = 800, 190, 170  # names stand left of the plot, values right of it
LINE, HEAD, GAP = 24, 54, 22
LOGARITHMIC_FROM = 20  # times the smallest value

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 } .panel { font-weight: 600 } .tick { font-size: 11px; fill: #6e7781 }
.name, .tick-right { text-anchor: end } .tick { text-anchor: middle }
.grid { stroke: #d0d7de } .spread { stroke: #24292f } .mark { fill: #8c959f }
.ours { fill: #0969da } .reference { fill: #1a7f37 }
@media (prefers-color-scheme: dark) {
 text { fill: #e6edf3 } .tick { fill: #8b949e } .grid { stroke: #30363d } .spread { stroke: #e6edf3 } .mark { fill: #6e7681 }
 .ours { fill: #4493f8 } .reference { fill: #3fb950 }
}
""".strip()


@dataclass(frozen=True)
class Chart:
    """One figure over some cases, a panel each."""

    name: str  # of the file
    title: str
    figure: str  # its title
    cases: tuple[str, ...]
    of_ratio: bool = False


CHARTS = [
    Chart("cpu", "CPU of the server a stream, as a multiple of the bare server's", "CPU, µs a stream",
          ("headers-16", "headers-400", "headers-4000", "instruction", "reset", "buffered-1k", "buffered-100k"), of_ratio=True),
    Chart("duplex", "Full duplex: bodies through the server, MiB a second", "MiB a second", ("duplex-5m",)),
    Chart("latency", "99 % of the request headers were answered within, µs", "p99 of request_headers, µs",
          ("one-stream", "paced-50", "paced-80")),
    Chart("chains", "What each further plugin adds to a stream, ns of CPU", "added by a plugin, ns a stream",
          ("chain-untouched", "chain-set-header")),
    Chart("memory", "Memory of an idle stream, bytes", "memory, bytes a stream", ("idle-10k", "idle-100k")),
    Chart("envoy-requests", "Requests a second through one worker of Envoy", "requests a second", ("envoy-busy",)),
    Chart("envoy-latency", "Added by ext_proc to half of the requests at least, µs", "added to p50, µs", ("envoy-paced",)),
]


class Scale:
    """From a value to its place, 0 to 1."""

    def __init__(self, values: list[float]) -> None:
        high = max(values)
        positive = [value for value in values if value > 0]
        self.is_logarithmic = len(positive) == len(values) and high > LOGARITHMIC_FROM * min(positive)
        self.low = _below(min(positive)) if self.is_logarithmic else min(0.0, *values)
        self.high = high if high > self.low else self.low + 1

    def place(self, value: float) -> float:
        if self.is_logarithmic:
            return (math.log(max(value, self.low)) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        if self.is_logarithmic:
            ticks = [digit * 10.0**power for power in range(-9, 13) for digit in (1, 2, 5)]
            steps = [tick for tick in ticks if self.low <= tick <= self.high]
            return steps if len(steps) <= 9 else [tick for tick in steps if f"{tick:e}".startswith("1")]
        step = _above((self.high - self.low) / 5)
        return [step * number for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def _below(value: float) -> float:
    """The next of 1, 2, 5, 10 … that is not above it."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(digit * power for digit in (1, 2, 5) if digit * power <= value * 1.000001)


def _above(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return min(digit * power for digit in (1, 2, 5, 10) if digit * power >= value * 0.999999)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _kind(label: str) -> str:
    if label == REFERENCE:
        return "reference"
    return "ours" if label.startswith("extprocd") else "mark"


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, kind: str, text: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _panel(title: str, rows: list[tuple[str, Spread]], top: float) -> list[str]:
    scale = Scale([value for _, spread in rows for value in (spread.median, spread.low, spread.high)])
    bottom = top + LINE + len(rows) * LINE

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * scale.place(value)

    parts = [_text(12, top + 14, "panel", title)]
    for tick in scale.ticks():
        parts += [_line(x(tick), top + LINE, x(tick), bottom, "grid"), _text(x(tick), bottom + 14, "tick", _number(tick))]
    for number, (label, spread) in enumerate(rows):
        y = top + LINE * (number + 1.5)
        parts.append(_text(LEFT - 10, y + 4, "name", label))
        if scale.is_logarithmic:
            parts.append(f'<circle class="{_kind(label)}" cx="{x(spread.median):.1f}" cy="{y:.1f}" r="6"/>')
        else:
            begin, end = sorted((x(max(0.0, scale.low)), x(spread.median)))
            parts.append(f'<rect class="{_kind(label)}" x="{begin:.1f}" y="{y - 7:.1f}" width="{end - begin:.1f}" height="14"/>')
        if spread.low < spread.high:
            parts.append(_line(x(spread.low), y, x(spread.high), y, "spread"))
        parts.append(_text(WIDTH - RIGHT + 14, y + 4, "value", _number(spread.median)))
    return parts


def draw(chart: Chart, tables: list[Table]) -> str:
    """The chart as an SVG document; empty, if none of its figures is known."""
    parts, top = [], float(HEAD)
    for table in tables:
        if table.case not in chart.cases:
            continue
        cells = [(row.label, row.cells[chart.figure]) for row in table.rows if not row.failure]
        spreads = [(label, cell.ratio if chart.of_ratio else cell.value) for label, cell in cells]
        rows = [(label, spread) for label, spread in spreads if spread]
        if rows:
            parts += _panel(table.title, rows, top)
            top += LINE * (len(rows) + 1) + 14 + GAP
    if not parts:
        return ""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top:.0f}" role="img">'
    return "\n".join([head, f"<title>{escape(chart.title)}</title>", f"<style>{STYLE}</style>",
                      _text(12, 26, "title", chart.title), *parts, "</svg>\n"])
