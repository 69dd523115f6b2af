"""How a server ends a stream or a connection, in words that a table can have: "200 grpc-status 8", "415",
"RST_STREAM REFUSED_STREAM", "GOAWAY ENHANCE_YOUR_CALM", "closed", "silence"."""

from __future__ import annotations

import time

from h2.errors import ErrorCodes
from hpack import Encoder
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame

from wire import PROCESS, Connection

Headers = dict[str, str]
PROPER = {":method": "POST", ":scheme": "http", ":path": PROCESS, ":authority": "abuse",
          "content-type": "application/grpc", "te": "trailers"}


def call_block(changes: Headers | None = None, without: str = "") -> bytes:
    """The header block of a call that is proper but for the changes."""
    headers = {name: value for name, value in (PROPER | (changes or {})).items() if name != without}
    # HTTP/2 wants those that begin with a colon first.
    ordered = sorted(headers.items(), key=lambda entry: not entry[0].startswith(":"))
    return Encoder().encode([(name, value, True) for name, value in ordered], huffman=False)


def error_name(code: int) -> str:
    return ErrorCodes(code).name if code in list(ErrorCodes) else str(code)


class Ending:
    """Follows one stream of a connection, and the connection, to the end of either."""

    def __init__(self, connection: Connection, stream: int) -> None:
        self.connection = connection
        self.stream = stream
        self.headers: Headers = {}
        self.body = b""

    def of(self, frame: Frame) -> str:
        """How it ends with this frame; empty if it does not."""
        if isinstance(frame, GoAwayFrame):
            return f"GOAWAY {error_name(frame.error_code)}"
        if isinstance(frame, HeadersFrame):
            read = self.connection.status(frame)
            if frame.stream_id == self.stream:
                self.headers |= read
        if frame.stream_id != self.stream:
            return ""
        if isinstance(frame, RstStreamFrame):
            return f"RST_STREAM {error_name(frame.error_code)}"
        if isinstance(frame, DataFrame):
            self.body += frame.data
        if "END_STREAM" not in frame.flags:
            return ""
        status = self.headers.get(":status", "")
        code = self.headers.get("grpc-status")
        return status if code is None else f"{status} grpc-status {code}"

    def of_any(self, frames: list[Frame]) -> str:
        """How it ends with these; each frame of a connection must go through here, or of(), once."""
        return next(filter(None, [self.of(frame) for frame in frames]), "")

    def wait(self, seconds: float) -> str:
        """How it ends; "silence" if it does not within so long."""
        deadline = time.monotonic() + seconds
        try:
            for frame in self.connection.frames(seconds):
                if end := self.of(frame):
                    return end
                if time.monotonic() > deadline:
                    return "silence"
        except TimeoutError:
            return "silence"
        except ConnectionError:
            pass
        return "closed"
