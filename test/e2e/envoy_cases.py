"""The scenarios of test/scenarios/envoy through a real Envoy: one Envoy and one upstream for all of them. Routes choose by
a header, listeners differ in what a route cannot say of the filter, and servers in their own configuration."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import envoy_config
from client import Exchange, Http1Exchange, Http2Exchange
from conftest import FAILURES
from http2 import Cut
from rig import TOP, Envoy, Extprocd, free_port, http_get
from upstream import Http2Request, Request, Upstream

RELEASE = TOP / "build/release"
MODULES = RELEASE / "test/conformance/modules"
SCENARIOS = TOP / "test/scenarios/envoy"
CASE = "x-case"
FILTER = "envoy.filters.http.ext_proc"
PATIENCE = 10.0
# Any other host is a 404.
DOMAINS = ["extproc.example", "new_host"]
# Counters of Envoy that a scenario may name beside those that must not move.
COUNTED = (*FAILURES, "clear_route_cache_ignored", "clear_route_cache_disabled", "override_message_timeout_received",
           "override_message_timeout_ignored", "immediate_responses_sent")


def split(lines: list[str]) -> list[tuple[str, str]]:
    """Headers, written "name: value"."""
    return [(line[: line.index(": ", 1)], line[line.index(": ", 1) + 2 :]) for line in lines]


def values(headers: list[tuple[str, str]], name: str) -> str | None:
    """All values of a name as one, as HTTP has it."""
    found = [value for key, value in headers if key == name]
    return ",".join(found).replace(", ", ",") if found else None


@dataclass
class Seen:
    """What reached one end."""

    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)


class Case(dict[str, Any]):
    """A case as conformance_cases prints it."""

    def why_not(self, version: str) -> str:
        """Why this version cannot have it; empty if it can."""
        reasons: dict[str, str] = self["not_producible"]
        return reasons.get(version, "") or reasons.get("envoy", "")

    def expected(self, end: str, version: str) -> dict[str, Any]:
        """What must come out at one end of this version."""
        other = self["version"].get(version, {}).get(end)
        if other is None:
            return self[end]
        status = [f":status: {other['status']}"] if "status" in other else []
        return {"reached": True, "absent": [], **other, "headers": [*other.get("headers", []), *status]}

    def counters(self, version: str) -> dict[str, int]:
        return self["version"].get(version, {}).get("counters", self["counters"])

    def listener_key(self) -> str:
        """What a route cannot say."""
        rest = dict(self["filter"])
        # mode_override starts from the filter's own mode.
        if not rest.get("allow_mode_override"):
            rest.pop("processing_mode")
        return json.dumps([rest, self["buffer_limit"], self["server"], self["set_metadata"]], sort_keys=True)


def load() -> list[Case]:
    program = RELEASE / "bin/conformance_cases"
    return [Case(case) for case in json.loads(subprocess.check_output([program, SCENARIOS]))]


class CaseUpstream(Upstream):
    """Answers each request as its case says, and keeps what came."""

    def __init__(self, cases: list[Case]) -> None:
        super().__init__()
        self.cases = {case["chain"]: case for case in cases}
        self.seen: dict[str, Seen] = {}
        self.server.serve = self.serve

    def serve(self, request: Request, _: Any) -> None:
        name = request.header(CASE)
        case = self.cases[name]
        method, target = [(":method", request.method)], [(":path", request.target)]
        host = [(":authority", request.header("host"))]
        seen = self.seen[name] = Seen(method + target + host + request.headers)
        if case["early"]:
            self._answer(request, case)
        for piece in iter(request.read, b""):
            seen.body += piece
        seen.trailers = dict(request.trailers)
        seen.ended.set()
        if not case["early"]:
            self._answer(request, case)

    @staticmethod
    def _answer(request: Request, case: Case) -> None:
        response = case["response"]
        (_, status), *headers = split(response["headers"])
        chunks = [chunk.encode() for chunk in response["chunks"]]
        trailers = dict(split(response["trailers"])) if "trailers" in response else None
        if isinstance(request, Http2Request):
            connection, stream = request.connection, request.stream
            connection.send_headers(stream, [(":status", status), *headers], end=not chunks and trailers is None)
            send_pieces(connection, stream, chunks, trailers)
            return
        length = next((int(value) for name, value in headers if name == "content-length"), None)
        request.respond(int(status), [one for one in headers if one[0] != "content-length"], length if chunks else 0)
        for chunk in chunks:
            request.write(chunk)
        if chunks or trailers:
            request.end(trailers)


def send_pieces(connection: Any, stream: int, chunks: list[bytes], trailers: dict[str, str] | None) -> None:
    """Each piece in frames of its own, the end with the last one."""
    for at, chunk in enumerate(chunks):
        last = at + 1 == len(chunks) and trailers is None
        small = len(chunk) <= min(connection.h2.max_outbound_frame_size, connection.h2.local_flow_control_window(stream))
        if small:
            connection.h2.send_data(stream, chunk, end_stream=last)
            connection.flush()
        else:
            connection.send(stream, chunk)
            if last:
                connection.end(stream)
    if trailers is not None:
        connection.end(stream, trailers)


class Runner:
    """An Envoy with servers behind it, for all cases that this version can have."""

    def __init__(self, cases: list[Case], version: str) -> None:
        self.version = version
        self.cases = [case for case in cases if not case.why_not(version)]
        self.upstream = CaseUpstream(self.cases)
        self.keys = sorted({case.listener_key() for case in self.cases})
        self.ports = [free_port() for _ in self.keys]
        self.servers = {text: self._server(text) for text in sorted({case["server"] for case in self.cases})}

    def _server(self, text: str) -> Extprocd:
        mine = [case["plugins"] for case in self.cases if case["server"] == text]
        # Health checks and the like have no chain of their own.
        config = "\n".join([text, *mine, "[[chain]]\nname = 'nothing'\nplugins = []\n"])
        return Extprocd(config, flags=["--plugin-dir", str(MODULES)])

    def run(self, wanted: str = "") -> dict[str, list[str]]:
        """What is wrong with each case, by its id."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.upstream)
            for server in self.servers.values():
                stack.enter_context(server)
            admin = free_port()
            self.envoy = stack.enter_context(Envoy(self._config(admin), self.ports[0], admin, self.version))
            results = {case["id"]: self._play(case) for case in self.cases if wanted in case["id"]}
            results[f"servers behind {self.version}"] = self._servers_are_fine()
        return results

    def _servers_are_fine(self) -> list[str]:
        wrong = []
        for server in self.servers.values():
            if left := self._wait_for(server):
                wrong.append(f"{left:.0f} streams are left")
            if held := server.metric("extproc_held_bytes"):
                wrong.append(f"{held:.0f} bytes are held")
            if errors := server.metric("extproc_protocol_errors_total"):
                wrong.append(f"{errors:.0f} protocol errors")
        return wrong

    @staticmethod
    def _wait_for(server: Extprocd) -> float:
        """The streams that are left when it has been waited for them to end."""
        deadline = time.monotonic() + PATIENCE
        while (left := server.metric("extproc_streams_active")) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def _config(self, admin: int) -> dict[str, Any]:
        target = f"127.0.0.1:{self.upstream.port}"
        metadata = {"metadata": {"filter_metadata": {"from.cluster": {"foo": "value of the cluster"}}}}
        clusters = [envoy_config.cluster("upstream-http1", target, http2=False) | metadata,
                    envoy_config.cluster("upstream-http2", target, http2=True) | metadata]
        names = {text: f"extprocd-{at}" for at, text in enumerate(self.servers)}
        clusters += [envoy_config.cluster(names[text], server.address, http2=True) for text, server in self.servers.items()]
        listeners = []
        for at, (key, port) in enumerate(zip(self.keys, self.ports, strict=True)):
            mine = [case for case in self.cases if case.listener_key() == key]
            first = mine[0]
            settings, limit = dict(first["filter"]), first["buffer_limit"]
            grpc = {"cluster_name": names[first["server"]], **settings.pop("envoy_grpc", {})}
            service = {"envoy_grpc": grpc, **settings.pop("grpc_service", {})}
            inner = envoy_config.ext_proc(**{"message_timeout": "10s"} | settings | {"grpc_service": service})
            filters = [{"name": FILTER, "typed_config": inner}]
            if first["set_metadata"]:
                entries = [{"metadata_namespace": name, "value": value} for name, value in first["set_metadata"].items()]
                config = envoy_config.any_of("envoy.extensions.filters.http.set_metadata.v3.Config", metadata=entries)
                filters.insert(0, {"name": "envoy.filters.http.set_metadata", "typed_config": config})
            hosts = {"virtual_hosts": [{"name": "all", "domains": DOMAINS, "routes": [self._route(case) for case in mine]}]}
            listeners.append(envoy_config.listener(f"l{at}", port, hosts, filters, buffer_limit=limit,
                                                   upgrade_configs=[{"upgrade_type": "websocket"}]))
        return envoy_config.static(admin, listeners, clusters)

    @staticmethod
    def _route(case: Case) -> dict[str, Any]:
        overrides: dict[str, Any] = {"grpc_initial_metadata": [{"key": "x-extproc-chain", "value": case["chain"]}]}
        if not case["filter"].get("allow_mode_override"):
            overrides["processing_mode"] = case["filter"]["processing_mode"]
        per_route = envoy_config.any_of("envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute", overrides=overrides)
        chosen = {"name": CASE, "string_match": {"exact": case["chain"]}}
        shown = [{"header": {"key": f"x-metadata-{at}", "value": "%DYNAMIC_METADATA(" + place.replace("/", ":") + ")%"}}
                 for at, place in enumerate(case["metadata"])]
        return {
            "match": {"prefix": "/", "headers": [chosen]},
            "route": {"cluster": f"upstream-{case['protocol']}"},
            "typed_per_filter_config": {FILTER: per_route},
            "response_headers_to_add": shown,
        }

    def _play(self, case: Case) -> list[str]:
        at = self.keys.index(case.listener_key())
        before = self._counted(at)
        protocols: dict[str, type[Exchange]] = {"http1": Http1Exchange, "http2": Http2Exchange}
        (_, method), _, (_, path), _, *headers = split(case["request"]["headers"])
        chunks = [chunk.encode() for chunk in case["request"]["chunks"]]
        trailers = dict(split(case["request"]["trailers"])) if "trailers" in case["request"] else None
        length = None if not chunks and trailers is None else -1
        all_headers: dict[str, Any] = dict(headers) | {CASE: case["chain"]}
        if "content-length" in all_headers:
            length = int(all_headers.pop("content-length"))
        if case["protocol"] == "http2":
            all_headers = {name: value.encode("latin-1") for name, value in all_headers.items()}  # bytes that are no UTF-8
        client = Seen()
        try:
            with protocols[case["protocol"]](self.ports[at], path, method=method, headers=all_headers, length=length) as one:
                with contextlib.suppress(Cut):  # a local reply may come before all of the body is out
                    self._send(one, chunks, trailers)
                if case["goes_away"]:
                    one.abort()
                else:
                    answer = one.response()
                    client.headers = [(":status", str(answer.status)), *answer.headers]
                    client.body, client.trailers = answer.body, answer.trailers
        except (Cut, TimeoutError) as error:
            if not case["expects_cut"]:
                return [f"client: {error}"]
        wrong = [*self._differences(case, client), *self._counters_differ(case, at, before)]
        if "sleep" in case["plugins"]:
            self._wait_for(self.servers[case["server"]])  # its thread is held, and the next case's stream may be on it
        return wrong

    @staticmethod
    def _send(one: Exchange, chunks: list[bytes], trailers: dict[str, str] | None) -> None:
        if isinstance(one, Http2Exchange):
            send_pieces(one.connection, one.id, chunks, trailers)
            return
        for chunk in chunks:
            if chunk:
                one.send(chunk)
        if chunks or trailers:
            one.end(trailers)

    def _differences(self, case: Case, client: Seen) -> list[str]:
        wrong = []
        expected = case.expected("upstream", self.version)
        seen = self.upstream.seen.get(case["chain"])
        if expected.get("partial") and seen is None:
            pass
        elif expected["reached"] != (seen is not None):
            wrong.append("nothing reaches the upstream" if expected["reached"] else "the request reaches the upstream")
        elif seen is not None:
            if "body" in expected and not seen.ended.wait(PATIENCE):
                wrong.append("upstream: the request does not end")
            wrong += compare("upstream", expected, seen)
        if case["goes_away"] or case["expects_cut"]:
            return wrong
        metadata = [f"x-metadata-{at}: {value}" for at, value in enumerate(case["metadata"].values())]
        wanted = case.expected("client", self.version)
        return wrong + compare("client", wanted | {"headers": wanted["headers"] + metadata}, client)

    def _counted(self, at: int) -> dict[str, int]:
        text = http_get(f"http://127.0.0.1:{self.envoy.admin_port}/stats?filter=^http\\.l{at}\\.ext_proc\\.")[1]
        counters = {line.rpartition(": ")[0].rpartition(".")[2]: int(line.rpartition(": ")[2]) for line in text.splitlines()}
        return {name: counters.get(name, 0) for name in COUNTED}

    def _counters_differ(self, case: Case, at: int, before: dict[str, int]) -> list[str]:
        expected = dict.fromkeys(FAILURES, 0) | case.counters(self.version)
        deadline = time.monotonic() + PATIENCE
        while True:
            now = self._counted(at)
            moved = {name: now[name] - before[name] for name in expected}
            if moved == expected:
                return []
            # What must move may do so a little after the answer.
            if time.monotonic() > deadline or any(moved[name] > expected[name] for name in expected):
                return [f"Envoy counts {name}: {moved[name]}, not {expected[name]}" for name in expected
                        if moved[name] != expected[name]]
            time.sleep(0.02)


def compare(end: str, expected: dict[str, Any], seen: Seen) -> list[str]:
    wrong = []
    lines = split(expected["headers"])
    for name in dict.fromkeys(name for name, _ in lines):
        wanted, found = values(lines, name), values(seen.headers, name)
        if wanted != found:
            wrong.append(f"{end}: {name} is {found!r}, not {wanted!r}")
    wrong += [f"{end}: {name} is there" for name in expected["absent"] if values(seen.headers, name) is not None]
    if "body" in expected and seen.body != expected["body"].encode():
        wrong.append(f"{end}: the body is {shortened(seen.body)}, not {shortened(expected['body'].encode())}")
    if "trailers" in expected and seen.trailers != dict(split(expected["trailers"])):
        wrong.append(f"{end}: the trailers are {seen.trailers}, not {dict(split(expected['trailers']))}")
    return wrong


def shortened(body: bytes) -> str:
    return repr(body) if len(body) <= 100 else f"{body[:100]!r}… ({len(body)})"


def run(version: str, wanted: str = "", cases: list[Case] | None = None) -> dict[str, list[str]]:
    return Runner(load() if cases is None else cases, version).run(wanted)
