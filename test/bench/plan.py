"""What will be measured, how long that takes, and how far it is."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from cases import Case, Settings
from contestants import Contestant


def tell(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def rounds_of(case: Case, settings: Settings) -> int:
    return min(settings.rounds, case.max_rounds)


def about(case: Case, servers: list[Contestant], settings: Settings) -> float:
    """Seconds that a case takes, all rounds and servers."""
    return rounds_of(case, settings) * len(case.entrants(servers)) * case.about(settings)


@dataclass(frozen=True)
class Plan:
    cases: list[Case]
    left_out: dict[str, str]  # titles of cases, and why
    servers: list[Contestant]
    settings: Settings

    @classmethod
    def of(cls, cases: list[Case], servers: list[Contestant], settings: Settings) -> Plan:
        possible = [case for case in cases if not case.why_not(settings)]
        return cls(possible, {case.title: case.why_not(settings) for case in cases if case not in possible}, servers, settings)

    def seconds(self) -> float:
        return sum(about(case, self.servers, self.settings) for case in self.cases)

    def tell(self) -> None:
        settings, seconds = self.settings, self.seconds()
        end = time.strftime("%H:%M", time.localtime(time.time() + seconds))
        tell(f"{len(self.servers)} servers: {', '.join(server.name for server in self.servers)}")
        tell(f"{len(self.cases)} cases: {', '.join(case.name for case in self.cases)}")
        for title, why in self.left_out.items():
            tell(f"not measured: {title}: {why}")
        tell(f"{settings.rounds} rounds of {settings.seconds:g} s each: about {minutes(seconds)}, until {end}")


class TellingProgress:
    """Says at the beginning of each round how much is left, by what the rounds before have taken."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.began = time.monotonic()
        self.done = 0.0  # seconds, as they were planned
        self.current = 0.0

    def on_round(self, case: Case, number: int, count: int) -> None:
        self.done += self.current
        self.current = about(case, self.plan.servers, self.plan.settings) / count
        planned = self.plan.seconds()
        left = planned - self.done
        if self.done > 0:
            left *= (time.monotonic() - self.began) / self.done
        tell(f"{100 * self.done / planned:3.0f} %, {minutes(left)} left: {case.title}: round {number + 1} of {count}")

    def on_failure(self, case: Case, label: str, why: str) -> None:
        tell(f"{case.title}: {label} FAILED: {why}")
