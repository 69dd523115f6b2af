"""An echo upstream in the manner of httpbin, with bodies and trailers both ways, and upstreams that misbehave or take
their time. HTTP/1.1 and HTTP/2 without TLS on one port, on loopback."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from http2 import Cut, Headers, Http2Connection

PATIENCE = 30.0


@dataclass
class Script:
    """What a test and the upstream's handling of its one request tell each other."""

    query: str
    come: threading.Event = field(default_factory=threading.Event)  # the request is here, or what its path says
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    cut: threading.Event = field(default_factory=threading.Event)  # the request was ended from the other side

    def wait(self) -> None:
        """For the test to say go on."""
        if not self.go.acquire(timeout=PATIENCE):
            raise Cut("the test never said go")


class Request:
    """A request as it comes in, and its answer; one class each for HTTP/1.1 and HTTP/2 below."""

    method: str
    target: str
    headers: Headers
    trailers: dict[str, str]

    def read(self) -> bytes:
        """The next bytes of the body; none at its end, when the trailers are known."""
        raise NotImplementedError

    def respond(self, status: int, headers: Headers, length: int | None) -> None:
        """Sends the headers; without a length the body goes in chunks."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        raise NotImplementedError

    def end(self, trailers: dict[str, str] | None = None) -> None:
        raise NotImplementedError

    def die(self) -> None:
        """Closes the connection as it is."""
        raise NotImplementedError

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    def answer(self, status: int, body: bytes, headers: Headers, trailers: dict[str, str] | None = None) -> None:
        self.respond(status, headers, None if trailers else len(body))
        if self.method != "HEAD":
            self.write(body)
            self.end(trailers)


def seen(request: Request) -> dict[str, str]:
    names: dict[str, str] = {}
    for name, value in request.headers:
        name = "-".join(word.capitalize() for word in name.split("-"))
        names[name] = f"{names[name]},{value}" if name in names else value
    return names


def serve(request: Request, scripts: dict[str, Script]) -> None:
    """/headers and /get as httpbin has them; /echo gives the body back; /respond answers what its query says. The rest
    follows a test's script."""
    url = urlsplit(request.target)
    query = parse_qsl(url.query, keep_blank_values=True)
    if script := scripts.get(dict(query).get("script", "")):
        serve_scripted(request, url.path, script)
        return
    body = b"".join(iter(request.read, b""))
    if url.path in ("/headers", "/get"):
        document: dict[str, object] = {"headers": seen(request)}
        if url.path == "/get":
            document |= {"args": dict(query), "url": f"http://{request.header('host')}{request.target}"}
        request.answer(200, json.dumps(document, indent=2).encode() + b"\n", [("content-type", "application/json")])
    elif url.path == "/echo":
        headers = [("x-method", request.method), ("x-trailers", json.dumps(request.trailers))]
        headers += [("x-content-type", request.header("content-type"))]
        request.answer(200, body, headers, {"x-end": "1"} if ("trailers", "1") in query else None)
    elif url.path == "/respond":
        status = next((int(value) for name, value in query if name == ":status"), 200)
        text = next((value for name, value in query if name == ":body"), "original body")
        request.answer(status, text.encode(), [(name, value) for name, value in query if not name.startswith(":")])
    else:
        request.answer(404, b"no such path here\n", [])


HALF = b"half" * 16384
EVENTS = [f"data: {number}\n\n".encode() for number in range(20)]


def serve_scripted(request: Request, path: str, script: Script) -> None:
    try:
        match path:
            case "/early":  # answers while the request's body is still coming
                request.read()
                request.answer(200, HALF, [])
                for _ in iter(request.read, b""):
                    pass
            case "/overlap":  # begins to answer then, and ends the answer after the request
                request.respond(200, [], None)
                request.write(HALF)
                script.come.set()
                body = b"".join(iter(request.read, b""))
                request.write(body)
                request.end()
            case "/hold":  # reads the request, and never answers
                script.come.set()
                for _ in iter(request.read, b""):
                    pass
                script.wait()
            case "/events":  # one event for each go
                request.respond(200, [("content-type", "text/event-stream")], None)
                script.come.set()
                for event in EVENTS:
                    script.wait()
                    request.write(event)
                request.end()
            case "/upgrade":  # HTTP/1.1 only: then every byte goes back as it comes
                script.come.set()
                request.switch_protocol("websocket")
                while data := request.read_raw():
                    request.write(data)
            case "/half":  # half of the answer, then more of it until somebody is tired of it
                request.respond(200, [], None)
                request.write(HALF)
                script.come.set()
                script.wait()
                deadline = time.monotonic() + PATIENCE
                while time.monotonic() < deadline:
                    request.write(HALF)
            case "/die":
                for _ in iter(request.read, b""):
                    pass
                request.respond(200, [], len(HALF) * 2)
                request.write(HALF)
                script.come.set()
                script.wait()
                request.die()
            case "/die-first":  # without a word, when the request's first bytes are here
                request.read()
                script.come.set()
                request.die()
    except Cut:
        script.cut.set()
        raise


