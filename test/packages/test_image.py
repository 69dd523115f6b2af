"""The container image, built for real and started as a runtime starts it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

import debian_root
from contained import Contained
from guide import behind_envoy, check_guide, processed
from image import Builder, Image
from own_network import in_own_network
from rig import TOP, http_get

BINARY = "/opt/extprocd/bin/extprocd"


@pytest.fixture(scope="module")
def builder() -> Iterator[Builder]:
    try:
        debian_root.require_mounts()
    except debian_root.NotPossible as reason:
        pytest.skip(str(reason))
    with Builder() as builder:
        builder.base()
        builder.extprocd()
        yield builder


@pytest.fixture(scope="module")
def image(builder: Builder) -> Image:
    return builder.unpack("extprocd")


def files(image: Image) -> dict[str, os.stat_result]:
    """Everything in the image; folders that a runtime adds are left out."""
    added = {"proc", "dev", "tmp"}
    paths = {str(path.relative_to(image.root)): path.lstat() for path in image.root.rglob("*")}
    return {path: info for path, info in paths.items() if path.split("/")[0] not in added}


def test_its_configuration_is_what_operators_and_the_guide_expect(image: Image) -> None:
    settings = image.settings
    assert settings["User"] == "65532:65532"
    assert settings["Entrypoint"] == [BINARY]
    assert settings["Cmd"] == ["--config", "/etc/extprocd/extprocd.toml"]
    assert settings["WorkingDir"] == "/opt/extprocd"
    assert settings["Env"] == ["PATH=/opt/extprocd/bin"]
    assert set(settings["ExposedPorts"]) == {"18080/tcp", "18081/tcp"}
    assert settings["StopSignal"] == "SIGTERM"
    assert settings["Healthcheck"]["Test"] == ["CMD", BINARY, "--probe", "127.0.0.1:18080"]
    version = re.search(r"project\(extprocd VERSION (\S+)", (TOP / "CMakeLists.txt").read_text())
    assert version and settings["Labels"]["org.opencontainers.image.version"] == version[1]
    assert settings["Labels"]["org.opencontainers.image.title"] == "extprocd"


def test_nothing_in_it_can_be_run_but_the_server(image: Image) -> None:
    programs = [path for path, info in files(image).items() if stat.S_ISREG(info.st_mode) and info.st_mode & 0o111]
    loader = [path for path in programs if Path(path).name.startswith("ld-linux")]
    assert len(loader) == 1
    assert set(programs) - set(loader) == {BINARY[1:]}


def test_nothing_in_it_can_be_changed_by_its_user(image: Image) -> None:
    for path, info in files(image).items():
        assert (info.st_uid, info.st_gid) == (0, 0), path
        assert not info.st_mode & (stat.S_ISUID | stat.S_ISGID), path
        if not stat.S_ISLNK(info.st_mode):
            assert not info.st_mode & 0o022, path
            assert stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode), path


def test_scanners_and_lawyers_find_the_libraries_packages(image: Image) -> None:
    packages = {path.name: path.read_text() for path in (image.root / "var/lib/dpkg/status.d").iterdir()}
    assert {"libc6", "libgrpc++1.51", "libstdc++6"} <= set(packages)
    for name, text in packages.items():
        assert text.startswith(f"Package: {name}\n"), name
        assert re.search(r"^Version: \S", text, re.MULTILINE), name
        assert (image.root / "usr/share/doc" / name / "copyright").is_file(), name


def test_its_binary_is_stripped_and_knows_nothing_of_where_it_was_built(image: Image) -> None:
    for path in [image.root / BINARY[1:], *(image.root / "opt/extprocd/plugins").iterdir()]:
        assert debian_root.run(["nm", path]) == "", path
        assert b"/src/core" not in path.read_bytes(), path


def test_its_configuration_file_is_the_default_one_but_for_the_addresses(image: Image) -> None:
    mine = (image.root / "etc/extprocd/extprocd.toml").read_text().splitlines()[1:]
    default = (TOP / "config/extprocd.toml").read_text().splitlines()[1:]
    assert [line.replace("[::]", "127.0.0.1") for line in mine] == default


@pytest.mark.parametrize("tmpfs", [(), (("tmp", "exec"),), (("tmp", "noexec"),)], ids=["nothing", "tmpfs", "noexec"])
@in_own_network
def test_it_plays_the_guide_with_its_root_read_only(image: Image, tmpfs: tuple[tuple[str, str], ...]) -> None:
    container = image.container(*tmpfs)
    with Contained(container, [*image.settings["Entrypoint"], *image.settings["Cmd"]]) as server:
        status = Path(f"/proc/{server.pid}/status").read_text()
        assert re.search(r"^Uid:\s+65532\s+65532\s+65532\s+65532$", status, re.MULTILINE)
        assert re.search(r"^Cap(Eff|Prm):\s+0+$", status, re.MULTILINE)
        assert re.search(r"^NSpid:\s+\d+\s+1$", status, re.MULTILINE)
        mapped = Path(f"/proc/{server.pid}/maps").read_text()
        assert ("/tmp/extprocd-" in mapped) == (tmpfs == (("tmp", "exec"),))
        assert "instructions.so" in mapped
        check_guide(server.address)
        metrics = http_get(f"http://{server.admin}/metrics")[1]
        assert re.search(r"^extproc_streams_started_total(\{.*\})? 1$", metrics, re.MULTILINE)
        assert server.stop() == 0
        assert "stopped: 0 open streams" in server.log()


@in_own_network
def test_its_health_check_tells_a_serving_server_from_none(image: Image) -> None:
    container = image.container()
    probe = image.settings["Healthcheck"]["Test"][1:]
    assert container.run(*probe).returncode == 1
    with Contained(container, [*image.settings["Entrypoint"], *image.settings["Cmd"]]):
        result = container.run(*probe)
        assert result.returncode == 0, result.stderr
    assert container.run(*probe).returncode == 1


@in_own_network
def test_it_stands_in_for_the_sample_server(image: Image) -> None:
    """kgateway starts that one with a command of its own, and reaches it by the pod's address."""
    with Contained(image.container(), ["./server", "--add-header", "x-extproc-server-a:true"]) as server:
        listening = debian_root.run(["ss", "-Hltn", "sport = :18080"])
        assert "*:18080" in listening or "[::]:18080" in listening
        with behind_envoy("::1:18080") as port:
            answer = processed(port)
            assert (answer.seen["Extproc"], answer.seen["X-Extproc-Server-A"]) == ("true", "true")
        assert server.stop() == 0


