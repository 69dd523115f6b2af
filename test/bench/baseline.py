"""The ratios to the bare server that are committed, and what is worse than they are beyond noise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures import REFERENCE, Figure, Spread, Table

LEAST = 0.15  # less is never told from noise


@dataclass(frozen=True)
class Worse:
    case: str
    label: str
    figure: Figure
    was: Spread
    now: Spread
    allowed: float  # share of what it was

    def text(self) -> str:
        change = self.now.median / self.was.median - 1
        return (f"{self.case}, {self.label}: {self.figure.title} is {self.now.text(2)} × {REFERENCE}, was {self.was.text(2)}: "
                f"{change:+.0%}, and {self.allowed:.0%} may be noise")


@dataclass(frozen=True)
class Verdict:
    compared: int
    worse: list[Worse]
    unknown: list[str]  # what the baseline does not have


def _ratios(table: Table) -> Iterator[tuple[str, Figure, Spread]]:
    for row in table.rows:
        for figure in table.figures:
            ratio = row.cells[figure.title].ratio
            if figure.is_judged and ratio and ratio.median > 0 and not row.failure and row.label != REFERENCE:
                yield row.label, figure, ratio


def _half_spread(spread: Spread) -> float:
    return (spread.high - spread.low) / 2 / spread.median


def allowance(was: Spread, now: Spread) -> float:
    """By how much a figure may be off without anything having changed: as much as the rounds of both differ."""
    return max(LEAST, _half_spread(was) + _half_spread(now))


def is_worse(figure: Figure, was: Spread, now: Spread) -> bool:
    allowed = allowance(was, now)
    if figure.more_is_better:
        return now.median * (1 + allowed) < was.median
    return now.median > was.median * (1 + allowed)


def compare(tables: list[Table], baseline: dict[str, Any]) -> Verdict:
    compared, worse, unknown = 0, [], []
    for table in tables:
        known = baseline["ratios"].get(table.case, {})
        for label, figure, now in _ratios(table):
            entry = known.get(label, {}).get(figure.title)
            if entry is None:
                unknown.append(f"{table.case}, {label}: {figure.title}")
                continue
            was = Spread(**entry)
            compared += 1
            if is_worse(figure, was, now):
                worse.append(Worse(table.case, label, figure, was, now, allowance(was, now)))
    return Verdict(compared, worse, unknown)


def refreshed(baseline: dict[str, Any], tables: list[Table], surroundings: dict[str, str],
              settings: dict[str, Any]) -> dict[str, Any]:
    """What was measured takes the place of what was known; the rest stays."""
    ratios: dict[str, dict[str, dict[str, dict[str, float]]]] = dict(baseline.get("ratios", {}))
    for table in tables:
        ratios[table.case] = dict(ratios.get(table.case, {}))
        for label, _, _ in _ratios(table):
            ratios[table.case][label] = {}
        for label, figure, ratio in _ratios(table):
            ratios[table.case][label][figure.title] = {name: float(f"{value:.4g}") for name, value in vars(ratio).items()}
    return {"surroundings": surroundings, "rounds": settings["rounds"], "seconds": settings["seconds"], "ratios": ratios}


def write(file: Path, baseline: dict[str, Any]) -> None:
    """A line for each server in a case, so that changes read well."""

    def entries(members: dict[str, Any], indent: int) -> list[str]:
        return [f"{indent * ' '}{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in members.items()]

    cases = [f"  {json.dumps(case)}: {{\n" + ",\n".join(entries(labels, 3)) + "\n  }"
             for case, labels in baseline["ratios"].items()]
    facts = entries({name: value for name, value in baseline.items() if name != "ratios"}, 1)
    text = ",\n".join([*facts, ' "ratios": {\n' + ",\n".join(cases) + "\n }"])
    file.write_text(f"{{\n{text}\n}}\n")


def read(file: Path) -> dict[str, Any]:
    """Empty, if there is none yet."""
    baseline: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"ratios": {}}
    return baseline
