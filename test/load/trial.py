"""One attack on a real server beside a well-behaved neighbour: what it did to the server's memory and to the neighbour."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from neighbour import Figures, Neighbour
from rig import Extprocd, eventually

CONFIG = "[[plugin]]\nname = 'instructions'\nmodule = 'instructions.so'\n"
CALM_SECONDS = 1.0
ATTACK_SECONDS = 1.0  # at least, so that the neighbour has something to tell
AFTER_SECONDS = 0.4

Attack = Callable[[Extprocd], str | None]


@dataclass
class Result:
    """A row of the table of figures."""

    name: str
    bound: int  # MiB
    grown: float  # MiB at the highest, over what the server had before
    calm: Figures
    attacked: Figures
    note: str

    def line(self) -> str:
        def ratio(attacked: float, calm: float) -> str:
            return f"{attacked / calm:.1f}" if calm > 0 else "-"

        p50, p99 = ratio(self.attacked.p50, self.calm.p50), ratio(self.attacked.p99, self.calm.p99)
        return (f"| {self.name} | {self.grown:.0f} of {self.bound} MiB | {self.attacked.streams} | {p50} | {p99} | "
                f"{self.note} |")


HEADING = ("| load | memory grew by | neighbour's streams | p50, ratio | p99, ratio | |\n"
           "|---|---|---|---|---|---|")

results: list[Result] = []
# Figures of another kind: the rows of a table by its heading.
tables: dict[str, list[str]] = {}


def memory(server: Extprocd, which: str = "VmRSS") -> float:
    """Resident memory in MiB; VmHWM for the highest since `forget_peak`."""
    assert server.child is not None
    with open(f"/proc/{server.child.pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(which + ":"):
                return int(line.split()[1]) / 1024
    raise AssertionError(f"no {which} in /proc")


def forget_peak(server: Extprocd) -> None:
    assert server.child is not None
    with open(f"/proc/{server.child.pid}/clear_refs", "w", encoding="ascii") as control:
        control.write("5")


def active(server: Extprocd) -> float:
    return server.metric("extproc_streams_active")


def attack(name: str, act: Attack, bound: int, rounds: int = 2, config: str = CONFIG,
           server: Extprocd | None = None) -> None:
    """Starts a server and a neighbour, attacks in rounds, and asserts that memory grew by `bound` MiB at most, and in
    later rounds not by much more than in the first; that each of the neighbour's streams was answered rightly; and that
    the server is well afterwards. `act` may return a note for the table; that of the first round counts, when the
    server has no memory at hand from earlier ones."""
    with server or Extprocd(config=config) as server:
        with Neighbour(server.address) as neighbour:
            time.sleep(CALM_SECONDS)
            calm = neighbour.end_phase()
            assert calm.streams > 0 and not calm.failures, calm
            before = memory(server)
            forget_peak(server)
            note, first = "", 0.0
            end = time.monotonic() + ATTACK_SECONDS
            while rounds > 0 or time.monotonic() < end:
                rounds -= 1
                said = act(server)
                note = note or said or ""
                grown = memory(server, "VmHWM") - before
                first = first or grown
                assert grown <= bound, f"{name}: memory grew by {grown:.0f} MiB"
                assert grown <= first * 1.5 + bound / 3, f"{name}: {first:.0f} MiB, then {grown:.0f}"
            attacked = neighbour.end_phase()
            eventually(lambda: active(server) <= 1)  # the neighbour's own
            time.sleep(AFTER_SECONDS)
            after = neighbour.end_phase()
        results.append(Result(name, bound, grown, calm, attacked, note))
        for phase in (attacked, after):
            assert phase.streams > 0 and not phase.failures, f"{name}: {phase}"
        eventually(lambda: active(server) == 0)
        begun = time.monotonic()
        assert server.stop() == 0, server.log()
        assert time.monotonic() - begun < 10
        assert '"level":"error"' not in server.log()
