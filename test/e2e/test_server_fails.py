"""The server is killed while a request's body is on its way, or hangs: Envoy's failure_mode_allow decides what the client
gets, and a server that comes back is used again."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

import body_modes
from body_modes import MODES, PROTOCOLS, prefix
from client import Response, request
from conftest import RunEnvoy
from http2 import Cut
from rig import Envoy, Extprocd, eventually, free_port
from upstream import HALF


INSTRUCTIONS = "[[plugin]]\nname = 'instructions'\nmodule = 'instructions.so'\n"


@pytest.fixture(scope="module")
def address() -> str:
    return f"127.0.0.1:{free_port()}"


def run(run_envoy: RunEnvoy, address: str, version: str, *, fail_open: bool) -> Iterator[Envoy]:
    # Envoy is started once, before any of the servers that it will meet.
    no_server = Extprocd(address=address)
    with run_envoy(no_server, body_modes.routes(), ("streams_failed", "failure_mode_allowed"), version,
                   body_modes.BUFFER_LIMIT, failure_mode_allow=fail_open) as running:
        yield running


@pytest.fixture(scope="module")
def open_envoy(run_envoy: RunEnvoy, address: str, version: str) -> Iterator[Envoy]:
    yield from run(run_envoy, address, version, fail_open=True)


@pytest.fixture(scope="module")
def closed_envoy(run_envoy: RunEnvoy, address: str, version: str) -> Iterator[Envoy]:
    yield from run(run_envoy, address, version, fail_open=False)


def killed_in_the_middle(envoy: Envoy, address: str, mode: str, protocol: str) -> Response:
    """The response to a request whose second half is sent after the server was killed."""
    with Extprocd(INSTRUCTIONS, address=address) as server:
        path = prefix(mode, mode, protocol) + "echo"
        with PROTOCOLS[protocol](envoy.port, path, method="POST", length=-1) as exchange:
            exchange.send(HALF)
            phase = "request_body" if mode in ("STREAMED", "FULL_DUPLEX_STREAMED") else "request_headers"
            eventually(lambda: server.metric(f'extproc_messages_total{{phase="{phase}"}}'))
            server.kill()
            with suppress(Cut):  # Envoy may have answered
                exchange.send(HALF)
                exchange.end()
            return exchange.response()


def more(envoy: Envoy, before: dict[str, int], name: str) -> int:
    return envoy.counters().get(name, 0) - before.get(name, 0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", MODES)
def test_it_fails_open(open_envoy: Envoy, address: str, version: str, mode: str, protocol: str) -> None:
    before = open_envoy.counters()
    answer = killed_in_the_middle(open_envoy, address, mode, protocol)
    assert more(open_envoy, before, "streams_failed") == 1
    if mode == "FULL_DUPLEX_STREAMED":
        # Envoy keeps no copy of what it has sent to the server, so there is nothing to go on with: it fails closed.
        assert (answer.status, answer.body) == (500, b"")
        assert more(open_envoy, before, "failure_mode_allowed") == 0
    else:
        assert (answer.status, answer.body) == (200, HALF + HALF)
        assert more(open_envoy, before, "failure_mode_allowed") == 1
    # A counter that 1.36 does not have.
    assert ("server_half_closed" in before) == (version != "1.36.4")


@pytest.mark.parametrize("mode", MODES)
def test_it_fails_closed(closed_envoy: Envoy, address: str, mode: str) -> None:
    before = closed_envoy.counters()
    answer = killed_in_the_middle(closed_envoy, address, mode, "http1")
    assert (answer.status, answer.body) == (500, b"")
    assert more(closed_envoy, before, "streams_failed") == 1
    assert more(closed_envoy, before, "failure_mode_allowed") == 0


def test_without_a_server_requests_pass_or_fail(open_envoy: Envoy, closed_envoy: Envoy) -> None:
    path = prefix("STREAMED", "STREAMED") + "echo"
    assert request(open_envoy.port, path, method="POST", body=HALF).body == HALF
    assert request(closed_envoy.port, path, method="POST", body=HALF).status == 500


def test_a_server_that_comes_back_is_used(open_envoy: Envoy, closed_envoy: Envoy, address: str) -> None:
    with Extprocd(INSTRUCTIONS, address=address):
        for envoy in (open_envoy, closed_envoy):
            def processed(envoy: Envoy = envoy) -> bool:
                answer = request(envoy.port, prefix("NONE", "NONE") + "headers",
                                 headers={"instructions": '{"addHeaders":{"x":"1"}}'})
                return answer.status == 200 and "X" in answer.seen

            eventually(processed)


@contextmanager
def hanging(run_envoy: RunEnvoy, version: str, *, fail_open: bool) -> Iterator[tuple[Extprocd, Envoy]]:
    """A server that is stopped, and an Envoy that does not wait long for it."""
    may_fail = ("message_timeouts", "failure_mode_allowed")
    with (
        Extprocd(INSTRUCTIONS) as server,
        run_envoy(server, body_modes.routes(), may_fail, version, body_modes.BUFFER_LIMIT, message_timeout="0.3s",
                  failure_mode_allow=fail_open) as envoy,
    ):
        server.send_signal(signal.SIGSTOP)
        try:
            yield server, envoy
        finally:
            server.send_signal(signal.SIGCONT)
        eventually(lambda: server.metric("extproc_streams_active") == 0)
        assert server.metric("extproc_protocol_errors_total") == 0


@pytest.mark.parametrize(("fail_open", "modes"), [(False, ["NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL"]),
                                                  (True, ["STREAMED", "BUFFERED"])])
def test_a_server_that_hangs_is_a_504_or_passed_by(run_envoy: RunEnvoy, version: str, fail_open: bool,
                                                   modes: list[str]) -> None:
    with hanging(run_envoy, version, fail_open=fail_open) as (_, envoy):
        for mode in modes:
            answer = request(envoy.port, prefix(mode, mode) + "echo", method="POST", body=HALF)
            assert (answer.status, answer.body) == ((200, HALF) if fail_open else (504, b"")), mode
        assert envoy.counters()["message_timeouts"] == len(modes)


def test_full_duplex_waits_for_a_server_that_hangs(run_envoy: RunEnvoy, version: str) -> None:
    with hanging(run_envoy, version, fail_open=False) as (server, envoy):
        mode = "FULL_DUPLEX_STREAMED"
        with PROTOCOLS["http1"](envoy.port, prefix(mode, mode) + "echo", method="POST", length=len(HALF)) as waiting:
            waiting.send(HALF)
            eventually(lambda: envoy.counters().get("streams_started", 0) == 1)
            # A request that began later has had its timeout: this one has none.
            assert request(envoy.port, prefix("STREAMED", "STREAMED") + "echo", method="POST", body=HALF).status == 504
            server.send_signal(signal.SIGCONT)
            answer = waiting.response()
        assert (answer.status, answer.body) == (200, HALF)
        assert envoy.counters()["message_timeouts"] == 1
