"""The table of Envoy's scenarios: what passes in process, over both transports, and through each version of Envoy."""

from __future__ import annotations

import argparse
import datetime
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import envoy_cases
from envoy_cases import Case
from rig import TOP, envoy_versions

TESTS = {"in process": "in_process", "native": "over_the_native_transport", "grpc": "over_grpc"}
NAMES = TOP / "test/conformance/envoy_names.toml"
PAGE = TOP / "docs/compatibility.md"
BEGIN, END = "<!-- what ./dev conformance printed -->\n", "<!-- end of it -->\n"


@dataclass
class Cell:
    """What became of one scenario's cases in one column."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    faulty: int = 0
    reasons: set[str] = field(default_factory=set)  # of faults, and why a column cannot have a case

    def take(self, case: Case, wrong: list[str]) -> None:
        if wrong == [case["fault"]]:
            self.faulty += 1
            self.reasons.add(case["fault"])
        elif wrong:
            self.failed.append(f"{case['place']}: {case['id']}: " + "; ".join(wrong))
        else:
            self.passed += 1


def said(failure: str) -> str:
    """The line of googletest's failure that says most: behind its place and "Failed"."""
    return next((line for line in failure.splitlines()[1:] if line != "Failed"), failure)


def in_process(cases: list[Case], wanted: str) -> dict[str, dict[str, list[str]]]:
    """What googletest says of each column that needs no Envoy, by the case's id."""
    by_test = {case["test"]: case["id"] for case in cases}
    known = {case["id"]: [case["fault"]] if case["fault"] else [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        program = envoy_cases.RELEASE / "tests/envoy_conformance_test"
        some = re.sub("[^A-Za-z0-9]", "_", wanted)
        flags = [f"--gtest_output=json:{report}", "--gtest_brief=1", f"--gtest_filter=*/*{some}*"]
        ran = subprocess.run([program, *flags], capture_output=True)
        if not report.exists():
            raise SystemExit((ran.stdout + ran.stderr).decode(errors="replace"))
        suites = json.loads(report.read_text(errors="replace"))["testsuites"]
    results: dict[str, dict[str, list[str]]] = {column: {} for column in TESTS}
    columns = {test: column for column, test in TESTS.items()}
    for test in (test for suite in suites for test in suite["testsuite"]):
        kind, _, name = test["name"].partition("/")
        if kind in columns and wanted in by_test[name]:
            wrong = [said(one["failure"]) for one in test.get("failures", [])]
            # A known fault passes there as long as it is one.
            results[columns[kind]][by_test[name]] = wrong or known[by_test[name]]
    return results


def table(cases: list[Case], versions: list[str], wanted: str) -> dict[str, dict[str, Cell]]:
    """Cells by the scenario's name and the column."""
    columns = in_process(cases, wanted)
    for version in versions:
        results = envoy_cases.run(version, wanted, cases)
        for case in cases:
            if case["fault"] and results.get(case["id"]):
                results[case["id"]] = [case["fault"]]
        columns[f"Envoy {version}"] = results
    rows: dict[str, dict[str, Cell]] = {}
    for case in cases:
        if wanted not in case["id"]:
            continue
        row = rows.setdefault(case["name"], {column: Cell() for column in columns})
        for column, results in columns.items():
            if case["id"] in results:
                row[column].take(case, results[case["id"]])
            else:
                here = case["not_producible"]
                why = case.why_not(column.removeprefix("Envoy ")) if column.startswith("Envoy") else here["in process"]
                row[column].reasons.add(why)
    for column, results in columns.items():
        for name, wrong in results.items():
            if name.startswith("servers behind"):
                rows.setdefault("(the servers afterwards)", {other: Cell() for other in columns})[column] = Cell(
                    passed=int(not wrong), failed=wrong)
    return rows


def printed(rows: dict[str, dict[str, Cell]]) -> str:
    """A table in Markdown, with the reasons below it."""
    columns = list(next(iter(rows.values())))
    notes: dict[str, int] = {}

    def text(cell: Cell) -> str:
        marks = "".join(f"[{notes.setdefault(reason, len(notes) + 1)}]" for reason in sorted(cell.reasons))
        counts = {"**FAIL**": len(cell.failed), "fault": cell.faulty, "pass": cell.passed}
        words = ", ".join(f"{word} {count}" for word, count in counts.items() if count)
        return f"{words or '–'} {marks}".strip()

    lines = ["| scenario | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    lines += [f"| {name} | " + " | ".join(text(cell) for cell in row.values()) + " |" for name, row in rows.items()]
    lines += ["", *(f"{number}. {reason}" for reason, number in notes.items())]
    return "\n".join(lines) + "\n"


def left_out() -> str:
    """The tests of Envoy that there is no scenario of, with the reasons."""
    lines = ["", "Left out:", ""]
    for item in tomllib.loads(NAMES.read_text())["item"]:
        lines += [f"- {name}: {why}" for name, why in item.get("left_out", {}).items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev conformance", description=__doc__)
    parser.add_argument("name", nargs="?", default="", help="only cases with this in their name")
    parser.add_argument("--envoy", metavar="VERSION", action="append", help="only this version (several times: these)")
    parser.add_argument("--no-envoy", action="store_true", help="only what needs none")
    parser.add_argument("--write", action="store_true", help="put the table into docs/compatibility.md")
    arguments = parser.parse_args()
    versions = [] if arguments.no_envoy else arguments.envoy or sorted(envoy_versions())
    rows = table(envoy_cases.load(), versions, arguments.name)
    if not rows:
        print(f"no case has '{arguments.name}' in its name", file=sys.stderr)
        return 2
    text = printed(rows)
    print(text)
    failures = [failure for row in rows.values() for cell in row.values() for failure in cell.failed]
    for failure in failures:
        print(failure, file=sys.stderr)
    if arguments.write:
        page = PAGE.read_text()
        head, _, rest = page.partition(BEGIN)
        _, _, tail = rest.partition(END)
        day = datetime.datetime.now(datetime.UTC).date()
        PAGE.write_text(f"{head}{BEGIN}\nOn {day}:\n\n{text}{left_out()}{END}{tail}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
