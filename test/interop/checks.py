"""What every client of this folder checks, and what the server is configured with for it.

A client is a program: `--address ADDRESS CHECK...`, with `--ca`, `--certificate` and `--key` (files in PEM) for TLS. It
prints a line of JSON for each check, `{"check": ..., "ok": ..., "detail": ...}`, and `{"note": ...}` for what a server
may do and had better not. Where a check needs something done to
the server it prints `{"ask": ...}` and reads a line when that has been done: `idle`, no stream but its own watch is open;
`drain`, SIGTERM was sent; `restart`, the server was killed and another one listens where it did.
"""

from __future__ import annotations

# The server lives through these.
CHECKS = [
    "process",  # headers, body and the same of the response, in that order, on one stream
    "streams",  # 200 of them open at once on one connection, each answered with what it asked for
    "message_1_mib",  # a body that comes back in pieces
    "message_10_mib",
    "message_too_large",  # over max_message_size: RESOURCE_EXHAUSTED
    "gzip",  # the client compresses
    "deadline",  # DEADLINE_EXCEEDED, and nothing stays open
    "cancel",  # nothing stays open
    "chain",  # metadata chooses one; one that there is not is NOT_FOUND
    "unknown_method",  # UNIMPLEMENTED
    "unknown_service",
    "error_text",  # letters beyond ASCII, and percent signs
    "health_check",
    "health_list",
    "reflection_v1",
    "reflection_v1alpha",
    "keepalive",  # pings as often as the client may; the connection stays
]
# What a client does over a socket of another kind.
SHORT_CHECKS = ["process", "streams", "message_1_mib", "chain", "health_check"]
# Each of these ends its server.
DRAIN = "drain"  # a watch is told, an open stream goes on to its end, new ones are UNAVAILABLE
RESTART = "restart"  # the same channel serves again

MAX_MESSAGE_SIZE = 12 << 20
CONFIG = f"""
[server.limits]
max_message_size = {MAX_MESSAGE_SIZE}

[[plugin]]
name = "instructions"
module = "instructions.so"

[data_plane]
early_end = false

[[chain]]
name = "untouched"
plugins = []
[chain.match]
metadata = {{ x-extproc-chain = "untouched" }}

[[chain]]
name = "rest"
plugins = ["instructions"]
"""
