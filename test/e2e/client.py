"""Plain HTTP/1.1 and HTTP/2 clients that show all of a response, trailers included, and can go piece by piece."""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, BinaryIO, Self

from http2 import Cut, Http2Connection

TIMEOUT = 30.0


@dataclass
class Response:
    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name.lower()), None)

    @property
    def seen(self) -> dict[str, str]:
        """The headers that the upstream's /headers or /get saw."""
        document: dict[str, Any] = json.loads(self.body)
        return document["headers"]


class Exchange:
    """One request and its response, on a connection of its own. `length` is the body's: None for no body, -1 for one that
    is sent without saying. Cut is raised where the other side ends it before its end."""

    def __init__(self, port: int, path: str, *, method: str, headers: dict[str, str] | None, length: int | None) -> None:
        self.method = method
        self.sock = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        """A piece of the request's body."""
        raise NotImplementedError

    def end(self, trailers: dict[str, str] | None = None) -> None:
        """The end of the request; not to be called where there is no body."""
        raise NotImplementedError

    def head(self) -> Response:
        """The response's status and headers."""
        raise NotImplementedError

    def piece(self) -> bytes:
        """The next bytes of the response's body; none at its end."""
        raise NotImplementedError

    def trailers(self) -> dict[str, str]:
        """The response's trailers, after its body's end."""
        raise NotImplementedError

    def abort(self) -> None:
        """Goes away without a word: the connection is reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def response(self) -> Response:
        """All of the response."""
        response = self.head()
        response.body = b"".join(iter(self.piece, b""))
        response.trailers = self.trailers()
        return response

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.close()


def _read_headers(stream: BinaryIO) -> list[tuple[str, str]]:
    headers = []
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers.append((name.lower(), value.strip()))
    return headers


class Http1Exchange(Exchange):
    def __init__(self, port: int, path: str, *, method: str = "GET", headers: dict[str, str] | None = None,
                 length: int | None = None) -> None:
        super().__init__(port, path, method=method, headers=headers, length=length)
        self.stream: BinaryIO = self.sock.makefile("rb")
        self.chunked = length == -1
        # Of the response: what is left of its body or its chunk; None: until the connection is closed.
        self.left: int | None = 0
        self.response_chunked = False
        self.response_trailers: dict[str, str] = {}
        all_headers = {"host": "extproc.example", "connection": "close"} | (headers or {})
        if self.chunked:
            all_headers["transfer-encoding"] = "chunked"
        elif length is not None:
            all_headers["content-length"] = str(length)
        lines = [f"{method} {path} HTTP/1.1"] + [f"{name}: {value}" for name, value in all_headers.items()]
        self._write(("\r\n".join(lines) + "\r\n\r\n").encode())

    def _write(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except ConnectionError as error:
            raise Cut("the connection is closed") from error

    def _read(self, size: int) -> bytes:
        try:
            return self.stream.read1(size)  # type: ignore[attr-defined]
        except ConnectionError as error:
            raise Cut("the connection was reset") from error

    def _read_line(self) -> bytes:
        try:
            line = self.stream.readline()
        except ConnectionError as error:
            raise Cut("the connection was reset") from error
        if not line:
            raise Cut("the connection was closed")
        return line

    def send(self, data: bytes) -> None:
        self._write(f"{len(data):x}\r\n".encode() + data + b"\r\n" if self.chunked else data)

    def end(self, trailers: dict[str, str] | None = None) -> None:
        if self.chunked:
            lines = "".join(f"{name}: {value}\r\n" for name, value in (trailers or {}).items())
            self._write(f"0\r\n{lines}\r\n".encode())

    def head(self) -> Response:
        version, status, *_ = self._read_line().decode().split(" ")
        assert version == "HTTP/1.1"
        response = Response(int(status), _read_headers(self.stream))
        if self.method == "HEAD" or response.status in (204, 304):
            self.left = 0
        elif response.header("transfer-encoding") == "chunked":
            self.response_chunked = True
        else:
            length = response.header("content-length")
            self.left = None if length is None else int(length)
        return response

    def piece(self) -> bytes:
        if self.response_chunked and self.left == 0:
            self.left = int(self._read_line().split(b";")[0], 16)
            if self.left == 0:
                self.response_trailers = dict(_read_headers(self.stream))
                self.response_chunked = False
        if self.left == 0:
            return b""
        data = self._read(1 << 18 if self.left is None else self.left)
        if self.left is not None:
            if not data:
                raise Cut("the connection was closed")
            self.left -= len(data)
            if self.response_chunked and self.left == 0:
                self._read_line()
        return data

    def trailers(self) -> dict[str, str]:
        return self.response_trailers

    def close(self) -> None:
        self.stream.close()  # it would hold the socket open
        super().close()

    def abort(self) -> None:
        self.stream.close()
        super().abort()


class Http2Exchange(Exchange):
    def __init__(self, port: int, path: str, *, method: str = "GET", headers: dict[str, str] | None = None,
                 length: int | None = None) -> None:
        super().__init__(port, path, method=method, headers=headers, length=length)
        self.connection = Http2Connection(self.sock, client=True)
        self.id = self.connection.h2.get_next_available_stream_id()
        all_headers = {":method": method, ":scheme": "http", ":path": path, ":authority": "extproc.example"} | (headers or {})
        if length is not None and length >= 0:
            all_headers["content-length"] = str(length)
        self.connection.send_headers(self.id, list(all_headers.items()), end=length is None)

    def send(self, data: bytes) -> None:
        self.connection.send(self.id, data)

    def end(self, trailers: dict[str, str] | None = None) -> None:
        self.connection.end(self.id, trailers)

    def head(self) -> Response:
        headers = self.connection.headers(self.id)
        return Response(int(headers[0][1]), headers[1:])

    def piece(self) -> bytes:
        return self.connection.piece(self.id)

    def trailers(self) -> dict[str, str]:
        return self.connection.streams[self.id].trailers

    def abort(self) -> None:
        """Resets the stream, then leaves."""
        self.connection.reset(self.id)
        self.sock.close()


def request(port: int, path: str, *, method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None,
            trailers: dict[str, str] | None = None, chunk: int = 0, exchange: type[Exchange] = Http1Exchange) -> Response:
    """One request on a connection of its own. With `chunk` or trailers the body goes in chunks of that size, and its
    length is not told."""
    pieces = bool(chunk or trailers)
    length = -1 if pieces else None if body is None else len(body)
    with exchange(port, path, method=method, headers=headers, length=length) as one:
        if length is not None:
            data = memoryview(body or b"")
            try:
                step = chunk or max(len(data), 1)
                for at in range(0, len(data), step):
                    one.send(bytes(data[at : at + step]))
                one.end(trailers)
            except Cut:
                pass  # a local reply may come before all of the body is out
        return one.response()
