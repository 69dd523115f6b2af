"""What is answered to each message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import grpc
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3.external_processor_pb2 import HttpBody, ProcessingRequest, ProcessingResponse
from instructions import UnreadableError, follow

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
METHOD = "Process"
KINDS = ("request_headers", "response_headers", "request_body", "response_body", "request_trailers", "response_trailers")
ECHOED = (ProcessingMode.FULL_DUPLEX_STREAMED, ProcessingMode.GRPC)
MAX_PIECE = 62 << 10  # Envoy advises at most 64 KiB


def unchanged(kind: str) -> bytes:
    reply = ProcessingResponse()
    getattr(reply, kind).SetInParent()
    return reply.SerializeToString()


UNCHANGED = {kind: unchanged(kind) for kind in KINDS}


async def process(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
    """Serves the exchange of one HTTP request."""
    parse: Callable[[bytes], ProcessingRequest] = ProcessingRequest.FromString
    echoed: set[str] = set()  # bodies of which is lost what is not given back
    async for data in requests:
        request = parse(data)
        if request.HasField("protocol_config"):
            modes = request.protocol_config
            echoed = {kind for kind, mode in (("request_body", modes.request_body_mode),
                                              ("response_body", modes.response_body_mode)) if mode in ECHOED}
        kind = request.WhichOneof("request")
        if kind in echoed:
            for piece in echo(kind, getattr(request, kind)):
                yield piece
        elif kind in ("request_headers", "response_headers"):
            try:
                yield follow(kind, getattr(request, kind).headers.headers) or UNCHANGED[kind]
            except UnreadableError as error:
                await context.abort(grpc.StatusCode.UNKNOWN, str(error))
        elif kind is not None:
            yield UNCHANGED[kind]


def echo(kind: str, body: HttpBody) -> Iterator[bytes]:
    data = body.body
    for at in range(0, len(data) or 1, MAX_PIECE):
        reply = ProcessingResponse()
        piece = getattr(reply, kind).response.body_mutation.streamed_response
        piece.body = data[at : at + MAX_PIECE]
        piece.end_of_stream = body.end_of_stream and at + MAX_PIECE >= len(data)
        yield reply.SerializeToString()
