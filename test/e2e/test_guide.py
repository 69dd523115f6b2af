"""The acceptance scenarios of kgateway's ExtProc guide, of the sample server's README and of Gloo's tests."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from client import request
from conftest import RunEnvoy
from envoy_config import route
from rig import Envoy, Extprocd

ADD = json.dumps({"addHeaders": {"extproc": "true"}})
CHANGE = json.dumps({"addHeaders": {"header3": "value3", "header4": "value4"}, "removeHeaders": ["instructions", "header2"]})
TWO_HEADERS = {"header1": "value1", "header2": "value2", "instructions": CHANGE}
SKIP = {"processing_mode": {"request_header_mode": "SKIP"}}


@pytest.fixture(scope="module")
def envoy(extprocd: Extprocd, run_envoy: RunEnvoy, version: str) -> Iterator[Envoy]:
    routes = [
        route("/headers", processed=True),
        route("/respond", processed=True),
        route("/skipped/", processed=True, overrides=SKIP, rewrite="/"),
        route("/switched-off/", processed=True, rewrite="/", off=True),
        route("/", processed=False),
    ]
    with run_envoy(extprocd, routes, version=version) as running:
        yield running


def test_s1_a_processed_route_gets_the_header_and_keeps_the_instructions(envoy: Envoy) -> None:
    answer = request(envoy.port, "/headers", headers={"instructions": ADD})
    assert answer.status == 200
    assert answer.seen["Extproc"] == "true"
    assert answer.seen["Instructions"] == ADD


def test_s2_a_route_without_the_policy_is_left_alone(envoy: Envoy) -> None:
    answer = request(envoy.port, "/get", headers={"instructions": ADD})
    assert answer.status == 200
    assert "Extproc" not in answer.seen


def test_a_route_with_the_policy_disabled_is_left_alone(envoy: Envoy) -> None:
    answer = request(envoy.port, "/switched-off/headers", headers={"instructions": ADD})
    assert answer.status == 200
    assert "Extproc" not in answer.seen


def test_r1_and_g2_headers_are_added_and_removed(envoy: Envoy) -> None:
    seen = request(envoy.port, "/headers", headers=TWO_HEADERS).seen
    assert (seen["Header1"], seen["Header3"], seen["Header4"]) == ("value1", "value3", "value4")
    assert "Header2" not in seen
    assert "Instructions" not in seen


def test_r2_and_g3_nothing_changes_with_request_headers_skipped(envoy: Envoy) -> None:
    seen = request(envoy.port, "/skipped/headers", headers=TWO_HEADERS).seen
    assert seen["Header2"] == "value2"
    assert "Header3" not in seen
    assert seen["Instructions"] == CHANGE


def test_g1_without_ext_proc_nothing_changes(envoy: Envoy) -> None:
    seen = request(envoy.port, "/get", headers=TWO_HEADERS).seen
    assert seen["Header2"] == "value2"
    assert "Header3" not in seen


def test_g4_bad_instructions_are_a_500_where_failures_are_closed(extprocd: Extprocd, run_envoy: RunEnvoy,
                                                                 version: str) -> None:
    with run_envoy(extprocd, [route("/", processed=True)], ("streams_failed",), version) as closed:
        answer = request(closed.port, "/headers", headers={"instructions": "invalid json value"})
        assert answer.status == 500
        assert closed.counters()["streams_failed"] == 1


def test_g5_bad_instructions_change_nothing_where_failures_are_open(extprocd: Extprocd, run_envoy: RunEnvoy,
                                                                    version: str) -> None:
    allowed = ("streams_failed", "failure_mode_allowed")
    with run_envoy(extprocd, [route("/", processed=True)], allowed, version, failure_mode_allow=True) as open_envoy:
        answer = request(open_envoy.port, "/headers", headers=TWO_HEADERS | {"instructions": "invalid json value"})
        assert answer.status == 200
        assert answer.seen["Header2"] == "value2"
        assert answer.seen["Instructions"] == "invalid json value"


def test_gos_null_slice_is_accepted(envoy: Envoy) -> None:
    text = '{"addHeaders":{"extproctest":"true"},"removeHeaders":null}'
    assert request(envoy.port, "/headers", headers={"instructions": text}).seen["Extproctest"] == "true"


def test_a_response_has_instructions_of_its_own(envoy: Envoy) -> None:
    text = "%7B%22addHeaders%22%3A%7B%22x-added%22%3A%221%22%7D%2C%22removeHeaders%22%3A%5B%22x-gone%22%5D%7D"
    answer = request(envoy.port, f"/respond?instructions={text}&x-gone=1&x-kept=1")
    assert (answer.header("x-added"), answer.header("x-kept"), answer.header("x-gone")) == ("1", "1", None)


def test_requests_instructions_do_not_act_on_the_response(envoy: Envoy) -> None:
    assert request(envoy.port, "/respond?x-a=1", headers={"instructions": ADD}).header("extproc") is None


def test_names_that_envoy_refuses_are_left_out(envoy: Envoy) -> None:
    text = json.dumps({"addHeaders": {"host": "evil", "x-envoy-a": "1", "ok": "1"}, "removeHeaders": [":path"]})
    answer = request(envoy.port, "/headers", headers={"instructions": text})
    assert answer.status == 200
    assert answer.seen["Ok"] == "1"
    assert answer.seen["Host"] == "extproc.example"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_set_body_replaces_a_requests_body(extprocd: Extprocd, run_envoy: RunEnvoy, method: str) -> None:
    with run_envoy(extprocd, [route("/", processed=True)]) as running:
        body = b"original" if method == "POST" else None
        answer = request(running.port, "/echo", method=method, body=body,
                         headers={"instructions": json.dumps({"setBody": "a new body"})})
        assert answer.status == 200
        assert answer.body == b"a new body"
        assert answer.header("x-content-type") == "text/plain"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_set_body_replaces_a_responses_body(envoy: Envoy, method: str) -> None:
    body = b"request" if method == "POST" else None
    answer = request(envoy.port, "/respond?instructions=%7B%22setBody%22%3A%22a+new+body%22%7D", method=method, body=body)
    assert answer.status == 200
    assert answer.body == b"a new body"
    assert answer.header("content-type") == "text/plain"
