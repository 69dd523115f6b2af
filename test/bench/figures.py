"""From the reports of all rounds to figures: medians, spreads and ratios, as a table and as JSON."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

Report = dict[str, Any]
SERVERS = ("bare", "extprocd")


@dataclass(frozen=True)
class Figure:
    """One number of a report of the load program."""

    title: str
    path: tuple[str, ...]
    digits: int = 0

    def of(self, report: Report) -> float:
        value: Any = report
        for key in self.path:
            value = value[key]
        return float(value)


@dataclass(frozen=True)
class Spread:
    """What the rounds gave for one figure."""

    median: float
    low: float
    high: float

    @classmethod
    def over(cls, values: list[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int) -> str:
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f} – {self.high:,.{digits}f})"


@dataclass(frozen=True)
class Row:
    case: str
    figure: Figure
    servers: dict[str, Spread]
    ratio: Spread | None  # extprocd / bare, round by round; none where bare has nothing to divide by

    def cells(self) -> list[str]:
        figures = [self.servers[server].text(self.figure.digits) for server in SERVERS]
        return [self.case, self.figure.title, *figures, self.ratio.text(2) if self.ratio else "–"]

    def document(self) -> dict[str, Any]:
        spreads = {server: vars(spread) for server, spread in self.servers.items()}
        return {"case": self.case, "figure": self.figure.title, **spreads, "ratio": vars(self.ratio) if self.ratio else None}


def row(case: str, figure: Figure, rounds: list[dict[str, Report]]) -> Row:
    """`rounds`: the reports of each round by server."""
    values = {server: [figure.of(reports[server]) for reports in rounds] for server in SERVERS}
    pairs = list(zip(values["extprocd"], values["bare"], strict=True))
    ratio = Spread.over([mine / bare for mine, bare in pairs]) if all(bare > 0 for _, bare in pairs) else None
    return Row(case, figure, {server: Spread.over(values[server]) for server in SERVERS}, ratio)


HEADER = ["case", "figure", *SERVERS, "extprocd / bare"]


def as_text(rows: list[Row]) -> str:
    """Columns for a terminal."""
    cells = [HEADER] + [entry.cells() for entry in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADER))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells)


def as_markdown(rows: list[Row]) -> str:
    lines = [HEADER, ["---", "---", "--:", "--:", "--:"]] + [entry.cells() for entry in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
