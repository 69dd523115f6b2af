"""Much of what is allowed: streams, connections, chunks."""

from __future__ import annotations

import pytest

from hyperframe.frame import DataFrame, HeadersFrame

from rig import Extprocd, eventually
from trial import active, attack, memory
from wire import (
    BODY_REPLY,
    FULL_DUPLEX_STREAMED,
    REQUEST_HEADERS_REPLY,
    STREAMED,
    Connection,
    data,
    field,
    grpc_frame,
    open_stream,
    request_body,
    request_headers,
)

STREAMS = 10_000
CONNECTIONS = 10


def open_streams(connection: Connection, count: int) -> list[int]:
    """Opens streams and waits until each has its reply to request headers."""
    opened = []
    for at in range(0, count, 100):
        batch = b""
        for _ in range(min(100, count - at)):
            opened.append(connection.new_stream())
            batch += open_stream(opened[-1]) + data(opened[-1], grpc_frame(request_headers()))
        connection.send(batch)
    waiting = set(opened)
    for frame in connection.frames():
        if isinstance(frame, HeadersFrame):
            assert "END_STREAM" not in frame.flags, connection.status(frame)
            connection.status(frame)
        if isinstance(frame, DataFrame):
            assert frame.data == grpc_frame(REQUEST_HEADERS_REPLY)
            waiting.remove(frame.stream_id)
            if not waiting:
                break
    assert not waiting, f"{len(waiting)} streams got no reply"
    return opened


def finish_streams(connection: Connection, streams: list[int]) -> None:
    """Half-closes streams and waits until each has ended with OK."""
    connection.send(b"".join(data(stream, b"", end=True) for stream in streams))
    waiting = set(streams)
    while waiting:
        for frame in connection.frames():
            if isinstance(frame, HeadersFrame):
                assert connection.status(frame)["grpc-status"] == "0"
                waiting.remove(frame.stream_id)
                break
        else:
            raise AssertionError(f"{len(waiting)} streams did not end")


def test_ten_thousand_streams_at_once() -> None:
    def act(server: Extprocd) -> str:
        before = memory(server)
        connections = [Connection(server.address) for _ in range(CONNECTIONS)]
        streams = [open_streams(connection, STREAMS // CONNECTIONS) for connection in connections]
        assert active(server) >= STREAMS
        each = (memory(server) - before) * 1024 / STREAMS
        for connection, opened in zip(connections, streams, strict=True):
            finish_streams(connection, opened)
        eventually(lambda: active(server) <= 1)
        for connection in connections:
            connection.close()
        return f"{each:.0f} KiB a stream"

    attack("10,000 streams at once", act, bound=400, rounds=1)


def test_a_thousand_connections_at_once() -> None:
    def act(server: Extprocd) -> str:
        before = memory(server)
        connections = [Connection(server.address) for _ in range(1000)]
        streams = [open_streams(connection, 1) for connection in connections]
        each = (memory(server) - before) * 1024 / len(connections)
        for connection, opened in zip(connections, streams, strict=True):
            finish_streams(connection, opened)
            connection.close()
        return f"{each:.0f} KiB a connection with a stream"

    attack("1,000 connections at once", act, bound=150, rounds=1)


@pytest.mark.parametrize("mode", [STREAMED, FULL_DUPLEX_STREAMED], ids=["streamed", "full_duplex"])
def test_a_hundred_thousand_chunks_in_one_stream(mode: int) -> None:
    chunks, batch = 100_000, 1000
    reply = BODY_REPLY if mode == STREAMED else field(3, field(1, field(3, field(3, field(1, b"0123456789")))))

    def act(server: Extprocd) -> None:
        with Connection(server.address) as connection:
            stream = connection.send_stream(request_headers(mode=mode))
            came = bytearray()
            sent = 0
            while sent < chunks:
                for frame in connection.send_data(stream, grpc_frame(request_body(b"0123456789")) * batch):
                    came += frame.data if isinstance(frame, DataFrame) else b""
                sent += batch
            connection.send_data(stream, b"", end=True)
            for frame in connection.frames():
                if isinstance(frame, DataFrame):
                    came += frame.data
                elif isinstance(frame, HeadersFrame) and "END_STREAM" in frame.flags:
                    break
            assert came == grpc_frame(REQUEST_HEADERS_REPLY) + grpc_frame(reply) * chunks

    attack(f"100,000 chunks, {'STREAMED' if mode == STREAMED else 'FULL_DUPLEX_STREAMED'}", act, bound=32)
