"""Measures a case round by round. One server's failure is noted in its place, and the others go on."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Protocol

from cases import Bench, Case, Entrant
from contestants import Contestant
from figures import FAILED, Round
from servers import Failed, NotReady

TROUBLE = (Failed, NotReady, OSError, ValueError, subprocess.SubprocessError)


@dataclass(frozen=True)
class Measured:
    """What the rounds of one case gave."""

    labels: list[str]  # who took part, in the order of the table
    left_out: dict[str, str]  # who did not, and why
    rounds: list[Round]

    @property
    def has_failures(self) -> bool:
        return any(FAILED in report for reports in self.rounds for report in reports.values())


class Progress(Protocol):
    """Who is told how it goes."""

    def on_round(self, case: Case, number: int, count: int) -> None: ...
    def on_failure(self, case: Case, label: str, why: str) -> None: ...


def in_turn(entrants: list[Entrant], number: int) -> list[Entrant]:
    """The order of a round. Who is first and who follows whom changes, so that a slow drift of the machine, or what a
    neighbour leaves behind, favours nobody."""
    first = number % len(entrants) if entrants else 0
    turned = entrants[first:] + entrants[:first]
    return turned[::-1] if number % 2 else turned


def measure_case(case: Case, servers: list[Contestant], bench: Bench, progress: Progress) -> Measured:
    entrants: list[Entrant] = []
    left_out: dict[str, str] = {}
    failures: Round = {}
    for entrant in case.entrants(servers):
        try:
            if why := case.leaves_out(entrant, bench):
                left_out[entrant.label] = why
            else:
                entrants.append(entrant)
        except TROUBLE as error:
            entrants.append(entrant)
            failures[entrant.label] = {FAILED: str(error)}
    rounds = []
    count = min(bench.settings.rounds, case.max_rounds)
    for number in range(count):
        progress.on_round(case, number, count)
        reports = dict(failures)  # once failed, it would only fail again
        for entrant in in_turn(entrants, number):
            if entrant.label in failures:
                continue
            try:
                reports[entrant.label] = case.measure(entrant, bench)
            except TROUBLE as error:
                reports[entrant.label] = failures[entrant.label] = {FAILED: str(error)}
                progress.on_failure(case, entrant.label, str(error))
        rounds.append(reports)
    return Measured([entrant.label for entrant in entrants], left_out, rounds)
