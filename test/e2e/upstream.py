"""An echo upstream in the manner of httpbin, with bodies and trailers both ways. HTTP/1.1, on loopback."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qsl, urlsplit


class Handler(BaseHTTPRequestHandler):
    """/headers and /get as httpbin has them; /echo gives the body back; /respond answers what its query says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def read_body(self) -> tuple[bytes, dict[str, str]]:
        """The request's body and trailers."""
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0))), {}
        body, trailers = b"", {}
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while line := self.rfile.readline().strip():
            name, _, value = line.decode().partition(":")
            trailers[name.strip().lower()] = value.strip()
        return body, trailers

    def answer(self, status: int, body: bytes, headers: list[tuple[str, str]], trailers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if trailers:
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for at in range(0, len(body), 16384):
                piece = body[at : at + 16384]
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.wfile.write(b"0\r\n" + b"".join(f"{n}: {v}\r\n".encode() for n, v in trailers.items()) + b"\r\n")
        else:
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def handle_any(self) -> None:
        body, trailers = self.read_body()
        url = urlsplit(self.path)
        query = parse_qsl(url.query, keep_blank_values=True)
        seen: dict[str, str] = {}
        for name, value in self.headers.items():
            name = "-".join(word.capitalize() for word in name.split("-"))
            seen[name] = f"{seen[name]},{value}" if name in seen else value
        if url.path in ("/headers", "/get"):
            document: dict[str, object] = {"headers": seen}
            if url.path == "/get":
                document |= {"args": dict(query), "url": f"http://{self.headers.get('host')}{self.path}"}
            self.answer(200, json.dumps(document, indent=2).encode() + b"\n", [("content-type", "application/json")], {})
        elif url.path == "/echo":
            headers = [("x-method", self.command), ("x-trailers", json.dumps(trailers))]
            headers += [("x-content-type", self.headers.get("content-type", ""))]
            self.answer(200, body, headers, {"x-end": "1"} if ("trailers", "1") in query else {})
        elif url.path == "/respond":
            status = next((int(value) for name, value in query if name == ":status"), 200)
            text = next((value for name, value in query if name == ":body"), "original body")
            headers = [(name, value) for name, value in query if not name.startswith(":")]
            self.answer(status, text.encode(), headers, {})
        else:
            self.answer(404, b"no such path here\n", [], {})

    do_GET = do_POST = do_PUT = do_HEAD = handle_any  # noqa: N815 (the names that http.server wants)


class Upstream:
    """The upstream on a port of its own, while it is entered."""

    def __init__(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
