"""The container image: built from docker/Dockerfile with buildah on a Debian of our own, and unpacked as a runtime would."""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import debian_root
from contained import Container
from debian_root import run
from rig import TOP

BASE = "localhost/debian"


@dataclass
class Image:
    """What was built: its configuration, as the registry would hold it, and its files."""

    config: dict[str, Any]
    root: Path

    @property
    def settings(self) -> dict[str, Any]:
        return self.config["config"]

    def container(self, *tmpfs: tuple[str, str]) -> Container:
        environment = dict(entry.split("=", 1) for entry in self.settings["Env"])
        user, group = self.settings["User"].split(":")
        assert user == group
        return Container(self.root, self.settings["WorkingDir"], int(user), environment, tmpfs)


class Builder:
    """A store of images in a folder of its own, gone when left. Nothing is pulled from a registry."""

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(dir=debian_root.base().parent, prefix="image-"))
        self.store = ["buildah", "--root", str(self.folder / "store"), "--runroot", str(self.folder / "run"),
                      "--storage-driver", "vfs"]
        self.environment = os.environ | {"TMPDIR": str(self.folder)}
        return self

    def __exit__(self, *_: object) -> None:
        run(["rm", "-rf", self.folder])

    def buildah(self, *words: str | Path) -> str:
        return run([*self.store, *words], env=self.environment)

    def build(self, name: str, context: Path, *words: str | Path) -> None:
        self.buildah("build", "--isolation", "chroot", "--format", "docker", "--pull-never", "--network", "host",
                     "--tag", f"localhost/{name}", *words, context)

    def base(self) -> None:
        """The Debian that the image is built on."""
        context = self.folder / "base"
        context.mkdir()
        (context / "root.tar").hardlink_to(debian_root.base())
        (context / "Dockerfile").write_text("FROM scratch\nADD root.tar /\nCMD [\"bash\"]\n")
        self.build("debian", context, "-f", context / "Dockerfile")

    def extprocd(self) -> None:
        """docker/Dockerfile as it is; what was compiled and downloaded once is taken from caches of this machine."""
        cache = Path(run(["ccache", "--get-config", "cache_dir"]).strip())
        cache.mkdir(parents=True, exist_ok=True)
        debian_root.APT_CACHE.mkdir(exist_ok=True)
        self.build("extprocd", TOP, "-f", TOP / "docker/Dockerfile", "--build-arg", f"BASE={BASE}",
                   "--build-arg", "CCACHE_DIR=/ccache", "--volume", f"{cache}:/ccache",
                   "--volume", f"{debian_root.APT_CACHE}:/var/cache/apt/archives")

    def unpack(self, name: str) -> Image:
        """The image as it would be pushed, its layers laid over each other."""
        pushed = self.folder / f"{name}-pushed"
        root = self.folder / f"{name}-root"
        root.mkdir(mode=0o755)
        self.buildah("push", "--disable-compression", f"localhost/{name}", f"dir:{pushed}")
        manifest = json.loads((pushed / "manifest.json").read_text())
        for layer in manifest["layers"]:
            archive = pushed / layer["digest"].removeprefix("sha256:")
            with tarfile.open(archive) as members:
                assert not [member for member in members.getnames() if Path(member).name.startswith(".wh.")]
            debian_root.unpack(archive, root)
        config = json.loads((pushed / manifest["config"]["digest"].removeprefix("sha256:")).read_text())
        return Image(config, root)
