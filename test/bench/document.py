"""What docs/performance.md shows of a run: between two marks, tables and charts."""

from __future__ import annotations

from pathlib import Path

from charts import CHARTS, draw
from figures import Table
from results import CaseResult
from servers import TOP, Failed
from surroundings import BUSY_LOAD_AVERAGE
from tables import as_markdown, markdown, overview

DOCUMENT = TOP / "docs/performance.md"
IMAGES = TOP / "docs/images"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
CPU = "CPU, µs a stream"
OVERVIEW = "CPU a stream, as a multiple of the bare server's"


def _each(results: list[CaseResult], fact: str) -> str:
    """A fact of the surroundings; all its values, if cases were measured at different times."""
    return " and ".join(dict.fromkeys(result.surroundings.get(fact, "unknown") for result in results))


def _version(results: list[CaseResult], server: str) -> str:
    return " and ".join(dict.fromkeys(result.versions[server] for result in results if server in result.versions))


def _measured_with(results: list[CaseResult]) -> str:
    facts = dict.fromkeys(name for result in results for name in result.surroundings if name not in ("date", "machine"))
    lengths = [f"{rounds} {'round' if rounds == 1 else 'rounds'} of {result.settings['seconds']:g} s" for result in results
               for rounds in [result.settings["rounds"]]]
    versions = ", ".join(f"{name} {_each(results, name)}" for name in facts)
    return (f"Measured on {_each(results, 'date')}: {_each(results, 'machine')}; {versions}. Medians of "
            f"{' and '.join(dict.fromkeys(lengths))}, with the lowest and the highest in brackets.")


def _remarks(results: list[CaseResult]) -> list[str]:
    busiest = max(result.load_average for result in results)
    if busiest <= BUSY_LOAD_AVERAGE:
        return []
    return [f"The machine was not idle (load average up to {busiest:.1f}): these figures are provisional."]


def of_all_servers(tables: list[Table]) -> list[list[str]]:
    """What the servers cost in the cases in which each takes part as it is."""
    return overview([table for table in tables if not table.case.startswith(("chain", "threads"))], CPU)


def charts(tables: list[Table]) -> dict[str, str]:
    """SVG documents by file name."""
    drawn = {f"{chart.name}.svg": draw(chart, tables) for chart in CHARTS}
    return {name: svg for name, svg in drawn.items() if svg}


def text(titles: dict[str, str], results: list[CaseResult], tables: list[Table], left_out: dict[str, str]) -> str:
    """`titles`: of the servers; `left_out`: cases that were not measured, and why."""
    rows = [["server", "what it is", "versions"], *([name, title, _version(results, name)] for name, title in titles.items())]
    servers = markdown(rows).replace("--:", "---")
    images = [f"![{chart.title}](images/{chart.name}.svg)" for chart in CHARTS if draw(chart, tables)]
    lines = [_measured_with(results), *_remarks(results), servers]
    if compared := of_all_servers(tables):
        lines += [f"### {OVERVIEW}", markdown(compared)]
    notes = [f"Not measured: {title}. {why[:1].upper()}{why[1:]}." for title, why in left_out.items()]
    return "\n\n".join([*lines, *images, *(as_markdown(table) for table in tables), *notes])


def write_into(document: Path, figures: str) -> None:
    """Replaces what stands between the two marks."""
    before, found, rest = document.read_text().partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise Failed(f"{document} lacks the lines {BEGIN} and {END}")
    document.write_text(f"{before}{BEGIN}\n{figures}\n{END}{after}")


def write_charts(folder: Path, drawn: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in drawn.items():
        (folder / name).write_text(svg)
