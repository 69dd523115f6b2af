"""What is measured: each case says who takes part, how one of them is measured, and which figures come of it."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from contestants import Contestant, Setup
from figures import REFERENCE, Figure, Report, Round, figure, value_in
from servers import Failed, load_json

SLOW = 5000  # streams a second at most
LIMIT = 400.0  # seconds; then something hangs
CHAIN_LENGTHS = (1, 4, 16)
MIB = 1 << 20

CPU = figure("CPU, µs a stream", "server_cpu_us_per_stream", digits=1, is_judged=True)
THROUGHPUT = figure("streams a second", "streams_per_second", more_is_better=True, is_judged=True)
MEMORY = figure("memory, bytes a stream", "memory", "bytes_per_stream", is_judged=True)


def latency(quantile: str, series: str, *, is_judged: bool = False) -> Figure:
    def of(reports: Round, label: str) -> float | None:
        count = value_in(reports, label, "latency_us", series, "count")
        return value_in(reports, label, "latency_us", series, quantile) if count else None  # else it would be 0

    return Figure(f"{quantile} of {series}, µs", of, is_judged=is_judged)


def _scaled(title: str, path: str, factor: float, **more: bool | int) -> Figure:
    def of(reports: Round, label: str) -> float | None:
        value = value_in(reports, label, path)
        return None if value is None else value * factor

    return Figure(title, of, **more)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Settings:
    rounds: int
    seconds: float
    warm_up: float
    server_cores: tuple[int, ...]  # the first is for servers with one thread
    load_core: int
    two_threads: bool = False  # measure two threads though the load has no core to itself then


@dataclass
class Bench:
    """What all measurements of a run share."""

    settings: Settings
    capacities: dict[str, float] = field(default_factory=dict)  # streams a second by server, where it is known already

    def capacity(self, server: Contestant) -> float:
        """Streams a second that it does when it is kept busy."""
        if server.name not in self.capacities:
            report = BUSY.measure(Entrant(server.name, server), self)
            self.capacities[server.name] = report["streams_per_second"]
        return self.capacities[server.name]


@dataclass(frozen=True)
class Entrant:
    """A server in a case, under the label that its figures have."""

    label: str
    server: Contestant | None  # Envoy alone has none
    threads: int = 1
    setup: Setup = Setup()


@dataclass(frozen=True)
class Case(ABC):
    name: str  # short: for the command line and file names
    title: str
    figures: list[Figure] = field(default_factory=list)
    max_rounds: int = 100
    is_long: bool = False  # not part of a brief comparison

    def entrants(self, servers: list[Contestant]) -> list[Entrant]:
        return [Entrant(server.name, server) for server in servers]

    def why_not(self, settings: Settings) -> str:
        """Why it cannot be measured here; empty if it can."""
        return ""

    def leaves_out(self, entrant: Entrant, bench: Bench) -> str:
        """Why it is not for this one; empty if it is."""
        return ""

    @abstractmethod
    def measure(self, entrant: Entrant, bench: Bench) -> Report:
        """On a new process."""

    def about(self, settings: Settings) -> float:
        """Seconds that one measurement takes."""
        return settings.warm_up + settings.seconds + 0.4


def run_load(entrant: Entrant, bench: Bench, flags: list[str], setup: Setup, *, cores: tuple[int, ...] = ()) -> Report:
    """The load program against a new process of the server."""
    assert entrant.server is not None
    settings = bench.settings
    limit = LIMIT + 10 * settings.seconds
    with entrant.server.start(cores or settings.server_cores[:1], entrant.threads, setup) as process:
        assert process.child is not None
        try:
            report = load_json(process.address, "--more-connections", *flags, "--pid", str(process.child.pid),
                               core=settings.load_core, seconds=limit)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"the load program did not come to its end within {limit:.0f} s") from error
    if not report["streams"] and not report["echoed_bytes_per_second"]:
        raise Failed("no stream ended in the time that was measured")
    return report


def timed(settings: Settings) -> list[str]:
    return ["--duration", str(settings.seconds), "--warm-up", str(settings.warm_up)]


@dataclass(frozen=True)
class LoadCase(Case):
    """A new stream for each that ends."""

    flags: list[str] = field(default_factory=list)
    setup: Setup = Setup()
    bounds_slow: bool = False  # not for servers so slow that nothing but waiting would be seen

    def leaves_out(self, entrant: Entrant, bench: Bench) -> str:
        assert entrant.server is not None
        if self.bounds_slow and bench.capacity(entrant.server) < SLOW:
            return f"it does fewer than {SLOW:,} streams a second"
        return ""

    def measure(self, entrant: Entrant, bench: Bench) -> Report:
        return run_load(entrant, bench, [*self.flags, *timed(bench.settings)], self.setup)


@dataclass(frozen=True)
class PacedCase(Case):
    """Streams begun by the clock, at a share of what each server can do."""

    share: float = 0.5

    def measure(self, entrant: Entrant, bench: Bench) -> Report:
        assert entrant.server is not None
        # Two digits: nobody should take it for more exact than it is.
        rate = max(1, int(float(f"{self.share * bench.capacity(entrant.server):.1e}")))
        return run_load(entrant, bench, ["--rate", str(rate), "--streams", "1000", *timed(bench.settings)], Setup())


@dataclass(frozen=True)
class IdleCase(LoadCase):
    """Streams that are opened, answered once, and held."""

    streams: int = 10_000

    def measure(self, entrant: Entrant, bench: Bench) -> Report:
        flags = ["--profile", "idle", "--streams", str(self.streams), "--connections", "4"]
        return run_load(entrant, bench, [*flags, "--duration", "0.5", "--timeout", "150"], Setup(streams=self.streams))

    def about(self, settings: Settings) -> float:
        return 1.5 + self.streams / 8000


@dataclass(frozen=True)
class ChainCase(Case):
    """extprocd with chains of different lengths of one plugin."""

    module: str = ""

    def entrants(self, servers: list[Contestant]) -> list[Entrant]:
        entrants = [Entrant(server.name, server) for server in servers if server.name == REFERENCE]
        for server in servers:
            if server.is_ours:
                entrants += [Entrant(chain_label(server.name, count), server, setup=Setup(chain=(self.module, count)))
                             for count in CHAIN_LENGTHS]
        return entrants

    def measure(self, entrant: Entrant, bench: Bench) -> Report:
        return run_load(entrant, bench, ["--streams", "400", *timed(bench.settings)], entrant.setup)


def chain_label(server: str, count: int) -> str:
    return f"{server}, {count} {'plugin' if count == 1 else 'plugins'}"


def added_by_a_plugin(reports: Round, label: str) -> float | None:
    """CPU that each plugin behind the first adds to a stream, in ns."""
    server, _, length = label.rpartition(", ")
    count = int(length.split()[0]) if server else 1
    one, all_of_them = (value_in(reports, name, "server_cpu_us_per_stream") for name in (chain_label(server, 1), label))
    return None if count == 1 or one is None or all_of_them is None else 1000 * (all_of_them - one) / (count - 1)


@dataclass(frozen=True)
class ThreadsCase(Case):
    """One and two threads of each server that has threads."""

    def entrants(self, servers: list[Contestant]) -> list[Entrant]:
        entrants = []
        for server in servers:
            if server.name == REFERENCE:
                entrants.append(Entrant(server.name, server))
            elif server.max_threads > 1:
                entrants += [Entrant(threads_label(server.name, count), server, threads=count) for count in (1, 2)]
        return entrants

    def why_not(self, settings: Settings) -> str:
        if len(settings.server_cores) > 1 or settings.two_threads:
            return ""
        return "two threads need two cores beside the load's, and there are two in all; --two-threads measures all the same"

    def measure(self, entrant: Entrant, bench: Bench) -> Report:
        settings = bench.settings
        cores = settings.server_cores[:entrant.threads]
        if len(cores) < entrant.threads:
            cores = (*cores, settings.load_core)
        return run_load(entrant, bench, ["--streams", "400", *timed(settings)], entrant.setup, cores=cores)


def threads_label(server: str, count: int) -> str:
    return f"{server}, {count} {'thread' if count == 1 else 'threads'}"


def gain_of_threads(reports: Round, label: str) -> float | None:
    server, _, count = label.rpartition(", ")
    if not count.startswith("2 "):
        return None
    one, two = (value_in(reports, threads_label(server, number), "streams_per_second") for number in (1, 2))
    return None if not one or two is None else two / one


def besides_the_message(reports: Round, label: str) -> float | None:
    """Memory besides the first message, which extprocd keeps, as a later phase may look at its headers."""
    whole, message = (value_in(reports, label, "memory", name) for name in ("bytes_per_stream", "message"))
    return None if not label.startswith("extprocd") or whole is None or message is None else whole - message


INSTRUCTION = ["--instructions", '{"addHeaders":{"extproc":"true"}}', "--expect-mutation"]
BESIDES = Figure("besides the message kept", besides_the_message, has_ratio=False)
QUANTILES = [latency(quantile, "request_headers") for quantile in ("p99", "p99.9")]
PACED = [figure("streams a second, set", "rate", has_ratio=False), CPU,
         latency("p50", "request_headers", is_judged=True), *QUANTILES]
CHAINS = [CPU, Figure("added by a plugin, ns a stream", added_by_a_plugin, has_ratio=False)]
ECHOES = [figure("CPU, µs a MiB", "server_cpu_us_per_echoed_mib", is_judged=True),
          _scaled("MiB a second", "echoed_bytes_per_second", 1 / MIB, more_is_better=True, is_judged=True),
          latency("p99", "request")]

BUSY = LoadCase("headers-400", "headers, 400 in flight", [CPU, THROUGHPUT, latency("p99", "request_headers")],
                flags=["--streams", "400"])
LOAD_CASES: list[Case] = [
    LoadCase("headers-16", "headers, 16 in flight", [CPU, THROUGHPUT, latency("p99", "request_headers")],
             flags=["--streams", "16"]),
    BUSY,
    LoadCase("headers-4000", "headers, 4,000 in flight", [CPU, THROUGHPUT, latency("p99", "request_headers")],
             flags=["--streams", "4000"], setup=Setup(streams=4000), bounds_slow=True),
    LoadCase("one-stream", "headers, one stream at a time", [CPU, latency("p50", "request_headers", is_judged=True),
                                                              latency("p99", "request_headers")],
             flags=["--connections", "1", "--streams", "1"]),
    LoadCase("instruction", "headers with an instruction, 400 in flight", [CPU, THROUGHPUT],
             flags=["--streams", "400", *INSTRUCTION], setup=Setup(sets_header=True)),
    LoadCase("reset", "headers, ended by RST_STREAM, 400 in flight", [CPU, THROUGHPUT], flags=["--streams", "400", "--reset"]),
    LoadCase("buffered-1k", "buffered bodies of 1 KiB, 16 in flight", [CPU, THROUGHPUT, latency("p99", "request_body")],
             flags=["--profile", "buffered", "--body", "1KiB"]),
    LoadCase("buffered-100k", "buffered bodies of 100 KiB, 16 in flight", [CPU, THROUGHPUT, latency("p99", "request_body")],
             flags=["--profile", "buffered", "--body", "100KiB"]),
    LoadCase("duplex-5m", "full duplex, 5 MiB each way in pieces of 64 KiB, 4 in flight", ECHOES,
             flags=["--profile", "duplex", "--body", "5MiB", "--chunk", "64KiB", "--streams", "4"]),
    PacedCase("paced-50", "headers by the clock, at 50 % of each server's capacity", PACED, share=0.5),
    PacedCase("paced-80", "headers by the clock, at 80 % of each server's capacity", PACED, share=0.8),
    ChainCase("chain-untouched", "chains of plugins that touch nothing, 400 in flight", CHAINS, module="bench_watch_only"),
    ChainCase("chain-set-header", "chains of plugins that set a header each, 400 in flight", CHAINS, module="bench_set_header"),
    ThreadsCase("threads", "headers, 400 in flight, one and two threads",
                [THROUGHPUT, CPU, Figure("two threads / one", gain_of_threads, digits=2, has_ratio=False)]),
    IdleCase("idle-10k", "10,000 idle streams", [MEMORY, BESIDES], max_rounds=2, streams=10_000),
    IdleCase("idle-100k", "100,000 idle streams", [MEMORY, BESIDES], max_rounds=1, is_long=True, streams=100_000,
             bounds_slow=True),
]
