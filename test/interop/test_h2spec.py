"""The real h2spec, which says whether a server keeps to RFC 7540 and 7541. What it may find is in h2spec.toml."""

from __future__ import annotations

import subprocess
import tomllib
import xml.etree.ElementTree as xml
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tls_files import TlsFiles
from rig import TOP
from transports import each_transport, server

H2SPEC = TOP / "build/interop/go/h2spec"
TESTS = 146  # of h2spec 2.2.1, as many as `h2spec --strict --dryrun` names
SECONDS = 120.0

# Where a server does not do what it wants, h2spec waits for it; so these run at the same time.
SECTIONS = [
    "generic", "hpack", "http2/3", "http2/4", "http2/5.1", "http2/5.3", "http2/5.4", "http2/5.5",
    *(f"http2/6.{number}" for number in (1, 2, 3, 4, 5, 7, 8, 9, 10)),
    "http2/7", "http2/8.1/1", "http2/8.1.2/1", "http2/8.1.2.1", "http2/8.1.2.2", "http2/8.1.2.3", "http2/8.1.2.6", "http2/8.2",
]
CONFIG = """
[server.limits]
max_streams_per_connection = 100  # one test opens them all
[[plugin]]
name = "instructions"
module = "instructions.so"
"""


def run(section: str, port: int, folder: Path, flags: list[str]) -> dict[str, str]:
    """By test: how it ended, empty if well."""
    report = folder / (section.replace("/", "-") + ".xml")
    done = subprocess.run([H2SPEC, "--strict", *flags, "--port", str(port), "--junit-report", report, section],
                          capture_output=True, text=True, timeout=SECONDS, check=False)
    assert report.exists(), f"h2spec {section}: {done.stdout}{done.stderr}"
    ends: dict[str, str] = {}
    for case in xml.parse(report).getroot().iter("testcase"):
        name = f"{case.get('package')}: {case.get('classname')}"
        assert name not in ends, f"two tests are named {name}"
        ends[name] = " ".join(f"{end.tag}: {end.text or ''}" for end in case)
    return ends


def judge(transport: str, folder: Path, config: str, flags: list[str]) -> None:
    """Asserts that h2spec finds what is known, and nothing else."""
    entries = [entry for entry in tomllib.loads(Path(__file__).with_name("h2spec.toml").read_text())["known"]
               if entry["transport"] == transport]
    always = {test for entry in entries for test in entry["tests"] if not entry.get("sometimes")}
    with server(transport, config) as running, ThreadPoolExecutor(len(SECTIONS)) as pool:
        port = int(running.address.rpartition(":")[2])
        ends: dict[str, str] = {}
        for found in pool.map(lambda section: run(section, port, folder, flags), SECTIONS):
            ends |= found
        # Several sections at a time, on a machine that may be busy: what h2spec waited for in vain is tried again alone.
        for test in [test for test, end in ends.items() if end and test not in always]:
            section = test.partition(":")[0]
            for _ in range(5):
                if ends[test]:
                    ends[test] = run(section, port, folder, flags)[test]
    assert len(ends) == TESTS
    assert {test: end for test, end in ends.items() if end and test not in always} == {}
    assert {test for test in always if not ends[test]} == set(), "these pass now: take them out of h2spec.toml"


needs_h2spec = pytest.mark.skipif(not H2SPEC.exists(),
                                  reason=f"{H2SPEC} was not built; ./dev test builds it where there is `go`")


@needs_h2spec
@each_transport
def test_h2spec(transport: str, tmp_path: Path) -> None:
    judge(transport, tmp_path, CONFIG, [])


@needs_h2spec
def test_h2spec_over_tls(tmp_path: Path) -> None:
    judge("native", tmp_path, CONFIG + TlsFiles(tmp_path).config(mutual=False), ["--tls", "--insecure"])
