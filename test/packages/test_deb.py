"""The Debian packages, built, installed, run and removed for real."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import debian_root
from booted import Booted
from contained import Contained, Container
from debian_root import Root, run, unpacked
from guide import check_guide
from own_network import in_own_network
from rig import TOP, eventually, http_get
from test_install import examples

UNIT = "lib/systemd/system/extprocd.service"
CONFIG = "etc/extprocd/extprocd.toml"


@pytest.fixture(scope="module")
def packages() -> dict[str, Path]:
    paths = [Path(line) for line in run([TOP / "dev", "package"], cwd=TOP).splitlines()]
    return {path.name.split("_")[0]: TOP / path for path in paths}


@pytest.fixture(scope="module")
def server(packages: dict[str, Path]) -> Path:
    return packages["extprocd"]


@pytest.fixture(scope="module")
def _may_mount() -> None:
    try:
        debian_root.require_mounts()
    except debian_root.NotPossible as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def plain(_may_mount: None) -> Iterator[Root]:
    """A Debian without systemd, as containers have it."""
    with unpacked() as root:
        yield root


@pytest.fixture(scope="module")
def with_systemd(_may_mount: None, server: Path) -> Iterator[Root]:
    """A Debian with systemd, and with all that the package needs, since it has no network when it is booted."""
    with unpacked("systemd-sysv") as root:
        shutil.copy(server, root.folder / "root/extprocd.deb")
        root.install("/root/extprocd.deb")
        root.run("apt-get", "purge", "-qy", "extprocd")
        yield root


def field(package: Path, name: str) -> str:
    return run(["dpkg-deb", "--field", package, name]).strip()


def exec_start(root: Path) -> list[str]:
    match = re.search(r"^ExecStart=(.+)$", (root / UNIT).read_text(), re.MULTILINE)
    assert match
    return match[1].split()


def test_the_fields_are_right(packages: dict[str, Path]) -> None:
    version = re.search(r"project\(extprocd VERSION (\S+)", (TOP / "CMakeLists.txt").read_text())
    assert version
    assert {name: field(path, "Version") for name, path in packages.items()} == {
        "extprocd": version[1], "extprocd-dev": version[1]}
    assert (TOP / "packaging/debian/changelog").read_text().startswith(f"extprocd ({version[1]}) ")
    assert field(packages["extprocd"], "Architecture") == run(["dpkg", "--print-architecture"]).strip()
    assert field(packages["extprocd-dev"], "Architecture") == "all"
    depends = field(packages["extprocd"], "Depends")
    for library in ("libc6", "libgrpc++1.51", "libprotobuf32", "libssl3"):
        assert re.search(rf"(^|, ){re.escape(library)} \(", depends), depends


def test_lintian_finds_no_error(packages: dict[str, Path]) -> None:
    # No address has been published that a package could name.
    unknown = "bogus-mail-host,bogus-mail-host-in-debian-changelog"
    run(["lintian", "--allow-root", "--fail-on", "error", "--suppress-tags", unknown, *packages.values()])


def test_the_unit_is_valid_and_confined(server: Path, tmp_path: Path) -> None:
    run(["dpkg-deb", "--extract", server, tmp_path])
    unit = tmp_path / "usr" / UNIT
    # The program is looked for where the unit says; here that is another folder.
    there = tmp_path / "extprocd.service"
    there.write_text(unit.read_text().replace("/usr/bin/extprocd", str(tmp_path / "usr/bin/extprocd")))
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", str(there)], capture_output=True, text=True)
    assert (result.returncode, [line for line in result.stderr.splitlines() if "extprocd" in line]) == (0, [])
    run(["systemd-analyze", "security", "--offline=true", "--threshold=15", unit])
    drain = (TOP / "config/reference.toml").read_text()
    seconds = [int(value) for value in re.findall(r'^(?:grace|deadline) = "(\d+)s"', drain, re.MULTILINE)]
    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit.read_text(), re.MULTILINE)
    assert len(seconds) == 2 and stop and int(stop[1]) > sum(seconds)


@in_own_network
def play_guide(root: Root) -> None:
    """With the unit's command, as nobody, with nothing but /tmp writable."""
    with Contained(Container(root.folder, "/", 65534, {}, (("tmp", "exec"),)), exec_start(root.folder)) as running:
        check_guide(running.address)
        assert running.stop() == 0


def test_it_comes_and_goes_where_systemd_does_not_run(server: Path, plain: Root) -> None:
    before = plain.files()
    shutil.copy(server, plain.folder / "tmp/extprocd.deb")
    plain.install("/tmp/extprocd.deb")
    assert not (plain.folder / "usr/bin/systemctl").exists()
    play_guide(plain)

    plain.run("apt-get", "remove", "-qy", "extprocd")
    assert not (plain.folder / "usr/bin/extprocd").exists()
    assert (plain.folder / CONFIG).exists()
    plain.run("apt-get", "purge", "-qy", "--autoremove", "extprocd")
    assert plain.files() - before == set()
    assert before - plain.files() == set()


