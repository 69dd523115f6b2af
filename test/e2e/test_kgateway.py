"""kgateway's own end-to-end scenarios of ext_proc, as the configuration that it generates for them: policies on a gateway,
a route, a rule and a backend, filter stages, and two servers one after the other. One listener for each scenario."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from client import request
from conftest import FAILURES
from envoy_config import cluster, enabled, ext_proc, listener, static, switched_off, wrapped
from rig import Envoy, Extprocd, SampleServer, eventually, free_port
from upstream import Upstream

# Go writes the nil slice and the nil map as null.
ADD = json.dumps({"addHeaders": {"extproctest": "true"}, "removeHeaders": None})
REMOVE_A = json.dumps({"addHeaders": None, "removeHeaders": ["x-extproc-server-a"]})


def name(extension: str) -> str:
    return f"ext_proc/default/{extension}"


def extension(name_of_extension: str, server: str) -> dict[str, Any]:
    """The filter of a GatewayExtension that has nothing but a backend."""
    inner = ext_proc(grpc_service={"envoy_grpc": {"cluster_name": server}}, failure_mode_allow=True)
    return wrapped(inner, name(name_of_extension))


def rule(path: str, per_filter: dict[str, Any] | None = None, backend: dict[str, Any] | None = None) -> dict[str, Any]:
    """The route of an HTTPRoute's rule; `backend` is the per-filter configuration of its only backend."""
    action: dict[str, Any] = {"prefix_rewrite": "/headers"}
    if backend is None:
        action["cluster"] = "upstream"
    else:
        action["weighted_clusters"] = {
            "clusters": [{"name": "upstream", "weight": 1, "typed_per_filter_config": backend}]
        }
    match = {"prefix": "/"} if path == "/" else {"path_separated_prefix": path}
    return {"match": match, "route": action, "typed_per_filter_config": per_filter or {}}


def hosts(*rules: dict[str, Any], gateway: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "virtual_hosts": [{"name": "www", "domains": ["www.example.com"], "routes": list(rules)}],
        "typed_per_filter_config": gateway or {},
    }


ONE = enabled(name("ext-proc-extension"))
A, B = enabled(name("ext-proc-a")), enabled(name("ext-proc-b"))
ONE_FILTER = [extension("ext-proc-extension", "server")]
A_THEN_B = [extension("ext-proc-a", "server-a"), extension("ext-proc-b", "server-b")]

# Of each scenario the fields of its listener.
SCENARIOS: dict[str, dict[str, Any]] = {
    "K1": {
        "hosts": hosts(rule("/myapp"), rule("/extproc-disabled", switched_off()), rule("/"), gateway=ONE),
        "filters": ONE_FILTER,
    },
    "K2": {"hosts": hosts(rule("/myapp", ONE), rule("/")), "filters": ONE_FILTER},
    "K4": {"hosts": hosts(rule("/with-extproc", backend=ONE), rule("/without-extproc", backend={})), "filters": ONE_FILTER},
    "K5": {
        "hosts": hosts(
            rule("/early-extproc", enabled(name("early"))), rule("/default-extproc", enabled(name("default"))),
            rule("/no-extproc"),
        ),
        "filters": [extension("early", "server"), extension("default", "server")],
    },
    "K6": {"hosts": hosts(rule("/both", A | B)), "filters": A_THEN_B},
    "K7": {"hosts": hosts(rule("/both", A | B)), "filters": A_THEN_B[:1], "upstream_filters": A_THEN_B[1:]},
    "K8": {"hosts": hosts(rule("/both", A | B), rule("/gateway-only"), gateway=A), "filters": A_THEN_B},
}


@dataclass
class Gateway:
    envoy: Envoy
    ports: dict[str, int]

    def seen(self, scenario: str, path: str, instructions: str = "") -> dict[str, str]:
        """The headers that the upstream saw."""
        headers = {"host": "www.example.com"} | ({"instructions": instructions} if instructions else {})
        answer = request(self.ports[scenario], path, headers=headers)
        assert answer.status == 200, answer.body
        return answer.seen


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Extprocd]]:
    def adding(header: str) -> SampleServer:
        return SampleServer(flags=["--add-header", header])

    with SampleServer() as server, adding("x-extproc-server-a:true") as a, adding("x-extproc-server-b:true") as b:
        yield {"server": server, "server-a": a, "server-b": b}


