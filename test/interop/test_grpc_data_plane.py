"""grpc-go's ext_proc filter as the data plane: whole gRPC calls through the server, to a real upstream and back."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from typing import Any

import pytest

from data_plane import ALL, Call, DataPlane, Message, data_plane, ended, mode, needs_data_plane
from rig import Extprocd, eventually
from transports import each_transport

pytestmark = needs_data_plane

MIB = 1 << 20
CONFIG = """
[[plugin]]
name = "instructions"
module = "instructions.so"
"""
MODES = {
    "all": ALL,
    "no_headers": mode(headers="SKIP"),
    "request_bodies": mode(response_body="NONE", trailers="SKIP"),
    "response_bodies": mode(request_body="NONE"),
    "no_bodies": mode(request_body="NONE", response_body="NONE"),
    "headers_alone": mode(request_body="NONE", response_body="NONE", trailers="SKIP"),
    "trailers_alone": mode("SKIP", "NONE", "NONE"),
    "request_bodies_alone": mode("SKIP", response_body="NONE", trailers="SKIP"),
}
NO_BODIES = MODES["no_bodies"]
TRAILERS = {"t": "1"}
BIG: list[Message] = [70_000, 0, 3 * MIB, 1, 65_536, 65_537, "x", 200_000]
CALLS = {
    "unary": Call("unary", ["hello"]),
    "unary_empty": Call("unary", [""]),
    "unary_big": Call("unary", [3 * MIB]),
    "client_stream": Call("client_stream", ["a", "", "b", 70_000], trailers=TRAILERS),
    "client_stream_big": Call("client_stream", BIG),
    "server_stream": Call("server_stream", ["ask"], answer=["a", "", "b", 70_000], trailers=TRAILERS),
    "server_stream_empty": Call("server_stream", [""], answer=[], trailers=TRAILERS),
    "server_stream_big": Call("server_stream", ["ask"], answer=BIG),
    "bidi_in_turn": Call("bidi", ["a", "", "b", 70_000], in_turn=True, trailers=TRAILERS),
    "bidi": Call("bidi", ["a", "", "b", 70_000], trailers=TRAILERS),
    "bidi_big": Call("bidi", BIG),
    "bidi_many": Call("bidi", [f"message {i}" for i in range(1000)]),
    "bidi_both_at_once": Call("bidi", BIG, answer=BIG),
    "many_calls_at_once": Call("bidi", [0, 1, 100, 70_000, "x", 40_000], copies=100, trailers=TRAILERS),
    "an_upstream_that_fails": Call("bidi", ["a", "b"], code=9, message="it did not work", trailers=TRAILERS),
    "an_upstream_that_fails_at_once": Call("server_stream", ["a"], answer=[], code=5, message="not found",
                                           trailers=TRAILERS),
    "a_unary_call_that_fails": Call("unary", ["a"], answer=[], code=7, message="no"),
}
CODES = {0: "OK", 5: "NotFound", 7: "PermissionDenied", 9: "FailedPrecondition"}
# What the server still holds for want of window when the upstream has ended.
SLOW_READER = Call("server_stream", ["ask"], answer=[50_000] * 4 + [100_000] * 4, rest_ms=20, trailers=TRAILERS)


def pass_untouched(plane: DataPlane, call: Call) -> None:
    for outcome in plane.run(call):
        outcome.expect_untouched(call, CODES[call.code])


def given_up(running: Extprocd) -> int:
    """Streams that ended with a call's. grpc-go may still send trailers and half-close, if it hears of the upstream first."""
    return ended(running, "cancelled") + ended(running, "completed")


def instructions(**document: Any) -> dict[str, str]:
    return {"instructions": json.dumps(document)}


@each_transport
@pytest.mark.parametrize("processing_mode", MODES)
def test_what_nobody_changes_passes_unchanged(transport: str, processing_mode: str) -> None:
    with data_plane(transport, CONFIG, MODES[processing_mode]) as (_, plane):
        for name, call in CALLS.items():
            print(name)
            pass_untouched(plane, call)


@each_transport
def test_streams_end_with_ok(transport: str) -> None:
    """Of all shapes that are read to their end: grpc-go gives up the stream of a unary call that the client is done with."""
    calls = [call for call in CALLS.values() if call.method in ("server_stream", "bidi")]
    with data_plane(transport, CONFIG, ALL) as (running, plane):
        for call in calls:
            pass_untouched(plane, call)
        assert ended(running, "completed") == sum(call.copies for call in calls)


