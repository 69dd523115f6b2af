"""Tables of figures, for a terminal and for a document."""

from __future__ import annotations

from collections.abc import Sequence

from figures import REFERENCE, Figure, Row, Table

NOTHING = "–"
RATIO = f"× {REFERENCE}"


def _headers(table: Table) -> list[str]:
    headers = ["server"]
    for figure in table.figures:
        headers += [figure.title, RATIO] if figure.has_ratio else [figure.title]
    return headers


def _cells(row: Row, figures: Sequence[Figure]) -> list[str]:
    cells = [row.label]
    for figure in figures:
        cell = row.cells[figure.title]
        value = cell.value.text(figure.digits) if cell.value else NOTHING
        cells.append("failed" if row.failure else value)
        if figure.has_ratio:
            cells.append(cell.ratio.text(2) if cell.ratio and not row.failure else NOTHING)
    return cells


def _notes(table: Table) -> list[str]:
    return [f"{row.label} failed: {row.failure}" for row in table.rows if row.failure] + table.notes


def columns(lines: list[list[str]]) -> str:
    """Cells one below the other."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def markdown(lines: list[list[str]]) -> str:
    """The first line is the head; all columns but the first are numbers."""
    rule = ["---"] + ["--:"] * (len(lines[0]) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])


def as_text(table: Table) -> str:
    lines = [_headers(table)] + [_cells(row, table.figures) for row in table.rows]
    return "\n".join([table.title, columns(lines), *_notes(table)])


def as_markdown(table: Table) -> str:
    lines = [_headers(table)] + [_cells(row, table.figures) for row in table.rows]
    # A failure's text may have lines of its own; the first says what is wrong.
    notes = [note.partition("\n")[0] for note in _notes(table)]
    return "\n\n".join([f"### {table.title}", markdown(lines), *notes])


def overview(tables: list[Table], title: str) -> list[list[str]]:
    """One figure's ratio in all cases that have it: a line a case, a column a server. Empty, if none has it."""

    def medians(table: Table) -> dict[str, str]:
        ratios = {row.label: row.cells[title].ratio for row in table.rows if title in row.cells and not row.failure}
        return {label: f"{ratio.median:,.2f}" for label, ratio in ratios.items() if ratio}

    known = [(table.title, medians(table)) for table in tables if medians(table)]
    labels = list(dict.fromkeys(label for _, ratios in known for label in ratios))
    lines = [[case, *(ratios.get(label, NOTHING) for label in labels)] for case, ratios in known]
    return [["case", *labels], *lines] if lines else []
