"""A gRPC proxy before a server that keeps what passes on Process streams, so that a test can tell whose fault it was."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

PACKAGE = "envoy.service.ext_proc.v3"
FULL_DUPLEX_STREAMED = 4
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclass
class Stream:
    """The messages of one stream, either way in order."""

    requests: list[Any] = field(default_factory=list)
    replies: list[Any] = field(default_factory=list)

    def wrong_replies(self) -> list[str]:
        """What a server that changes nothing ought not to have sent. It may have answered less than all that came,
        because the data plane ends streams as it likes."""
        wrong = []
        for direction in ("request", "response"):
            requests = [one for one in self.requests if one.WhichOneof("request").startswith(direction)]
            replies = [one for one in self.replies if one.WhichOneof("response").startswith(direction)]
            config = self.requests[0].protocol_config
            if getattr(config, f"{direction}_body_mode") == FULL_DUPLEX_STREAMED:
                come = b"".join(getattr(one, f"{direction}_body").body for one in requests)
                gone = b"".join(getattr(one, f"{direction}_body").response.body_mutation.streamed_response.body
                                for one in replies)
                if not come.startswith(gone):
                    wrong.append(f"{direction}: {len(gone)} bytes of body are not what came")
                continue
            kinds = [one.WhichOneof("request") for one in requests]
            answers = [one.WhichOneof("response") for one in replies]
            if answers != kinds[: len(answers)]:
                wrong.append(f"{direction}: {answers} to {kinds}")
            if any(one.ByteSize() != 2 for one in replies):
                wrong.append(f"{direction}: a reply that is not empty")
        return wrong


class Recorder(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, server: str) -> None:
        self.channel = grpc.insecure_channel(server, options=UNLIMITED)
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))
        self.request_type, self.reply_type = (
            GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
            for name in ("ProcessingRequest", "ProcessingResponse")
        )
        self.streams: list[Stream] = []
        self.proxy = grpc.server(ThreadPoolExecutor(32), handlers=[self], options=UNLIMITED)
        self.address = f"127.0.0.1:{self.proxy.add_insecure_port('127.0.0.1:0')}"

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.stream_stream_rpc_method_handler(self._pass)

    def _pass(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        stream = Stream()
        self.streams.append(stream)

        def onward() -> Iterator[bytes]:
            with suppress(Exception):  # the data plane has ended the stream
                for data in requests:
                    stream.requests.append(self.request_type.FromString(data))
                    yield data

        call = self.channel.stream_stream(f"/{PACKAGE}.ExternalProcessor/Process")(onward())
        context.add_callback(call.cancel)
        with suppress(grpc.RpcError):
            for data in call:
                stream.replies.append(self.reply_type.FromString(data))
                yield data

    def __enter__(self) -> Self:
        self.proxy.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.proxy.stop(0).wait()
        self.channel.close()
