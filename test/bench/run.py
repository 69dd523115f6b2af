"""Measures ext_proc servers side by side on one load program: extprocd, a bare server as the yardstick, and others.

They take turns, each time in a new process; what is told are medians over the rounds, their spread, and the ratio to the
bare server within a round, which is what compares between machines. docs/performance.md has the method.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import baseline
import document
from cases import BUSY, LOAD_CASES, Bench, Case, Settings
from contestants import Contestant, contestants
from figures import REFERENCE, Table, value_in
from plan import Plan, TellingProgress, tell
from results import CaseResult, Run, table
from rounds import TROUBLE, measure_case
from servers import TOP
from surroundings import BUSY_LOAD_AVERAGE, load_average, surroundings
from tables import as_text, columns
from through_envoy import ENVOY_CASES

CASES = LOAD_CASES + ENVOY_CASES
BASELINE = TOP / "test/bench/baseline.json"
NOT_KNOWN = "is in {}; measure it with --write-baseline first"


@dataclass(frozen=True)
class Length:
    rounds: int
    seconds: float
    warm_up: float

    def text(self) -> str:
        return f"{self.rounds} {'round' if self.rounds == 1 else 'rounds'} of {self.seconds:g} s"


FULL, QUICK, COMPARE = Length(3, 1.0, 0.3), Length(1, 1.0, 0.3), Length(3, 0.5, 0.3)


class Mistake(Exception):
    """On the command line, or in what it needs; the text says how to mend it."""


def words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev bench", description="Measures ext_proc servers side by side.",
        epilog=f"By default {FULL.text()} of each case. Cases: {', '.join(case.name for case in CASES)}.")
    parser.add_argument("--quick", action="store_true",
                        help=f"{QUICK.text()}: to see that it works; leaves out what is not built")
    parser.add_argument("--compare", action="store_true",
                        help="name what is worse than the baseline, with code 1 if anything is; by default "
                             f"{COMPARE.text()} of extprocd, without the cases that take long")
    parser.add_argument("--rounds", type=int, help="how often everyone is measured in each case")
    parser.add_argument("--seconds", type=float, help="of each measurement")
    parser.add_argument("--only", type=words, metavar="CASE,...", default=[], help="cases with that in their name")
    parser.add_argument("--servers", type=words, metavar="NAME,...", default=[],
                        help=f"these alone; {REFERENCE} always takes part")
    parser.add_argument("--resume", action="store_true",
                        help="go on with the newest run: measure what it lacks, and anew what --only names; with nothing to "
                             "measure, only tell its figures")
    parser.add_argument("--two-threads", action="store_true", help="measure two threads even if the load has no core to itself")
    parser.add_argument("--write", action="store_true", help="put tables and charts into docs")
    parser.add_argument("--write-baseline", action="store_true", help="put the ratios into test/bench/baseline.json")
    parser.add_argument("--output", type=Path, default=TOP / "build/bench", help="folder of the runs; default %(default)s")
    parser.add_argument("--baseline", type=Path, default=BASELINE, help=argparse.SUPPRESS)
    args = parser.parse_args(given)
    if args.rounds is not None and args.rounds < 1:
        parser.error("--rounds: at least 1")
    if args.seconds is not None and args.seconds <= 0:
        parser.error("--seconds: more than 0")
    return args


def settings_for(args: argparse.Namespace) -> Settings:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Mistake("this needs two cores: one for the server, one for the load program")
    length = QUICK if args.quick else COMPARE if args.compare else FULL
    seconds = args.seconds or length.seconds
    return Settings(args.rounds or length.rounds, seconds, min(length.warm_up, seconds), server_cores=(cores[-1], *cores[-3:-2]),
                    load_core=cores[-2], two_threads=args.two_threads)


def chosen_cases(args: argparse.Namespace) -> list[Case]:
    if not args.only:
        return [case for case in CASES if not (args.compare and case.is_long)]
    cases = [case for case in CASES if any(word in case.name for word in args.only)]
    if not cases:
        raise Mistake(f"no case has '{','.join(args.only)}' in its name; there are: {', '.join(case.name for case in CASES)}")
    return cases


def chosen_servers(args: argparse.Namespace, known: list[Contestant]) -> list[Contestant]:
    names = [server.name for server in known]
    if unknown := [name for name in args.servers if name not in names]:
        raise Mistake(f"there is no server '{unknown[0]}'; there are: {', '.join(names)}")
    wanted = [server for server in known if server.name == REFERENCE or
              (server.name in args.servers if args.servers else server.is_ours or not args.compare)]
    missing = {server.name: server.why_not() for server in wanted if server.why_not()}
    for name, why in missing.items():
        if name == REFERENCE or name in args.servers or not args.quick:
            raise Mistake(f"{name} cannot be measured: {why} (--quick leaves it out; --servers says who takes part)")
        tell(f"leaving out {name}: {why}")
    return [server for server in wanted if server.name not in missing]


def has_all(result: CaseResult | None, case: Case, servers: list[Contestant]) -> bool:
    if result is None or result.measured.has_failures:
        return False
    known = {*result.measured.labels, *result.measured.left_out}
    return all(entrant.label in known for entrant in case.entrants(servers))


def capacities(run: Run) -> dict[str, float]:
    """What the run knows already of how much each server can do."""
    result = run.result(BUSY.name)
    if result is None:
        return {}
    found = {label: [value for reports in result.measured.rounds if (value := value_in(reports, label, "streams_per_second"))]
             for label in result.measured.labels}
    return {label: statistics.median(values) for label, values in found.items() if values}


def measure(plan: Plan, run: Run) -> None:
    facts, progress = surroundings(), TellingProgress(plan)
    versions = {server.name: server.version() for server in plan.servers}
    bench = Bench(plan.settings, capacities(run))
    for case in plan.cases:
        load = load_average()
        measured = measure_case(case, plan.servers, bench, progress)
        run.keep(CaseResult(case.name, asdict(plan.settings), facts, versions, load, measured))
        if case.name == BUSY.name:
            bench.capacities |= capacities(run)


def tables_of(run: Run) -> list[Table]:
    return [table(case, result) for case in CASES if (result := run.result(case.name))]


def show(tables: list[Table], run: Run) -> None:
    parts = [as_text(entry) for entry in tables]
    if compared := document.of_all_servers(tables):
        parts.append(f"{document.OVERVIEW}\n{columns(compared)}")
    text = "\n\n".join(parts) + "\n"
    print(text, end="")
    (run.folder / "tables.txt").write_text(text)
    (run.folder / "figures.json").write_text(json.dumps({"cases": [entry.document() for entry in tables]}, indent=1) + "\n")
    document.write_charts(run.folder, document.charts(tables))
    tell(f"raw reports, tables and charts are in {run.folder}")


def write_document(tables: list[Table], run: Run, servers: list[Contestant], left_out: dict[str, str]) -> None:
    labels = {row.label.partition(", ")[0] for entry in tables for row in entry.rows}
    titles = {server.name: server.title for server in servers if server.name in labels}
    results = [result for case in CASES if (result := run.result(case.name))]
    document.write_into(document.DOCUMENT, document.text(titles, results, tables, left_out))
    document.write_charts(document.IMAGES, document.charts(tables))


def worse_than_baseline(plan: Plan, run: Run, file: Path) -> list[baseline.Worse]:
    """What is worse than the baseline, and is so again when it is measured once more."""
    known = baseline.read(file)
    verdict = baseline.compare(tables_of(run), known)
    for entry in verdict.unknown:
        tell(f"not in the baseline: {entry}")
    if not verdict.compared:
        raise Mistake(f"nothing of what was measured {NOT_KNOWN.format(file)}")
    tell(f"{verdict.compared} ratios compared with the baseline")
    if not verdict.worse:
        return []
    suspects = {entry.case for entry in verdict.worse}
    again = replace(plan, cases=[case for case in plan.cases if case.name in suspects])
    tell(f"measuring once more, to be sure: {', '.join(case.name for case in again.cases)}")
    measure(again, run)
    confirmed = baseline.compare(tables_of(run), known).worse
    before = {(entry.case, entry.label, entry.figure.title) for entry in verdict.worse}
    return [entry for entry in confirmed if (entry.case, entry.label, entry.figure.title) in before]


def bench(args: argparse.Namespace) -> int:
    known = contestants()
    servers, settings = chosen_servers(args, known), settings_for(args)
    old = Run.newest(args.output) if args.resume else None
    if args.resume and old is None:
        raise Mistake(f"there is no run in {args.output} to go on with")
    chosen = Plan.of(chosen_cases(args), servers, settings)
    todo = [case for case in chosen.cases if not old or args.only or not has_all(old.result(case.name), case, servers)]
    plan = replace(chosen, cases=todo)
    if args.compare and not {case.name for case in chosen.cases} & set(baseline.read(args.baseline)["ratios"]):
        raise Mistake(f"none of these cases {NOT_KNOWN.format(args.baseline)}")
    if todo:
        if load_average() > BUSY_LOAD_AVERAGE:
            tell(f"warning: the machine is not idle (load average {load_average():.1f}); the figures will be rough")
        plan.tell()
    run = old or Run.new(args.output)
    if todo:
        measure(plan, run)
    code = 0
    if args.compare:
        worse = worse_than_baseline(plan, run, args.baseline)
        for entry in worse:
            tell(f"WORSE: {entry.text()}")
        if not worse:
            tell("nothing is worse than the baseline")
        code = 1 if worse else 0
    tables = tables_of(run)
    show(tables, run)
    if args.write:
        write_document(tables, run, known, chosen.left_out)
    if args.write_baseline:
        facts = surroundings() | {server.name: server.version() for server in known if server.is_ours}
        baseline.write(args.baseline, baseline.refreshed(baseline.read(args.baseline), tables, facts, vars(settings)))
    if any(row.failure for entry in tables for row in entry.rows):
        tell("not all could be measured: the tables say what failed; --resume tries that again")
        return 1
    return code


def main() -> int:
    args = arguments()
    try:
        return bench(args)
    except (Mistake, *TROUBLE) as error:
        tell(str(error))
    except KeyboardInterrupt:
        tell("interrupted; with --resume it goes on with the case that it was at")
    return 1


if __name__ == "__main__":
    sys.exit(main())
