"""Headers that wait for the body, and phases that a plugin leaves out, through real Envoys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from body_modes import MODES, overrides, pattern
from client import Response, request
from conftest import RunEnvoy
from envoy_config import route
from rig import Envoy, Extprocd, eventually

CONFIG = """
[[plugin]]
name = "probe"
module = "control_probe.so"
"""
BODIES = [mode for mode in MODES if mode != "NONE"]


@pytest.fixture(scope="module")
def server() -> Iterator[Extprocd]:
    with Extprocd(CONFIG) as running:
        yield running


@pytest.fixture(scope="module")
def envoy(server: Extprocd, run_envoy: RunEnvoy, version: str) -> Iterator[Envoy]:
    routes = [route(f"/{mode}/", processed=True, overrides=overrides(mode, "NONE"), rewrite="/") for mode in BODIES]
    with run_envoy(server, routes, version=version) as running:
        yield running


def posted(envoy: Envoy, mode: str, what: str, trailers: dict[str, str] | None = None) -> Response:
    return request(envoy.port, f"/{mode}/headers", method="POST", body=pattern(30_000), chunk=7_000, headers={"x-do": what},
                   trailers=trailers)


@pytest.mark.parametrize("mode", BODIES)
def test_headers_can_wait_for_the_body(envoy: Envoy, mode: str) -> None:
    answer = posted(envoy, mode, "hold")
    waited = mode != "STREAMED"
    assert answer.seen.get("X-Size") == ("30000" if waited else None)
    assert answer.header("x-said") == ("ok" if waited else "too late")


@pytest.mark.parametrize("mode", [mode for mode in BODIES if mode != "STREAMED"])
def test_headers_can_wait_for_a_body_with_trailers(envoy: Envoy, mode: str) -> None:
    assert posted(envoy, mode, "hold", {"x-sum": "42"}).seen["X-Size"] == "30000"


@pytest.mark.parametrize("mode", BODIES)
def test_headers_wait_unasked_where_envoy_keeps_them_anyhow(envoy: Envoy, mode: str) -> None:
    answer = posted(envoy, mode, "nothing")
    kept = mode in ("BUFFERED", "BUFFERED_PARTIAL")
    assert answer.seen.get("X-Size") == ("30000" if kept else None)
    assert answer.header("x-said") == ("ok" if kept else "too late")


@pytest.mark.parametrize("mode", BODIES)
def test_a_request_without_a_body_waits_for_nothing(envoy: Envoy, mode: str) -> None:
    answer = request(envoy.port, f"/{mode}/headers", headers={"x-do": "hold"})
    assert (answer.status, answer.header("x-said")) == (200, "nothing")


@pytest.mark.parametrize("mode", BODIES)
@pytest.mark.parametrize("what", ["skip responses", "finish"])
def test_phases_that_are_left_out_do_not_come_to_the_plugin(server: Extprocd, envoy: Envoy, mode: str, what: str) -> None:
    before = server.messages()
    answer = posted(envoy, mode, what)
    assert (answer.status, answer.header("x-said")) == (200, None)
    assert answer.seen.get("X-Size") == ("30000" if "skip" in what and mode.startswith("BUFFERED") else None)
    eventually(lambda: server.metric("extproc_streams_active") == 0)
    if mode != "FULL_DUPLEX_STREAMED":  # where the stream goes on, so that no piece of the body is lost
        assert server.messages()["response_headers"] == before["response_headers"]


@pytest.mark.parametrize("mode", BODIES)
def test_a_body_that_is_left_out_passes_unseen(envoy: Envoy, mode: str) -> None:
    answer = posted(envoy, mode, "skip bodies")
    assert (answer.status, answer.header("x-said")) == (200, "nothing")
    assert "X-Size" not in answer.seen
