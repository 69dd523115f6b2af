"""What clients do that break HTTP/2 or gRPC, or do too much of what is allowed. Each act returns how it ended."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass

from hpack import Encoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame, SettingsFrame, WindowUpdateFrame

from wire import (
    BODY_REPLY,
    FIRST_WINDOW,
    FULL_DUPLEX_STREAMED,
    STREAMED,
    Connection,
    Ended,
    continuation,
    data,
    field,
    grpc_frame,
    open_stream,
    request_body,
    request_headers,
    reset,
)
from wire_ends import Ending, Headers, call_block

MIB = 1 << 20
FLOOD = 20_000  # frames at most, of which a server that has a limit takes 1,000
BATCH = 2_000  # sent at once
MESSAGE = grpc_frame(request_headers())


@dataclass
class Target:
    """A server, and for how many seconds its silence is waited out."""

    address: str
    patience: float


Act = Callable[[Target], str]


def served(connection: Connection, target: Target) -> str:
    """The end of a proper stream on a connection."""
    return Ending(connection, connection.send_stream(request_headers(), end=True)).wait(target.patience)


def flood(batch: Callable[[Connection], bytes]) -> Act:
    """Sends batches of frames until the server has had enough; if that does not come, a proper stream."""

    def act(target: Target) -> str:
        with Connection(target.address) as connection:
            watch = Ending(connection, -1)
            try:
                for _ in range(FLOOD // BATCH):
                    connection.send(batch(connection))
                    if end := watch.of_any(connection.take_in()):
                        return end
            except ConnectionError:
                return watch.wait(target.patience)
            return served(connection, target)

    return act


def frames(make: Callable[[], Frame]) -> Act:
    batch = make().serialize() * BATCH
    return flood(lambda _: batch)


def raw_frame(kind: int, flags: int, stream: int, payload: bytes, length: int | None = None) -> bytes:
    """A frame that may be wrong."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def octets(*sent: bytes, ends: bool = True) -> Act:
    """What comes of these on a stream, or of the connection; without an end, what comes of a proper stream behind them."""

    def act(target: Target) -> str:
        with Connection(target.address) as connection:
            watch = Ending(connection, connection.new_stream())
            try:
                for each in sent:
                    connection.send(each)
                return watch.wait(target.patience) if ends else served(connection, target)
            except ConnectionError:
                return watch.wait(target.patience)

    return act


def call(changes: Headers | None = None, body: bytes = MESSAGE, without: str = "", wanted: Headers | None = None,
         end: bool = True) -> Act:
    """The end of a call with these headers and this body. `wanted` must be among the headers of the answer."""

    def act(target: Target) -> str:
        with Connection(target.address) as connection:
            watch = Ending(connection, connection.new_stream())
            connection.send(open_stream(watch.stream, call_block(changes, without)))
            try:
                connection.send_data(watch.stream, body, end=end)
            except Ended as early:
                return str(early)
            ended = watch.wait(target.patience)
            for name, value in (wanted or {}).items():
                assert value in watch.headers.get(name, ""), watch.headers
            return ended

    return act


def opened_and_reset(connection: Connection) -> bytes:
    batch = b""
    for _ in range(BATCH):
        stream = connection.new_stream()
        batch += open_stream(stream) + reset(stream)
    return batch


def answered_and_reset(target: Target) -> str:
    """What Envoy does: it has its replies, and then resets."""
    with Connection(target.address) as connection:
        watch = Ending(connection, -1)
        for _ in range(60):
            waiting = {connection.send_stream(request_headers()) for _ in range(50)}
            streams = list(waiting)
            for frame in connection.frames():
                if end := watch.of(frame):
                    return end
                if isinstance(frame, DataFrame):
                    waiting.discard(frame.stream_id)
                if not waiting:
                    break
            connection.send(b"".join(reset(stream) for stream in streams))
        return served(connection, target)


def continuations(part: bytes) -> Act:
    def act(target: Target) -> str:
        with Connection(target.address) as connection:
            watch = Ending(connection, connection.new_stream())
            while not connection.greeting:  # nothing may come between a header list's frames, an answer to SETTINGS neither
                watch.of_any([next(connection.frames())])
            connection.send(HeadersFrame(watch.stream, data=call_block()).serialize())
            try:
                for _ in range(1000):
                    connection.send(continuation(watch.stream, part, end=False))
                    if end := watch.of_any(connection.take_in()):
                        return end
                connection.send(continuation(watch.stream, b"", end=True))
            except ConnectionError:
                pass
            return watch.wait(target.patience)

    return act


def list_of(block: bytes) -> Act:
    """A call with a header list in the fewest frames that it takes; what comes of it."""

    def act(target: Target) -> str:
        with Connection(target.address) as connection:
            watch = Ending(connection, connection.new_stream())
            parts = [block[at : at + 16384] for at in range(0, len(block), 16384)]
            try:
                connection.send(HeadersFrame(watch.stream, data=parts[0],
                                             flags=["END_HEADERS"] if len(parts) == 1 else []).serialize())
                for part in parts[1:]:
                    connection.send(continuation(watch.stream, part, end=part is parts[-1]))
            except ConnectionError:
                pass
            return watch.wait(target.patience)

    return act


def hpack_bomb() -> bytes:
    """4,000 octets in the dynamic table, and 16,000 times an octet that names them: 64 MB."""
    encoder = Encoder()
    block = call_block() + encoder.encode([("x", "y" * 4000)], huffman=False)
    return block + b"\xbe" * 12_000  # the table's first entry


