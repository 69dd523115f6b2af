"""Chains by route, through a real Envoy: each route's stream runs the plugins of its chain and no others."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from client import Response, request
from conftest import RunEnvoy
from envoy_config import route
from rig import BINARY, Envoy, Extprocd

# Two plugins that obey different headers, so that an answer shows which of them ran.
PLUGINS = """
[[plugin]]
name = "a"
module = "instructions.so"
[plugin.config]
header = "for-a"
[[plugin]]
name = "b"
module = "instructions.so"
[plugin.config]
header = "for-b"
"""
BY_METADATA = PLUGINS + """
[[chain]]
name = "chain-a"
plugins = ["a"]
[chain.match]
metadata = { x-extproc-chain = "chain-a" }
[[chain]]
name = "chain-b"
plugins = ["b"]
[chain.match]
metadata = { x-extproc-chain = "chain-b" }
[[chain]]
name = "rest"
plugins = []
"""
BOTH = {"for-a": json.dumps({"addHeaders": {"ran-a": "1"}}), "for-b": json.dumps({"addHeaders": {"ran-b": "1"}})}


def ran(answer: Response) -> set[str]:
    """Which plugins changed the request."""
    assert answer.status == 200
    return {name for name in ("a", "b") if f"Ran-{name.upper()}" in answer.seen}


def chain_route(prefix: str, chain: str) -> dict[str, Any]:
    metadata = [{"key": "x-extproc-chain", "value": chain}]
    return route(prefix, processed=True, overrides={"grpc_initial_metadata": metadata}, rewrite="/")


def test_two_routes_have_two_chains_by_metadata(run_envoy: RunEnvoy, version: str) -> None:
    routes = [chain_route("/one/", "chain-a"), chain_route("/two/", "chain-b"), route("/", processed=True)]
    with Extprocd(BY_METADATA) as server, run_envoy(server, routes, version=version) as envoy:
        assert ran(request(envoy.port, "/one/headers", headers=BOTH)) == {"a"}
        assert ran(request(envoy.port, "/two/headers", headers=BOTH)) == {"b"}
        assert ran(request(envoy.port, "/headers", headers=BOTH)) == set()
        for chain in ("chain-a", "chain-b", "rest"):
            assert server.metric(f'extproc_chain_streams_total{{chain="{chain}"}}') == 1


def test_metadata_chooses_also_where_request_headers_are_skipped(run_envoy: RunEnvoy) -> None:
    with Extprocd(BY_METADATA) as server:
        routes = [chain_route("/one/", "chain-a"), chain_route("/two/", "chain-b")]
        with run_envoy(server, routes, processing_mode={"request_header_mode": "SKIP"}) as envoy:
            query = "for-b=%7B%22addHeaders%22%3A%7B%22ran-b%22%3A%221%22%7D%7D"
            assert request(envoy.port, f"/two/respond?{query}").header("ran-b") == "1"
            assert request(envoy.port, f"/one/respond?{query}").header("ran-b") is None


def test_two_paths_have_two_chains(run_envoy: RunEnvoy) -> None:
    config = PLUGINS + """
[[chain]]
name = "chain-a"
plugins = ["a"]
[chain.match]
path_prefix = "/one/"
[[chain]]
name = "chain-b"
plugins = ["b"]
[chain.match]
path_prefix = "/two/"
method = ["GET", "POST"]
[[chain]]
name = "rest"
plugins = ["a", "b"]
"""
    routes = [route("/one/", processed=True, rewrite="/"), route("/two/", processed=True, rewrite="/"),
              route("/", processed=True)]
    with Extprocd(config) as server, run_envoy(server, routes) as envoy:
        assert ran(request(envoy.port, "/one/headers", headers=BOTH)) == {"a"}
        assert ran(request(envoy.port, "/two/headers?x=/one/", headers=BOTH)) == {"b"}
        assert ran(request(envoy.port, "/two/headers", method="PUT", headers=BOTH)) == {"a", "b"}
        assert ran(request(envoy.port, "/headers", headers=BOTH)) == {"a", "b"}


def test_two_route_names_have_two_chains_by_attribute(run_envoy: RunEnvoy, version: str) -> None:
    config = PLUGINS + """
