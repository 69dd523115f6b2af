"""grpc-go's ext_proc filter as the data plane: whole gRPC calls through the server, to a real upstream and back."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

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
    "a_reader_that_is_slow": Call("server_stream", ["ask"], answer=[50_000] * 4 + [100_000] * 4, rest_ms=20,
                                  trailers=TRAILERS),
    "an_upstream_that_fails": Call("bidi", ["a", "b"], code=9, message="it did not work", trailers=TRAILERS),
    "an_upstream_that_fails_at_once": Call("server_stream", ["a"], answer=[], code=5, message="not found",
                                           trailers=TRAILERS),
    "a_unary_call_that_fails": Call("unary", ["a"], answer=[], code=7, message="no"),
}
CODES = {0: "OK", 5: "NotFound", 7: "PermissionDenied", 9: "FailedPrecondition"}


@each_transport
@pytest.mark.parametrize("processing_mode", MODES)
def test_what_nobody_changes_passes_unchanged(transport: str, processing_mode: str) -> None:
    with data_plane(transport, CONFIG, MODES[processing_mode]) as (running, plane):
        for name, call in CALLS.items():
            print(name)
            plane.run_one(call).expect_untouched(call, CODES[call.code])