def one_stream_too_many(target: Target) -> str:
    """The SETTINGS say how many there may be."""
    with Connection(target.address) as connection:
        watch = Ending(connection, -1)
        while not (allowed := connection.greeting.get(SettingsFrame.MAX_CONCURRENT_STREAMS)):
            watch.of_any([next(connection.frames())])
        for _ in range(allowed):
            connection.send_stream(request_headers())
        watch.stream = connection.send_stream(request_headers(), end=True)
        return watch.wait(target.patience)


def never_opening_window(target: Target) -> str:
    """A client that takes no replies to an endless body."""
    with Connection(target.address, window=0) as connection:
        stream = connection.send_stream(request_headers(mode=FULL_DUPLEX_STREAMED))
        try:
            for _ in range(64 * MIB // 60_000):
                connection.send_data(stream, grpc_frame(request_body(b"x" * 60_000)), seconds=target.patience)
        except TimeoutError:
            return "no window"
        return "all was taken"


def overflowing_window(stream_too: bool) -> Act:
    def act(target: Target) -> str:
        with Connection(target.address, whole_window=FIRST_WINDOW) as connection:
            watch = Ending(connection, connection.send_stream(request_headers(mode=STREAMED)))
            number = watch.stream if stream_too else 0
            connection.send(WindowUpdateFrame(number, window_increment=2**31 - 1).serialize() * 2)
            return watch.wait(target.patience)

    return act


def padded_body(target: Target) -> str:
    """DATA of which more is padding than body, more of it than all windows together."""
    with Connection(target.address) as connection:
        watch = Ending(connection, connection.send_stream(request_headers(mode=STREAMED)))
        body = grpc_frame(request_body(b"x" * 8))
        padded = DataFrame(watch.stream, body, pad_length=255, flags=["PADDED"]).serialize()
        size = len(padded) - 9
        try:
            for _ in range(24 * MIB // size // 100):
                came = connection.send_frames(watch.stream, padded * 100, size * 100, target.patience)
                if end := watch.of_any(came):
                    return end
        except TimeoutError:
            return "no window"
        watch.of_any(connection.send_data(watch.stream, b"", end=True))
        return watch.wait(target.patience)


def data_for_what_is_over(target: Target) -> str:
    """Bodies of calls that were refused, more of them than the connection's window: it must come back all the same."""
    with Connection(target.address) as connection:
        watch = Ending(connection, -1)
        for _ in range(24):
            stream = connection.new_stream()
            connection.send(open_stream(stream, call_block({":path": "/no.such/Method"})))
            for _ in range(16):
                try:
                    came = connection.send_frames(stream, data(stream, b"x" * 60_000), 60_000, 1.0)
                except TimeoutError:
                    break  # of the stream's window there is no need
                if end := watch.of_any(came):
                    return end
            connection.send(reset(stream))
        watch.stream = connection.new_stream()
        connection.send(open_stream(watch.stream))
        try:
            watch.of_any(connection.send_frames(watch.stream, data(watch.stream, MESSAGE, end=True), len(MESSAGE), 1.0))
        except TimeoutError:
            return "no window"
        return watch.wait(target.patience)


def in_single_octets(target: Target) -> str:
    """Two messages, an octet a frame."""
    sent = MESSAGE + grpc_frame(field(3, b""))
    with Connection(target.address) as connection:
        watch = Ending(connection, connection.new_stream())
        connection.send(open_stream(watch.stream))
        connection.send(b"".join(data(watch.stream, sent[at : at + 1]) for at in range(len(sent))))
        connection.send(data(watch.stream, b"", end=True))
        end = watch.wait(target.patience)
        assert watch.body == grpc_frame(field(1, b"")) + grpc_frame(field(2, b""))
        return end


def all_in_one_frame(target: Target) -> str:
    chunk = grpc_frame(request_body(b"x"))
    many = 16384 // len(chunk) - 10
    with Connection(target.address) as connection:
        watch = Ending(connection, connection.new_stream())
        connection.send(open_stream(watch.stream))
        connection.send_data(watch.stream, grpc_frame(request_headers(mode=STREAMED)) + chunk * many, end=True)
        end = watch.wait(target.patience)
        assert watch.body == grpc_frame(field(1, b"")) + grpc_frame(BODY_REPLY) * many
        return end


def trailers_of_a_request(target: Target) -> str:
    with Connection(target.address) as connection:
        watch = Ending(connection, connection.new_stream())
        trailers = Encoder().encode([("x-trailer", "1", True)], huffman=False)
        connection.send(open_stream(watch.stream) + data(watch.stream, MESSAGE)
                        + HeadersFrame(watch.stream, data=trailers, flags=["END_HEADERS", "END_STREAM"]).serialize())
        return watch.wait(target.patience)


def goaway_of_a_client(target: Target) -> str:
    """It opens nothing more, but has its answer."""
    with Connection(target.address) as connection:
        watch = Ending(connection, connection.send_stream(request_headers()))
        connection.send(raw_frame(7, 0, 0, bytes(8)))
        connection.send_data(watch.stream, b"", end=True)
        return watch.wait(target.patience)


def compressed(message: bytes) -> bytes:
    return grpc_frame(message, compressed=1)


def bomb() -> bytes:
    """A message of 64 MiB, of 64 KiB on its way."""
    return compressed(gzip.compress(request_body(bytes(64 * MIB)), 9))


def instead_of_http2(sent: bytes) -> Act:
    """What comes of octets that are sent in place of HTTP/2's beginning."""

    def act(target: Target) -> str:
        with Connection(target.address, hello=sent) as connection:
            return Ending(connection, 1).wait(target.patience)

    return act