[[chain]]
name = "chain-a"
plugins = ["a"]
[chain.match]
attribute = { "xds.route_name" = "route-a" }
[[chain]]
name = "chain-b"
plugins = ["b"]
[chain.match]
attribute = { "xds.route_name" = "route-b*" }
[[chain]]
name = "rest"
plugins = []
"""
    routes = [{"name": "route-a"} | route("/one/", processed=True, rewrite="/"),
              {"name": "route-b-2"} | route("/two/", processed=True, rewrite="/"),
              {"name": "other"} | route("/", processed=True)]
    with (
        Extprocd(config) as server,
        run_envoy(server, routes, version=version, request_attributes=["xds.route_name"]) as envoy,
    ):
        assert ran(request(envoy.port, "/one/headers", headers=BOTH)) == {"a"}
        assert ran(request(envoy.port, "/two/headers", headers=BOTH)) == {"b"}
        assert ran(request(envoy.port, "/headers", headers=BOTH)) == set()


UNKNOWN = [chain_route("/one/", "chain-a"), chain_route("/wrong/", "chain-c")]


def test_an_unknown_chain_fails_and_says_so(run_envoy: RunEnvoy) -> None:
    with Extprocd(BY_METADATA) as server, run_envoy(server, UNKNOWN, may_fail=("streams_failed",)) as envoy:
        assert request(envoy.port, "/wrong/headers", headers=BOTH).status == 500
        assert ran(request(envoy.port, "/one/headers", headers=BOTH)) == {"a"}
        assert envoy.counters()["streams_failed"] == 1
        assert "x-extproc-chain names 'chain-c', which is no chain here; known: 'chain-a'" in server.log()
        assert server.metric("extproc_unknown_chain_streams_total") == 1


def test_an_unknown_chain_runs_no_plugin_where_envoy_fails_open(run_envoy: RunEnvoy) -> None:
    allowed = ("streams_failed", "failure_mode_allowed")
    with Extprocd(BY_METADATA) as server, run_envoy(server, UNKNOWN, allowed, failure_mode_allow=True) as envoy:
        assert ran(request(envoy.port, "/wrong/headers", headers=BOTH)) == set()


@pytest.mark.parametrize(("policy", "status"), [("deny", 404), ("skip", 200)])
def test_an_unknown_chain_follows_the_configured_policy(run_envoy: RunEnvoy, policy: str, status: int) -> None:
    config = f"[chains]\non_unknown = '{policy}'\ndeny_status = 404\n" + BY_METADATA
    with Extprocd(config) as server, run_envoy(server, UNKNOWN) as envoy:
        answer = request(envoy.port, "/wrong/headers", headers=BOTH)
        assert answer.status == status
        if status == 200:
            assert ran(answer) == set()


def test_conditions_and_overrides_act_for_each_chain(run_envoy: RunEnvoy) -> None:
    config = """
[[plugin]]
name = "a"
module = "instructions.so"
[plugin.config]
header = "for-a"
[plugin.when]
method = "POST"
[[plugin]]
name = "b"
module = "instructions.so"
[plugin.config]
header = "for-b"
[[chain]]
name = "lenient"
plugins = ["a", "b"]
[chain.match]
path_prefix = "/lenient/"
[chain.override.b]
on_error = "skip"
[chain.override.b.config]
header = "other-b"
[[chain]]
name = "rest"
plugins = ["a", "b"]
"""
    routes = [route("/lenient/", processed=True, rewrite="/"), route("/", processed=True)]
    with Extprocd(config) as server, run_envoy(server, routes, may_fail=("streams_failed",)) as envoy:
        assert ran(request(envoy.port, "/headers", headers=BOTH)) == {"b"}
        assert ran(request(envoy.port, "/headers", method="POST", body=b"", headers=BOTH)) == {"a", "b"}
        lenient = request(envoy.port, "/lenient/headers", method="POST", body=b"", headers=BOTH | {"other-b": "bad json"})
        assert ran(lenient) == {"a"}
        assert request(envoy.port, "/headers", headers={"for-b": "bad json"}).status == 500
        assert ran(request(envoy.port, "/lenient/headers", headers={"other-b": BOTH["for-b"]})) == {"b"}


@pytest.fixture(scope="module")
def checked() -> Iterator[str]:
    """What --check prints for the chains by metadata."""
    with Extprocd(BY_METADATA) as server:
        result = subprocess.run([str(BINARY), "--check", "--config", str(server.config_path)], capture_output=True, text=True)
        assert (result.returncode, result.stderr) == (0, "")
        yield result.stdout


def settings(text: str, chain: str) -> dict[str, Any]:
    """The filter settings that --check prints for a chain."""
    block = text.split(f"chain '{chain}'", 1)[1].split("Envoy filter settings:\n", 1)[1]
    lines = []
    for line in block.splitlines():
        if not line.startswith("    "):
            break
        lines.append(line)
    modes = dict(re.findall(r"^ {6}(\w+): (\w+)$", "\n".join(lines), re.MULTILINE))
    timeout = re.search(r"^ {4}message_timeout: (\S+)$", "\n".join(lines), re.MULTILINE)
    named = re.search(r"grpc_initial_metadata: \[\{key: (\S+), value: (\S+)\}\]", "\n".join(lines))
    assert timeout
    return {"processing_mode": modes, "message_timeout": timeout[1], "metadata": named and named.groups()}


def test_the_settings_that_check_prints_fit_envoy(run_envoy: RunEnvoy, checked: str) -> None:
    wanted = settings(checked, "chain-a")
    assert wanted["metadata"] == ("x-extproc-chain", "chain-a")
    assert wanted["processing_mode"]["request_header_mode"] == "SEND"
    nothing = settings(checked, "rest")["processing_mode"]
    assert set(nothing.values()) == {"SKIP", "NONE"}
    metadata = [{"key": wanted["metadata"][0], "value": wanted["metadata"][1]}]
    overrides = {"grpc_initial_metadata": metadata, "processing_mode": wanted["processing_mode"]}
    routes = [route("/one/", processed=True, overrides=overrides, rewrite="/"),
              route("/", processed=True, overrides={"processing_mode": nothing})]
    with Extprocd(BY_METADATA) as server, run_envoy(server, routes, message_timeout=wanted["message_timeout"]) as envoy:
        assert ran(request(envoy.port, "/one/headers", headers=BOTH)) == {"a"}
        assert ran(request(envoy.port, "/headers", headers=BOTH)) == set()
        assert server.metric("extproc_streams_started_total") == 1
