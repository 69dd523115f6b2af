"""A request passes unchanged in every body mode, both ways, with and without trailers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from client import request
from conftest import RunEnvoy
from envoy_config import ext_proc, route
from rig import Envoy, Extprocd, eventually

MODES = ["NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED"]
PAIRS = list(itertools.product(MODES, MODES))


def overrides(request_mode: str, response_mode: str) -> dict[str, object]:
    return {
        "processing_mode": {
            "request_header_mode": "SEND",
            "response_header_mode": "SEND",
            "request_body_mode": request_mode,
            "response_body_mode": response_mode,
            "request_trailer_mode": "SEND",
            "response_trailer_mode": "SEND",
        }
    }


def prefix(request_mode: str, response_mode: str) -> str:
    return f"/{request_mode}-{response_mode}/"


@pytest.fixture(scope="module")
def envoy(extprocd: Extprocd, run_envoy: RunEnvoy) -> Iterator[Envoy]:
    routes = [route(prefix(a, b), processed=True, overrides=overrides(a, b), rewrite="/") for a, b in PAIRS]
    with run_envoy(extprocd, routes) as running:
        yield running


def pattern(size: int) -> bytes:
    """Bytes in which a lost, doubled or swapped piece shows."""
    return b"".join(index.to_bytes(4, "big") for index in range(size // 4 + 1))[:size]


@pytest.mark.parametrize(("request_mode", "response_mode"), PAIRS)
def test_bodies_pass_unchanged(envoy: Envoy, request_mode: str, response_mode: str) -> None:
    for size, chunk in [(0, 0), (1, 0), (5000, 0), (70000, 7000), (900000, 0)]:
        body = pattern(size)
        answer = request(envoy.port, prefix(request_mode, response_mode) + "echo", method="POST", body=body, chunk=chunk)
        assert answer.status == 200, (size, chunk)
        assert answer.body == body, (size, chunk)


@pytest.mark.parametrize(("request_mode", "response_mode"), PAIRS)
def test_trailers_pass_unchanged(envoy: Envoy, request_mode: str, response_mode: str) -> None:
    body = pattern(100000)
    answer = request(envoy.port, prefix(request_mode, response_mode) + "echo?trailers=1", method="POST", body=body,
                     trailers={"x-sum": "42"}, chunk=9999)
    assert answer.status == 200
    assert answer.body == body
    assert answer.header("x-trailers") == '{"x-sum": "42"}'
    assert answer.trailers == {"x-end": "1"}


@pytest.mark.parametrize(("request_mode", "response_mode"), PAIRS)
def test_a_get_without_a_body_passes(envoy: Envoy, request_mode: str, response_mode: str) -> None:
    assert request(envoy.port, prefix(request_mode, response_mode) + "get").status == 200


def test_every_mode_reached_the_server(extprocd: Extprocd, envoy: Envoy) -> None:
    for phase in ["request_headers", "request_body", "request_trailers", "response_headers", "response_body",
                  "response_trailers"]:
        assert extprocd.metric(f'extproc_messages_total{{phase="{phase}"}}') > 0, phase
    assert extprocd.metric("extproc_protocol_errors_total") == 0
    eventually(lambda: extprocd.metric("extproc_streams_active") == 0)


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


def test_observability_mode_changes_and_delays_nothing(run_envoy: RunEnvoy) -> None:
    streamed = {"request_body_mode": "STREAMED", "response_body_mode": "STREAMED"}
    with (
        Extprocd() as server,
        run_envoy(server, [route("/", processed=True)], observability_mode=True, processing_mode=streamed,
                  deferred_close_timeout="0.2s") as envoy,
    ):
        body = pattern(100000)
        answer = request(envoy.port, "/echo", method="POST", body=body,
                         headers={"instructions": '{"addHeaders":{"x":"1"}}'})
        assert (answer.status, answer.body) == (200, body)
        answer = request(envoy.port, "/headers", headers={"instructions": "bad json"})
        assert answer.status == 200
        eventually(lambda: server.metric("extproc_streams_started_total") == 2)
        assert server.metric('extproc_message_bytes_total{direction="sent"}') == 0
        assert server.metric('extproc_plugin_failures_total{plugin="instructions",policy="fail"}') == 1


def test_the_inner_filter_is_what_kgateway_makes_of_a_backend_alone() -> None:
    assert set(ext_proc()) == {"@type", "grpc_service", "message_timeout"}
