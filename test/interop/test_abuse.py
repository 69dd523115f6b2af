"""Clients that break HTTP/2 or gRPC, or do too much of what is allowed: how each ends, and that nobody else notices."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest
from hpack import Encoder
from hyperframe.frame import PingFrame, SettingsFrame

from offences import (
    BATCH,
    MESSAGE,
    MIB,
    all_in_one_frame,
    answered_and_reset,
    bomb,
    call,
    compressed,
    continuations,
    data_for_what_is_over,
    flood,
    frames,
    goaway_of_a_client,
    hpack_bomb,
    in_single_octets,
    instead_of_http2,
    list_of,
    never_opening_window,
    octets,
    one_stream_too_many,
    opened_and_reset,
    overflowing_window,
    padded_body,
    raw_frame,
    trailers_of_a_request,
)
from siege import Offence, Siege, siege
from transports import each_transport
from wire import PREFACE, Connection, data, grpc_frame, header, open_stream, request_body, request_headers
from wire_ends import Ending, call_block

OK, GOAWAY_CALM = "200 grpc-status 0", "GOAWAY ENHANCE_YOUR_CALM"
LOST = ("200 grpc-status 14", "closed")  # with its connection
LIMITS = "[server.limits]\nmax_message_size = '1MiB'\nmax_streams_per_connection = 50\n"
GZIP = {"grpc-encoding": "gzip"}
UNKNOWN_FRAMES = raw_frame(99, 0, 0, bytes(16000))
OFFENCES: dict[str, Offence] = {
    # Too much of what is allowed.
    "streams_opened_and_reset": Offence(flood(opened_and_reset), OK, GOAWAY_CALM, ("reset_flood",), grpc_growth=250),
    "streams_answered_and_reset": Offence(answered_and_reset, OK, OK),
    "ping_flood": Offence(frames(lambda: PingFrame(0, opaque_data=b"12345678")), OK, GOAWAY_CALM, ("ping_flood",)),
    "settings_flood": Offence(frames(lambda: SettingsFrame(0, settings={4: 65535})), OK, GOAWAY_CALM, ("settings_flood",)),
    "empty_data_flood": Offence(
        flood(lambda connection: (open_stream(connection.new_stream()) if connection.next_stream == 1 else b"")
              + data(1, b"") * BATCH), OK, GOAWAY_CALM, ("empty_frames_flood",)),
    "continuation_flood": Offence(continuations(b""), "silence", GOAWAY_CALM, ("continuation_flood",)),
    "continuation_flood_with_headers": Offence(
        continuations(Encoder().encode([("x", "y" * 1000, True)], huffman=False)),
        "silence", GOAWAY_CALM, ("continuation_flood",)),
    "much_that_means_nothing": Offence(
        octets(*[UNKNOWN_FRAMES] * 2000, ends=False), ("closed", OK), GOAWAY_CALM, ("unfinished",)),
    "a_header_list_of_100_kb": Offence(list_of(call_block({f"x{i}": "y" * 1000 for i in range(100)})), "silence",
                                       "431 grpc-status 8", ("header_list_size",)),
    "a_header_of_100_kb": Offence(list_of(call_block({"x": "y" * 100_000})), "silence", "GOAWAY COMPRESSION_ERROR"),
    "an_hpack_bomb": Offence(list_of(hpack_bomb()), "200 grpc-status 8", "431 grpc-status 8", ("header_list_size",)),
    "a_stream_too_many": Offence(one_stream_too_many, "closed", "GOAWAY PROTOCOL_ERROR", ("streams",)),
    "a_window_that_never_opens": Offence(never_opening_window, "no window", "no window"),
    # HTTP/2 that is wrong.
    "http_1": Offence(instead_of_http2(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "closed", "GOAWAY PROTOCOL_ERROR"),
    "a_window_that_overflows": Offence(overflowing_window(False), "silence", "GOAWAY FLOW_CONTROL_ERROR"),
    "a_streams_window_that_overflows": Offence(overflowing_window(True), "silence", "RST_STREAM FLOW_CONTROL_ERROR"),
    "a_frame_that_is_too_large": Offence(octets(raw_frame(0, 0, 1, bytes(20_000))), "closed", "GOAWAY FRAME_SIZE_ERROR"),
    "data_before_headers": Offence(octets(data(1, MESSAGE)), "silence", "GOAWAY PROTOCOL_ERROR"),
    "a_block_that_is_no_hpack": Offence(octets(open_stream(1, b"\xff" * 100)), LOST, "GOAWAY COMPRESSION_ERROR"),
    # HTTP/2 that is unusual.
    # grpc++ 1.51 knows no padding and resets the stream; what was written before that is read may fill the window.
    "padding": Offence(padded_body, ("RST_STREAM PROTOCOL_ERROR", "no window"), OK),
    "data_for_what_is_over": Offence(data_for_what_is_over, OK, OK),
    "single_octets": Offence(in_single_octets, OK, OK),
    "many_messages_in_a_frame": Offence(all_in_one_frame, OK, OK),
    "trailers_of_a_request": Offence(trailers_of_a_request, "silence", OK),
    "goaway_of_a_client": Offence(goaway_of_a_client, OK, OK),
    "no_message": Offence(call(body=b""), OK, OK),
    # Calls that are no gRPC calls.
    "another_content_type": Offence(call({"content-type": "application/json"}), OK, "415"),
    "a_content_type_that_only_begins_so": Offence(call({"content-type": "application/grpcx"}), OK, "415"),
    "no_content_type": Offence(call(without="content-type"), OK, "415"),
    "a_content_type_with_a_codec": Offence(call({"content-type": "application/grpc+proto"}), OK, OK),
    "no_te": Offence(call(without="te"), "200 grpc-status 2", OK),
    "get": Offence(call({":method": "GET"}), "200 grpc-status 2", "405"),
    "head": Offence(call({":method": "HEAD"}), "200 grpc-status 2", "405"),
    "the_path_of_the_root": Offence(call({":path": "/"}), "200 grpc-status 12", "200 grpc-status 12"),
    "a_path_without_slash": Offence(call({":path": "Process"}), "200 grpc-status 12", "RST_STREAM PROTOCOL_ERROR"),
    # Messages that are wrong.
    "a_message_over_the_limit": Offence(call(body=grpc_frame(b"", length=MIB + 1), end=False), "silence",
                                        "200 grpc-status 8", ("message_size",)),
    "a_message_of_4_gib": Offence(call(body=grpc_frame(b"", length=2**32 - 1), end=False), "silence",
                                  "200 grpc-status 8", ("message_size",)),
    "a_message_cut_short": Offence(call(body=grpc_frame(request_body(b"x" * 1000))[:500]), OK, "200 grpc-status 13"),
    "a_prefix_cut_short": Offence(call(body=b"\0\0\0"), OK, "200 grpc-status 13"),
    "the_compressed_flag_without_an_encoding": Offence(call(body=compressed(request_headers())), OK, "200 grpc-status 13"),
    "an_unknown_flag": Offence(call(body=grpc_frame(request_headers(), compressed=77)), OK, "200 grpc-status 13"),
    "an_unknown_encoding": Offence(call({"grpc-encoding": "br"}, wanted={"grpc-accept-encoding": "gzip"}),
                                   OK, "200 grpc-status 12"),
    "the_encoding_identity": Offence(call({"grpc-encoding": "identity"}), OK, OK),
    "gzip": Offence(call(GZIP, compressed(gzip.compress(request_headers(header("x", b"y" * 10_000))))), OK, OK),
    "gzip_of_which_a_message_makes_no_use": Offence(call(GZIP), OK, OK),
    "gzip_that_is_none": Offence(call(GZIP, compressed(os.urandom(1000))), "RST_STREAM INTERNAL_ERROR", "200 grpc-status 13"),
    "gzip_cut_short": Offence(call(GZIP, compressed(gzip.compress(os.urandom(1000))[:500])), "RST_STREAM INTERNAL_ERROR",
                              "200 grpc-status 13"),
    "an_empty_gzip": Offence(call(GZIP, compressed(b"")), OK, "200 grpc-status 13"),
    "a_gzip_bomb": Offence(lambda target: call(GZIP, bomb())(target), "200 grpc-status 8", "200 grpc-status 8",
                           ("message_size",), growth=16, grpc_growth=160),
    # Headers that are wrong.
    "a_deadline": Offence(call({"grpc-timeout": "100m"}, end=False), "200 grpc-status 4", "200 grpc-status 4"),
    "a_deadline_that_has_passed": Offence(call({"grpc-timeout": "0n"}, end=False), "200 grpc-status 4", "200 grpc-status 4"),
    "the_longest_deadline": Offence(call({"grpc-timeout": "99999999H"}), OK, OK),
    "a_deadline_of_9_digits": Offence(call({"grpc-timeout": "123456789S"}), OK, "200 grpc-status 13"),
    "a_deadline_without_a_unit": Offence(call({"grpc-timeout": "100"}), OK, "200 grpc-status 13"),
    "a_deadline_of_another_unit": Offence(call({"grpc-timeout": "1D"}), OK, "200 grpc-status 13"),
    "a_negative_deadline": Offence(call({"grpc-timeout": "-1S"}), OK, "200 grpc-status 13"),
    "metadata_that_is_no_base64": Offence(call({"x-bin": "!!!"}), LOST, "200 grpc-status 13"),
    "metadata_in_base64": Offence(call({"x-bin": "AAEC"}), OK, OK),
    "metadata_in_base64_twice": Offence(call({"x-bin": "AAEC,AQ=="}), LOST, OK),
}


@pytest.fixture(scope="module")
def besieged() -> Iterator[Callable[[str], Siege]]:
    """The server of a transport, the same for all tests."""
    with ExitStack() as running:
        yield cache(lambda transport: running.enter_context(siege(transport, LIMITS)))


@pytest.mark.parametrize("name", OFFENCES)
@each_transport
def test_an_offender(besieged: Callable[[str], Siege], transport: str, name: str) -> None:
    besieged(transport).suffer(OFFENCES[name])