@each_transport
def test_flow_control_is_kept_and_made_use_of(transport: str) -> None:
    calls = [CALLS[name] for name in ("client_stream_big", "server_stream_big", "bidi_big", "bidi_both_at_once",
                                      "many_calls_at_once")]
    with data_plane(transport, CONFIG, ALL, watch=True) as (_, plane):
        for call in [*calls, SLOW_READER]:
            pass_untouched(plane, call)
            assert plane.watched is not None and plane.watched.wrong == []
            requests, responses = call.method != "server_stream", call.method != "client_stream"
            lowest = plane.watched.lowest
            assert not requests or (lowest["downstream to sidestream"] < 0 and lowest["sidestream to upstream"] < 0)
            assert not responses or (lowest["upstream to sidestream"] < 0 and lowest["sidestream to downstream"] < 0)


@each_transport
def test_a_reader_that_is_slow_gets_all(transport: str) -> None:
    with data_plane(transport, CONFIG, ALL) as (_, plane):
        pass_untouched(plane, SLOW_READER)
        pass_untouched(plane, replace(SLOW_READER, copies=20))


@each_transport
@pytest.mark.parametrize("processing_mode", ["all", "no_bodies"])
def test_headers_and_trailers_are_changed(transport: str, processing_mode: str) -> None:
    wanted = instructions(addHeaders={"a": "1", "old": "new", "some-bin": "raw"}, removeHeaders=["secret"])
    back = instructions(addHeaders={"b": "2", "old": "new"}, removeHeaders=["secret"], setTrailers={"c": "3", "t": "new"})
    call = Call("bidi", ["x"], metadata={"old": "old", "secret": "s", "kept": "k", **wanted},
                headers={"old": "old", "secret": "s", "kept": "k", **back}, trailers={"t": "old", "u": "1"})
    with data_plane(transport, CONFIG, MODES[processing_mode]) as (_, plane):
        outcome = plane.run_one(call)
    assert outcome.code == "OK" and outcome.upstream is not None
    assert outcome.received == outcome.upstream.sent == outcome.upstream.received == outcome.sent
    came, given, trailers = outcome.upstream.headers, outcome.headers, outcome.trailers
    assert given is not None and trailers is not None
    assert came["a"] == ["1"] and came["old"] == ["new"] and came["kept"] == ["k"] and came["some-bin"] == ["raw"]
    assert given["b"] == ["2"] and given["old"] == ["new"] and given["kept"] == ["k"]
    assert "secret" not in came | given
    assert trailers == {"c": ["3"], "t": ["new"], "u": ["1"]}


@each_transport
def test_the_headers_of_an_answer_without_any_message_are_its_trailers(transport: str) -> None:
    call = Call("bidi", ["x"], answer=[], code=5, message="none", trailers=instructions(addHeaders={"b": "2"}))
    with data_plane(transport, CONFIG, ALL) as (_, plane):
        outcome = plane.run_one(call)
    assert outcome.code == "NotFound" and outcome.trailers is not None
    assert outcome.trailers["b"] == ["2"]


@each_transport
@pytest.mark.parametrize("phase", ["request_headers", "request_body", "response_headers"])
def test_an_immediate_response_is_the_end_of_the_call(transport: str, phase: str) -> None:
    config = f"[[plugin]]\nname = 'no'\nmodule = 'test_reply_at.so'\n[plugin.config]\nphase = '{phase}'\n"
    with data_plane(transport, config, ALL) as (running, plane):
        for call in (CALLS["unary"], CALLS["server_stream"], CALLS["bidi_in_turn"], CALLS["bidi_big"]):
            outcome = plane.run_one(call)
            assert (outcome.code, outcome.message, outcome.received) == ("PermissionDenied", "not today", [])
            assert outcome.upstream is None or phase != "request_headers"
        eventually(lambda: ended(running, "replied") == 4)


@each_transport
def test_a_plugin_that_fails_fails_the_call(transport: str) -> None:
    call = Call("bidi", ["x"], metadata={"instructions": "{"})
    with data_plane(transport, CONFIG, ALL) as (running, plane):
        outcome = plane.run_one(call)
        assert outcome.code == "Internal" and "not valid JSON" in outcome.message
        assert outcome.upstream is None
        back = plane.run_one(replace(call, metadata={}, headers={"instructions": "{"}))
        assert back.code == "Internal" and "not valid JSON" in back.message and back.received == []
        eventually(lambda: ended(running, "failed") == 2)


@each_transport
def test_a_plugin_that_fails_is_passed_by_where_failures_are_allowed(transport: str) -> None:
    """Without bodies, that is: once it has sent one, grpc-go lets no failure pass."""
    with data_plane(transport, CONFIG, NO_BODIES, failure_mode_allow=True) as (running, plane):
        pass_untouched(plane, Call("bidi", ["x"], metadata={"instructions": "{"}, trailers=TRAILERS))
        pass_untouched(plane, Call("bidi", ["x"], headers={"instructions": "{"}, trailers=TRAILERS))
        assert ended(running, "failed") == 2


