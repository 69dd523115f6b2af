"""Streams that the server ends early, and body modes that it asks for, lose nothing and spare messages."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from body_modes import BUFFER_LIMIT, PAIRS, PROTOCOLS, overrides, pattern, prefix, routes
from client import request
from conftest import RunEnvoy
from envoy_config import route
from rig import Envoy, Extprocd, eventually

# Request headers are all that it asks for.
TENANT = """
[[plugin]]
name = "tenant"
module = "tenant_header.so"
[plugin.config]
value = "acme"
"""
REDACTOR = """
[data_plane]
allow_mode_override = true
[[plugin]]
name = "redactor"
module = "json_redactor.so"
[plugin.config]
keys = ["password"]
"""
SIZES = [0, 100 << 10, 5 << 20]


@pytest.fixture(scope="module")
def server() -> Iterator[Extprocd]:
    with Extprocd(TENANT) as running:
        yield running


@pytest.fixture(scope="module")
def envoy(server: Extprocd, run_envoy: RunEnvoy, version: str) -> Iterator[Envoy]:
    with run_envoy(server, routes(), version=version, buffer_limit=BUFFER_LIMIT) as running:
        yield running


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("request_mode", "response_mode"), PAIRS)
def test_bodies_pass_unchanged_behind_a_stream_that_ended_early(server: Extprocd, envoy: Envoy, protocol: str,
                                                                request_mode: str, response_mode: str) -> None:
    path = prefix(request_mode, response_mode, protocol) + "echo"
    before, ended = server.messages(), server.metric("extproc_streams_ended_early_total")
    for size, trailers in itertools.product(SIZES, [False, True]):
        body = pattern(size)
        answer = request(envoy.port, path + ("?trailers=1" if trailers else ""), method="POST", body=body,
                         trailers={"x-sum": "42"} if trailers else None, chunk=99_999 if trailers else 0,
                         exchange=PROTOCOLS[protocol])
        assert (answer.status, answer.body) == (200, body), (size, trailers)
        assert answer.header("x-trailers") == ('{"x-sum": "42"}' if trailers else "{}"), (size, trailers)
        assert answer.trailers == ({"x-end": "1"} if trailers else {}), (size, trailers)
    early = server.metric("extproc_streams_ended_early_total") - ended
    if "FULL_DUPLEX_STREAMED" in (request_mode, response_mode):
        assert early == 0
    else:
        assert early == 2 * len(SIZES)
        assert server.messages()["response_headers"] == before["response_headers"]


@pytest.mark.parametrize(("request_mode", "response_mode"), [("NONE", "NONE"), ("BUFFERED", "BUFFERED"),
                                                            ("STREAMED", "STREAMED")])
def test_only_bodies_that_are_needed_are_sent(run_envoy: RunEnvoy, version: str, request_mode: str,
                                              response_mode: str) -> None:
    route_of_all = route("/", processed=True, overrides=None)
    static = {**overrides(request_mode, response_mode)["processing_mode"],
              "request_trailer_mode": "SKIP", "response_trailer_mode": "SKIP"}
    with (
        Extprocd(REDACTOR) as server,
        run_envoy(server, [route_of_all], version=version, allow_mode_override=True, processing_mode=static) as envoy,
    ):
        secret, text = b'{"password":"12345","a":1}', pattern(50_000)
        answer = request(envoy.port, "/echo", method="POST", body=secret, headers={"content-type": "application/json"})
        assert answer.status == 200
        assert b"12345" not in answer.body and b'"a":1' in answer.body
        bodies = server.messages()
        assert bodies["request_body"] >= 1
        answer = request(envoy.port, "/echo", method="POST", body=text, headers={"content-type": "image/png"})
        assert (answer.status, answer.body) == (200, text)
        after = server.messages()
        assert (after["request_body"], after["response_body"]) == (bodies["request_body"], bodies["response_body"])
        assert server.metric("extproc_mode_overrides_total") > 0
        eventually(lambda: server.metric("extproc_streams_active") == 0)
