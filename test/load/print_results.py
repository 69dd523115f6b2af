"""A plugin of pytest for `./dev load`: prints what the loads did, at the end."""

from __future__ import annotations

import pytest

import trial


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tables = {trial.HEADING: [result.line() for result in trial.results]} | trial.tables
    for heading, rows in tables.items():
        if rows:
            terminalreporter.write_line("\n" + "\n".join([heading, *rows]))
