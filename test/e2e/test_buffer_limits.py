"""Bodies over Envoy's buffer limit, which by default is 1 MiB: what a server that wants whole bodies meets in the field."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import body_modes
from body_modes import PROTOCOLS, pattern, prefix, skipping_prefix
from client import request
from conftest import RunEnvoy
from http2 import Cut
from rig import Envoy, Extprocd, eventually

OVER = 3 << 20


@pytest.fixture(scope="module")
def envoy(extprocd: Extprocd, run_envoy: RunEnvoy, version: str) -> Iterator[Envoy]:
    with run_envoy(extprocd, body_modes.routes(), version=version) as running:
        yield running


class Traffic:
    """What a server has got since then, once all its streams have ended."""

    def __init__(self, server: Extprocd) -> None:
        self.server = server
        self.messages_before, self.bytes_before = server.messages(), self._bytes()

    def _bytes(self) -> float:
        return self.server.metric('extproc_message_bytes_total{direction="received"}')

    def phases(self) -> set[str]:
        eventually(lambda: self.server.metric("extproc_streams_active") == 0)
        assert self.server.metric("extproc_protocol_errors_total") == 0
        return {phase for phase, count in self.server.messages().items() if count > self.messages_before[phase]}

    def bytes(self) -> float:
        return self._bytes() - self.bytes_before


@pytest.fixture
def traffic(extprocd: Extprocd) -> Traffic:
    return Traffic(extprocd)


def test_a_buffered_request_is_a_413_that_runs_through_the_response_phases(envoy: Envoy, traffic: Traffic) -> None:
    answer = request(envoy.port, prefix("BUFFERED", "BUFFERED") + "echo", method="POST", body=pattern(OVER))
    assert (answer.status, answer.body) == (413, b"Payload Too Large")
    assert traffic.phases() == {"request_headers", "response_headers", "response_body"}


def test_a_buffered_response_is_a_500(envoy: Envoy, traffic: Traffic) -> None:
    answer = request(envoy.port, prefix("NONE", "BUFFERED") + "echo", method="POST", body=pattern(OVER))
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    assert traffic.phases() == {"request_headers", "response_headers"}


def test_a_buffered_response_whose_headers_are_skipped_is_cut(envoy: Envoy, traffic: Traffic) -> None:
    path = skipping_prefix("NONE", "BUFFERED", "http1", "SEND", "SKIP", "SEND") + "echo"
    with pytest.raises(Cut):
        request(envoy.port, path, method="POST", body=pattern(OVER))
    assert traffic.phases() == {"request_headers"}


@pytest.mark.parametrize(("request_mode", "response_mode"), [("BUFFERED_PARTIAL", "NONE"), ("NONE", "BUFFERED_PARTIAL")])
def test_a_partial_body_goes_to_the_server_up_to_the_limit(envoy: Envoy, traffic: Traffic, request_mode: str,
                                                           response_mode: str) -> None:
    answer = request(envoy.port, prefix(request_mode, response_mode) + "echo", method="POST", body=pattern(OVER))
    assert (answer.status, answer.body) == (200, pattern(OVER))
    assert 0 < traffic.bytes() < OVER


@pytest.mark.parametrize(("request_mode", "response_mode"), [("BUFFERED", "NONE"), ("NONE", "BUFFERED")])
def test_in_http2_the_streams_window_is_the_limit(envoy: Envoy, traffic: Traffic, request_mode: str,
                                                  response_mode: str) -> None:
    # Not per_connection_buffer_limit_bytes, but initial_stream_window_size of the listener, by default 16 MiB.
    answer = request(envoy.port, prefix(request_mode, response_mode, "http2") + "echo", method="POST", body=pattern(OVER),
                     exchange=PROTOCOLS["http2"])
    assert (answer.status, answer.body) == (200, pattern(OVER))
    assert traffic.bytes() > OVER
