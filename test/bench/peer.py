"""The servers to compare with: what there is of them, and how each is started. `./dev peers` builds them."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rig import BINARY, TOP, Process, free_port

SOURCES = TOP / "test/bench/peers"
BUILT = TOP / "build/peers"  # by ./dev peers
PROGRAMS = BINARY.parents[1] / "bench"  # by CMake
PYTHON = TOP / "build/venv/bin/python"
MESSAGES = PROGRAMS / "python"


class PeerProcess(Process):
    """A running one."""

    def __init__(self, name: str, command: list[str], address: str) -> None:
        super().__init__()
        self.name = name
        self.address = address
        self._command = command

    def command(self) -> list[str]:
        return self._command

    def is_ready(self) -> bool:
        return f"listening on {self.address}" in self.log()


@dataclass(frozen=True)
class Peer:
    """An ext_proc server that follows the header `instructions`, or where it has prepared replies does so because it is told
    when it starts. `files`: what must be there to start it; `command` goes before the flags that all of them take."""

    name: str
    title: str
    files: tuple[Path, ...]
    command: tuple[str, ...]
    version: Callable[[], str]  # of its libraries, in words
    max_threads: int = 1024
    has_prepared_replies: bool = False

    def is_built(self) -> bool:
        return all(file.exists() for file in self.files)

    def why_not(self) -> str:
        """Why it is not built; empty if it is."""
        if self.is_built():
            return ""
        left_out = BUILT / f"{self.name}.left-out"
        return left_out.read_text().strip() if left_out.exists() else "run ./dev peers to build it"

    def start(self, cores: int | Sequence[int] | None = None, threads: int = 1, *, set_header: str = "",
              address: str = "") -> PeerProcess:
        """On a port of its own, on these cores alone. `set_header`: "name:value" that it sets on requests if it cannot read
        instructions; the others are told by each request."""
        if not 1 <= threads <= self.max_threads:
            raise ValueError(f"{self.name} runs on 1 to {self.max_threads} threads, not on {threads}")
        address = address or f"127.0.0.1:{free_port()}"
        command = [*self.command, "--listen", address]
        if self.max_threads > 1:
            command += ["--threads", str(threads)]
        if self.has_prepared_replies and set_header:
            command += ["--set-header", set_header]
        if cores is not None:
            listed = str(cores) if isinstance(cores, int) else ",".join(map(str, cores))
            command = ["taskset", "--cpu-list", listed, *command]
        return PeerProcess(self.name, command, address)


def peers() -> list[Peer]:
    """All of them, built or not."""
    return [
        Peer("grpcpp", "grpc++: completion queues, views, prepared answers", (PROGRAMS / "grpcpp",),
             (str(PROGRAMS / "grpcpp"),), _grpcpp_version, has_prepared_replies=True),
        Peer("go", "Go: grpc-go, go-control-plane", (BUILT / "go",), (str(BUILT / "go"),), _go_version),
        Peer("tonic", "Rust: tonic on tokio's multi-thread runtime", (BUILT / "tonic",), (str(BUILT / "tonic"),), _rust_version),
        Peer("tonic-lean", "Rust: tonic's service on hyper alone, one thread, mimalloc", (BUILT / "tonic-lean",),
             (str(BUILT / "tonic-lean"),), _rust_version, max_threads=1),
        Peer("h2-lean", "Rust: h2 and prost without tonic, one thread, mimalloc", (BUILT / "h2-lean",),
             (str(BUILT / "h2-lean"),), _rust_version, max_threads=1),
        Peer("python", "Python: grpcio's asyncio API", (PYTHON, MESSAGES / "envoy/__init__.py"),
             (str(PYTHON), "-B", str(SOURCES / "python/server.py"), "--messages", str(MESSAGES)), _python_version, max_threads=1),
    ]


def _output_of(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _tool_version(tool: str) -> str:
    """Of what built the peers."""
    stamp = BUILT / f"{tool}.stamp"
    return stamp.read_text().partition(" ")[0] if stamp.exists() else "unknown"


def _grpcpp_version() -> str:
    return f"grpc++ {_output_of('pkg-config', '--modversion', 'grpc++')}"


def _go_version() -> str:
    text = (SOURCES / "go/go.mod").read_text()
    versions = dict(re.findall(r"^\t(\S+) v(\S+)$", text, re.MULTILINE))
    return (f"Go {_tool_version('go')}, grpc-go {versions['google.golang.org/grpc']}, "
            f"go-control-plane {versions['github.com/envoyproxy/go-control-plane/envoy']}")


def _rust_version() -> str:
    packages = tomllib.loads((SOURCES / "rust/Cargo.lock").read_text())["package"]
    versions = {package["name"]: package["version"] for package in packages}
    names = ("tonic", "hyper", "h2", "tokio", "envoy-types")
    return f"Rust {_tool_version('cargo')}, " + ", ".join(f"{name} {versions[name]}" for name in names)


def _python_version() -> str:
    return _output_of(str(PYTHON), "-c", "import platform; from importlib.metadata import version; "
                      "print(f\"Python {platform.python_version()}, grpcio {version('grpcio')}, protobuf {version('protobuf')}\")")
