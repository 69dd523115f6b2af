"""The SDK as a plugin's author gets it: installed, and used from a folder of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import envoy_config
from client import request
from rig import BINARY, TOP, Envoy, Extprocd, free_port
from upstream import Upstream

COMPILERS = ["g++", "clang++-19"]
ENTRY = "extproc_plugin_entry_v1"


def run(command: list[str | Path], **options: object) -> str:
    """Runs a command; its output. Fails the test with all that it said if it does not end well."""
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert result.returncode == 0, f"{shlex.join(map(str, command))}\n{result.stdout}{result.stderr}"
    return result.stdout


def exported(module: Path) -> list[str]:
    return [line.split()[-1] for line in run(["nm", "-D", "--defined-only", module]).splitlines()]


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the SDK is installed, and moved to afterwards: nothing of it may know its place."""
    folder = tmp_path_factory.mktemp("sdk")
    first, second = folder / "first", folder / "a folder" / "second"
    run(["cmake", "--install", TOP / "build/release", "--component", "sdk", "--prefix", first])
    second.parent.mkdir()
    first.rename(second)
    yield second


@pytest.fixture(scope="module", params=COMPILERS)
def plugins(request: pytest.FixtureRequest, prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template built in an empty folder, with nothing of this repository at hand; the folder of its plugins."""
    folder = tmp_path_factory.mktemp("template")
    shutil.copytree(prefix / "share/extproc/template", folder, dirs_exist_ok=True)
    run(["cmake", "-B", folder / "build", "-S", folder, f"-DCMAKE_PREFIX_PATH={prefix}",
         f"-DCMAKE_CXX_COMPILER={request.param}", "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror"])
    run(["cmake", "--build", folder / "build"])
    return folder / "build/plugins"


def test_only_the_sdk_is_installed(prefix: Path) -> None:
    assert {path.name for path in prefix.iterdir()} == {"include", "share"}
    source = {path.relative_to(TOP / "sdk/include") for path in (TOP / "sdk/include").rglob("*.h*")}
    assert {path.relative_to(prefix / "include") for path in (prefix / "include").rglob("*") if path.is_file()} == source
    for path in prefix.rglob("*"):
        if path.is_file():
            assert str(TOP) not in path.read_text(), path


def test_the_template_exports_its_entry_alone(plugins: Path) -> None:
    assert [path.name for path in plugins.iterdir()] == ["greeting.so"]
    assert exported(plugins / "greeting.so") == [ENTRY]


def test_the_template_runs_behind_envoy(plugins: Path) -> None:
    config = (plugins.parent.parent / "extprocd.toml").read_text()
    flags = ["--plugin-dir", str(plugins)]
    with Extprocd(config, flags) as server, Upstream() as upstream:
        port, admin = free_port(), free_port()
        routes = [envoy_config.route("/", processed=True)]
        bootstrap = envoy_config.bootstrap(port, admin, f"127.0.0.1:{upstream.port}", server.address, routes,
                                           envoy_config.ext_proc())
        with Envoy(bootstrap, port, admin):
            answer = request(port, "/headers")
            assert (answer.seen["X-Greeting"], answer.header("x-greeting")) == ("hello", "hello")
            assert request(port, "/none").status == 404
        series = 'extproc_plugin_example_greeting_responses_total{plugin="greeting",class="%s"}'
        assert (server.metric(series % "2xx"), server.metric(series % "other")) == (1, 1)


def test_a_mistake_in_the_templates_options_is_told_at_its_place(plugins: Path, tmp_path: Path) -> None:
    config = tmp_path / "wrong.toml"
    config.write_text('[[plugin]]\nname = "greeting"\nmodule = "greeting.so"\n[plugin.config]\ntext = 1\n')
    result = subprocess.run([str(BINARY), "--check", "--config", str(config), "--plugin-dir", str(plugins)],
                            capture_output=True, text=True)
    assert result.returncode == 1
    assert f"{config}:5:" in result.stderr


@pytest.mark.parametrize("compiler", COMPILERS)
def test_pkg_config_is_enough(prefix: Path, compiler: str, tmp_path: Path) -> None:
    sdk = tmp_path / "sdk"  # a path without blanks, which a shell would take apart
    sdk.symlink_to(prefix)
    module = tmp_path / "greeting.so"
    flags = "$(pkg-config --cflags extproc) $(pkg-config --variable=plugin_flags extproc)"
    run(["sh", "-c", f"{compiler} -std=c++17 -O2 {flags} {sdk}/share/extproc/template/greeting.cc -o {module}"],
        env=os.environ | {"PKG_CONFIG_PATH": f"{sdk}/share/pkgconfig"})
    assert exported(module) == [ENTRY]
    config = tmp_path / "extprocd.toml"
    config.write_text((prefix / "share/extproc/template/extprocd.toml").read_text())
    assert "1. greeting: example.greeting 1.0.0" in run([BINARY, "--check", "--config", config, "--plugin-dir", tmp_path])


@pytest.mark.parametrize(("compiler", "sanitize"), [("g++", ""), ("g++", "address"), ("clang++-19", ""), ("clang++-19", "address")])
def test_what_a_plugin_lacks_is_told_when_it_is_linked(prefix: Path, compiler: str, sanitize: str, tmp_path: Path) -> None:
    """-z defs holds except under clang's sanitizers, whose runtime only the host has."""
    (tmp_path / "lacking.cc").write_text(
        '#include <extproc/abi.h>\nextern "C" const extproc_plugin* nowhere_defined(void);\n'
        'extern "C" __attribute__((visibility("default"))) const extproc_plugin* extproc_plugin_entry_v1(void) '
        "{ return nowhere_defined(); }\n")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(lacking LANGUAGES CXX)\nfind_package(extproc REQUIRED)\n"
        "extproc_add_plugin(lacking SOURCES lacking.cc)\n")
    flags = f"-fsanitize={sanitize}" if sanitize else ""
    run(["cmake", "-B", tmp_path / "build", "-S", tmp_path, f"-DCMAKE_PREFIX_PATH={prefix}",
         f"-DCMAKE_CXX_COMPILER={compiler}", f"-DCMAKE_CXX_FLAGS={flags}"])
    result = subprocess.run(["cmake", "--build", str(tmp_path / "build")], capture_output=True, text=True)
    if sanitize and "clang" in compiler:
        assert result.returncode == 0, result.stdout
    else:
        assert result.returncode != 0
        assert "nowhere_defined" in result.stdout + result.stderr


@pytest.mark.parametrize(("call", "text"), [("extproc_add_plugin(p)", "SOURCES is missing"),
                                            ("extproc_add_plugin(p a.cc)", "SOURCES is missing"),
                                            ("extproc_add_plugin(p b.cc SOURCES a.cc)", "write SOURCES before b.cc")])
def test_a_wrong_call_of_the_function_is_explained(prefix: Path, call: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.25)\nproject(p LANGUAGES CXX)\nfind_package(extproc REQUIRED)\n{call}\n")
    result = subprocess.run(["cmake", "-B", str(tmp_path / "build"), "-S", str(tmp_path), f"-DCMAKE_PREFIX_PATH={prefix}"],
                            capture_output=True, text=True)
    assert result.returncode != 0
    assert text in result.stderr