@each_transport
@pytest.mark.parametrize("allowed", [False, True], ids=["deny", "allow"])
def test_a_server_that_is_not_there(transport: str, allowed: bool) -> None:
    with data_plane(transport, CONFIG, ALL, failure_mode_allow=allowed) as (running, plane):
        running.kill()
        for call in (CALLS["unary"], CALLS["bidi"]):
            if allowed:
                pass_untouched(plane, call)
            else:
                outcome = plane.run_one(call)
                assert outcome.code == "Internal" and outcome.upstream is None


@each_transport
@pytest.mark.parametrize("allowed", [False, True], ids=["deny", "allow"])
@pytest.mark.parametrize("processing_mode", ["all", "no_bodies"])
def test_a_server_that_is_killed_during_a_call(transport: str, allowed: bool, processing_mode: str) -> None:
    call = Call("bidi", ["a", "b", "c", "d"], in_turn=True, pause_after=2, trailers=TRAILERS)
    with data_plane(transport, CONFIG, MODES[processing_mode], failure_mode_allow=allowed) as (running, plane):
        outcome = plane.run_one(call, running.kill)
    if allowed and processing_mode == "no_bodies":
        outcome.expect_untouched(call)
    else:
        assert outcome.code == "Internal" and outcome.upstream is not None
        # More may have passed before the client noticed, where no bodies come to the server.
        assert outcome.received[:2] == ["a", "b"] == outcome.upstream.received[:2]


@each_transport
@pytest.mark.parametrize("how", ["cancelled", "too_late"])
def test_a_call_that_is_given_up_leaves_nothing_behind(transport: str, how: str) -> None:
    call = Call("bidi", ["a", "b", 70_000, "d"], in_turn=True, copies=20)
    with data_plane(transport, CONFIG, ALL) as (running, plane):
        if how == "cancelled":
            outcomes = plane.run(replace(call, cancel_after=3))
        else:
            outcomes = plane.run(replace(call, pause_after=3, deadline_ms=2000),
                                 lambda: eventually(lambda: running.metric("extproc_streams_active") == 0))
        # The client's status is not looked at: grpc-go's filter may take the end of its own stream for the server's fault.
        for outcome in outcomes:
            assert outcome.upstream is not None and len(outcome.received) == 3
            assert outcome.received == outcome.upstream.received and outcome.upstream.ended
        eventually(lambda: given_up(running) == call.copies)
        pass_untouched(plane, CALLS["bidi"])


@each_transport
def test_a_call_that_is_given_up_while_much_waits_leaves_nothing_behind(transport: str) -> None:
    call = Call("bidi", [100_000] * 20, rest_ms=50, cancel_after=6, copies=20)
    with data_plane(transport, CONFIG, ALL) as (running, plane):
        assert all(len(outcome.received) < len(call.send) for outcome in plane.run(call))
        eventually(lambda: given_up(running) == call.copies)
        pass_untouched(plane, CALLS["bidi_big"])


@each_transport
def test_open_calls_go_on_to_their_end_when_the_server_is_told_to_go(transport: str) -> None:
    call = Call("bidi", ["a", "b", 70_000, "d", 3 * MIB], in_turn=True, pause_after=2, copies=20, trailers=TRAILERS,
                headers=instructions(setTrailers={"seen": "yes"}))
    with data_plane(transport, CONFIG, ALL) as (running, plane):

        def terminate() -> None:
            running.send_signal(signal.SIGTERM)
            eventually(lambda: "draining" in running.log())

        for outcome in plane.run(call, terminate):
            outcome.expect_untouched(call)
            assert outcome.trailers is not None and outcome.trailers["seen"] == ["yes"]
        assert running.stop() == 0
        assert f"{call.copies} open streams finished, 0 cancelled" in running.log()


@each_transport
@pytest.mark.parametrize("processing_mode", ["all", "no_headers"])
def test_whoever_only_observes_changes_nothing(transport: str, processing_mode: str) -> None:
    broken = {"instructions": "{"}
    call = Call("bidi", ["a", "", 70_000, "d"], metadata=broken, headers=broken, trailers=TRAILERS)
    with data_plane(transport, CONFIG, MODES[processing_mode], observability_mode=True,
                    deferred_close_timeout="1s") as (running, plane):
        for name, each in (CALLS | {"broken": call}).items():
            print(name)
            pass_untouched(plane, each)
        streams = sum(each.copies for each in CALLS.values()) + 1
        assert running.metric("extproc_streams_started_total") == streams