@pytest.fixture(scope="module")
def gateway(servers: dict[str, Extprocd], upstream: Upstream, version: str) -> Iterator[Gateway]:
    ports = {scenario: free_port() for scenario in SCENARIOS}
    listeners = [listener(scenario, ports[scenario], **fields) for scenario, fields in SCENARIOS.items()]
    clusters = [cluster("upstream", f"127.0.0.1:{upstream.port}", http2=False)]
    clusters += [cluster(key, server.address, http2=True) for key, server in servers.items()]
    admin = free_port()
    with Envoy(static(admin, listeners, clusters), ports["K1"], admin, version) as envoy:
        yield Gateway(envoy, ports)


@pytest.fixture(autouse=True)
def _nothing_failed(gateway: Gateway, servers: dict[str, Extprocd]) -> Iterator[None]:
    yield
    counters = gateway.envoy.counters()
    assert {key: counters[key] for key in FAILURES if counters[key]} == {}
    for server in servers.values():
        assert server.metric("extproc_protocol_errors_total") == 0
        eventually(lambda server=server: server.metric("extproc_streams_active") == 0)


@pytest.mark.parametrize(("path", "processed"), [("/", True), ("/myapp", True), ("/extproc-disabled", False)])
def test_k1_a_policy_on_the_gateway(gateway: Gateway, path: str, processed: bool) -> None:
    assert ("Extproctest" in gateway.seen("K1", path, ADD)) == processed


@pytest.mark.parametrize(("path", "processed"), [("/myapp", True), ("/", False)])
def test_k2_and_k3_a_policy_on_a_route_or_one_of_its_rules(gateway: Gateway, path: str, processed: bool) -> None:
    assert ("Extproctest" in gateway.seen("K2", path, ADD)) == processed


@pytest.mark.parametrize(("path", "processed"), [("/with-extproc", True), ("/without-extproc", False)])
def test_k4_a_policy_on_a_backend(gateway: Gateway, path: str, processed: bool) -> None:
    assert ("Extproctest" in gateway.seen("K4", path, ADD)) == processed


@pytest.mark.parametrize(("stage", "processed"), [("early", True), ("default", True), ("no", False)])
def test_k5_stages_of_the_filter(gateway: Gateway, stage: str, processed: bool) -> None:
    instructions = json.dumps({"addHeaders": {f"extproc-{stage}": "true"}, "removeHeaders": None})
    assert (f"Extproc-{stage.title()}" in gateway.seen("K5", f"/{stage}-extproc", instructions)) == processed


@pytest.mark.parametrize("scenario", ["K6", "K7", "K8"])
def test_k6_k7_and_k8_both_servers_are_asked(gateway: Gateway, scenario: str) -> None:
    before = gateway.envoy.counters()
    seen = gateway.seen(scenario, "/both")
    assert (seen.get("X-Extproc-Server-A"), seen.get("X-Extproc-Server-B")) == ("true", "true")
    more = {key: value - before[key] for key, value in gateway.envoy.counters().items()}
    assert (more["streams_started"], more["stream_msgs_sent"], more["stream_msgs_received"]) == (2, 4, 4)


@pytest.mark.parametrize("scenario", ["K6", "K7", "K8"])
def test_k6_k7_and_k8_server_a_is_asked_first(gateway: Gateway, scenario: str) -> None:
    # Each sets its header after the removal, so that only a later server can remove it.
    seen = gateway.seen(scenario, "/both", REMOVE_A)
    assert "X-Extproc-Server-A" not in seen
    assert seen["X-Extproc-Server-B"] == "true"


def test_k8_only_the_gateways_server_is_asked_where_the_route_has_none(gateway: Gateway) -> None:
    seen = gateway.seen("K8", "/gateway-only")
    assert seen["X-Extproc-Server-A"] == "true"
    assert "X-Extproc-Server-B" not in seen
