"""Exchanges that end otherwise than they should: clients that go away, upstreams that die, answers that come early. What
the client gets is Envoy's doing; the server must lose no stream and break no rule on any of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from body_modes import FLOWING, MODES, PROTOCOLS, pattern, prefix
from client import request
from http2 import Cut
from rig import Envoy, Extprocd, eventually
from upstream import EVENTS, HALF, PATIENCE, Script, Upstream

# How Envoy's own answer begins where it has lost the upstream.
LOST = b"upstream connect error or disconnect/reset before headers"


@pytest.fixture(scope="module")
def envoy(envoy_of_modes: Envoy) -> Envoy:
    return envoy_of_modes


@pytest.fixture
def script(upstream: Upstream) -> Iterator[Script]:
    with upstream.script() as script:
        yield script


@pytest.fixture(autouse=True)
def _no_stream_is_lost(extprocd: Extprocd, envoy: Envoy) -> Iterator[None]:
    """Every stream ends, none for a broken protocol, and the next request passes."""
    yield
    eventually(lambda: extprocd.metric("extproc_streams_active") == 0)
    assert extprocd.metric("extproc_protocol_errors_total") == 0
    for protocol, exchange in PROTOCOLS.items():
        path = prefix("STREAMED", "STREAMED", protocol) + "echo"
        assert request(envoy.port, path, method="POST", body=HALF, exchange=exchange).body == HALF


def begun(extprocd: Extprocd, phase: str) -> float:
    return extprocd.metric(f'extproc_messages_total{{phase="{phase}"}}')


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", MODES)
def test_a_client_goes_away_in_the_middle_of_its_request(extprocd: Extprocd, envoy: Envoy, script: Script, mode: str,
                                                         protocol: str) -> None:
    before = begun(extprocd, "request_headers")
    path = prefix(mode, mode, protocol) + "hold?" + script.query
    with PROTOCOLS[protocol](envoy.port, path, method="POST", length=2 * len(HALF)) as exchange:
        exchange.send(HALF)
        eventually(lambda: begun(extprocd, "request_headers") == before + 1)
        if mode in FLOWING:
            assert script.come.wait(PATIENCE)
        exchange.abort()
    if mode in FLOWING:
        assert script.cut.wait(PATIENCE)
    else:
        assert not script.come.is_set()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", MODES)
def test_a_client_goes_away_in_the_middle_of_its_response(envoy: Envoy, script: Script, mode: str, protocol: str) -> None:
    path = prefix(mode, mode, protocol) + "half?" + script.query
    with PROTOCOLS[protocol](envoy.port, path, method="POST", length=len(HALF)) as exchange:
        exchange.send(HALF)
        exchange.end()
        assert script.come.wait(PATIENCE)
        if mode in FLOWING:
            assert exchange.head().status == 200
            assert exchange.piece()
        exchange.abort()
    script.go.release()
    assert script.cut.wait(PATIENCE)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", MODES)
def test_an_upstream_dies_in_the_middle_of_its_response(envoy: Envoy, script: Script, mode: str, protocol: str) -> None:
    path = prefix(mode, mode, protocol) + "die?" + script.query
    with PROTOCOLS[protocol](envoy.port, path, method="POST", length=len(HALF)) as exchange:
        exchange.send(HALF)
        exchange.end()
        assert script.come.wait(PATIENCE)
        if mode in FLOWING:
            assert exchange.head().status == 200
            assert exchange.piece()
            script.go.release()
            with pytest.raises(Cut):
                b"".join(iter(exchange.piece, b""))
        else:
            script.go.release()
            answer = exchange.response()
            # Envoy's own answer: what it had of the upstream's headers is dropped.
            assert answer.status == (502 if protocol == "http1" else 503)
            assert answer.body.startswith(LOST)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", MODES)
def test_an_upstream_dies_before_it_answers(envoy: Envoy, script: Script, mode: str, protocol: str) -> None:
    path = prefix(mode, mode, protocol) + "die-first?" + script.query
    with PROTOCOLS[protocol](envoy.port, path, method="POST", length=len(HALF)) as exchange:
        with contextlib.suppress(Cut):  # Envoy may answer, and reset the request's half, before all of it is sent
            exchange.send(HALF)
            exchange.end()
        answer = exchange.response()
    assert script.come.is_set()
    assert (answer.status, answer.body[: len(LOST)]) == (503, LOST)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", MODES)
def test_an_upstream_refuses_the_connection(envoy: Envoy, mode: str, protocol: str) -> None:
    answer = request(envoy.port, prefix(mode, mode, "nowhere") + "echo", method="POST", body=HALF,
                     exchange=PROTOCOLS[protocol])
    assert (answer.status, answer.body[: len(LOST)]) == (503, LOST)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("response_mode", MODES)
@pytest.mark.parametrize("request_mode", FLOWING)
def test_an_answer_that_is_whole_before_the_request_is(envoy: Envoy, script: Script, request_mode: str, response_mode: str,
                                                       protocol: str) -> None:
    path = prefix(request_mode, response_mode, protocol) + "early?" + script.query
    with PROTOCOLS[protocol](envoy.port, path, method="POST", length=-1) as exchange:
        with contextlib.suppress(Cut):  # in HTTP/2 Envoy resets the request's half when the answer is out
            exchange.send(HALF)
        answer = exchange.response()
    assert (answer.status, answer.body) == (200, HALF)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("response_mode", MODES)
@pytest.mark.parametrize("request_mode", FLOWING)
def test_an_answer_that_begins_before_the_request_ends(envoy: Envoy, script: Script, request_mode: str, response_mode: str,
                                                       protocol: str) -> None:
    path = prefix(request_mode, response_mode, protocol) + "overlap?" + script.query
    first, second = pattern(100_000), pattern(200_000)
    with PROTOCOLS[protocol](envoy.port, path, method="POST", length=-1) as exchange:
        exchange.send(first)
        assert script.come.wait(PATIENCE)
        if response_mode in FLOWING:
            answer = exchange.head()
            answer.body = exchange.piece()
        exchange.send(second)
        exchange.end()
        if response_mode not in FLOWING:
            answer = exchange.head()
        answer.body += b"".join(iter(exchange.piece, b""))
    assert (answer.status, answer.body) == (200, HALF + first + second)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("response_mode", FLOWING)
@pytest.mark.parametrize("request_mode", MODES)
def test_events_reach_the_client_one_by_one(envoy: Envoy, script: Script, request_mode: str, response_mode: str,
                                            protocol: str) -> None:
    path = prefix(request_mode, response_mode, protocol) + "events?" + script.query
    with PROTOCOLS[protocol](envoy.port, path) as exchange:
        answer = exchange.head()
        assert (answer.status, answer.header("content-type")) == (200, "text/event-stream")
        for event in EVENTS:
            script.go.release()
            come = b""
            while len(come) < len(event):
                come += exchange.piece()
            assert come == event
        assert exchange.piece() == b""
