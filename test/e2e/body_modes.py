"""Routes for every pair of body modes, so that one Envoy serves them all, and bodies to send on them."""

from __future__ import annotations

import array
import functools
import itertools
from typing import Any

from client import Exchange, Http1Exchange, Http2Exchange
from envoy_config import route

MODES = ["NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED"]
PAIRS = list(itertools.product(MODES, MODES))
# Modes in which a body goes on as it comes; in the others Envoy holds it until its end.
FLOWING = ["NONE", "STREAMED", "FULL_DUPLEX_STREAMED"]
# Spoken at both ends of Envoy.
PROTOCOLS: dict[str, type[Exchange]] = {"http1": Http1Exchange, "http2": Http2Exchange}
CLUSTERS = {"http1": "upstream", "http2": "upstream-http2", "nowhere": "nowhere"}
# Request headers, response headers, and the trailers where the body mode leaves the choice; all three sent is the rule.
HEADER_MODES = [modes for modes in itertools.product(["SEND", "SKIP"], repeat=3) if modes != ("SEND", "SEND", "SEND")]
BUFFER_LIMIT = 16 << 20


def overrides(request_mode: str, response_mode: str, request_headers: str = "SEND", response_headers: str = "SEND",
              trailers: str = "SEND") -> dict[str, Any]:
    def trailer_mode(body_mode: str) -> str:
        return "SEND" if body_mode == "FULL_DUPLEX_STREAMED" else trailers  # Envoy takes nothing else

    return {
        "processing_mode": {
            "request_header_mode": request_headers,
            "response_header_mode": response_headers,
            "request_body_mode": request_mode,
            "response_body_mode": response_mode,
            "request_trailer_mode": trailer_mode(request_mode),
            "response_trailer_mode": trailer_mode(response_mode),
        }
    }


def prefix(request_mode: str, response_mode: str, to: str = "http1") -> str:
    return f"/{to}/{request_mode}-{response_mode}/"


def skipping_prefix(request_mode: str, response_mode: str, to: str, *header_modes: str) -> str:
    return f"/{'-'.join(header_modes)}{prefix(request_mode, response_mode, to)}"


def routes() -> list[dict[str, Any]]:
    return [
        route(prefix(*pair, to), processed=True, overrides=overrides(*pair), rewrite="/", to=CLUSTERS[to])
        for pair in PAIRS for to in CLUSTERS
    ] + [
        route(skipping_prefix(*pair, to, *modes), processed=True, overrides=overrides(*pair, *modes), rewrite="/",
              to=CLUSTERS[to])
        for pair in PAIRS for to in PROTOCOLS for modes in HEADER_MODES
    ]


@functools.cache
def pattern(size: int) -> bytes:
    """Bytes in which a lost, doubled or swapped piece shows."""
    return array.array("I", range(size // 4 + 1)).tobytes()[:size]
