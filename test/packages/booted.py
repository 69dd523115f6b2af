"""A Debian of our own whose systemd runs as process 1, in a container of systemd-nspawn that has the caller's network."""

from __future__ import annotations

import subprocess
from pathlib import Path

from debian_root import Root, run
from rig import Process

# nspawn wants a /run of the kind that systemd has. Debian's initramfs mounts it noexec, nspawn does not by itself.
SETUP = "mount --make-rprivate / && mount -t tmpfs tmpfs /run && exec systemd-nspawn --quiet --directory=\"$1\" --boot " \
        "--register=no --keep-unit --console=read-only --link-journal=no"


class Booted(Process):
    name = "systemd"

    def __init__(self, root: Root) -> None:
        super().__init__()
        self.root = root

    def command(self) -> list[str]:
        return ["unshare", "--mount", "sh", "-c", SETUP, "sh", str(self.root.folder)]

    def is_ready(self) -> bool:
        result = subprocess.run(self.entered("systemctl", "is-system-running"), capture_output=True, text=True)
        if result.stdout.strip() not in ("running", "degraded"):
            return False
        self.run("mount", "-o", "remount,nosuid,nodev,noexec", "/run")
        return True

    @property
    def leader(self) -> int:
        """Process 1 of the container; 0 while there is none."""
        assert self.child is not None
        children = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def entered(self, *words: str) -> list[str]:
        return ["nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--pid", "--cgroup",
                "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", *words]

    def run(self, *words: str) -> str:
        return run(self.entered(*words))

    def show(self, unit: str, property_: str) -> str:
        return self.run("systemctl", "show", "--property", property_, "--value", unit).strip()

    def status(self, unit: str) -> dict[str, str]:
        """What the kernel says about the unit's main process."""
        text = self.run("cat", f"/proc/{self.show(unit, 'MainPID')}/status")
        return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}
