"""More than is allowed: the limits of [server.limits], and of the machine."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hyperframe.frame import DataFrame, HeadersFrame, SettingsFrame

from rig import Extprocd, eventually, free_port, transport
from trial import CONFIG, attack, memory
from wire import (
    FULL_DUPLEX_STREAMED,
    STREAMED,
    Connection,
    Ended,
    continuation,
    field,
    grpc_frame,
    header,
    header_block,
    open_stream,
    request_body,
    request_headers,
)

OK, RESOURCE_EXHAUSTED = "0", "8"
MIB = 1 << 20


def limit_hits(server: Extprocd, limit: str) -> float:
    return server.metric(f'extproc_limits_hit_total{{limit="{limit}"}}')


class FewFiles(Extprocd):
    """A server that may open 256 files."""

    def command(self) -> list[str]:
        return ["prlimit", "--nofile=256:256", *super().command()]


def is_served(server: Extprocd) -> bool:
    """Does a new connection get the server's SETTINGS?"""
    try:
        with Connection(server.address) as connection:
            return isinstance(next(connection.frames(5.0), None), SettingsFrame)
    except (ConnectionError, TimeoutError):
        return False


def test_more_connections_than_files() -> None:
    def act(server: Extprocd) -> None:
        connections = []
        for _ in range(400):
            try:
                connections.append(Connection(server.address))
            except ConnectionError:
                pass  # closed before it could say hello
        eventually(lambda: limit_hits(server, "connections") >= 400 - 256)
        for connection in connections:
            connection.close()
        assert eventually(lambda: is_served(server))

    attack("400 connections, 256 files", act, bound=64, server=FewFiles(config=CONFIG))


def test_more_connections_than_allowed() -> None:
    with Extprocd(config=CONFIG + "[server.limits]\nmax_connections = 3\n") as server:
        connections = [Connection(server.address) for _ in range(3)]
        for connection in connections:
            assert isinstance(next(connection.frames()), SettingsFrame)
        assert not is_served(server)
        assert limit_hits(server, "connections") == 1
        connections.pop().close()
        assert eventually(lambda: is_served(server))
        for connection in connections:
            connection.close()


def test_more_streams_than_allowed() -> None:
    with (Extprocd(config=CONFIG + "[server.limits]\nmax_streams = 3\n") as server,
          Connection(server.address) as first, Connection(server.address) as second):
        opened = [first.send_stream(request_headers()) for _ in range(3)]
        replies = (frame for frame in first.frames() if isinstance(frame, DataFrame))
        assert {next(replies).stream_id for _ in opened} == set(opened)
        assert second.end_of(second.send_stream(request_headers())) == RESOURCE_EXHAUSTED
        assert limit_hits(server, "streams") == 1
        first.send_data(opened[0], b"", end=True)
        eventually(lambda: server.metric("extproc_streams_active") == 2)
        assert second.end_of(second.send_stream(request_headers(), end=True)) == OK


def end_of_one(server: Extprocd, message: bytes) -> str:
    """Sends one message as a stream of its own; how the stream ended."""
    with Connection(server.address) as connection:
        stream = connection.new_stream()
        connection.send(open_stream(stream))
        try:
            connection.send_data(stream, grpc_frame(message), end=True)
        except Ended as ended:
            return str(ended)
        return connection.end_of(stream)


def test_messages_that_are_too_much() -> None:
    def act(server: Extprocd) -> None:
        before = limit_hits(server, "headers")
        assert end_of_one(server, request_headers(header("x", b"y") * 100_000)) == RESOURCE_EXHAUSTED
        assert end_of_one(server, request_headers(field(1, b"") * (30 * MIB))) == RESOURCE_EXHAUSTED
        assert limit_hits(server, "headers") == before + 2
        assert end_of_one(server, field(2, b"") + field(9, b"") * (30 * MIB)) == RESOURCE_EXHAUSTED
        assert end_of_one(server, request_headers(header("x", b"y" * (60 * MIB)))) == OK
        assert RESOURCE_EXHAUSTED in end_of_one(server, request_body(b"x" * (65 * MIB)))

    attack("messages of 60 MiB", act, bound=3 * 64, rounds=1)


def test_a_window_that_never_opens() -> None:
    def act(server: Extprocd) -> None:
        before = limit_hits(server, "held_bytes")
        endless, none = 1 << 62, 0
        windows = field(12, field(1, endless) + field(2, none) + field(3, endless) + field(4, none))
        with Connection(server.address) as connection:
            stream = connection.send_stream(request_headers(mode=FULL_DUPLEX_STREAMED) + windows)
            body = grpc_frame(request_body(b"x" * 60_000))
            try:
                for _ in range(1000):
                    connection.send_data(stream, body)
                raise AssertionError("60 MB were taken")
            except Ended as ended:
                assert "max_held_bytes" in str(ended)
        assert limit_hits(server, "held_bytes") == before + 1

    attack("no flow control window", act, bound=32)


