"""The grpc-python client of the interoperability tests; ../checks.py says what it is told and answers."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

import wire
from wire import field

HANG_SECONDS = 30.0
SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
SYMBOL = "envoy.service.ext_proc.v3.ProcessingRequest"
STREAMS = 200
BUFFERED = 2

Channel = grpc.aio.Channel
Code = grpc.StatusCode
Options = list[tuple[str, Any]]


class Wrong(Exception):
    """What a check has found."""


def ask(what: str) -> None:
    """Has something done to the server, and waits until it was."""
    print(json.dumps({"ask": what}), flush=True)
    sys.stdin.readline()


def expect(came: object, wanted: object) -> None:
    if came != wanted:
        raise Wrong(f"not {wanted!r}, but {came!r}"[:1000])


async def expect_code(call: Awaitable[object], code: Code) -> str:
    """How a call must end; its text."""
    try:
        came = await call
    except grpc.aio.AioRpcError as error:
        expect((error.code(), error.details()), (code, error.details()))
        return error.details() or ""
    except asyncio.CancelledError:
        expect(Code.CANCELLED, code)
        return ""
    raise Wrong(f"not {code}, but {came!r}"[:1000])


class Stream:
    def __init__(self, channel: Channel, **options: Any) -> None:
        self.call = channel.stream_stream(wire.PROCESS)(**{"timeout": HANG_SECONDS} | options)

    async def exchange(self, message: bytes) -> bytes:
        await self.call.write(message)
        return await self.read()

    async def read(self) -> bytes:
        reply = await self.call.read()
        if reply is grpc.aio.EOF:
            raise Wrong(f"the stream ended: {await self.call.code()}, {await self.call.details()}")
        return reply

    async def begin(self, token: str, mode: int | None = None) -> None:
        """Sends its headers, which set the header n to what the token is."""
        instructions = f'{{"addHeaders":{{"n":"{token}"}}}}'.encode()
        reply = await self.exchange(wire.request_headers(wire.header("instructions", instructions), mode))
        added = field(1, field(1, b"n") + field(3, token.encode()))
        if reply[:1] != b"\x0a" or added not in reply:
            raise Wrong(f"a wrong reply to request headers: {reply!r}")

    async def finish(self) -> None:
        """Sends the response's headers and ends."""
        expect(await self.exchange(wire.RESPONSE_HEADERS), wire.RESPONSE_HEADERS_REPLY)
        await self.end()

    async def end(self) -> None:
        await self.call.done_writing()
        expect(await self.call.read(), grpc.aio.EOF)
        expect(await self.call.code(), Code.OK)


async def exchange_all(channel: Channel, **options: Any) -> None:
    stream = Stream(channel, **options)
    await stream.begin("all", BUFFERED)
    body = b"body " * 20000  # long and alike, so that a compressed one is much shorter
    expect(await stream.exchange(wire.request_body(body, end=True)), wire.BODY_REPLY)
    expect(await stream.exchange(wire.RESPONSE_HEADERS), wire.RESPONSE_HEADERS_REPLY)
    expect(await stream.exchange(field(5, field(1, body) + field(2, 1))), field(4, b""))
    await stream.end()


async def gzip(channel: Channel) -> None:
    await exchange_all(channel, compression=grpc.Compression.Gzip)


async def streams(channel: Channel) -> None:
    opened = [Stream(channel) for _ in range(STREAMS)]
    # All are open before the first ends.
    await asyncio.gather(*(stream.begin(str(number)) for number, stream in enumerate(opened)))
    await asyncio.gather(*(stream.finish() for stream in opened))


def piece_of(reply: bytes) -> tuple[bytes, bool]:
    """The body of a streamed response, and whether it is the last."""
    # request_body { response { body_mutation { streamed_response { body, end_of_stream
    for number in (3, 1, 3, 3):
        read = parse(reply)
        if list(read) != [number]:
            raise Wrong(f"no piece of a body: {reply[:100]!r}")
        reply = read[number]
    read = parse(reply)
    return read.get(1, b""), bool(read.get(2))


