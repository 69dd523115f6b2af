"""What a newcomer tries first: the demo, and the example configuration."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rig import BINARY, TOP, envoy_binary, free_port

DEMO = Path(__file__).with_name("demo.py")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(DEMO), *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_the_guides_two_calls_show_their_output() -> None:
    done = run("--port", str(free_port()))
    assert done.returncode == 0, done.stderr
    _, headers, get = done.stdout.split("$ curl")
    assert '"Extproc": "true"' in headers
    assert '"Instructions"' in get
    assert '"Extproc"' not in get


def test_a_busy_port_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("--port", str(port))
    assert done.returncode == 1
    assert done.stderr == f"demo: port {port} is busy; choose another with --port\n"


@pytest.mark.parametrize("file", ["extprocd.toml", "reference.toml"])
def test_the_shipped_configuration_is_what_runs_with_no_file(file: str) -> None:
    def chain(*flags: str) -> list[str]:
        done = subprocess.run([str(BINARY), "--check", *flags], capture_output=True, text=True, timeout=30, check=True)
        return done.stdout.splitlines()[1:]  # the first line names the file

    assert chain("--config", str(TOP / "config" / file)) == chain()


def test_envoy_accepts_the_example_configuration() -> None:
    example = TOP / "config/envoy/ext_proc.yaml"
    done = subprocess.run([str(envoy_binary()), "--mode", "validate", "-c", str(example)], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stderr
