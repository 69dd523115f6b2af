"""What `cmake --install` puts where, from the release build."""

from __future__ import annotations

from pathlib import Path

from debian_root import run
from rig import TOP


def test_the_installed_server_finds_its_plugins_wherever_it_is(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "a folder" / "second"
    run(["cmake", "--install", TOP / "build/release", "--component", "server", "--strip", "--prefix", first])
    second.parent.mkdir()
    first.rename(second)
    assert {str(path.relative_to(second)) for path in second.rglob("*") if path.is_file()} == {
        "bin/extprocd", "lib/extprocd/plugins/instructions.so", "etc/extprocd/extprocd.toml",
        "share/doc/extprocd/examples/reference.toml", "share/doc/extprocd/examples/envoy/ext_proc.yaml",
        "share/doc/extprocd/examples/kgateway/ext_proc.yaml"}
    text = run([second / "bin/extprocd", "--check", "--config", second / "etc/extprocd/extprocd.toml"])
    assert f"file     {second}/lib/extprocd/plugins/instructions.so\n" in text
