"""Two ext_proc filters on one request, each with a server and a body mode of its own: both before the router, or the second
behind it. Envoy had faults where one filter held what the other waited for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import body_modes
from body_modes import BUFFER_LIMIT, CLUSTERS, MODES, PROTOCOLS, pattern, prefix
from client import Response, request
from conftest import FAILURES
from envoy_config import cluster, enabled, ext_proc, listener, static, wrapped
from recorder import Recorder
from rig import Envoy, Extprocd, eventually, free_port
from upstream import Upstream

# Where the second filter stands; the first is always before the router. Recorded is before it too.
PLACES = ["before", "behind", "recorded"]
PAIRS = list(itertools.product(MODES, MODES))
# Envoy loses the rest of a body that one filter hands on in pieces while the other has held it up for its headers, and
# ends it as if it were whole: envoyproxy/envoy issues 41654, 43983 and 47449.
LOSSY = [pair for pair in PAIRS if {"STREAMED", "FULL_DUPLEX_STREAMED"} & {*pair} and "BUFFERED" not in pair]
SIZES = [0, 1, 100 << 10, 1 << 20]


@dataclass
class Chain:
    envoy: Envoy
    ports: dict[str, int]
    servers: list[Extprocd]
    recorders: list[Recorder]


def extension(name: str, server: str) -> dict[str, Any]:
    return wrapped(ext_proc(grpc_service={"envoy_grpc": {"cluster_name": server}}), name)


def route(first: str, second: str, protocol: str) -> dict[str, Any]:
    per_filter = enabled("first", overrides=body_modes.overrides(first, first))
    per_filter |= enabled("second", overrides=body_modes.overrides(second, second))
    return {
        "match": {"prefix": prefix(first, second, protocol)},
        "route": {"cluster": CLUSTERS[protocol], "prefix_rewrite": "/"},
        "typed_per_filter_config": per_filter,
    }


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Extprocd]]:
    with Extprocd() as first, Extprocd() as second:
        yield [first, second]


@pytest.fixture(scope="module")
def recorders(servers: list[Extprocd]) -> Iterator[list[Recorder]]:
    with Recorder(servers[0].address) as first, Recorder(servers[1].address) as second:
        yield [first, second]


@pytest.fixture(scope="module")
def chain(upstream: Upstream, servers: list[Extprocd], recorders: list[Recorder], version: str) -> Iterator[Chain]:
    ports = {place: free_port() for place in PLACES}
    first, second = extension("first", "server-1"), extension("second", "server-2")
    recorded = [extension("first", "recorder-1"), extension("second", "recorder-2")]
    routes = [route(*pair, protocol) for pair in PAIRS for protocol in PROTOCOLS]
    hosts = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]}
    listeners = [
        listener("before", ports["before"], hosts, [first, second], buffer_limit=BUFFER_LIMIT),
        listener("behind", ports["behind"], hosts, [first], [second], buffer_limit=BUFFER_LIMIT),
        listener("recorded", ports["recorded"], hosts, recorded, buffer_limit=BUFFER_LIMIT),
    ]
    target = f"127.0.0.1:{upstream.port}"
    clusters = [cluster(CLUSTERS[protocol], target, protocol == "http2", BUFFER_LIMIT) for protocol in PROTOCOLS]
    for number in (0, 1):
        clusters.append(cluster(f"server-{number + 1}", servers[number].address, True, BUFFER_LIMIT))
        clusters.append(cluster(f"recorder-{number + 1}", recorders[number].address, True, BUFFER_LIMIT))
    admin = free_port()
    with Envoy(static(admin, listeners, clusters), ports["before"], admin, version) as envoy:
        yield Chain(envoy, ports, servers, recorders)
        counters = envoy.counters()
        assert {key: counters[key] for key in FAILURES if counters[key]} == {}
        for server in servers:
            eventually(lambda server=server: server.metric("extproc_streams_active") == 0)
            assert server.metric("extproc_protocol_errors_total") == 0


def echoes(chain: Chain, place: str, pair: tuple[str, str], protocol: str) -> Iterator[tuple[bytes, bool, Response]]:
    """Bodies sent, whether with trailers, and what came back. Each is a stream at either server."""
    before = [server.metric("extproc_streams_started_total") for server in chain.servers]
    for size, trailers in itertools.product(SIZES, [False, True]):
        body = pattern(size)
        path = prefix(*pair, protocol) + ("echo?trailers=1" if trailers else "echo")
        yield body, trailers, request(chain.ports[place], path, method="POST", body=body,
                                      trailers={"x-sum": "42"} if trailers else None, chunk=99_999 if trailers else 0,
                                      exchange=PROTOCOLS[protocol])
    for server, count in zip(chain.servers, before, strict=True):
        assert server.metric("extproc_streams_started_total") - count == 2 * len(SIZES)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("place", "first", "second"), [
    *(("before", *pair) for pair in PAIRS if pair not in LOSSY), *(("behind", *pair) for pair in PAIRS)
])
def test_bodies_and_trailers_pass_both(chain: Chain, place: str, first: str, second: str, protocol: str) -> None:
    for body, trailers, answer in echoes(chain, place, (first, second), protocol):
        case = (len(body), trailers)
        assert (answer.status, answer.body == body) == (200, True), case
        assert answer.header("x-trailers") == ('{"x-sum": "42"}' if trailers else "{}"), case
        assert answer.trailers == ({"x-end": "1"} if trailers else {}), case


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("first", "second"), LOSSY)
def test_what_envoy_loses_between_filters_it_loses_at_the_end(chain: Chain, first: str, second: str, protocol: str) -> None:
    for recorder in chain.recorders:
        recorder.streams.clear()
    for body, _, answer in echoes(chain, "recorded", (first, second), protocol):
        assert answer.status == 200
        assert body.startswith(answer.body)
    # Neither server had a part in it, and Envoy has counted no failure (see `chain`).
    for recorder in chain.recorders:
        assert len([stream for stream in recorder.streams if stream.replies]) == 2 * len(SIZES)
        assert [wrong for stream in recorder.streams for wrong in stream.wrong_replies()] == []
