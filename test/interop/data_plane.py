"""The gRPC client of grpc_data_plane/, whose ext_proc filter is grpc-go's own, and what may be asked of it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

from rig import TOP, Extprocd, eventually
from transports import server

BINARY = TOP / "build/interop/grpc_data_plane/data_plane"
needs_data_plane = pytest.mark.skipif(
    not BINARY.exists(), reason=f"{BINARY} was not built; ./dev test builds it where there is `go`")

Message = int | str  # so many bytes that no other message has, or this text


@dataclass
class Call:
    """As call.go has it."""

    method: str
    send: list[Message]
    metadata: dict[str, str] = field(default_factory=dict)
    in_turn: bool = False
    rest_ms: int = 0
    answer: list[Message] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    code: int = 0
    message: str = ""
    deadline_ms: int = 0
    pause_after: int | None = None
    cancel_after: int | None = None
    copies: int = 1


@dataclass
class Upstream:
    """What the upstream has seen of a call, and what it sent."""

    headers: dict[str, list[str]]
    received: list[str]
    sent: list[str]
    ended: str


@dataclass
class Outcome:
    code: str
    message: str
    sent: list[str]
    received: list[str]
    headers: dict[str, list[str]] | None
    trailers: dict[str, list[str]] | None
    upstream: Upstream | None

    def expect_untouched(self, call: Call, code: str = "OK") -> None:
        """All that was sent has come, in order, both ways, and the call ended as the upstream ended it."""
        assert (self.code, self.message) == (code, call.message)
        assert self.upstream is not None and len(self.sent) == len(call.send)
        assert self.upstream.received == self.sent
        assert self.received == self.upstream.sent
        assert not self.upstream.ended
        assert (self.trailers or {}).items() >= {name: [value] for name, value in call.trailers.items()}.items()


@dataclass
class Watched:
    """What was seen between the filter and the server, in all streams of a call's copies."""

    wrong: list[str]
    lowest: dict[str, int]
    events: list[str]


class DataPlane:
    """One process with one configuration of the filter."""

    def __init__(self, ext_proc: str, filter: dict[str, Any], watch: bool = False) -> None:
        command = [str(BINARY), "--ext-proc", ext_proc, "--filter", json.dumps(filter), *(["--watch"] if watch else [])]
        self._errors = tempfile.TemporaryFile("w+")
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
                                       env=os.environ | {"GRPC_EXPERIMENTAL_XDS_EXT_PROC_ON_CLIENT": "true"})
        self.watched: Watched | None = None  # of the last call, with `watch`

    def __enter__(self) -> DataPlane:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.communicate()
        self._errors.close()

    def run(self, call: Call, at_pause: Callable[[], None] | None = None) -> list[Outcome]:
        """The outcome of each copy. `at_pause` is called once, when all of them pause."""
        answer = self._ask(json.dumps(asdict(call)))
        if "paused" in answer:
            assert at_pause is not None
            at_pause()
            answer = self._ask("go on")
        if "watched" in answer:
            self.watched = Watched(**answer["watched"])
        return [Outcome(**outcome | {"upstream": Upstream(**outcome["upstream"]) if outcome["upstream"] else None})
                for outcome in answer["outcomes"]]

    def run_one(self, call: Call, at_pause: Callable[[], None] | None = None) -> Outcome:
        outcome, = self.run(call, at_pause)
        return outcome

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(line + "\n")
        self._child.stdin.flush()
        if answer := self._child.stdout.readline():
            return json.loads(answer)
        self._child.wait(10.0)
        self._errors.seek(0)
        raise AssertionError(f"the data plane ended with code {self._child.returncode}: {self._errors.read()}")


def mode(headers: str = "SEND", request_body: str = "GRPC", response_body: str = "GRPC",
         trailers: str = "SEND") -> dict[str, str]:
    """A processing_mode; `headers` is for both directions."""
    return {"request_header_mode": headers, "response_header_mode": headers, "request_body_mode": request_body,
            "response_body_mode": response_body, "response_trailer_mode": trailers}


ALL = mode()


def ended(running: Extprocd, reason: str) -> int:
    return int(running.metric(f'extproc_streams_ended_total{{reason="{reason}"}}'))


@contextmanager
def data_plane(transport: str, config: str, processing_mode: dict[str, str], watch: bool = False,
               **filter: Any) -> Iterator[tuple[Extprocd, DataPlane]]:
    """A server and its data plane; at the end the server has nothing to complain of, and no stream is left."""
    with server(transport, config) as running:
        with DataPlane(running.address, {"processing_mode": processing_mode} | filter, watch) as plane:
            yield running, plane
        if running.child is not None and running.child.poll() is None:
            eventually(lambda: running.metric("extproc_streams_active") == 0)
            assert running.metric("extproc_protocol_errors_total") == 0
        assert '"level":"error"' not in running.log()
