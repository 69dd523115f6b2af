"""The driver takes turns, survives failures, goes on where it stopped, and tells figures, charts and regressions rightly.

Run by ctest, without pytest. Little is measured, and nothing is judged by how long it took.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import unittest
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import baseline
import cases
import charts
import document
import figures
import run
import tables
from cases import Bench, Entrant, LoadCase, Settings, timed
from contestants import BareContestant, Contestant, ExtprocdContestant, Setup
from figures import FAILED, Figure, Round, Spread, Table, figure
from plan import Plan, TellingProgress
from results import CaseResult, Run, table
from rounds import Measured, in_turn, measure_case
from servers import Failed

CORES = sorted(os.sched_getaffinity(0))
NEEDS_TWO = unittest.skipIf(len(CORES) < 2, "this machine has one core")
EXTPROCD = ExtprocdContestant("extprocd", "extprocd", "native")
COST = figure("cost", "cost", is_judged=True)
GAIN = figure("gain", "gain", more_is_better=True, is_judged=True)


def costs(*values: tuple[float, float]) -> list[Round]:
    """Rounds in which the bare server and extprocd cost so much."""
    return [{"bare": {"cost": bare}, "extprocd": {"cost": mine}} for bare, mine in values]


def table_of(wanted: Figure, rounds: list[Round], case: str = "case") -> Table:
    labels = list(rounds[0])
    return Table(case, f"the {case}", [wanted], [figures.row(label, [wanted], rounds) for label in labels], [])


class Quiet:
    """Nobody is told."""

    def on_round(self, case: cases.Case, number: int, count: int) -> None: ...
    def on_failure(self, case: cases.Case, label: str, why: str) -> None: ...


class Figures(unittest.TestCase):
    def test_are_medians_and_ratios_within_a_round(self) -> None:
        row = figures.row("extprocd", [COST], costs((10, 20), (1, 5), (2, 8)))
        self.assertEqual(row.cells["cost"].value, Spread(8, 5, 20))
        self.assertEqual(row.cells["cost"].ratio, Spread(4, 2, 5))

    def test_have_no_ratio_to_nothing(self) -> None:
        self.assertIsNone(figures.row("extprocd", [COST], costs((0, 1))).cells["cost"].ratio)
        self.assertIsNone(figures.row("extprocd", [COST], [{"extprocd": {"cost": 1}}]).cells["cost"].ratio)

    def test_are_of_the_rounds_that_have_them(self) -> None:
        rounds: list[Round] = [*costs((1, 2)), {"bare": {FAILED: "it broke"}, "extprocd": {"cost": 8}}]
        cell = figures.row("extprocd", [COST], rounds).cells["cost"]
        self.assertEqual((cell.value, cell.ratio), (Spread(5, 2, 8), Spread(2, 2, 2)))
        self.assertEqual(figures.row("bare", [COST], rounds).failure, "it broke")

    def test_of_a_chain_are_what_each_further_plugin_adds(self) -> None:
        reports = {"x, 1 plugin": {"server_cpu_us_per_stream": 10}, "x, 16 plugins": {"server_cpu_us_per_stream": 13}}
        self.assertAlmostEqual(cases.added_by_a_plugin(reports, "x, 16 plugins") or 0, 200)
        self.assertIsNone(cases.added_by_a_plugin(reports, "x, 1 plugin"))
        self.assertIsNone(cases.added_by_a_plugin(reports, "bare"))

    def test_of_threads_are_what_two_do_more_than_one(self) -> None:
        reports = {"x, 1 thread": {"streams_per_second": 10}, "x, 2 threads": {"streams_per_second": 19}}
        self.assertEqual([cases.gain_of_threads(reports, label) for label in reports], [None, 1.9])

    def test_of_memory_leave_out_what_extprocd_keeps(self) -> None:
        report = {"memory": {"bytes_per_stream": 5000, "message": 1200}}
        reports = {"extprocd": report, "bare": report}
        self.assertEqual([cases.besides_the_message(reports, label) for label in reports], [3800, None])


class Tables(unittest.TestCase):
    table = table_of(COST, [*costs((2, 5000), (2, 7000)), {"bare": {"cost": 2}, "extprocd": {FAILED: "no answer\nand more"}}])

    def test_show_spreads_and_ratios(self) -> None:
        shown = table_of(COST, costs((2, 5000), (2, 7000)))
        self.assertIn("| extprocd | 6,000 (5,000 – 7,000) | 3,000.00 (2,500.00 – 3,500.00) |", tables.as_markdown(shown))
        self.assertIn("| bare | 2 | 1.00 |", tables.as_markdown(shown))
        self.assertIn("extprocd  6,000 (5,000 – 7,000)", tables.as_text(shown))

    def test_show_failures_as_such(self) -> None:
        self.assertIn("| extprocd | failed | – |", tables.as_markdown(self.table))
        self.assertIn("extprocd failed: no answer", tables.as_markdown(self.table))
        self.assertNotIn("and more", tables.as_markdown(self.table))
        self.assertIn("and more", tables.as_text(self.table))

    def test_have_an_overview_of_ratios(self) -> None:
        other = table_of(COST, costs((4, 6)), case="other")
        self.assertEqual(tables.overview([self.table, other, table_of(GAIN, costs((1, 1)))], "cost"), [
            ["case", "bare", "extprocd"], ["the case", "1.00", "–"], ["the other", "1.00", "1.50"]])
        self.assertEqual(tables.overview([table_of(GAIN, costs((1, 1)))], "cost"), [])


class Charts(unittest.TestCase):
    chart = charts.Chart("chart", "A <title>", "cost", ("case", "other"))
    svg = "{http://www.w3.org/2000/svg}"

    def drawn(self, *rounds: list[Round]) -> ElementTree.Element:
        named = zip(("case", "other"), rounds, strict=False)
        return ElementTree.fromstring(charts.draw(self.chart, [table_of(COST, entry, case=name) for name, entry in named]))

    def bars(self, root: ElementTree.Element) -> list[float]:
        return [float(bar.get("width", "")) for bar in root.iter(f"{self.svg}rect")]

    def test_have_bars_in_proportion(self) -> None:
        bare, extprocd = self.bars(self.drawn(costs((2, 5))))
        self.assertAlmostEqual(extprocd / bare, 2.5, places=2)

    def test_have_a_panel_for_each_case(self) -> None:
        root = self.drawn(costs((2, 5)), costs((3, 4)))
        texts = [text.text for text in root.iter(f"{self.svg}text")]
        self.assertEqual((len(self.bars(root)), root.findtext(f"{self.svg}title")), (4, "A <title>"))
        for text in ("A <title>", "the case", "the other", "bare", "extprocd"):
            self.assertIn(text, texts)

    def test_are_logarithmic_where_values_differ_much(self) -> None:
        root = self.drawn(costs((1, 10), (1, 1000)))
        places = {mark.get("class"): float(mark.get("cx", "")) for mark in root.iter(f"{self.svg}circle")}
        spread = [(float(line.get("x1", "")), float(line.get("x2", ""))) for line in root.iter(f"{self.svg}line")
                  if line.get("class") == "spread"]
        self.assertEqual(self.bars(root), [])
        self.assertEqual(len(spread), 1)
        low, high = spread[0]
        # From 1 the spread's ends, 10 and 1000, are one and three decades away.
        self.assertAlmostEqual((high - places["reference"]) / (low - places["reference"]), 3, places=1)

    def test_stay_within_the_picture(self) -> None:
        for rounds in (costs((1, 0)), costs((-5, 3)), costs((0, 0)), costs((1e-3, 1e6)), costs((7, 7))):
            with self.subTest(rounds):
                for element in self.drawn(rounds).iter():
                    for name in ("x", "x1", "x2", "cx", "width"):
                        if element.get(name):
                            self.assertTrue(0 <= float(element.get(name, "")) <= charts.WIDTH, ElementTree.tostring(element))

    def test_leave_out_what_failed_or_is_unknown(self) -> None:
        failed: list[Round] = [*costs((1, 2)), {"bare": {"cost": 1}, "extprocd": {FAILED: "x"}}]
        self.assertEqual(len(self.bars(self.drawn(failed))), 1)
        self.assertEqual(charts.draw(self.chart, [table_of(COST, costs((1, 1)), case="unknown")]), "")

    def test_are_of_cases_and_figures_that_there_are(self) -> None:
        known = {case.name: case for case in run.CASES}
        for chart in charts.CHARTS:
            for name in chart.cases:
                self.assertIn(chart.figure, [entry.title for entry in known[name].figures], f"{chart.name}, {name}")


class Baseline(unittest.TestCase):
    def verdict(self, wanted: Figure, was: list[Round], now: list[Round]) -> baseline.Verdict:
        known = baseline.refreshed({}, [table_of(wanted, was)], {"date": "today"}, {"rounds": 3, "seconds": 1})
        return baseline.compare([table_of(wanted, now)], json.loads(json.dumps(known)))

    def gains(self, *values: float) -> list[Round]:
        return [{"bare": {"gain": 1}, "extprocd": {"gain": value}} for value in values]

    def test_names_what_got_worse(self) -> None:
        verdict = self.verdict(COST, costs((1, 2), (1, 2), (1, 2.1)), costs((1, 2.5), (1, 2.5), (1, 2.6)))
        self.assertEqual([entry.text() for entry in verdict.worse], [
            "case, extprocd: cost is 2.50 (2.50 – 2.60) × bare, was 2.00 (2.00 – 2.10): +25%, and 15% may be noise"])

    def test_names_what_there_is_less_of_where_more_is_better(self) -> None:
        self.assertEqual(len(self.verdict(GAIN, self.gains(1, 1), self.gains(0.8, 0.8)).worse), 1)
        self.assertEqual(self.verdict(GAIN, self.gains(1, 1), self.gains(1.5, 1.5)).worse, [])

    def test_is_content_with_as_much_and_with_less(self) -> None:
        for now in (2, 2.2, 1):
            with self.subTest(now):
                verdict = self.verdict(COST, costs((1, 2)), costs((1, now)))
                self.assertEqual((verdict.compared, verdict.worse, verdict.unknown), (1, [], []))

    def test_takes_for_noise_what_the_rounds_differ_by(self) -> None:
        noisy = costs((1, 2), (1, 2.5), (1, 3.5))  # 2.5 ± 30 %
        self.assertEqual(self.verdict(COST, costs((1, 2)), noisy).worse, [])
        self.assertEqual(self.verdict(COST, noisy, costs((1, 3.2))).worse, [])
        self.assertEqual(len(self.verdict(COST, noisy, costs((1, 3.3))).worse), 1)

    def test_says_what_it_does_not_know(self) -> None:
        verdict = baseline.compare([table_of(COST, costs((1, 2)))], {"ratios": {}})
        self.assertEqual((verdict.compared, verdict.unknown), (0, ["case, extprocd: cost"]))

    def test_does_not_judge_what_failed_or_is_unsteady(self) -> None:
        failed: list[Round] = [{"bare": {"cost": 1}, "extprocd": {FAILED: "x"}}]
        self.assertEqual(self.verdict(COST, costs((1, 2)), failed).compared, 0)
        unsteady = replace(COST, is_judged=False)
        self.assertEqual(self.verdict(unsteady, costs((1, 2)), costs((1, 9))), baseline.Verdict(0, [], []))

    def test_is_refreshed_case_by_case(self) -> None:
        settings = {"rounds": 3, "seconds": 1}
        first = baseline.refreshed({}, [table_of(COST, costs((1, 2))), table_of(COST, costs((1, 3)), "other")], {}, settings)
        second = baseline.refreshed(first, [table_of(COST, costs((1, 4)), "other")], {}, settings)
        medians = {case: labels["extprocd"]["cost"]["median"] for case, labels in second["ratios"].items()}
        self.assertEqual(medians, {"case": 2, "other": 4})

    def test_is_written_as_it_is_read(self) -> None:
        measured = [table_of(COST, costs((1, 2)), "a"), table_of(COST, costs((1, 3)), "b")]
        known = baseline.refreshed({}, measured, {"date": "today"}, {"rounds": 3, "seconds": 1})
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "baseline.json"
            self.assertEqual(baseline.read(file), {"ratios": {}})
            baseline.write(file, known)
            self.assertEqual(baseline.read(file), known)

    def test_has_only_cases_that_there_are(self) -> None:
        self.assertLessEqual(set(baseline.read(run.BASELINE)["ratios"]), {case.name for case in run.CASES})


class Document(unittest.TestCase):
    def test_takes_the_figures_between_its_marks(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(shutil.copy(document.DOCUMENT, folder))
            document.write_into(copy, "first")
            document.write_into(copy, "second")
            text = copy.read_text()
        self.assertIn(f"{document.BEGIN}\nsecond\n{document.END}", text)
        self.assertEqual([text.count(mark) for mark in (document.BEGIN, document.END, "first\n")], [1, 1, 0])
        original = document.DOCUMENT.read_text()
        self.assertEqual(text.partition(document.BEGIN)[0], original.partition(document.BEGIN)[0])
        self.assertEqual(text.partition(document.END)[2], original.partition(document.END)[2])

    def test_says_what_it_depends_on(self) -> None:
        measured = Measured(["bare"], {"x": "it is slow"}, [{"bare": {"server_cpu_us_per_stream": 9, "load_cpu_share": 1}}])
        facts = {"date": "2026-01-02", "machine": "a machine", "Envoy": "1.40.0"}
        case = LoadCase("headers-16", "the headers", [cases.CPU])
        result = CaseResult("headers-16", {"rounds": 3, "seconds": 1.5}, facts, {"bare": "1.2.3"}, 4.0, measured)
        text = document.text({"bare": "a server"}, [result], [table(case, result)], {"the threads": "one core"})
        for part in ("2026-01-02", "a machine", "Envoy 1.40.0", "3 rounds of 1.5 s", "load average up to 4.0",
                     "| bare | a server | 1.2.3 |", "x was left out: it is slow.", "busy all the time", "| bare | 9.0 | 1.00 |",
                     "Not measured: the threads. One core.", "](images/cpu.svg)"):
            self.assertIn(part, text)


class Turns(unittest.TestCase):
    def test_change_from_round_to_round(self) -> None:
        entrants = [Entrant(label, None) for label in "abc"]
        orders = ["".join(entrant.label for entrant in in_turn(entrants, number)) for number in range(6)]
        self.assertEqual([sorted(order) for order in orders], [["a", "b", "c"]] * 6)
        self.assertEqual(sorted(order[0] for order in orders), ["a", "a", "b", "b", "c", "c"])
        self.assertLessEqual({"ab", "ba", "bc", "cb"}, {order[at:at + 2] for order in orders for at in (0, 1)})


@NEEDS_TWO
class Rounds(unittest.TestCase):
    few = LoadCase("few", "few", [cases.CPU])
    settings = Settings(rounds=2, seconds=0.5, warm_up=0, server_cores=(CORES[-1],), load_core=CORES[0])
    patient = replace(settings, rounds=1, seconds=1.5)  # for many streams in flight, on a machine that is busy otherwise

    def measure(self, case: cases.Case, servers: list[Contestant], bench: Bench | None = None) -> Measured:
        return measure_case(case, servers, bench or Bench(self.settings), Quiet())

    def test_survive_the_failure_of_one(self) -> None:
        case = LoadCase("case", "the case", [cases.CPU], flags=["--profile", "duplex", "--body", "1KiB"])
        wrong = replace(BareContestant(), name="wrong", flags=["--wrong", "echo"])
        measured = self.measure(case, [BareContestant(), wrong])
        self.assertTrue(measured.has_failures)
        for reports in measured.rounds:
            self.assertIn("the echo differs from the body", reports["wrong"][FAILED])
            self.assertGreater(reports["bare"]["streams"], 0)

    def test_survive_who_does_not_start(self) -> None:
        broken = replace(BareContestant(), name="broken", flags=["--nonsense"])
        measured = self.measure(self.few, [BareContestant(), broken])
        self.assertIn("ended with code", measured.rounds[0]["broken"][FAILED])
        self.assertGreater(measured.rounds[1]["bare"]["streams"], 0)

    def test_leave_the_slow_out_of_what_they_would_only_wait_in(self) -> None:
        case = next(case for case in run.CASES if case.name == "headers-4000")
        slow = replace(BareContestant(), name="slow")
        measured = self.measure(case, [BareContestant(), slow], Bench(self.settings, {"bare": 50_000, "slow": 300}))
        self.assertEqual(measured.left_out, {"slow": "it does fewer than 5,000 streams a second"})
        self.assertEqual([set(reports) for reports in measured.rounds], [{"bare"}] * 2)

    def test_pace_everyone_by_what_it_can_do(self) -> None:
        case = next(case for case in run.CASES if case.name == "paced-80")
        other = replace(BareContestant(), name="other")
        (reports, _) = self.measure(case, [BareContestant(), other], Bench(self.settings, {"bare": 1000, "other": 513})).rounds
        self.assertEqual({label: report["rate"] for label, report in reports.items()}, {"bare": 800, "other": 410})

    def test_have_no_figures_of_streams_that_did_not_end(self) -> None:
        case = LoadCase("case", "the case", [cases.CPU], flags=["--warm-up", "0", "--duration", "0.000001"])
        with self.assertRaisesRegex(Failed, "no stream ended in the time that was measured"):
            cases.run_load(Entrant("bare", BareContestant()), Bench(self.settings), case.flags, Setup())
        reports: Round = {"bare": {"latency_us": {"stream": {"count": 0, "p99": 0}}}}
        self.assertIsNone(cases.latency("p99", "stream").of(reports, "bare"))

    def test_find_out_what_each_can_do(self) -> None:
        self.assertGreater(Bench(self.patient).capacity(BareContestant()), 100)

    def test_hold_as_many_streams_as_are_asked_for(self) -> None:
        case = cases.IdleCase("idle", "idle", [cases.MEMORY, cases.BESIDES], streams=12_000)
        reports = self.measure(case, [BareContestant(), EXTPROCD]).rounds[0]
        self.assertEqual([report["memory"]["streams"] for report in reports.values()], [12_000, 12_000])
        self.assertGreater(case.figures[1].of(reports, "extprocd") or 0, 100)

    def test_set_servers_up_for_instructions(self) -> None:
        case = next(case for case in run.CASES if case.name == "instruction")
        self.assertFalse(self.measure(case, [BareContestant(), EXTPROCD], Bench(self.patient)).has_failures)

    def test_run_chains_of_each_length(self) -> None:
        for name in ("chain-untouched", "chain-set-header"):
            with self.subTest(name):
                case = next(case for case in run.CASES if case.name == name)
                measured = self.measure(case, [BareContestant(), EXTPROCD],
                                        Bench(self.patient))
                self.assertFalse(measured.has_failures, measured.rounds)
                self.assertEqual(measured.labels, ["bare", "extprocd, 1 plugin", "extprocd, 4 plugins", "extprocd, 16 plugins"])

    def test_run_with_two_threads(self) -> None:
        case = next(case for case in run.CASES if case.name == "threads")
        self.assertIn("two threads need two cores beside the load's", case.why_not(self.patient))
        self.assertEqual(case.why_not(replace(self.patient, two_threads=True)), "")
        self.assertEqual(case.why_not(replace(self.patient, server_cores=(3, 1))), "")
        measured = self.measure(case, [BareContestant(), EXTPROCD], Bench(self.patient))
        self.assertEqual(measured.labels, ["bare", "extprocd, 1 thread", "extprocd, 2 threads"])
        self.assertFalse(measured.has_failures, measured.rounds)


class Extprocd(unittest.TestCase):
    def test_is_configured_as_the_case_asks(self) -> None:
        config = tomllib.loads(EXTPROCD.config(2, Setup(streams=100_000, chain=("a_module", 3))))
        self.assertEqual((config["server"]["threads"], config["server"]["transport"]), (2, "native"))
        self.assertGreater(config["server"]["limits"]["max_streams"], 100_000)
        self.assertEqual([plugin["name"] for plugin in config["plugin"]], ["a_module-1", "a_module-2", "a_module-3"])
        self.assertEqual({plugin["module"] for plugin in config["plugin"]}, {"a_module.so"})

    def test_sets_every_header_of_a_chain(self) -> None:
        """Else the chain's figures would be of something else."""
        flags = ["--expect-mutation", "--streams", "1", *timed(Rounds.settings)]
        for module, is_right in (("bench_set_header", True), ("bench_watch_only", False)):
            entrant = Entrant("extprocd", EXTPROCD, setup=Setup(chain=(module, 3)))
            with self.subTest(module):
                if is_right:
                    cases.run_load(entrant, Bench(Rounds.settings), flags, entrant.setup)
                    continue
                with self.assertRaisesRegex(Failed, "changes no header"):
                    cases.run_load(entrant, Bench(Rounds.settings), flags, entrant.setup)


