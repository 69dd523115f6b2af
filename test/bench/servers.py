"""What is measured and what measures, as processes; the rest of them is with the end-to-end tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from rig import BINARY, TOP, Extprocd, Failed, NotReady, Process, eventually, free_port  # noqa: E402

from peer import Peer, PeerProcess, peers  # noqa: E402, F401

__all__ = ["BINARY", "TOP", "Bare", "Extprocd", "Failed", "NotReady", "PinnedExtprocd", "eventually", "free_port", "load",
           "load_json"]

PROGRAMS = BINARY.parents[1] / "bench"


def pinned(cores: int | Sequence[int] | None, command: list[str]) -> list[str]:
    """The command, kept on these cores; as it is without any."""
    if cores is None:
        return command
    return ["taskset", "--cpu-list", str(cores) if isinstance(cores, int) else ",".join(map(str, cores)), *command]


class Bare(Process):
    """The yardstick."""

    name = "bare"

    def __init__(self, flags: list[str] | None = None, core: int | None = None) -> None:
        super().__init__()
        self.address = f"127.0.0.1:{free_port()}"
        self.flags = flags or []
        self.core = core

    def command(self) -> list[str]:
        return pinned(self.core, [str(PROGRAMS / "bare"), "--listen", self.address, *self.flags])

    def is_ready(self) -> bool:
        return f"listening on {self.address}" in self.log()


class PinnedExtprocd(Extprocd):
    """The server, kept on cores of its own."""

    def __init__(self, cores: Sequence[int], config: str) -> None:
        super().__init__(config=config)
        self.cores = cores

    def command(self) -> list[str]:
        return pinned(self.cores, super().command())


def load(address: str, *flags: str, core: int | None = None, seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Runs the load program."""
    command = pinned(core, [str(PROGRAMS / "load"), address, *flags])
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, env=os.environ | {"LC_ALL": "C"})


def load_json(address: str, *flags: str, core: int | None = None, seconds: float = 120.0) -> dict[str, Any]:
    """Runs it, and returns its report. Fails with what it said if a reply was wrong."""
    done = load(address, *flags, "--json", "-", core=core, seconds=seconds)
    if done.returncode != 0:
        raise Failed(f"load {' '.join(flags)} ended with code {done.returncode}:\n{done.stderr.strip()}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report
