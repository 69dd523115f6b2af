"""HTTP/2 by hand, for clients that do what no library lets them do: frames, gRPC's prefix, ext_proc messages."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from protobuf_fields import field

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
LARGEST_WINDOW = 2**31 - 1
FIRST_WINDOW = 65535  # before anything was said of it
FRAME_SIZE = 16384  # of DATA that every peer must take

# Modes of bodies, as in ProcessingMode.BodySendMode.
STREAMED, FULL_DUPLEX_STREAMED = 1, 4


# --- ext_proc messages ---------------------------------------------------------------------------------------------


def header(name: str, value: bytes) -> bytes:
    """An entry of a HeaderMap."""
    return field(1, field(1, name.encode()) + field(3, value))


def request_headers(entries: bytes = b"", mode: int | None = None) -> bytes:
    """The first message of a stream; `mode` announces the body mode of both directions."""
    config = field(11, field(1, mode) + field(2, mode)) if mode is not None else b""
    return field(2, field(1, entries) if entries else b"") + config


def request_body(body: bytes, end: bool = False) -> bytes:
    return field(4, (field(1, body) if body else b"") + (field(2, 1) if end else b""))


RESPONSE_HEADERS = field(3, b"")
REQUEST_HEADERS_REPLY = field(1, b"")
RESPONSE_HEADERS_REPLY = field(2, b"")
BODY_REPLY = field(3, b"")


def grpc_frame(message: bytes, length: int | None = None, compressed: int = 0) -> bytes:
    """A message with gRPC's prefix, which may lie."""
    return struct.pack(">BI", compressed, len(message) if length is None else length) + message


# --- HTTP/2 --------------------------------------------------------------------------------------------------------


def header_block(path: str = PROCESS, extra: list[tuple[str, str]] | None = None) -> bytes:
    """The header block of a gRPC call. Never indexed, so that one block serves all streams of all connections."""
    names = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "load"),
             ("content-type", "application/grpc"), ("te", "trailers"), *(extra or [])]
    return Encoder().encode([(name, value, True) for name, value in names], huffman=False)


HEADER_BLOCK = header_block()


def open_stream(stream: int, block: bytes = HEADER_BLOCK) -> bytes:
    return HeadersFrame(stream, data=block, flags=["END_HEADERS"]).serialize()


def continuation(stream: int, block: bytes, end: bool) -> bytes:
    return ContinuationFrame(stream, data=block, flags=["END_HEADERS"] if end else []).serialize()


def data(stream: int, payload: bytes, end: bool = False) -> bytes:
    """DATA frames, as many as the payload needs."""
    out = b""
    for at in range(0, max(1, len(payload)), FRAME_SIZE):
        last = at + FRAME_SIZE >= len(payload)
        flags = ["END_STREAM"] if end and last else []
        out += DataFrame(stream, payload[at : at + FRAME_SIZE], flags=flags).serialize()
    return out


def reset(stream: int) -> bytes:
    return RstStreamFrame(stream, error_code=8).serialize()


def connect(address: str, timeout: float = 20.0) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=timeout)


class Ended(Exception):
    """The peer ended the stream or the connection before all was sent."""