def parse(message: bytes) -> dict[int, Any]:
    """The fields of a message that has each once: lengths as bytes, numbers as they are."""

    def varint(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            value |= (message[at] & 127) << shift
            shift += 7
            at += 1
            if message[at - 1] < 128:
                return value, at

    fields: dict[int, Any] = {}
    at = 0
    while at < len(message):
        tag, at = varint(at)
        value, at = varint(at)
        if tag & 7 == 2:
            fields[tag >> 3] = message[at : at + value]
            at += value
        else:
            fields[tag >> 3] = value
    return fields


async def echo(channel: Channel, size: int) -> None:
    """Sends a body in one message, which comes back in pieces."""
    stream = Stream(channel)
    await stream.begin("echo", wire.FULL_DUPLEX_STREAMED)
    body = bytes(range(251)) * (size // 251 + 1)
    await stream.call.write(wire.request_body(body[:size], end=True))
    came, ended = bytearray(), False
    while not ended:
        piece, ended = piece_of(await stream.read())
        came += piece
    if came != body[:size]:
        raise Wrong(f"another body came back, of {len(came)} bytes")
    await stream.end()


async def message_too_large(channel: Channel) -> None:
    await expect_code(Stream(channel).exchange(wire.request_body(b"x" * (12 << 20))), Code.RESOURCE_EXHAUSTED)


async def deadline(channel: Channel) -> None:
    stream = Stream(channel, timeout=0.3)
    await stream.begin("late")
    await expect_code(stream.read(), Code.DEADLINE_EXCEEDED)
    ask("idle")
    await exchange_all(channel)


async def cancel(channel: Channel) -> None:
    stream = Stream(channel)
    await stream.begin("given up")
    stream.call.cancel()
    await expect_code(stream.read(), Code.CANCELLED)
    ask("idle")
    await exchange_all(channel)


async def chain(channel: Channel) -> None:
    headers = wire.request_headers(wire.header("instructions", b'{"addHeaders":{"n":"1"}}'))
    stream = Stream(channel, metadata=[("x-extproc-chain", "untouched")])
    expect(await stream.exchange(headers), field(1, b""))
    await stream.finish()
    await expect_code(Stream(channel, metadata=[("x-extproc-chain", "none")]).exchange(headers), Code.NOT_FOUND)


async def unknown(channel: Channel, method: str) -> None:
    await expect_code(channel.unary_unary(method)(b"", timeout=HANG_SECONDS), Code.UNIMPLEMENTED)


async def error_text(channel: Channel) -> None:
    name = "größe 50%, 5%20€, 😀"
    instructions = f'{{"removeHeaders":["{name}"]}}'.encode()
    call = Stream(channel).exchange(wire.request_headers(wire.header("instructions", instructions)))
    text = await expect_code(call, Code.UNKNOWN)
    if f"'{name}'" not in text:
        raise Wrong(f"another text: {text!r}")


async def health_check(channel: Channel) -> None:
    for name in ("", SERVICE, "anything"):
        request = health_pb2.HealthCheckRequest(service=name)
        answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=HANG_SECONDS)
        expect(answer.status, health_pb2.HealthCheckResponse.SERVING)


async def health_list(channel: Channel) -> None:
    answer = await channel.unary_unary("/grpc.health.v1.Health/List")(b"", timeout=HANG_SECONDS)
    entry = field(1, field(1, SERVICE.encode()) + field(2, field(1, health_pb2.HealthCheckResponse.SERVING)))
    if entry not in answer:
        raise Wrong(f"no {SERVICE} that serves: {answer!r}")


async def reflection(channel: Channel, version: str) -> None:
    """The messages of both versions are alike but for the name."""
    request, response = reflection_pb2.ServerReflectionRequest, reflection_pb2.ServerReflectionResponse
    call = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                                 request.SerializeToString, response.FromString)(timeout=HANG_SECONDS)
    await call.write(request(list_services=""))
    names = {service.name for service in (await call.read()).list_services_response.service}
    expect({SERVICE, "grpc.health.v1.Health"} - names, set())
    await call.write(request(file_containing_symbol=SYMBOL))
    files = [FileDescriptorProto.FromString(file) for file in
             (await call.read()).file_descriptor_response.file_descriptor_proto]
    if SYMBOL not in [f"{file.package}.{message.name}" for file in files for message in file.message_type]:
        raise Wrong(f"{SYMBOL} is in none of {[file.name for file in files]}")
    await call.done_writing()
    expect(await call.code(), Code.OK)