def never_read(server: Extprocd, mode: int, body: bytes) -> None:
    """Streams whose replies nobody wants, on connections that grant no window, until nothing more is taken. gRPC takes
    up to 4 MiB a stream that is not read from; the server holds replies of 1 MiB and those to one message more."""
    messages = grpc_frame(request_body(body))
    connections = [Connection(server.address, window=0) for _ in range(4)]
    for connection in connections:
        stream = connection.send_stream(request_headers(mode=mode))
        batch = messages * (1 + 60_000 // len(messages))
        try:
            for _ in range(0, 64 * MIB, len(batch)):
                connection.send_data(stream, batch, seconds=0.3)
        except TimeoutError:
            continue
        raise AssertionError("64 MiB were taken of a client that reads nothing")
    for connection in connections:
        connection.close()


def test_a_client_that_never_reads_echoed_bodies() -> None:
    attack("4 streams never read, FULL_DUPLEX", lambda server: never_read(server, FULL_DUPLEX_STREAMED, b"x" * 60_000),
           bound=4 * 16)


def test_a_client_that_never_reads_tiny_replies() -> None:
    attack("4 streams never read, STREAMED", lambda server: never_read(server, STREAMED, b""), bound=4 * 16)


def test_half_messages_that_never_go_on() -> None:
    streams, size = 20, 8 * MIB

    def act(server: Extprocd) -> str:
        with Connection(server.address) as connection:
            for _ in range(streams):
                stream = connection.new_stream()
                connection.send(open_stream(stream))
                connection.send_data(stream, grpc_frame(b"x" * size, length=60 * MIB))
            return f"{memory(server):.0f} MiB while {streams * size // MIB} MiB wait"

    # What is sent of a message is kept until the rest comes: streams times max_message_size is the bound.
    attack("20 messages, 8 of 60 MiB sent", act, bound=240)


def send_header_list(connection: Connection, parts: Iterator[bytes]) -> int:
    """A stream's header list in pieces that the server may refuse at any point; the stream."""
    stream = connection.new_stream()
    part = next(parts)
    connection.send(HeadersFrame(stream, data=part).serialize())
    for following in parts:
        connection.send(continuation(stream, part, end=False))
        part = following
    connection.send(continuation(stream, b"", end=True))
    return stream


def test_header_lists_far_over_the_limit() -> None:
    # 1 MB and 10 MB; gRPC allows 8 KiB. It keeps what comes until the list ends: that is the bound.
    large = header_block(extra=[(f"x{i}", "y" * 1000) for i in range(1000)])
    more = header_block(extra=[("x", "y" * 10_000)])

    def act(server: Extprocd) -> None:
        for parts in ([large[at : at + 16384] for at in range(0, len(large), 16384)], [more] * 1000):
            with Connection(server.address) as connection:
                try:
                    stream = send_header_list(connection, iter(parts))
                    connection.send_data(stream, grpc_frame(request_headers()), end=True)
                    connection.end_of(stream)  # however gRPC likes
                except (ConnectionError, Ended):
                    pass

    attack("header lists of 1 and 10 MB", act, bound=128)


def test_a_header_list_without_end() -> None:
    part = header_block(extra=[("x", "y" * 10_000)])

    def act(server: Extprocd) -> None:
        # grpc++ does not count CONTINUATION frames: there the connection is ended for what it sends in all.
        limit = "unfinished" if transport() == "grpc" else "continuation_flood"
        before = limit_hits(server, limit)
        with Connection(server.address) as connection:
            stream = connection.new_stream()
            connection.send(HeadersFrame(stream, data=part).serialize())
            with pytest.raises((ConnectionError, TimeoutError)):
                for _ in range(10_000):
                    connection.send(continuation(stream, part, end=False) * 10)
                    time.sleep(0.001)
        assert eventually(lambda: limit_hits(server, limit) == before + 1)

    # Four messages of the largest size, what comes until the server looks, and what gRPC makes of it in the end.
    attack("a header list without end", act, bound=400, config=CONFIG + "[server.limits]\nmax_message_size = '8MiB'\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_much_that_means_something_is_not_cut_off(host: str) -> None:
    """Whatever family a client comes in by: the server must know its streams for those of its connection."""
    port = free_port()
    config = CONFIG + "[server.limits]\nmax_message_size = '100KiB'\n"  # so 16 MiB of nothing are allowed
    with Extprocd(config=config, address=f"[::]:{port}") as server, Connection(f"{host}:{port}") as connection:
        stream = connection.send_stream(request_headers(mode=STREAMED))
        body = grpc_frame(request_body(b"x" * 60_000))
        for _ in range(800):  # 48 MB, in time enough to be looked at more than once
            connection.send_data(stream, body)
            time.sleep(0.001)
        connection.send_data(stream, b"", end=True)
        assert connection.end_of(stream) == OK
        assert limit_hits(server, "unfinished") == 0
