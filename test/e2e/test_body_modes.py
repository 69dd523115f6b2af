"""A request and its response pass unchanged in every body mode, through every version of Envoy, in HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import itertools

import pytest

from body_modes import BUFFER_LIMIT, CLUSTERS, HEADER_MODES, MODES, PAIRS, PROTOCOLS, pattern, prefix, skipping_prefix
from client import request
from conftest import RunEnvoy
from envoy_config import ext_proc, route
from rig import Envoy, Extprocd, eventually

SIZES = [0, 1, 100 << 10, 5 << 20]


@pytest.fixture(scope="module")
def envoy(envoy_of_modes: Envoy) -> Envoy:
    return envoy_of_modes


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("request_mode", "response_mode"), PAIRS)
def test_bodies_and_trailers_pass_unchanged(envoy: Envoy, protocol: str, request_mode: str, response_mode: str) -> None:
    path = prefix(request_mode, response_mode, protocol) + "echo"
    for size, trailers in itertools.product(SIZES, [False, True]):
        body = pattern(size)
        assert size < BUFFER_LIMIT
        answer = request(envoy.port, path + ("?trailers=1" if trailers else ""), method="POST", body=body,
                         trailers={"x-sum": "42"} if trailers else None, chunk=99_999 if trailers else 0,
                         exchange=PROTOCOLS[protocol])
        assert answer.status == 200, (size, trailers)
        assert answer.body == body, (size, trailers)
        assert answer.header("x-trailers") == ('{"x-sum": "42"}' if trailers else "{}"), (size, trailers)
        assert answer.trailers == ({"x-end": "1"} if trailers else {}), (size, trailers)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("request_mode", "response_mode"), PAIRS)
def test_a_body_in_pieces_and_no_body_pass(envoy: Envoy, protocol: str, request_mode: str, response_mode: str) -> None:
    path, exchange = prefix(request_mode, response_mode, protocol), PROTOCOLS[protocol]
    body = pattern(70_000)
    assert request(envoy.port, path + "echo", method="POST", body=body, chunk=7_000, exchange=exchange).body == body
    assert request(envoy.port, path + "get", exchange=exchange).status == 200
    assert request(envoy.port, path + "get", method="HEAD", exchange=exchange).status == 200


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("request_mode", "response_mode"), PAIRS)
def test_bodies_pass_with_headers_or_trailers_skipped(envoy: Envoy, protocol: str, request_mode: str,
                                                      response_mode: str) -> None:
    for modes, size in itertools.product(HEADER_MODES, [0, 100 << 10]):
        body = pattern(size)
        path = skipping_prefix(request_mode, response_mode, protocol, *modes) + "echo"
        answer = request(envoy.port, path, method="POST", body=body, exchange=PROTOCOLS[protocol])
        assert (answer.status, answer.body) == (200, body), (modes, size)
        answer = request(envoy.port, path + "?trailers=1", method="POST", body=body, trailers={"x-sum": "42"}, chunk=9_999,
                         exchange=PROTOCOLS[protocol])
        assert (answer.status, answer.body) == (200, body), (modes, size)
        assert answer.header("x-trailers") == '{"x-sum": "42"}', (modes, size)
        assert answer.trailers == {"x-end": "1"}, (modes, size)


@pytest.mark.parametrize("mode", MODES)
def test_the_server_gets_the_phases_that_the_modes_name(extprocd: Extprocd, envoy: Envoy, mode: str) -> None:
    for modes in [("SEND", "SEND", "SEND"), *HEADER_MODES]:
        plain = modes == ("SEND", "SEND", "SEND")
        path = prefix(mode, mode) if plain else skipping_prefix(mode, mode, "http1", *modes)
        before = extprocd.messages()
        answer = request(envoy.port, path + "echo?trailers=1", method="POST", body=b"1", trailers={"x-sum": "42"})
        assert answer.status == 200
        come = {phase for phase, count in extprocd.messages().items() if count > before[phase]}
        trailers = modes[2] == "SEND" or mode == "FULL_DUPLEX_STREAMED"
        for direction, headers in zip(("request", "response"), modes, strict=False):
            assert (f"{direction}_headers" in come) == (headers == "SEND"), modes
            assert (f"{direction}_body" in come) == (mode != "NONE"), modes
            assert (f"{direction}_trailers" in come) == trailers, modes


@pytest.mark.parametrize(("protocol", "other"), [("http1", "http2"), ("http2", "http1")])
def test_the_protocol_is_spoken_at_both_ends(envoy: Envoy, protocol: str, other: str) -> None:
    before = envoy.stat(f"http.http.downstream_cx_{protocol}_total")
    request(envoy.port, prefix("NONE", "NONE", protocol) + "get", exchange=PROTOCOLS[protocol])
    assert envoy.stat(f"http.http.downstream_cx_{protocol}_total") == before + 1
    assert envoy.stat(f"cluster.{CLUSTERS[protocol]}.upstream_cx_{protocol}_total") > 0
    assert envoy.stat(f"cluster.{CLUSTERS[protocol]}.upstream_cx_{other}_total") == 0


def test_no_stream_is_left_and_none_broke_the_protocol(extprocd: Extprocd, envoy: Envoy) -> None:
    assert request(envoy.port, prefix("STREAMED", "STREAMED") + "echo", method="POST", body=b"1").status == 200
    eventually(lambda: extprocd.metric("extproc_streams_active") == 0)
    assert extprocd.metric("extproc_protocol_errors_total") == 0


def test_instructions_work_beside_any_body_mode(envoy: Envoy) -> None:
    for request_mode, response_mode in PAIRS:
        answer = request(envoy.port, prefix(request_mode, response_mode) + "headers",
                         headers={"instructions": '{"addHeaders":{"x":"1"}}'})
        assert answer.seen["X"] == "1", (request_mode, response_mode)


@pytest.mark.parametrize("mode", MODES)
def test_set_body_works_in_any_body_mode(envoy: Envoy, mode: str) -> None:
    for method, body in [("GET", None), ("POST", pattern(100000))]:
        answer = request(envoy.port, prefix(mode, mode) + "echo", method=method, body=body,
                         headers={"instructions": '{"setBody":"a new body"}'})
        assert (answer.status, answer.body) == (200, b"a new body"), method


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_set_body_of_a_response_works_in_any_body_mode(envoy: Envoy, mode: str, method: str) -> None:
    path = "respond?instructions=%7B%22setBody%22%3A%22a+new+body%22%7D"
    answer = request(envoy.port, prefix(mode, mode) + path, method=method, body=b"sent" if method == "POST" else None)
    assert (answer.status, answer.body) == (200, b"a new body")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_observability_mode_changes_and_delays_nothing(run_envoy: RunEnvoy, version: str, protocol: str) -> None:
    streamed = {"request_body_mode": "STREAMED", "response_body_mode": "STREAMED", "request_trailer_mode": "SEND",
                "response_trailer_mode": "SEND"}
    to, exchange = ("upstream" if protocol == "http1" else "upstream-http2"), PROTOCOLS[protocol]
    with (
        Extprocd() as server,
        run_envoy(server, [route("/", processed=True, to=to)], version=version, observability_mode=True,
                  processing_mode=streamed, deferred_close_timeout="0.2s") as envoy,
    ):
        for size in SIZES:
            body = pattern(size)
            answer = request(envoy.port, "/echo?trailers=1", method="POST", body=body, trailers={"x-sum": "42"}, chunk=99_999,
                             headers={"instructions": '{"addHeaders":{"x":"1"}}'}, exchange=exchange)
            assert (answer.status, answer.body, answer.trailers) == (200, body, {"x-end": "1"})
        answer = request(envoy.port, "/headers", headers={"instructions": "bad json"}, exchange=exchange)
        assert answer.status == 200
        eventually(lambda: server.metric("extproc_streams_started_total") == len(SIZES) + 1)
        eventually(lambda: server.metric("extproc_streams_active") == 0)
        assert server.metric('extproc_messages_total{phase="response_trailers"}') == len(SIZES)
        assert server.metric('extproc_message_bytes_total{direction="received"}') > 2 * sum(SIZES)
        assert server.metric('extproc_message_bytes_total{direction="sent"}') == 0
        assert server.metric('extproc_plugin_failures_total{plugin="instructions",policy="fail"}') == 1
        assert server.metric("extproc_protocol_errors_total") == 0


def test_the_inner_filter_is_what_kgateway_makes_of_a_backend_alone() -> None:
    assert set(ext_proc()) == {"@type", "grpc_service", "message_timeout"}