async def keepalive(_: Channel) -> None:
    """A silent stream, and as many pings as the library lets go: some a second."""
    options = [("grpc.keepalive_time_ms", 20), ("grpc.keepalive_timeout_ms", 5000), ("grpc.http2.max_pings_without_data", 0),
               ("grpc.keepalive_permit_without_calls", 1), ("grpc.use_local_subchannel_pool", 1)]
    async with connect(options) as channel:
        stream = Stream(channel)
        await stream.begin("kept")
        await asyncio.sleep(1.0)
        await stream.finish()


async def drain(channel: Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=HANG_SECONDS)
    expect((await watch.read()).status, health_pb2.HealthCheckResponse.SERVING)
    stream = Stream(channel)
    await stream.begin("open")
    ask("drain")
    expect((await watch.read()).status, health_pb2.HealthCheckResponse.NOT_SERVING)
    await expect_code(watch.read(), Code.UNAVAILABLE)
    refused = False
    while not refused:
        try:
            await health.Check(health_pb2.HealthCheckRequest(), timeout=HANG_SECONDS)
            await asyncio.sleep(0.01)
        except grpc.aio.AioRpcError as error:
            if error.code() == Code.CANCELLED:
                print(json.dumps({"note": "a new call was CANCELLED"}), flush=True)
                continue
            expect((error.code(), error.details()), (Code.UNAVAILABLE, error.details()))
            refused = True
    await stream.finish()


async def restart(channel: Channel) -> None:
    stream = Stream(channel)
    await stream.begin("lost")
    ask("restart")
    await expect_code(stream.read(), Code.UNAVAILABLE)
    await exchange_all(channel, wait_for_ready=True)


CHECKS: dict[str, Callable[[Channel], Awaitable[None]]] = {
    "process": exchange_all,
    "streams": streams,
    "message_1_mib": lambda channel: echo(channel, 1 << 20),
    "message_10_mib": lambda channel: echo(channel, 10 << 20),
    "message_too_large": message_too_large,
    "gzip": gzip,
    "deadline": deadline,
    "cancel": cancel,
    "chain": chain,
    "unknown_method": lambda channel: unknown(channel, f"/{SERVICE}/Proces"),
    "unknown_service": lambda channel: unknown(channel, "/no.such.Service/Process"),
    "error_text": error_text,
    "health_check": health_check,
    "health_list": health_list,
    "reflection_v1": lambda channel: reflection(channel, "v1"),
    "reflection_v1alpha": lambda channel: reflection(channel, "v1alpha"),
    "keepalive": keepalive,
    "drain": drain,
    "restart": restart,
}

parser = argparse.ArgumentParser()
parser.add_argument("--address", required=True)
parser.add_argument("--ca", type=Path)
parser.add_argument("--certificate", type=Path)
parser.add_argument("--key", type=Path)
parser.add_argument("checks", nargs="+")
arguments = parser.parse_args()


def connect(options: Options | None = None) -> Channel:
    every = [("grpc.max_send_message_length", -1), ("grpc.initial_reconnect_backoff_ms", 100), *(options or [])]
    if not arguments.ca:
        return grpc.aio.insecure_channel(arguments.address, options=every)
    own = [file.read_bytes() if file else None for file in (arguments.key, arguments.certificate)]
    return grpc.aio.secure_channel(arguments.address, grpc.ssl_channel_credentials(arguments.ca.read_bytes(), *own), every)


async def main() -> None:
    for name in arguments.checks:
        detail = ""
        try:
            async with connect() as channel:
                await asyncio.wait_for(CHECKS[name](channel), HANG_SECONDS)
        except Exception as error:  # whatever it is, it is what was wrong
            detail = f"{type(error).__name__}: {error}"
        print(json.dumps({"check": name, "ok": not detail, "detail": detail}), flush=True)


asyncio.run(main())
