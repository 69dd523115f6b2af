"""Messages by hand, for what generated classes would not write."""

from __future__ import annotations


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: bytes | int) -> bytes:
    """One field of a protobuf message: bytes (or a submessage), or a number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value
