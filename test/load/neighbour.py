"""A well-behaved client in a process of its own: one ext_proc stream after the other, every reply checked, timed.

As a program: `neighbour.py ADDRESS`. A line on standard input ends a phase and is answered with its figures, one JSON
line; the end of the input ends the program.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import grpc

import wire

HANG_SECONDS = 20.0


@dataclass
class Figures:
    """What a phase was like. Milliseconds a stream."""

    streams: int = 0
    p50: float = 0.0
    p99: float = 0.0
    worst: float = 0.0
    failures: list[str] = field(default_factory=list)


class Neighbour:
    """The client, run beside a test."""

    def __init__(self, address: str) -> None:
        path = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}  # it imports what this process does
        self.child = subprocess.Popen([sys.executable, __file__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      text=True, env=path)

    def __enter__(self) -> Neighbour:
        self.end_phase()  # the first streams connect
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        assert self.child.stdin is not None
        self.child.stdin.close()
        try:
            self.child.wait(HANG_SECONDS * 2)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def end_phase(self) -> Figures:
        """The figures since the last call."""
        assert self.child.stdin is not None and self.child.stdout is not None
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        return Figures(**json.loads(self.child.stdout.readline()))


def quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def summary(milliseconds: list[float], failures: list[str]) -> str:
    ordered = sorted(milliseconds)
    return json.dumps({"streams": len(ordered), "p50": quantile(ordered, 0.5), "p99": quantile(ordered, 0.99),
                       "worst": ordered[-1] if ordered else 0.0, "failures": failures[:5]})


async def one_stream(method: grpc.aio.StreamStreamMultiCallable, number: int) -> str:
    """What was wrong with it; empty if nothing was."""
    token = f"{number:012d}"
    # request_headers { response { header_mutation { set_headers { header { key: "n" raw_value: token } ...
    added = wire.field(1, wire.field(1, b"n") + wire.field(3, token.encode()))
    replies = 0
    try:
        call = method(timeout=HANG_SECONDS)
        instructions = f'{{"addHeaders":{{"n":"{token}"}}}}'.encode()
        await call.write(wire.request_headers(wire.header("instructions", instructions)))
        reply = await call.read()
        if reply is grpc.aio.EOF or reply[:1] != b"\x0a" or added not in reply:
            return f"a wrong reply to request headers: {reply!r}"
        replies = 1
        await call.write(wire.RESPONSE_HEADERS)
        reply = await call.read()
        if reply != wire.RESPONSE_HEADERS_REPLY:
            return f"a wrong reply to response headers: {reply!r}"
        replies = 2
        await call.done_writing()
        if await call.read() is not grpc.aio.EOF:
            return "a reply too many"
        code = await call.code()
        return "" if code == grpc.StatusCode.OK else f"{code} after {replies} replies: {await call.details()}"
    except grpc.aio.AioRpcError as error:
        return f"{error.code()} after {replies} replies: {error.details()}"


async def run(address: str) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    asked = asyncio.ensure_future(lines.readline())
    milliseconds: list[float] = []
    failures: list[str] = []
    number = 0
    async with grpc.aio.insecure_channel(address) as channel:
        method = channel.stream_stream(wire.PROCESS)
        while True:
            number += 1
            begun = time.perf_counter()
            if wrong := await one_stream(method, number):
                failures.append(wrong)
                await asyncio.sleep(0.01)
            else:
                milliseconds.append((time.perf_counter() - begun) * 1000)
            if asked.done():
                if not asked.result():
                    return
                print(summary(milliseconds, failures), flush=True)
                milliseconds, failures = [], []
                asked = asyncio.ensure_future(lines.readline())


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
