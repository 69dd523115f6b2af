"""Measures extprocd against the bare server, each on one core of its own beside the load program on another.

The two take turns, each time in a new process; what is told are medians over the rounds, their spread, and the ratio of
extprocd to the bare server within a round, which is what compares between machines. docs/performance.md has the method.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from figures import SERVERS, Figure, Report, Row, as_markdown, as_text, row
from servers import BINARY, TOP, Bare, Failed, NotReady, PinnedExtprocd, load_json

DOCUMENT = TOP / "docs/performance.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
BUSY_LOAD_AVERAGE = 0.5
SATURATED = 0.9  # of the load program's core: then it is what limits

CPU = Figure("CPU of the server, µs a stream", ("server_cpu_us_per_stream",), 1)
THROUGHPUT = Figure("streams a second", ("streams_per_second",))


def latency(quantile: str, series: str) -> Figure:
    return Figure(f"{quantile} of {series}, µs", ("latency_us", series, quantile))


@dataclass(frozen=True)
class Case:
    """Something that is measured of both servers."""

    name: str
    flags: list[str]
    figures: list[Figure]
    bare_flags: list[str] = field(default_factory=list)
    is_paced: bool = False  # begun by the clock, at a rate that both can serve
    is_held: bool = False  # streams are opened and held


CASES = [
    Case("headers", [], [CPU, THROUGHPUT, latency("p99", "request_headers")]),
    Case("headers, one instruction", ["--instructions", '{"addHeaders":{"extproc":"true"}}', "--expect-mutation"],
         [CPU, THROUGHPUT], bare_flags=["--set-header", "extproc:true"]),
    Case("headers, ended by RST_STREAM", ["--reset"], [CPU, THROUGHPUT]),
    Case("buffered, 16 KiB each way", ["--profile", "buffered", "--body", "16KiB"],
         [CPU, THROUGHPUT, latency("p99", "request_body")]),
    Case("full duplex, 64 KiB each way", ["--profile", "duplex", "--body", "64KiB", "--chunk", "16KiB"],
         [CPU, THROUGHPUT, latency("p99", "request")]),
    Case("headers, paced", [], [CPU, *(latency(quantile, "request_headers") for quantile in ("p50", "p99", "p99.9")),
                                latency("p99", "stream")], is_paced=True),
    Case("10000 held streams", ["--profile", "idle", "--streams", "10000"],
         [Figure("memory, bytes a stream", ("memory", "bytes_per_stream"))], is_held=True),
]


@dataclass(frozen=True)
class Settings:
    rounds: int
    seconds: float
    server_core: int
    load_core: int
    rate: int  # of paced cases

    def flags(self, case: Case) -> list[str]:
        if case.is_held:
            return [*case.flags, "--duration", "0.5"]
        flags = [*case.flags, "--duration", str(self.seconds), "--warm-up", str(min(1.0, self.seconds))]
        return flags + (["--rate", str(self.rate)] if case.is_paced else [])


def fail(text: str) -> int:
    print(f"bench: {text}", file=sys.stderr)
    return 1


def warn(text: str) -> None:
    print(f"bench: warning: {text}", file=sys.stderr)


def start(server: str, case: Case, core: int) -> AbstractContextManager[Bare | PinnedExtprocd]:
    return Bare(case.bare_flags, core) if server == "bare" else PinnedExtprocd(core)


def measure(server: str, case: Case, settings: Settings) -> Report:
    """One case on a new process."""
    with start(server, case, settings.server_core) as process:
        assert process.child is not None
        return load_json(process.address, *settings.flags(case), "--pid", str(process.child.pid), core=settings.load_core,
                         seconds=60 + 10 * settings.seconds)


def half_of_what_it_can(settings: Settings) -> int:
    """A rate for paced cases: half of what extprocd does when it is kept busy, with two digits."""
    rate = measure("extprocd", CASES[0], settings)["streams_per_second"] / 2
    return max(1, int(float(f"{rate:.1e}")))


def measure_all(cases: list[Case], settings: Settings, tell: Callable[[str], None]) -> dict[str, list[dict[str, Report]]]:
    results: dict[str, list[dict[str, Report]]] = {case.name: [] for case in cases}
    for number in range(settings.rounds):
        for case in cases:
            tell(f"round {number + 1} of {settings.rounds}: {case.name}")
            # Who is first changes, so that a slow drift of the machine favours nobody.
            order = SERVERS if number % 2 == 0 else SERVERS[::-1]
            results[case.name].append({server: measure(server, case, settings) for server in order})
    return results


def output_of(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30, cwd=TOP).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def surroundings() -> dict[str, str]:
    """What the figures depend on."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": f"{cpu.group(1) if cpu else platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "kernel": f"Linux {platform.release()}",
        "extprocd": f"{output_of(str(BINARY), '--version').removeprefix('extprocd ')}, "
                    f"commit {output_of('git', 'describe', '--always', '--dirty')}",
        "grpc++": output_of("pkg-config", "--modversion", "grpc++"),
        "nghttp2": output_of("pkg-config", "--modversion", "libnghttp2"),
    }