class Plans(unittest.TestCase):
    def test_add_up(self) -> None:
        settings = Settings(rounds=3, seconds=1.5, warm_up=0.5, server_cores=(1,), load_core=0)
        servers: list[Contestant] = [BareContestant(), replace(BareContestant(), name="other")]
        plan = Plan.of([case for case in run.CASES if case.name in ("headers-16", "idle-100k", "threads")], servers, settings)
        self.assertEqual(plan.seconds(), 3 * 2 * 2.4 + 1 * 2 * 14)
        self.assertEqual(list(plan.left_out), ["headers, 400 in flight, one and two threads"])
        said = StringIO()
        with redirect_stderr(said):
            plan.tell()
            progress = TellingProgress(plan)
            progress.on_round(plan.cases[0], 0, 3)
            progress.on_round(plan.cases[0], 1, 3)
        for part in ("2 servers: bare, other", "about 42 s", "not measured: headers, 400", "  0 %, 42 s left", " 11 %",
                     "round 2 of 3"):
            self.assertIn(part, said.getvalue())


@dataclass(frozen=True)
class Absent(BareContestant):
    def why_not(self) -> str:
        return "its tool is not installed"


class CommandLine(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def bench(self, *flags: str, cores: list[int] | None = None) -> subprocess.CompletedProcess[str]:
        kept = ",".join(map(str, cores or CORES))
        brief = ["--rounds", "1", "--seconds", "0.8", "--output", str(self.folder)]
        command = ["taskset", "--cpu-list", kept, sys.executable, "-B", run.__file__, *brief, *flags]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)

    def reports(self) -> dict[str, Any]:
        (folder,) = self.folder.iterdir()
        return {case.name: json.loads((folder / f"{case.name}.json").read_text()) for case in run.CASES
                if (folder / f"{case.name}.json").exists()}

    def test_needs_two_cores(self) -> None:
        done = self.bench("--quick", cores=CORES[:1])
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("this needs two cores", done.stderr)

    @NEEDS_TWO
    def test_names_what_there_is(self) -> None:
        for flags, text in ((["--only", "nothing"], "there are: headers-16, "), (["--servers", "nobody"], "there are: bare, "),
                            (["--resume"], "there is no run in")):
            with self.subTest(text):
                done = self.bench("--quick", *flags)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertIn(text, done.stderr)

    @NEEDS_TWO
    def test_writes_reports_tables_and_charts_and_goes_on_later(self) -> None:
        done = self.bench("--only", "headers-16,one-stream", "--servers", "extprocd-grpc")
        self.assertEqual(done.returncode, 0, done.stderr)
        first = self.reports()
        self.assertEqual(list(first), ["headers-16", "one-stream"])
        self.assertEqual([set(reports) for reports in first["one-stream"]["measured"]["rounds"]], [{"bare", "extprocd-grpc"}])
        self.assertIn("headers, 16 in flight\n", done.stdout)
        (folder,) = self.folder.iterdir()
        self.assertEqual((folder / "tables.txt").read_text(), done.stdout)
        self.assertRegex(done.stdout, r"\ncase +bare +extprocd-grpc\nheaders, 16 in flight +1\.00 +\d")
        told = json.loads((folder / "figures.json").read_text())["cases"][0]["rows"]["extprocd-grpc"]
        self.assertGreater(told[cases.CPU.title]["ratio"]["low"], 0)
        ElementTree.fromstring((folder / "cpu.svg").read_text())

        done = self.bench("--resume", "--only", "one-stream", "--servers", "extprocd-grpc")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("headers, 16 in flight\n", done.stdout)
        second = self.reports()
        self.assertEqual(first["headers-16"], second["headers-16"])
        self.assertNotEqual(first["one-stream"]["measured"], second["one-stream"]["measured"])

    @NEEDS_TWO
    def test_compares_with_the_baseline(self) -> None:
        known, few = self.folder / "baseline.json", ["--only", "headers-16", "--servers", "extprocd-grpc"]
        runs = ["--output", str(self.folder / "runs"), "--baseline", str(known)]
        done = self.bench(*few, *runs, "--compare")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("measure it with --write-baseline first", done.stderr)
        self.assertFalse((self.folder / "runs").exists())
        done = self.bench(*few, *runs, "--write-baseline")
        self.assertEqual(done.returncode, 0, done.stderr)

        ratios = baseline.read(known)
        figure = ratios["ratios"]["headers-16"]["extprocd-grpc"][cases.CPU.title]
        for factor, code, text in ((10, 0, "nothing is worse than the baseline"),
                                   (0.1, 1, f"WORSE: headers-16, extprocd-grpc: {cases.CPU.title}")):
            with self.subTest(factor):
                changed = {name: factor * value for name, value in figure.items()}
                # The other figures are left out: they are what they are on this machine now.
                baseline.write(known, {"ratios": {"headers-16": {"extprocd-grpc": {cases.CPU.title: changed}}}})
                done = self.bench(*few, *runs, "--compare")
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(text, done.stderr)

    def test_takes_part_who_is_asked_for(self) -> None:
        known: list[Contestant] = [BareContestant(), EXTPROCD, Absent("absent")]

        def names(*flags: str) -> list[str]:
            with redirect_stderr(StringIO()) as said:
                servers = [server.name for server in run.chosen_servers(run.arguments(list(flags)), known)]
            if "--quick" in flags:
                self.assertIn("leaving out absent: its tool is not installed", said.getvalue())
            return servers

        self.assertEqual(names("--quick"), ["bare", "extprocd"])
        self.assertEqual(names("--servers", "extprocd"), ["bare", "extprocd"])
        self.assertEqual(names("--compare"), ["bare", "extprocd"])
        for flags in ([], ["--quick", "--servers", "absent"]):
            with self.assertRaisesRegex(run.Mistake, "absent cannot be measured: its tool is not installed"):
                names(*flags)


