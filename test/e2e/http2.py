"""HTTP/2 without TLS over a blocking socket, for either end: the client's request and the upstream's answer."""

from __future__ import annotations

import socket
from collections import defaultdict, deque
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

WINDOW = 16 << 20
Headers = list[tuple[str, str]]


class Cut(Exception):
    """The peer has reset the stream or closed the connection."""


@dataclass
class Stream:
    """What has come on one stream and was not taken yet."""

    headers: Headers = field(default_factory=list)
    pieces: deque[bytes] = field(default_factory=deque)
    trailers: dict[str, str] = field(default_factory=dict)
    ended: bool = False
    cut: bool = False


class Http2Connection:
    """One connection. Whoever wants something that is not there yet reads from the socket until it is."""

    def __init__(self, sock: socket.socket, *, client: bool) -> None:
        self.sock = sock
        self.streams: defaultdict[int, Stream] = defaultdict(Stream)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client, header_encoding="latin-1"))
        self.h2.local_settings = h2.settings.Settings(
            client=client, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW}
        )
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(WINDOW)
        self.flush()

    def flush(self) -> None:
        try:
            self.sock.sendall(self.h2.data_to_send())
        except ConnectionError as error:
            raise Cut("the connection is closed") from error

    def pump(self) -> None:
        """Waits for bytes, and takes them in."""
        try:
            data = self.sock.recv(1 << 18)
        except ConnectionError as error:
            raise Cut("the connection was reset") from error
        if not data:
            raise Cut("the connection was closed")
        for event in self.h2.receive_data(data):
            self._take(event)
        self.flush()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived() | h2.events.ResponseReceived():
                self.streams[event.stream_id].headers = list(event.headers)
            case h2.events.DataReceived():
                self.streams[event.stream_id].pieces.append(event.data)
                if event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                self.streams[event.stream_id].trailers = dict(event.headers)
            case h2.events.StreamEnded():
                self.streams[event.stream_id].ended = True
            case h2.events.StreamReset():
                self.streams[event.stream_id].cut = True

    def headers(self, stream: int) -> Headers:
        while not (state := self.streams[stream]).headers:
            self._living(stream)
            self.pump()
        return state.headers

    def piece(self, stream: int) -> bytes:
        """The next bytes of the body; none at its end, when the trailers are known too."""
        while True:
            state = self.streams[stream]
            while state.pieces:
                if piece := state.pieces.popleft():
                    return piece
            if state.ended:
                return b""
            self._living(stream)
            self.pump()

    def _living(self, stream: int) -> Stream:
        state = self.streams[stream]
        if state.cut:
            raise Cut("the stream was reset")
        return state

    def send(self, stream: int, data: bytes) -> None:
        """All of the data, as the peer's windows allow."""
        at = unsent = 0
        while at < len(data):
            self._living(stream)
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(data) - at)
            if room <= 0:
                self.flush()
                unsent = 0
                self.pump()
                continue
            self.h2.send_data(stream, data[at : at + room])
            at += room
            unsent += room
            if unsent > 1 << 18:
                self.flush()
                unsent = 0
        self.flush()

    def send_headers(self, stream: int, headers: Headers, *, end: bool) -> None:
        self._living(stream)
        self.h2.send_headers(stream, headers, end_stream=end)
        self.flush()

    def end(self, stream: int, trailers: dict[str, str] | None = None) -> None:
        if trailers:
            self.send_headers(stream, list(trailers.items()), end=True)
            return
        self._living(stream)
        self.h2.end_stream(stream)
        self.flush()

    def reset(self, stream: int) -> None:
        self.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        self.flush()