def for_the_document(facts: dict[str, str], settings: Settings, remarks: list[str], rows: list[Row]) -> str:
    told = ", ".join(f"{name} {value}" for name, value in facts.items() if name not in ("date", "machine"))
    lines = [f"Measured on {facts['date']}: {facts['machine']}; {told}. Medians of {settings.rounds} rounds of "
             f"{settings.seconds:g} s, with the lowest and the highest; paced at {settings.rate:,} streams a second."]
    return "\n\n".join([*lines, *remarks, as_markdown(rows)])


def write_into(document: Path, text: str) -> None:
    """Replaces what stands between the two marks."""
    before, found, rest = document.read_text().partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise Failed(f"{document} lacks the lines {BEGIN} and {END}")
    document.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def remarks_on(results: dict[str, list[dict[str, Report]]], load_average: float) -> list[str]:
    """What takes away from the figures."""
    remarks = []
    if load_average > BUSY_LOAD_AVERAGE:
        remarks.append(f"The machine was not idle (load average {load_average:.1f} at the start): these figures are provisional.")
    for server in SERVERS:
        names = [name for name, rounds in results.items()
                 if any(reports[server]["load_cpu_share"] > SATURATED for reports in rounds)]
        if names:
            remarks.append(f"The load program was busy all the time, so that {server} could have done more streams a second: "
                           f"{'; '.join(names)}.")
    return remarks


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measures extprocd against a bare server.")
    parser.add_argument("--quick", action="store_true", help="two rounds of one second: to see that it works")
    parser.add_argument("--rounds", type=int, help="default 5")
    parser.add_argument("--seconds", type=float, help="of each measurement; default 5")
    parser.add_argument("--rate", type=int, help="streams a second of paced cases; default: half of what extprocd can do")
    parser.add_argument("--only", metavar="TEXT", default="", help="only cases with that in their name")
    parser.add_argument("--output", type=Path, default=TOP / "build/bench", help="folder of the results; default %(default)s")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return fail("this needs two cores: one for the server, one for the load program")
    cases = [case for case in CASES if args.only in case.name]
    if not cases:
        return fail(f"no case has '{args.only}' in its name; there are: {'; '.join(case.name for case in CASES)}")
    load_average = os.getloadavg()[0]
    if load_average > BUSY_LOAD_AVERAGE:
        warn(f"the machine is not idle (load average {load_average:.1f}); the figures will be rough")
    settings = Settings(args.rounds or (2 if args.quick else 5), args.seconds or (1.0 if args.quick else 5.0),
                        server_core=cores[-1], load_core=cores[-2], rate=args.rate or 0)

    def tell(text: str) -> None:
        print(f"bench: {text}", file=sys.stderr)

    try:
        if any(case.is_paced for case in cases) and not args.rate:
            tell("looking for a rate that extprocd can serve")
            settings = Settings(**(vars(settings) | {"rate": half_of_what_it_can(settings)}))
        results = measure_all(cases, settings, tell)
        rows = [row(case.name, figure, results[case.name]) for case in cases for figure in case.figures]
        facts, remarks = surroundings(), remarks_on(results, load_average)
        document: dict[str, Any] = {"surroundings": facts, "settings": vars(settings), "remarks": remarks,
                                    "figures": [entry.document() for entry in rows], "reports": results}
        args.output.mkdir(parents=True, exist_ok=True)
        file = args.output / time.strftime("%Y%m%dT%H%M%SZ.json", time.gmtime())
        file.write_text(json.dumps(document, indent=1) + "\n")
        print(as_text(rows))
        for remark in remarks:
            warn(remark)
        tell(f"all reports are in {file}")
        if args.write:
            write_into(DOCUMENT, for_the_document(facts, settings, remarks, rows))
    except (Failed, NotReady, OSError, subprocess.SubprocessError) as error:
        return fail(str(error))
    except KeyboardInterrupt:
        return fail("interrupted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
