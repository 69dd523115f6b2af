"""A run's results on disk: a folder, and in it a file for each case that was measured to its end."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cases import Case
from figures import Table, row
from rounds import Measured

SATURATED = 0.9  # of the load program's core: then it is what limits
RUN = "run-"


@dataclass(frozen=True)
class CaseResult:
    """The raw reports of a case, with all that they depend on."""

    case: str
    settings: dict[str, Any]
    surroundings: dict[str, str]
    versions: dict[str, str]  # by server
    load_average: float  # when it began
    measured: Measured


def _saturated(measured: Measured) -> list[str]:
    return [label for label in measured.labels
            if any(reports.get(label, {}).get("load_cpu_share", 0) > SATURATED for reports in measured.rounds)]


def table(case: Case, result: CaseResult) -> Table:
    measured = result.measured
    notes = [f"{label} was left out: {why}." for label, why in measured.left_out.items()]
    if busy := _saturated(measured):
        notes.append(f"The load program was busy all the time, and so more streams a second were possible: {', '.join(busy)}.")
    rows = [row(label, case.figures, measured.rounds) for label in measured.labels]
    return Table(case.name, case.title, case.figures, rows, notes)


class Run:
    """One run, which may be gone on with later."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def new(cls, output: Path) -> Run:
        folder = output / datetime.now(UTC).strftime(f"{RUN}%Y%m%dT%H%M%S.%fZ")
        folder.mkdir(parents=True)
        return cls(folder)

    @classmethod
    def newest(cls, output: Path) -> Run | None:
        folders = sorted(output.glob(f"{RUN}*"))
        return cls(folders[-1]) if folders else None

    def _file(self, case: str) -> Path:
        return self.folder / f"{case}.json"

    def keep(self, result: CaseResult) -> None:
        part = self._file(result.case).with_suffix(".part")
        part.write_text(json.dumps(asdict(result), indent=1) + "\n")
        part.rename(self._file(result.case))

    def result(self, case: str) -> CaseResult | None:
        file = self._file(case)
        if not file.exists():
            return None
        document = json.loads(file.read_text())
        return CaseResult(**(document | {"measured": Measured(**document["measured"])}))
