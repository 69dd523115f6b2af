"""WebSockets: after the upgrade bytes go both ways as a body that has no end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from body_modes import FLOWING, MODES, prefix
from client import Http1Exchange
from rig import Envoy, Extprocd, eventually
from upstream import Upstream

UPGRADE = {"connection": "upgrade", "upgrade": "websocket"}


@pytest.fixture(scope="module")
def envoy(envoy_of_modes: Envoy) -> Envoy:
    return envoy_of_modes


@pytest.fixture(autouse=True)
def _no_stream_is_lost(extprocd: Extprocd, envoy: Envoy) -> Iterator[None]:
    yield
    eventually(lambda: extprocd.metric("extproc_streams_active") == 0)
    assert extprocd.metric("extproc_protocol_errors_total") == 0


@pytest.mark.parametrize(("request_mode", "response_mode"), list(itertools.product(FLOWING, FLOWING)))
def test_bytes_go_back_and_forth(envoy: Envoy, upstream: Upstream, request_mode: str, response_mode: str) -> None:
    with upstream.script() as script:
        path = prefix(request_mode, response_mode) + "upgrade?" + script.query
        with Http1Exchange(envoy.port, path, headers=UPGRADE) as exchange:
            answer = exchange.head()
            assert (answer.status, answer.header("upgrade")) == (101, "websocket")
            for number in range(20):
                sent = f"message {number}".encode()
                exchange.send(sent)
                come = b""
                while len(come) < len(sent):
                    come += exchange.piece()
                assert come == sent
            exchange.abort()


@pytest.mark.parametrize("response_mode", ["BUFFERED", "BUFFERED_PARTIAL"])
def test_envoy_holds_the_upgrade_for_a_buffered_response(extprocd: Extprocd, envoy: Envoy, upstream: Upstream,
                                                         response_mode: str) -> None:
    before = extprocd.messages()
    with upstream.script() as script:
        path = prefix("NONE", response_mode) + "upgrade?" + script.query
        with Http1Exchange(envoy.port, path, headers=UPGRADE) as exchange:
            eventually(lambda: extprocd.messages()["response_headers"] > before["response_headers"])
            exchange.abort()
        assert script.come.is_set()
    assert extprocd.messages()["response_body"] == before["response_body"]


@pytest.mark.parametrize("request_mode", ["BUFFERED", "BUFFERED_PARTIAL"])
@pytest.mark.parametrize("response_mode", MODES)
def test_envoy_holds_the_upgrade_for_a_buffered_request(extprocd: Extprocd, envoy: Envoy, upstream: Upstream,
                                                        request_mode: str, response_mode: str) -> None:
    # envoyproxy/envoy issue 47081: it waits for a body that the client sends only after the upgrade.
    before = extprocd.messages()
    with upstream.script() as script:
        path = prefix(request_mode, response_mode) + "upgrade?" + script.query
        with Http1Exchange(envoy.port, path, headers=UPGRADE) as exchange:
            eventually(lambda: extprocd.messages()["request_headers"] > before["request_headers"])
            exchange.abort()
        eventually(lambda: extprocd.metric("extproc_streams_active") == 0)
        assert not script.come.is_set()
    assert extprocd.messages() == before | {"request_headers": before["request_headers"] + 1}
