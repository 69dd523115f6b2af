"""A server with a well-behaved neighbour on another connection, and what an offender did to both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from neighbour import Neighbour
from offences import Act, Target
from rig import Extprocd, eventually
from transports import server
from trial import active, forget_peak, memory

PLUGIN = "[[plugin]]\nname = 'instructions'\nmodule = 'instructions.so'\n"


@dataclass
class Offence:
    """What a client does, how it ends by transport, and which limit counts it there."""

    act: Act
    grpc: str | tuple[str, ...]
    native: str
    limits: tuple[str, ...] = ()  # of the native transport
    growth: float = 48.0  # MiB of the native transport
    grpc_growth: float = 96.0

    def ends(self, transport: str) -> tuple[str, ...]:
        ends = self.grpc if transport == "grpc" else self.native
        return (ends,) if isinstance(ends, str) else ends

    def end(self, address: str, transport: str) -> str:
        quiet = {"silence", "no window"} & set(self.ends(transport))
        return self.act(Target(address, 1.0 if quiet else 20.0))


class Siege:
    def __init__(self, transport: str, running: Extprocd, neighbour: Neighbour) -> None:
        self.transport = transport
        self.running = running
        self.neighbour = neighbour

    def hits(self) -> dict[str, float]:
        """The limits that have bitten."""
        series = (line.split('"') for line in self.running.metrics().splitlines() if line.startswith("extproc_limits_hit_total{"))
        return {limit: float(value.rpartition(" ")[2]) for _, limit, value in series}

    def suffer(self, offence: Offence) -> None:
        """Asserts that it ends as it should, and that nobody else notices."""
        before, size = self.hits(), memory(self.running)
        forget_peak(self.running)
        end = offence.end(self.running.address, self.transport)
        assert end in offence.ends(self.transport), f"ended as {end!r}"
        grown = memory(self.running, "VmHWM") - size
        bound = offence.grpc_growth if self.transport == "grpc" else offence.growth
        assert grown <= bound, f"memory grew by {grown:.0f} MiB"
        self.expect_calm()
        if self.transport == "native":
            hits = self.hits()
            assert {limit for limit in hits if hits[limit] > before[limit]} == set(offence.limits)

    def expect_calm(self) -> None:
        """The neighbour was answered, and is alone again."""
        phase = self.neighbour.end_phase()
        assert phase.streams > 0 and not phase.failures, phase
        eventually(lambda: active(self.running) <= 1)  # the neighbour's own
        assert self.running.child is not None and self.running.child.poll() is None


@contextmanager
def siege(transport: str, limits: str = "") -> Iterator[Siege]:
    with server(transport, PLUGIN + limits) as running:
        with Neighbour(running.address) as neighbour:
            yield Siege(transport, running, neighbour)
        assert '"level":"error"' not in running.log()
