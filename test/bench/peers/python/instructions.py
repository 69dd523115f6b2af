"""The header `instructions`, which the sample server of the gateways' guides follows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypeVar

from envoy.config.core.v3.base_pb2 import HeaderValue
from envoy.service.ext_proc.v3.external_processor_pb2 import CommonResponse, ProcessingResponse


Json = TypeVar("Json", dict[str, object], list[object], str)


class UnreadableError(Exception):
    """The header is not what it should be; the text says how."""


def follow(kind: str, headers: Iterable[HeaderValue]) -> bytes | None:
    """The reply of this kind that the headers ask for; None where they ask for nothing."""
    for header in headers:
        if header.key == "instructions":
            text = header.raw_value or header.value.encode()
            return reply_to(kind, text) if text else None
    return None


def reply_to(kind: str, text: bytes) -> bytes:
    reply = ProcessingResponse()
    common = getattr(reply, kind).response
    common.SetInParent()
    try:
        apply(json.loads(text), common)
    except (TypeError, ValueError) as error:
        raise UnreadableError(f"instructions: {error}") from error
    return reply.SerializeToString()


def apply(wanted: object, common: CommonResponse) -> None:
    """As in Go, null stands for what is empty."""
    fields = expect(dict, wanted)
    for name, value in expect(dict, fields.get("addHeaders")).items():
        header = common.header_mutation.set_headers.add().header
        # Envoy reads nothing but raw_value.
        header.key, header.raw_value = name, expect(str, value).encode()
    for removed in expect(list, fields.get("removeHeaders")):
        common.header_mutation.remove_headers.append(expect(str, removed))


def expect(kind: type[Json], value: object) -> Json:
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value
