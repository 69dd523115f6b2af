"""A program as a container runtime starts it: process 1 of its namespace, root file system read-only, a user by number, no
capabilities."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rig import Process, http_get

# The kernel's file systems, as every runtime gives them, and the devices that it always has.
SETUP = """
set -e
root=$1
shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755,size=64k tmpfs "$root/dev"
for device in null zero urandom; do touch "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
while [ "$1" != -- ]; do mount -t tmpfs -o "mode=1777,size=64m,$2" tmpfs "$root/$1"; shift 2; done
shift
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs env -i "$@"
"""


@dataclass
class Container:
    """An unpacked image, and how it is run."""

    root: Path
    folder: str
    user: int
    environment: dict[str, str]
    tmpfs: tuple[tuple[str, str], ...] = ()  # where, and mount options

    def command(self, *words: str) -> list[str]:
        for place in ["proc", "dev", *(place for place, _ in self.tmpfs)]:
            (self.root / place).mkdir(exist_ok=True)
        mounts = [word for mount in self.tmpfs for word in mount]
        enter = ["/usr/bin/unshare", f"--root={self.root}", f"--wd={self.folder}", f"--setgid={self.user}",
                 f"--setuid={self.user}"]
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", SETUP, "sh", str(self.root),
                *mounts, "--", *(f"{key}={value}" for key, value in self.environment.items()), *enter, *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=60)


class Contained(Process):
    """A server that runs in one; ready when `admin` says so."""

    name = "container"

    def __init__(self, container: Container, words: list[str], address: str = "127.0.0.1:18080",
                 admin: str = "127.0.0.1:18081") -> None:
        super().__init__()
        self.container = container
        self.words = words
        self.address = address
        self.admin = admin

    def command(self) -> list[str]:
        return self.container.command(*self.words)

    def is_ready(self) -> bool:
        return http_get(f"http://{self.admin}/readyz")[0] == 200

    @property
    def pid(self) -> int:
        """The contained process: the one child of the one that made its namespaces."""
        assert self.child is not None
        return int(Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()[0])

    def stop(self, number: int = signal.SIGTERM, seconds: float = 40.0) -> int:
        """As `docker stop`: the signal goes to process 1 in there, and not to what made its namespaces."""
        assert self.child is not None
        if self.child.poll() is None:
            os.kill(self.pid, number)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                pass
        return super().stop(signal.SIGKILL, seconds)
