"""Clients of other languages' gRPC libraries, each with the checks of checks.py, over each transport."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

import checks
from tls_files import TlsFiles
from rig import TOP, Extprocd, eventually
from transports import each_transport, server

SECONDS = 120.0
HERE = Path(__file__).parent

# Each client's command. Those of ./dev's making are not there where their tool is not.
COMMANDS = {
    "grpc-go": [str(TOP / "build/interop/go/client")],
    "tonic": [str(TOP / "build/interop/rust/client")],
    "grpc-python": [sys.executable, str(HERE / "python/client.py")],
}
TOOLS = {"grpc-go": "go", "tonic": "cargo"}


def _parameter(client: str) -> object:
    missing = not Path(COMMANDS[client][0]).exists()
    reason = f"{COMMANDS[client][0]} was not built; ./dev test builds it where there is `{TOOLS.get(client)}`"
    return pytest.param(client, marks=pytest.mark.skipif(missing, reason=reason))


each_client = pytest.mark.parametrize("client", [_parameter(name) for name in COMMANDS], scope="session")


@dataclass
class Outcome:
    """What a client found: by check what was wrong, empty if nothing was."""

    wrong: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    errors: str = ""

    def expect(self, check: str) -> None:
        assert check in self.wrong, f"the client ended before it had checked this:\n{self.errors}"
        assert not self.wrong[check], self.wrong[check]


def run(client: str, address: str, names: list[str], act: Callable[[str], None], tls: tuple[str, ...] = ()) -> Outcome:
    """Runs a client; `act` does what it asks for, `tls` are its flags for that."""
    outcome = Outcome()
    path = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([*COMMANDS[client], "--address", address, *tls, *names], stdin=subprocess.PIPE, env=path,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None and child.stdout is not None and child.stderr is not None
        try:
            for line in child.stdout:
                answer = json.loads(line)
                if "ask" in answer:
                    act(answer["ask"])
                    child.stdin.write("done\n")
                    child.stdin.flush()
                    continue
                if "note" in answer:
                    outcome.notes.append(answer["note"])
                    continue
                outcome.wrong[answer["check"]] = "" if answer["ok"] else answer["detail"] or "it did not say what"
            outcome.errors = child.stderr.read()
            child.wait(SECONDS)
        finally:
            child.kill()
    if child.returncode:
        outcome.errors += f"\nended with code {child.returncode}"
    return outcome


def wait_until_idle(running: Extprocd) -> None:
    eventually(lambda: running.metric("extproc_streams_active") <= 1)  # that of `keepalive`


@cache
def outcome_of_all(client: str, transport: str) -> Outcome:
    with server(transport, checks.CONFIG) as running:
        outcome = run(client, running.address, checks.CHECKS, lambda _: wait_until_idle(running))
        eventually(lambda: running.metric("extproc_streams_active") == 0)
    return outcome


@each_transport
@each_client
@pytest.mark.parametrize("check", checks.CHECKS)
def test_over_tcp(client: str, transport: str, check: str) -> None:
    outcome_of_all(client, transport).expect(check)


@each_transport
@each_client
def test_over_a_unix_socket(client: str, transport: str, tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/extprocd.sock"
    with server(transport, checks.CONFIG, address) as running:
        outcome = run(client, address, checks.SHORT_CHECKS, lambda _: wait_until_idle(running))
    for check in checks.SHORT_CHECKS:
        outcome.expect(check)


def flags(ca: Path, certificate: Path | None = None, key: Path | None = None) -> tuple[str, ...]:
    own = ("--certificate", str(certificate), "--key", str(key)) if certificate else ()
    return ("--ca", str(ca), *own)


@each_client
def test_over_tls(client: str, tmp_path: Path) -> None:
    files = TlsFiles(tmp_path)
    with server("native", checks.CONFIG + files.config(mutual=False)) as running:
        outcome = run(client, running.address, checks.SHORT_CHECKS, lambda _: wait_until_idle(running), flags(files.ca))
    for check in checks.SHORT_CHECKS:
        outcome.expect(check)


@each_client
def test_over_mutual_tls(client: str, tmp_path: Path) -> None:
    files = TlsFiles(tmp_path)
    with server("native", checks.CONFIG + files.config(mutual=True)) as running:
        known = flags(files.ca, files.client, files.client_key)
        outcome = run(client, running.address, checks.SHORT_CHECKS, lambda _: wait_until_idle(running), known)
        for check in checks.SHORT_CHECKS:
            outcome.expect(check)
        for stranger in (flags(files.ca), flags(files.ca, files.stranger, files.stranger_key)):
            wrong = run(client, running.address, ["health_check"], lambda _: None, stranger).wrong
            assert wrong.get("health_check"), f"a client of whom nothing is known was served: {stranger}"


@each_transport
@each_client
def test_a_drain(client: str, transport: str) -> None:
    with server(transport, checks.CONFIG) as running:
        outcome = run(client, running.address, [checks.DRAIN], lambda _: running.send_signal(signal.SIGTERM))
        outcome.expect(checks.DRAIN)
        # grpc++ cancels, and does not refuse, what reaches it between its shutdown and the client's reading of GOAWAY.
        assert transport == "grpc" or not outcome.notes
        assert running.stop() == 0
        assert ", 0 cancelled" in running.log()


@each_transport
@each_client
def test_a_restart(client: str, transport: str) -> None:
    with server(transport, checks.CONFIG) as first:
        started = []

        def restart(_: str) -> None:
            first.kill()
            started.append(server(transport, checks.CONFIG, first.address).__enter__())

        try:
            run(client, first.address, [checks.RESTART], restart).expect(checks.RESTART)
        finally:
            for second in started:
                second.__exit__(None, None, None)
