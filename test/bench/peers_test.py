"""The servers to compare with do their work, and Envoy is content with them; else their figures would mean nothing.

Those that this machine has no tools for are skipped, but for the two that need no more than the project does.
"""

from __future__ import annotations

import dataclasses
import re
import signal
import threading
from pathlib import Path

import pytest

from body_modes import MODES, overrides, pattern, prefix
from client import request
from conftest import RunEnvoy, run_envoy, upstream  # noqa: F401
from envoy_config import route
from servers import NotReady, Peer, PeerProcess, load, load_json, peers

COUNT = 300
BRIEF = ["--count", str(COUNT), "--warm-up", "0", "--duration", "60"]
SET = "extproc:true"
INSTRUCTIONS = '{"addHeaders":{"extproc":"true"},"removeHeaders":["x-gone"]}'
PROFILES = {
    "headers": [],
    "an instruction": ["--instructions", INSTRUCTIONS, "--expect-mutation"],
    "headers, reset as Envoy does": ["--reset"],
    "buffered": ["--profile", "buffered", "--body", "100KiB"],
    "an empty body, buffered": ["--profile", "buffered", "--body", "0"],
    "duplex": ["--profile", "duplex", "--body", "100KiB", "--chunk", "9000"],
    "duplex in large pieces": ["--profile", "duplex", "--body", "200KiB", "--chunk", "200KiB"],
    "an empty body, duplex": ["--profile", "duplex", "--body", "0"],
    "many streams at a time": ["--connections", "3", "--streams", "200"],
}
ALWAYS_BUILT = ("grpcpp", "python")
PEERS = peers()


def built(peer: Peer) -> Peer:
    if not peer.is_built() and peer.name not in ALWAYS_BUILT:
        pytest.skip(f"{peer.name}: {peer.why_not()}")
    return peer


every_peer = pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
every_reader = pytest.mark.parametrize("peer", [peer for peer in PEERS if not peer.has_prepared_replies],
                                       ids=lambda peer: peer.name)


def check(server: PeerProcess, *flags: str) -> None:
    report = load_json(server.address, *BRIEF, *flags)
    assert (report["fault_count"], report["all_streams"]) == (0, COUNT)


@every_peer
def test_replies_are_right(peer: Peer) -> None:
    with built(peer).start(set_header=SET) as server:
        for flags in PROFILES.values():
            check(server, *flags)


@every_peer
def test_without_an_instruction_no_header_is_changed(peer: Peer) -> None:
    with built(peer).start() as server:
        done = load(server.address, *BRIEF, "--expect-mutation")
        assert (done.returncode, "the reply to request_headers changes no header" in done.stderr) == (1, True), done.stderr


@every_reader
@pytest.mark.parametrize("text", ["bad json", "[]", '{"addHeaders":{"x":1}}', '{"removeHeaders":"x"}'])
def test_a_bad_instruction_ends_the_stream(peer: Peer, text: str) -> None:
    with built(peer).start() as server:
        done = load(server.address, *BRIEF, "--instructions", text)
        assert (done.returncode, "gRPC status 2" in done.stderr) == (1, True), done.stderr
        check(server)


@every_reader
@pytest.mark.parametrize("text", ["null", "{}", '{"addHeaders":null,"removeHeaders":null,"more":1}'])
def test_an_instruction_may_say_nothing(peer: Peer, text: str) -> None:
    with built(peer).start() as server:
        check(server, "--instructions", text)


@every_peer
def test_a_unix_socket_will_do(peer: Peer, tmp_path: Path) -> None:
    with built(peer).start(address=f"unix:{tmp_path}/socket") as server:
        check(server)


@every_peer
def test_two_threads_will_do_where_there_are_threads(peer: Peer) -> None:
    if peer.max_threads == 1:
        with pytest.raises(ValueError, match=f"{peer.name} runs on 1 to 1 threads, not on 2"):
            peer.start(threads=2)
        return
    with built(peer).start(threads=2) as server:
        check(server)


@every_peer
def test_sigterm_ends_it_under_load(peer: Peer) -> None:
    with built(peer).start() as server:
        assert server.child is not None
        terminating = threading.Timer(0.3, server.child.send_signal, [signal.SIGTERM])
        terminating.start()
        done = load(server.address, "--duration", "60")
        terminating.join()
        assert "the connection was lost" in done.stderr
        assert server.child.wait(30) == 0


@every_peer
def test_a_taken_address_is_told(peer: Peer) -> None:
    with built(peer).start() as server, pytest.raises(NotReady, match=rf"(?s)ended with code 1:.*{server.address}"):
        peer.start(address=server.address).__enter__()


@every_peer
def test_envoy_is_content(peer: Peer, run_envoy: RunEnvoy) -> None:  # noqa: F811
    routes = [route(prefix(mode, mode), processed=True, overrides=overrides(mode, mode), rewrite="/") for mode in MODES]
    body = pattern(200_000)
    with built(peer).start(set_header=SET) as server, run_envoy(server, routes) as envoy:
        for mode in MODES:
            path = prefix(mode, mode)
            seen = request(envoy.port, f"{path}headers", headers={"instructions": INSTRUCTIONS, "x-gone": "1"}).seen
            assert seen["Extproc"] == "true", mode
            assert ("X-Gone" in seen) == peer.has_prepared_replies, mode
            answer = request(envoy.port, f"{path}echo?trailers=1", method="POST", body=body, trailers={"x-sum": "42"}, chunk=9_999)
            assert (answer.status, answer.body, answer.trailers) == (200, body, {"x-end": "1"}), mode


def test_a_peer_that_is_not_built_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peer.BUILT", tmp_path)
    peer = dataclasses.replace(PEERS[0], files=(tmp_path / "nothing",))
    assert (peer.is_built(), peer.why_not()) == (False, "run ./dev peers to build it")
    (tmp_path / f"{peer.name}.left-out").write_text("there is no compiler\n")
    assert peer.why_not() == "there is no compiler"


@every_peer
def test_versions_are_told(peer: Peer) -> None:
    assert re.fullmatch(r"[^,]+ \d[\w.]+(, [^,]+ \d[\w.]+)*", built(peer).version())
