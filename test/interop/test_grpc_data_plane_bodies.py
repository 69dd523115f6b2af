"""Plugins that change, hold and give up the bodies of whole gRPC calls, with grpc-go's ext_proc filter as the data plane."""

from __future__ import annotations

from hashlib import sha256

import pytest

from data_plane import ALL, Call, Message, Outcome, data_plane, ended, mode, needs_data_plane
from rig import eventually
from test_grpc_data_plane import BIG, CALLS, MIB, TRAILERS, pass_untouched
from transports import each_transport

pytestmark = needs_data_plane

REQUESTS = mode(response_body="NONE", trailers="SKIP")


def plugin(module: str) -> str:
    return f"[[plugin]]\nname = 'tested'\nmodule = '{module}.so'\nmax_body_bytes = '16MiB'\n"


def described(text: str) -> str:
    """As payload.go has it."""
    return text if len(text) <= 40 else f"{len(text)} bytes, sha256 {sha256(text.encode()).hexdigest()}"


def expect_texts(outcome: Outcome, requests: list[str], answers: list[str]) -> None:
    assert (outcome.code, outcome.message) == ("OK", "") and outcome.upstream is not None
    assert outcome.upstream.received == [described(text) for text in requests]
    assert outcome.received == [described(text) for text in answers]


@each_transport
def test_each_message_is_edited(transport: str) -> None:
    texts = ["a", "", "b" * 70_000, "c" * 300_000, "d"]
    once, twice = [text + "!" for text in texts], [text + "!!" for text in texts]
    with data_plane(transport, plugin("test_edit_each"), ALL, watch=True) as (_, plane):
        sent: list[Message] = [*texts]
        expect_texts(plane.run_one(Call("bidi", sent)), once, twice)
        expect_texts(plane.run_one(Call("bidi", sent, in_turn=True)), once, twice)
        expect_texts(plane.run_one(Call("bidi", sent, answer=sent)), once, once)
        expect_texts(plane.run_one(Call("server_stream", ["ask"], answer=sent)), ["ask!"], once)
        expect_texts(plane.run_one(Call("unary", ["a"])), ["a!"], ["a!!"])
        for outcome in plane.run(Call("bidi", sent, copies=30)):
            expect_texts(outcome, once, twice)
        assert plane.watched is not None and plane.watched.wrong == []


@each_transport
def test_held_messages_come_together(transport: str) -> None:
    call = Call("bidi", ["a", "b", "c", "d", "e", "f", "g"], pause_after=2, trailers=TRAILERS)
    with data_plane(transport, plugin("test_hold_three"), ALL, watch=True) as (running, plane):

        def wait_for_two() -> None:
            eventually(lambda: running.messages()["request_body"] == 2)

        plane.run_one(call, wait_for_two).expect_untouched(call)
        assert plane.watched is not None and plane.watched.wrong == []
        for body in ("request_body", "response_body"):
            came, given = 0, 0
            for event in plane.watched.events:
                came += event == body
                given += event == f"reply to {body}"
                # Of three none goes on before the third has come, and the seventh goes with the end.
                assert came >= min((given + 2) // 3 * 3, 7)
            assert (came, given) == (7, 7)


@each_transport
@pytest.mark.parametrize("name", CALLS)
def test_what_is_held_arrives(transport: str, name: str) -> None:
    """All but calls in turn, where the fourth message waits for the answer to the first."""
    call = CALLS[name]
    with data_plane(transport, plugin("test_hold_three"), ALL) as (_, plane):
        if not call.in_turn:
            pass_untouched(plane, call)


@each_transport
def test_more_is_held_than_the_window(transport: str) -> None:
    """Three messages of which each takes the whole window; then two more, and the end."""
    with data_plane(transport, plugin("test_hold_three"), ALL, watch=True) as (_, plane):
        for call in (Call("bidi", [100_000] * 5), Call("server_stream", ["ask"], answer=[100_000] * 5),
                     Call("client_stream", [100_000] * 5), Call("bidi", BIG, answer=BIG)):
            pass_untouched(plane, call)
            assert plane.watched is not None and plane.watched.wrong == []


# Where a drain loses nothing: with the request's headers, and where no response body comes to the server.
DRAINS = [("request_headers", ALL), ("request_headers", REQUESTS), ("request_body", REQUESTS),
          ("request_body", mode(response_body="NONE")), ("request_body", mode("SKIP", response_body="NONE"))]
each_drain = pytest.mark.parametrize(("phase", "processing_mode"), DRAINS, ids=[
    "headers_of_all", "headers_of_requests", "body_of_requests", "body_of_requests_and_trailers", "body_without_headers"])


@each_transport
@each_drain
def test_a_plugin_that_has_seen_enough_leaves_the_call_alone(transport: str, phase: str,
                                                             processing_mode: dict[str, str]) -> None:
    """The server's stream ends while the call goes on."""
    call = Call("bidi", ["a", "b", 70_000, "", 3 * MIB, "e"], in_turn=True, pause_after=3, copies=20, trailers=TRAILERS)
    with data_plane(transport, plugin(f"test_finish_at_{phase}"), processing_mode) as (running, plane):

        def wait_until_gone() -> None:
            eventually(lambda: running.metric("extproc_streams_active") == 0)
            assert ended(running, "completed") == call.copies

        for outcome in plane.run(call, wait_until_gone):
            outcome.expect_untouched(call)
        assert running.messages()["request_body"] < call.copies * len(call.send)


SOME: list[Message] = [*(f"message {i}" for i in range(50)), 70_000, "", 40_000, 70_000, *range(50), 70_000]
LOADS = [Call("bidi", SOME, copies=20, trailers=TRAILERS), Call("bidi", SOME, answer=SOME, copies=20),
         Call("client_stream", SOME, copies=20), Call("server_stream", ["ask"], answer=SOME, copies=20, trailers=TRAILERS),
         Call("bidi", SOME, answer=[], code=9, message="no", copies=20), Call("unary", ["a"], copies=50)]


@each_transport
@each_drain
def test_nothing_is_lost_by_a_drain_under_load(transport: str, phase: str, processing_mode: dict[str, str]) -> None:
    with data_plane(transport, plugin(f"test_finish_at_{phase}"), processing_mode) as (_, plane):
        for call in LOADS * 2:
            pass_untouched(plane, call)


@each_transport
@each_drain
def test_a_drain_keeps_to_flow_control(transport: str, phase: str, processing_mode: dict[str, str]) -> None:
    with data_plane(transport, plugin(f"test_finish_at_{phase}"), processing_mode, watch=True) as (_, plane):
        for call in (Call("bidi", BIG), Call("bidi", BIG, answer=BIG), Call("bidi", [50_000] * 20, in_turn=True)):
            pass_untouched(plane, call)
            assert plane.watched is not None and plane.watched.wrong == []
            assert "drain" in plane.watched.events


@each_transport
@pytest.mark.parametrize("phase", ["request_body", "response_body"])
def test_where_a_drain_would_lose_messages_the_server_stays(transport: str, phase: str) -> None:
    """Behind a drain grpc-go takes no answer back that was on its way to the server."""
    call = Call("bidi", ["a", "", 70_000, "b", "c"], in_turn=True, trailers=TRAILERS)
    with data_plane(transport, plugin(f"test_finish_at_{phase}"), ALL) as (running, plane):
        pass_untouched(plane, call)
        assert ended(running, "completed") == 1
        assert running.messages()["response_body"] == len(call.send)
        for load in LOADS * 2:
            pass_untouched(plane, load)