class Http1Request(Request):
    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.method, self.target, self.trailers = handler.command, handler.path, {}
        self.headers = [(name.lower(), value) for name, value in handler.headers.items()]
        self.chunked_request = self.header("transfer-encoding").lower() == "chunked"
        self.left = 0 if self.chunked_request else int(self.header("content-length") or 0)
        self.ended = False
        self.chunked = False

    def _read_line(self) -> bytes:
        if line := self.handler.rfile.readline():
            return line
        raise Cut("the connection was closed")

    def read(self) -> bytes:
        try:
            if self.chunked_request and not self.ended and self.left == 0:
                self.left = int(self._read_line().split(b";")[0], 16)
                if self.left == 0:
                    while line := self._read_line().strip():
                        name, _, value = line.decode().partition(":")
                        self.trailers[name.strip().lower()] = value.strip()
                    self.ended = True
            if self.left == 0:
                return b""
            data = self.handler.rfile.read1(self.left)  # type: ignore[attr-defined]
            if not data:
                raise Cut("the connection was closed")
            self.left -= len(data)
            if self.chunked_request and self.left == 0:
                self._read_line()
            return data
        except (ConnectionError, TimeoutError) as error:
            raise Cut("the connection was reset") from error

    def _send(self, data: bytes) -> None:
        try:
            self.handler.wfile.write(data)
        except (ConnectionError, TimeoutError) as error:
            raise Cut("the connection was reset") from error

    def respond(self, status: int, headers: Headers, length: int | None) -> None:
        self.chunked = length is None
        lines = [*headers, ("transfer-encoding", "chunked") if length is None else ("content-length", str(length))]
        text = "".join(f"{name}: {value}\r\n" for name, value in lines)
        self._send(f"HTTP/1.1 {status} {responses.get(status, '')}\r\n{text}\r\n".encode())

    def write(self, data: bytes) -> None:
        if data:
            self._send(f"{len(data):x}\r\n".encode() + data + b"\r\n" if self.chunked else data)

    def end(self, trailers: dict[str, str] | None = None) -> None:
        if self.chunked:
            text = "".join(f"{name}: {value}\r\n" for name, value in (trailers or {}).items())
            self._send(f"0\r\n{text}\r\n".encode())

    def switch_protocol(self, name: str) -> None:
        self._send(f"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {name}\r\n\r\n".encode())

    def read_raw(self) -> bytes:
        """The next bytes after the protocol was switched; none when the other side is gone."""
        try:
            return self.handler.rfile.read1(1 << 16)  # type: ignore[attr-defined]
        except (ConnectionError, TimeoutError) as error:
            raise Cut("the connection was reset") from error

    def die(self) -> None:
        with contextlib.suppress(OSError):
            self.handler.connection.shutdown(socket.SHUT_RDWR)
        raise Cut("this side closed it")


class Http2Request(Request):
    def __init__(self, connection: Http2Connection, stream: int) -> None:
        self.connection, self.stream = connection, stream
        headers = connection.headers(stream)
        self.method, self.target = dict(headers)[":method"], dict(headers)[":path"]
        self.headers = [("host" if name == ":authority" else name, value) for name, value in headers
                        if name == ":authority" or not name.startswith(":")]

    @property
    def trailers(self) -> dict[str, str]:  # type: ignore[override]
        return self.connection.streams[self.stream].trailers

    def read(self) -> bytes:
        return self.connection.piece(self.stream)

    def respond(self, status: int, headers: Headers, length: int | None) -> None:
        lines = [(":status", str(status)), *headers]
        if length is not None:
            lines.append(("content-length", str(length)))
        self.connection.send_headers(self.stream, lines, end=self.method == "HEAD")

    def write(self, data: bytes) -> None:
        self.connection.send(self.stream, data)

    def end(self, trailers: dict[str, str] | None = None) -> None:
        self.connection.end(self.stream, trailers)

    def die(self) -> None:
        self.connection.sock.shutdown(socket.SHUT_RDWR)
        raise Cut("this side closed it")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 2 * PATIENCE
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(Cut, ConnectionError, TimeoutError):
            if self.connection.recv(4, socket.MSG_PEEK) == b"PRI ":
                self.handle_http2()
            else:
                super().handle()

    def handle_http2(self) -> None:
        connection = Http2Connection(self.connection, client=False)
        served = 0
        while True:
            # While one request is served, others may come.
            while waiting := [id for id, state in connection.streams.items() if id > served and state.headers]:
                served = waiting[0]
                with contextlib.suppress(Cut):
                    self.server.serve(Http2Request(connection, served), self.server.scripts)
                del connection.streams[served]
            connection.pump()

    def handle_any(self) -> None:
        try:
            self.server.serve(Http1Request(self), self.server.scripts)
        except Cut:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_HEAD = handle_any  # noqa: N815 (the names that http.server wants)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    scripts: dict[str, Script]
    serve = staticmethod(serve)


class Upstream:
    """The upstream on a port of its own, while it is entered."""

    def __init__(self) -> None:
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.scripts = {}
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.numbers = itertools.count()

    @contextlib.contextmanager
    def script(self) -> Iterator[Script]:
        """A script for one request, whose target gets its query."""
        name = str(next(self.numbers))
        script = self.server.scripts[name] = Script(f"script={name}")
        try:
            yield script
        finally:
            del self.server.scripts[name]

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
