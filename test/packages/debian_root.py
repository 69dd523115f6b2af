"""A small Debian of its own, of the host's release and from the host's mirrors: what the image is built on, and what the
packages are installed into. Made once, with debootstrap, and kept as a tarball beside the builds."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rig import TOP

ARCHIVE = TOP / "build/debian-root.tar"
APT_CACHE = TOP / "build/debian-root-apt"
SETTINGS = ("Acquire::http::Proxy", "Acquire::https::Proxy", "Acquire::Check-Valid-Until", "Acquire::Check-Date")


class NotPossible(Exception):
    """This user or this machine cannot do what these tests do; the text says why."""


def run(command: list[str | Path], **options: object) -> str:
    """Runs a command; its output. Fails with all that it said if it does not end well."""
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert result.returncode == 0, f"{shlex.join(map(str, command))}\n{result.stdout[-8000:]}{result.stderr[-8000:]}"
    return result.stdout


def require_mounts() -> None:
    """Raises NotPossible where nothing can be mounted in a namespace of one's own."""
    if os.geteuid() != 0:
        raise NotPossible("only root can unpack and enter another root file system")
    result = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True)
    if result.returncode != 0:
        raise NotPossible(f"nothing can be mounted here: {result.stderr.strip()}")


def sources() -> list[str]:
    """The host's sources of Debian, as lines of sources.list, the release itself first."""
    form = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    lines = run(["apt-get", "indextargets", "--format", form, "Identifier: Packages"]).splitlines()
    fields = [line.split("|") for line in dict.fromkeys(lines)]
    found = [f"deb {uri} {release} {part}" for origin, uri, release, part in fields if origin == "Debian" and part == "main"]
    return sorted(found, key=lambda line: "-" in line.split()[2])


def apt_settings() -> str:
    """What the host's apt needs to reach those sources."""
    lines = run(["apt-config", "dump", *SETTINGS]).splitlines()
    return "".join(f"{line}\n" for line in lines if not line.endswith('"";'))


def base() -> Path:
    """The tarball; made if it is not there."""
    if not ARCHIVE.exists():
        ARCHIVE.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=ARCHIVE.parent, prefix="debian-root-") as folder:
            root = Path(folder) / "root"
            _, mirror, release, _ = sources()[0].split()
            run(["debootstrap", "--variant=minbase", release, root, mirror])
            (root / "etc/apt/sources.list").write_text("\n".join(sources()) + "\n")
            (root / "etc/apt/apt.conf.d/90host").write_text(apt_settings())
            # As in Debian's own container images: what is thrown away need not be synced to the disk.
            (root / "etc/dpkg/dpkg.cfg.d/90unsafe-io").write_text("force-unsafe-io\n")
            shutil.rmtree(root / "var/cache/apt/archives")
            part = Path(folder) / "root.tar"
            run(["tar", "--numeric-owner", "-C", root, "-cf", part, "."])
            part.rename(ARCHIVE)
    return ARCHIVE


def unpack(archive: Path, folder: Path) -> None:
    """A tarball's files, with their owners, modes and links."""
    run(["tar", "--numeric-owner", "-C", folder, "-xpf", archive])


class Root:
    """An unpacked Debian."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def command(self, *words: str | Path) -> list[str]:
        """Runs `words` in there, with /proc, and packages kept between runs."""
        script = ('mount --bind "$0" "$1/var/cache/apt/archives" && mount -t proc proc "$1/proc" && '
                  'cp /etc/resolv.conf "$1/etc/resolv.conf" && root=$1 && shift && exec chroot "$root" "$@"')
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, str(APT_CACHE),
                str(self.folder), *map(str, words)]

    def run(self, *words: str | Path) -> str:
        APT_CACHE.mkdir(exist_ok=True)
        (self.folder / "var/cache/apt/archives").mkdir(exist_ok=True)
        return run(self.command(*words), env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"})

    def install(self, *packages: str) -> None:
        self.run("apt-get", "update", "-q")
        self.run("apt-get", "install", "-qy", "--no-install-recommends", *packages)

    def files(self) -> set[str]:
        """Every path but what the packaging tools keep for themselves."""
        own = ("var/lib/dpkg/", "var/lib/apt/", "var/cache/", "var/log/", "proc/", "run/", "tmp/")
        paths = (str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))
        return {path for path in paths if not path.startswith(own)}


@contextmanager
def unpacked(*packages: str) -> Iterator[Root]:
    """A fresh Debian, with these packages; gone when left."""
    with tempfile.TemporaryDirectory(dir=base().parent, prefix="debian-root-") as folder:
        unpack(ARCHIVE, Path(folder))
        root = Root(Path(folder))
        if packages:
            root.install(*packages)
        yield root
