"""What `cmake --install` puts where, from the release build."""

from __future__ import annotations

from pathlib import Path

from debian_root import run
from rig import TOP


def examples() -> set[str]:
    """What of config/ is installed as an example: all but the configuration itself."""
    config = TOP / "config"
    files = {str(path.relative_to(config)) for path in config.rglob("*") if path.is_file()}
    return files - {"extprocd.toml"}


def test_the_installed_server_finds_its_plugins_wherever_it_is(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "a folder" / "second"
    run(["cmake", "--install", TOP / "build/release", "--component", "server", "--strip", "--prefix", first])
    second.parent.mkdir()
    first.rename(second)
    assert {str(path.relative_to(second)) for path in second.rglob("*") if path.is_file()} == {
        "bin/extprocd", "lib/extprocd/plugins/instructions.so", "etc/extprocd/extprocd.toml",
        *(f"share/doc/extprocd/examples/{name}" for name in examples())}
    text = run([second / "bin/extprocd", "--check", "--config", second / "etc/extprocd/extprocd.toml"])
    assert f"file     {second}/lib/extprocd/plugins/instructions.so\n" in text