def result_of(measured: Measured) -> CaseResult:
    return CaseResult(cases.BUSY.name, {}, {}, {}, 0.0, measured)


class Resuming(unittest.TestCase):
    def test_measures_what_lacks_or_failed(self) -> None:
        servers: list[Contestant] = [BareContestant(), EXTPROCD]
        with tempfile.TemporaryDirectory() as folder:
            kept = Run.new(Path(folder))
            both = ["bare", "extprocd"]
            for labels, report, is_done in ((both, {}, True), (["bare"], {}, False), (both, {FAILED: "x"}, False)):
                kept.keep(result_of(Measured(labels, {}, [dict.fromkeys(labels, report)])))
                again = Run.newest(Path(folder))
                assert again is not None
                self.assertEqual(run.has_all(again.result(cases.BUSY.name), cases.BUSY, servers), is_done, labels)
            self.assertFalse(run.has_all(kept.result("reset"), cases.BUSY, servers))

    def test_knows_what_each_can_do(self) -> None:
        rounds: list[Round] = [{"bare": {"streams_per_second": value}, "slow": {FAILED: "x"}} for value in (5, 9, 6)]
        with tempfile.TemporaryDirectory() as folder:
            kept = Run.new(Path(folder))
            self.assertEqual(run.capacities(kept), {})
            kept.keep(result_of(Measured(["bare", "slow"], {}, rounds)))
            self.assertEqual(run.capacities(kept), {"bare": 6})


if __name__ == "__main__":
    unittest.main()
