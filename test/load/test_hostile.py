"""Clients that speak no HTTP/2, no gRPC, or no ext_proc, or that speak too fast."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hyperframe.frame import DataFrame, HeadersFrame, PingFrame, SettingsFrame

from rig import Extprocd, eventually
from trial import active, attack
from wire import (
    PREFACE,
    STREAMED,
    Connection,
    connect,
    data,
    field,
    grpc_frame,
    open_stream,
    request_body,
    request_headers,
    reset,
)

INVALID_ARGUMENT, INTERNAL = "3", "13"
HELLO = PREFACE + SettingsFrame(0).serialize()


def blurt(server: Extprocd, octets: bytes) -> None:
    """Sends octets, and waits until the server has hung up or has nothing more to say."""
    with connect(server.address, timeout=0.1) as raw:
        try:
            raw.sendall(octets)
            while raw.recv(1 << 16):
                pass
        except (ConnectionError, TimeoutError):
            pass


def frame(kind: int, flags: int, stream: int, payload: bytes, length: int | None = None) -> bytes:
    """A frame that may be wrong."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


WRONG_FRAMES = {
    "data_without_a_stream": frame(0, 0, 1, b"x" * 100),
    "data_on_stream_0": frame(0, 0, 0, b"x" * 100),
    "headers_on_an_even_stream": frame(1, 4, 2, b"\x82"),
    "a_block_that_is_no_hpack": frame(1, 4, 1, b"\xff" * 100),
    "a_string_longer_than_the_block": frame(1, 4, 1, b"\x00\x7f\xff\xff\xff\x07x"),
    "padding_longer_than_the_frame": frame(0, 8, 1, b"\xff"),
    "a_frame_of_16_mib": frame(0, 0, 1, b"x" * 100, length=0xFFFFFF),
    "continuation_of_nothing": frame(9, 4, 1, b"\x82"),
    "settings_of_odd_length": frame(4, 0, 0, b"12345"),
    "a_window_that_overflows": frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2,
    "a_window_of_0": frame(8, 0, 0, b"\x00\x00\x00\x00"),
    "goaway": frame(7, 0, 0, b"\x00" * 8),
    "push_promise": frame(5, 4, 1, b"\x00\x00\x00\x02\x82"),
    "an_unknown_kind": frame(99, 255, 7, b"x" * 1000),
    "http_1": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
}


def test_garbage_in_place_of_http2() -> None:
    source = random.Random(1)

    def act(server: Extprocd) -> None:
        for size in (1, 9, 24, 100, 65536):
            for _ in range(10):
                blurt(server, source.randbytes(size))
                blurt(server, HELLO + source.randbytes(size))
        blurt(server, PREFACE[:10])

    attack("random bytes", act, bound=16, rounds=1)


def test_frames_that_are_wrong() -> None:
    def act(server: Extprocd) -> None:
        for octets in WRONG_FRAMES.values():
            blurt(server, HELLO + octets)
            blurt(server, HELLO + open_stream(1) + octets)

    attack("frames that are wrong", act, bound=16, rounds=1)


def end_of(server: Extprocd, octets: bytes, end: bool = True) -> str:
    """How a stream ends that gets these octets."""
    with Connection(server.address) as connection:
        stream = connection.new_stream()
        connection.send(open_stream(stream))
        connection.send_data(stream, octets, end=end)
        return connection.end_of(stream)


def test_messages_that_are_wrong() -> None:
    source = random.Random(2)

    def act(server: Extprocd) -> None:
        for _ in range(100):
            assert end_of(server, grpc_frame(b"\xff" + source.randbytes(source.randrange(1000)))) == INVALID_ARGUMENT
        # Nothing was said of an algorithm: gRPC may take the message as it is, or for the end of the stream.
        for flag in (1, 77):
            assert end_of(server, grpc_frame(b"\xff" * 100, compressed=flag)) in ("0", INVALID_ARGUMENT, INTERNAL)
        # The end comes in the middle of a message, or of its prefix: gRPC 1.51 tells of the end alone.
        for part in (grpc_frame(request_body(b"x" * 1000))[:500], b"\x00\x00\x00"):
            assert end_of(server, part) in ("0", INTERNAL)

    attack("messages that are wrong", act, bound=16)


def test_half_messages_and_then_silence_or_a_hang_up() -> None:
    half = grpc_frame(request_body(b"x" * 1000))[:500]

    def act(server: Extprocd) -> None:
        silent = []
        for turn in range(200):
            connection = Connection(server.address)
            stream = connection.new_stream()
            connection.send(open_stream(stream) + data(stream, grpc_frame(request_headers(mode=STREAMED)) + half))
            if turn % 2 == 0:
                connection.close()
            else:
                silent.append(connection)
        eventually(lambda: len(silent) <= active(server) <= len(silent) + 1)  # and the neighbour's
        for connection in silent:
            connection.close()

    attack("half messages, then silence", act, bound=32)


def test_connections_reset_while_data_is_on_its_way() -> None:
    # gRPC 1.51 may sleep through a reset that it finds together with data; the server wakes it.
    chunks = data(1, b"") * 1000

    def act(server: Extprocd) -> None:
        for _ in range(60):
            with Connection(server.address) as connection:
                connection.send(open_stream(connection.new_stream()))
                for _ in range(200):
                    connection.send(chunks)
            # The server's SETTINGS were not read: the system closes with a reset.

    attack("120 connections reset in the middle", act, bound=32)


def test_rapid_reset() -> None:
    def act(server: Extprocd) -> None:
        message = grpc_frame(request_headers())
        with Connection(server.address) as connection:
            for _ in range(200):
                batch = b""
                for _ in range(100):
                    stream = connection.new_stream()
                    batch += open_stream(stream) + data(stream, message) + reset(stream)
                connection.send(batch)
                connection.take_in()

    # gRPC 1.51 queues what it has no time for, without a bound of its own: what comes through in a round is one.
    attack("20,000 streams opened and reset", act, bound=250)


FLOODS: dict[str, Callable[[], bytes]] = {
    "PING": lambda: PingFrame(0, opaque_data=b"12345678").serialize(),
    "SETTINGS": lambda: SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 1000}).serialize(),
    "empty DATA": lambda: data(1, b""),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_frames(kind: str) -> None:
    frames = FLOODS[kind]() * 1000

    def act(server: Extprocd) -> None:
        # Nothing is read: what the server must answer piles up until it stops reading.
        connection = Connection(server.address)
        connection.send(open_stream(connection.new_stream()))
        connection.socket.settimeout(0.5)
        try:
            for _ in range(200):
                connection.send(frames)
        except (ConnectionError, TimeoutError):
            pass
        connection.close()

    attack(f"200,000 {kind} frames", act, bound=48)