@in_own_network
def test_systemd_runs_it_confined(with_systemd: Root) -> None:
    with Booted(with_systemd) as system:
        system.run("apt-get", "install", "-qy", "/root/extprocd.deb")
        assert system.run("systemctl", "is-enabled", "extprocd").strip() == "enabled"
        eventually(lambda: serving(system))
        check_guide("127.0.0.1:18080")

        status = system.status("extprocd")
        user, *others = {int(word) for word in status["Uid"].split()}
        assert not others and 61184 <= user <= 65519, "a dynamic user"
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        main = system.show("extprocd", "MainPID")
        assert "(deleted)" in system.run("grep", "instructions.so", f"/proc/{main}/maps"), "kept in memory, /run is noexec"

        system.run("systemctl", "kill", "--signal=SEGV", "extprocd")
        eventually(lambda: system.show("extprocd", "MainPID") not in (main, "0") and serving(system))
        check_guide("127.0.0.1:18080")

        system.run("systemctl", "stop", "extprocd")
        assert (system.show("extprocd", "ActiveState"), system.show("extprocd", "Result")) == ("inactive", "success")
        system.run("apt-get", "purge", "-qy", "extprocd")


@in_own_network
def test_what_the_administrator_decided_outlives_an_upgrade(with_systemd: Root) -> None:
    with Booted(with_systemd) as system:
        system.run("apt-get", "install", "-qy", "/root/extprocd.deb")
        eventually(lambda: serving(system))
        config = with_systemd.folder / CONFIG
        config.write_text(config.read_text() + "\n[server.drain]\ngrace = 0\n")
        system.run("systemctl", "disable", "extprocd")
        first = system.show("extprocd", "MainPID")

        # dpkg takes the same version for an upgrade.
        system.run("dpkg", "--install", "/root/extprocd.deb")
        eventually(lambda: system.show("extprocd", "MainPID") not in (first, "0") and serving(system))
        assert config.read_text().endswith("[server.drain]\ngrace = 0\n")
        assert subprocess.run(system.entered("systemctl", "is-enabled", "extprocd"), capture_output=True, text=True
                              ).stdout.strip() == "disabled"

        system.run("apt-get", "remove", "-qy", "extprocd")
        assert system.show("extprocd", "ActiveState") == "inactive"
        assert config.exists()
        system.run("apt-get", "purge", "-qy", "extprocd")
        assert not config.parent.exists()
        links = [str(path) for path in (with_systemd.folder / "etc/systemd").rglob("extprocd*")]
        assert links + [str(path) for path in (with_systemd.folder / "var/lib/systemd").rglob("*extprocd*")] == []


@in_own_network
def test_a_unix_listener_can_be_shared_with_the_data_planes_group(with_systemd: Root) -> None:
    socket = "unix:/run/extprocd/extprocd.sock"
    with Booted(with_systemd) as system:
        system.run("apt-get", "install", "-qy", "/root/extprocd.deb")
        config = with_systemd.folder / CONFIG
        config.write_text(config.read_text().replace('"127.0.0.1:18080"', f'"{socket}"'))
        drop_in = with_systemd.folder / "etc/systemd/system/extprocd.service.d/group.conf"
        drop_in.parent.mkdir()
        drop_in.write_text("[Service]\nGroup=games\nUMask=0007\n")
        system.run("systemctl", "daemon-reload")
        system.run("systemctl", "restart", "extprocd")
        eventually(lambda: serving(system))

        def probe(group: str) -> int:
            user = ["setpriv", "--reuid=nobody", f"--regid={group}", "--clear-groups"]
            return subprocess.run(system.entered(*user, "extprocd", "--probe", socket), capture_output=True).returncode

        assert (probe("games"), probe("nogroup")) == (0, 1)
        check_guide(f"unix:/proc/{system.leader}/root{socket.removeprefix('unix:')}")
        system.run("apt-get", "purge", "-qy", "extprocd")
        shutil.rmtree(drop_in.parent)


def serving(system: Booted) -> bool:
    try:
        return http_get("http://127.0.0.1:18081/readyz")[0] == 200
    except OSError:
        return False


def test_the_sdk_package_builds_the_template(packages: dict[str, Path], tmp_path: Path) -> None:
    run(["dpkg-deb", "--extract", packages["extprocd-dev"], tmp_path / "root"])
    shutil.copytree(tmp_path / "root/usr/share/extproc/template", tmp_path / "mine")
    run(["cmake", "-B", tmp_path / "build", "-S", tmp_path / "mine", f"-DCMAKE_PREFIX_PATH={tmp_path}/root/usr"])
    run(["cmake", "--build", tmp_path / "build"])
    assert (tmp_path / "build/plugins/greeting.so").exists()


def test_the_documentation_is_where_debian_wants_it(packages: dict[str, Path], tmp_path: Path) -> None:
    for name, package in packages.items():
        run(["dpkg-deb", "--extract", package, tmp_path])
        folder = tmp_path / "usr/share/doc" / name
        assert (folder / "copyright").is_file()
        assert gzip.decompress((folder / "changelog.gz").read_bytes()).startswith(b"extprocd (")
    folder = tmp_path / "usr/share/doc/extprocd/examples"
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == examples()