@in_own_network
def test_plugins_are_added_by_an_image_on_top(builder: Builder, image: Image, tmp_path: Path) -> None:
    (tmp_path / "tenant_header.so").write_bytes((TOP / "build/release/plugins/tenant_header.so").read_bytes())
    (tmp_path / "tenant_header.so").chmod(0o644)
    (tmp_path / "extprocd.toml").write_text(
        (TOP / "docker/extprocd.toml").read_text()
        + '\n[[plugin]]\nname = "tenant"\nmodule = "tenant_header.so"\n[plugin.config]\nvalue = "acme"\n')
    (tmp_path / "Dockerfile").write_text("FROM localhost/extprocd\nCOPY tenant_header.so /opt/extprocd/plugins/\n"
                                         "COPY extprocd.toml /etc/extprocd/\n")
    builder.build("mine", tmp_path, "-f", tmp_path / "Dockerfile")
    mine = builder.unpack("mine")
    assert {key: mine.settings[key] for key in ("User", "Entrypoint", "Cmd")} == {
        key: image.settings[key] for key in ("User", "Entrypoint", "Cmd")}
    with Contained(mine.container(), [*mine.settings["Entrypoint"], *mine.settings["Cmd"]]) as server:
        with behind_envoy(server.address) as port:
            assert processed(port).seen["X-Tenant"] == "acme"
