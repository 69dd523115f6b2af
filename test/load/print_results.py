"""A plugin of pytest for `./dev load`: prints what the loads did, at the end."""

from __future__ import annotations

import pytest

import trial


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not trial.results:
        return
    terminalreporter.write_line("\n" + trial.HEADING)
    for result in trial.results:
        terminalreporter.write_line(result.line())
