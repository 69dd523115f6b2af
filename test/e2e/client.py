"""A plain HTTP/1.1 client that shows all of a response, trailers included, and can send a request in pieces."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, field
from typing import Any, BinaryIO


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


def _read_headers(stream: BinaryIO) -> list[tuple[str, str]]:
    headers = []
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers.append((name.lower(), value.strip()))
    return headers


def _read_body(stream: BinaryIO, response: Response, method: str) -> None:
    if method == "HEAD" or response.status in (204, 304):
        return
    if response.header("transfer-encoding") == "chunked":
        while size := int(stream.readline().split(b";")[0], 16):
            response.body += stream.read(size)
            stream.readline()
        response.trailers = dict(_read_headers(stream))
    elif (length := response.header("content-length")) is not None:
        response.body = stream.read(int(length))
    else:
        response.body = stream.read()


def request(port: int, path: str, *, method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None,
            trailers: dict[str, str] | None = None, chunk: int = 0, timeout: float = 30.0) -> Response:
    """One request on a connection of its own. With `chunk` or trailers the body goes in chunks of that size."""
    lines = [f"{method} {path} HTTP/1.1"]
    all_headers = {"host": "extproc.example"} | (headers or {}) | {"connection": "close"}
    chunked = bool(chunk or trailers)
    if chunked:
        all_headers["transfer-encoding"] = "chunked"
    elif body is not None:
        all_headers["content-length"] = str(len(body))
    lines += [f"{name}: {value}" for name, value in all_headers.items()]
    with socket.create_connection(("127.0.0.1", port), timeout) as connection, connection.makefile("rb") as stream:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        data = body or b""
        try:
            if chunked:
                step = chunk or max(len(data), 1)
                for at in range(0, len(data), step):
                    piece = data[at : at + step]
                    connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                end = "".join(f"{name}: {value}\r\n" for name, value in (trailers or {}).items())
                connection.sendall(f"0\r\n{end}\r\n".encode())
            else:
                connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # a local reply may come before all of the body is out
        version, status, *_ = stream.readline().decode().split(" ")
        assert version == "HTTP/1.1"
        response = Response(int(status), _read_headers(stream))
        _read_body(stream, response, method)
        return response