class Connection:
    """An HTTP/2 connection that does what its owner says, and by itself only acknowledges SETTINGS and PING and keeps
    account of the window that the peer grants.

    `window` is what the peer may send on a stream, `whole_window` on the connection; `hello` is sent in place of a proper
    beginning.
    """

    def __init__(self, address: str, window: int = LARGEST_WINDOW, whole_window: int = LARGEST_WINDOW,
                 hello: bytes | None = None) -> None:
        self.socket = connect(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.decoder = Decoder()
        self.next_stream = 1
        self.greeting: dict[int, int] = {}  # the peer's SETTINGS, once they have come
        self._buffer = b""
        self._at = 0
        self._initial_window = self._whole_window = FIRST_WINDOW
        self._windows: dict[int, int] = {}
        if hello is not None:
            self.send(hello)
            return
        hello = PREFACE + SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: window}).serialize()
        if whole_window > FIRST_WINDOW:
            hello += WindowUpdateFrame(0, window_increment=whole_window - FIRST_WINDOW).serialize()
        self.send(hello)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, octets: bytes) -> None:
        """As they are. DATA in them is not seen by flow control: it must be small, on a stream of its own."""
        self.socket.sendall(octets)

    def new_stream(self) -> int:
        stream = self.next_stream
        self.next_stream += 2
        self._windows[stream] = self._initial_window
        return stream

    def send_data(self, stream: int, payload: bytes, end: bool = False, seconds: float = 20.0) -> list[Frame]:
        """Sends as the peer's windows allow; the frames that came meanwhile. `Ended` if the peer gives up, TimeoutError
        if it grants no window for so long."""
        came: list[Frame] = []
        at = 0
        while True:
            room = min(self._windows[stream], self._whole_window, len(payload) - at, 1 << 20)
            if room > 0 or at == len(payload):
                last = at + room == len(payload)
                self.send(data(stream, payload[at : at + room], end=end and last))
                self._windows[stream] -= room
                self._whole_window -= room
                at += room
                if last:
                    return came
                continue
            frame = next(self.frames(seconds), None)
            if frame is None or isinstance(frame, GoAwayFrame):
                raise Ended("the connection")
            ends = isinstance(frame, RstStreamFrame) or "END_STREAM" in frame.flags
            if ends and frame.stream_id == stream:
                raise Ended(f"the stream: {self.status(frame)}" if isinstance(frame, HeadersFrame) else repr(frame))
            came.append(frame)

    def send_frames(self, stream: int, octets: bytes, size: int, seconds: float = 20.0) -> list[Frame]:
        """Sends frames of so much flow controlled size at once, when there is window for them; the frames that came
        meanwhile. TimeoutError if the peer grants none for so long."""
        came: list[Frame] = []
        while min(self._windows[stream], self._whole_window) < size:
            frame = next(self.frames(seconds), None)
            if frame is None:
                raise Ended("the connection")
            came.append(frame)
        self.send(octets)
        self._windows[stream] -= size
        self._whole_window -= size
        return came

    def status(self, frame: HeadersFrame) -> dict[str, str]:
        """The names and values of a header block; each block of a connection must be decoded, once and in order."""
        return {str(name): str(value) for name, value in self.decoder.decode(frame.data)}

    def send_stream(self, message: bytes, end: bool = False) -> int:
        """Opens a stream with a first message; its number."""
        stream = self.new_stream()
        self.send(open_stream(stream))
        self.send_data(stream, grpc_frame(message), end=end)
        return stream

    def end_of(self, stream: int, seconds: float = 20.0) -> str:
        """Reads on until a stream ends; its grpc-status, or how else it ended."""
        for frame in self.frames(seconds):
            if isinstance(frame, HeadersFrame):
                status = self.status(frame)
                if frame.stream_id == stream and "END_STREAM" in frame.flags:
                    return status.get("grpc-status", "none")
            if isinstance(frame, GoAwayFrame) or (isinstance(frame, RstStreamFrame) and frame.stream_id == stream):
                return type(frame).__name__
        return "closed"

    def take_in(self) -> list[Frame]:
        """The frames that are there, without waiting."""
        came: list[Frame] = []
        try:
            came.extend(self.frames(0.0))
        except (BlockingIOError, TimeoutError):
            pass
        self.socket.settimeout(20.0)
        return came

    def frames(self, seconds: float = 20.0) -> Iterator[Frame]:
        """Frames as they come, until the peer closes; TimeoutError when none comes for so long."""
        while True:
            while (frame := self._take()) is not None:
                self._note(frame)
                yield frame
            self.socket.settimeout(seconds)
            octets = self.socket.recv(1 << 18)
            if not octets:
                return
            self._buffer, self._at = self._buffer[self._at :] + octets, 0

    def _note(self, frame: Frame) -> None:
        if isinstance(frame, WindowUpdateFrame):
            if frame.stream_id == 0:
                self._whole_window += frame.window_increment
            elif frame.stream_id in self._windows:
                self._windows[frame.stream_id] += frame.window_increment
        elif "ACK" in frame.flags:
            return
        elif isinstance(frame, PingFrame):
            self.send(PingFrame(0, opaque_data=frame.opaque_data, flags=["ACK"]).serialize())
        elif isinstance(frame, SettingsFrame):
            self.greeting |= frame.settings
            window = frame.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, self._initial_window)
            for stream in self._windows:
                self._windows[stream] += window - self._initial_window
            self._initial_window = window
            self.send(SettingsFrame(0, flags=["ACK"]).serialize())

    def _take(self) -> Frame | None:
        head = self._buffer[self._at : self._at + 9]
        if len(head) < 9:
            return None
        frame, length = Frame.parse_frame_header(memoryview(head))
        end = self._at + 9 + length
        if len(self._buffer) < end:
            return None
        frame.parse_body(memoryview(self._buffer[self._at + 9 : end]))
        self._at = end
        return frame
