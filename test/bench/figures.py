"""From the reports of all rounds to figures: medians, spreads, and ratios to the bare server within a round."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Report = dict[str, Any]
Round = dict[str, Report]  # by the label of who was measured
FAILED = "failed"  # in a report, in place of all else: why there is none
REFERENCE = "bare"


def value_in(reports: Round, label: str, *path: str) -> float | None:
    """A number of a report; none where there is no report, or it does not tell."""
    value: Any = reports.get(label, {})
    for key in path:
        if key not in value:
            return None
        value = value[key]
    return float(value)


@dataclass(frozen=True)
class Figure:
    """One column of a case's table."""

    title: str
    of: Callable[[Round, str], float | None]
    digits: int = 0
    more_is_better: bool = False
    has_ratio: bool = True
    is_judged: bool = False  # steady enough to be compared with the baseline


def figure(title: str, *path: str, **more: Any) -> Figure:
    """One that stands in a report as it is."""
    return Figure(title, lambda reports, label: value_in(reports, label, *path), **more)


@dataclass(frozen=True)
class Spread:
    """What the rounds gave for one figure."""

    median: float
    low: float
    high: float

    @classmethod
    def over(cls, values: list[float | None]) -> Spread | None:
        """Of the rounds that gave anything."""
        known = [value for value in values if value is not None]
        return cls(statistics.median(known), min(known), max(known)) if known else None

    def text(self, digits: int) -> str:
        median, low, high = (f"{value:,.{digits}f}" for value in (self.median, self.low, self.high))
        return median if low == high else f"{median} ({low} – {high})"


@dataclass(frozen=True)
class Cell:
    value: Spread | None
    ratio: Spread | None  # to the bare server, round by round


@dataclass(frozen=True)
class Row:
    label: str
    cells: dict[str, Cell]  # by the figure's title
    failure: str = ""


@dataclass(frozen=True)
class Table:
    """What is known of one case."""

    case: str
    title: str
    figures: list[Figure]
    rows: list[Row]
    notes: list[str]

    def document(self) -> dict[str, Any]:
        def plain(spread: Spread | None) -> dict[str, float] | None:
            return vars(spread) if spread else None

        rows = {row.label: {"failed": row.failure} if row.failure else
                {title: {"value": plain(cell.value), "ratio": plain(cell.ratio)} for title, cell in row.cells.items()}
                for row in self.rows}
        return {"case": self.case, "title": self.title, "rows": rows, "notes": self.notes}


def ratio(mine: float | None, reference: float | None) -> float | None:
    return mine / reference if mine is not None and reference is not None and reference > 0 else None


def cell(wanted: Figure, label: str, rounds: list[Round]) -> Cell:
    values = [wanted.of(reports, label) for reports in rounds]
    if not wanted.has_ratio:
        return Cell(Spread.over(values), None)
    ratios = [ratio(value, wanted.of(reports, REFERENCE)) for value, reports in zip(values, rounds, strict=True)]
    return Cell(Spread.over(values), Spread.over(ratios))


def row(label: str, wanted: list[Figure], rounds: list[Round]) -> Row:
    failures = [reports[label][FAILED] for reports in rounds if FAILED in reports.get(label, {})]
    return Row(label, {entry.title: cell(entry, label, rounds) for entry in wanted}, failures[0] if failures else "")
