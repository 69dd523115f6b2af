"""A plugin that misbehaves in each way that a host can survive, behind a real Envoy: whatever its policy, the body mode and
the phase, the client gets a legal answer, and the requests beside it pass the same plugin undisturbed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from body_modes import overrides, pattern
from client import Http1Exchange, Response, request
from conftest import RunEnvoy
from envoy_config import route
from faults import (
    ACCESSES,
    BLOCKING,
    DENY_STATUS,
    FAILING,
    IGNORED,
    PHASES,
    POLICIES,
    QUICK,
    REST,
    SOUND,
    WAITING,
    plugin,
)
from http2 import Cut
from rig import Envoy, Extprocd, eventually

BODY = pattern(30_000)
# Accesses that a body mode allows, and blocking, which observes on a worker; bodies of mode NONE do not come.
ROWS = [("observe", "NONE"), ("observe", "STREAMED"), ("stream", "STREAMED"), ("whole", "BUFFERED"),
        ("observe", "BUFFERED_PARTIAL"), ("observe", "FULL_DUPLEX_STREAMED"), ("stream", "FULL_DUPLEX_STREAMED"),
        ("blocking", "STREAMED"), ("blocking", "FULL_DUPLEX_STREAMED")]
TIMEOUT = "200ms"
TOO_LONG, SHORT = 240, 5  # milliseconds


@dataclass(frozen=True)
class Place:
    """Where a fault comes."""

    access: str
    mode: str
    phase: str

    def started(self) -> bool:
        """May the response be on its way to the client by then?"""
        flows = self.mode in ("STREAMED", "FULL_DUPLEX_STREAMED")
        return self.phase == "response_trailers" or (self.phase == "response_body" and flows)


PLACES = [Place(access, mode, phase) for access, mode in ROWS for phase in PHASES
          if mode != "NONE" or not phase.endswith("_body")]
BODY_PHASES = ["request_body", "response_body"]


def places(fault: str) -> list[Place]:
    if fault == "hold":  # elsewhere it may
        return [place for place in PLACES if place.phase.endswith("_trailers")
                or (place.phase in BODY_PHASES and place.access != "stream")]
    if fault in BLOCKING:  # one after the other, so they take their time
        row = BLOCKING[fault]
        return [place for place in PLACES if row in (place.mode, place.access)]
    return PLACES


def path(access: str, policy: str, hasty: bool, mode: str) -> str:
    return f"/{chain(access, policy, hasty)}/{mode}/"


def chain(access: str, policy: str, hasty: bool) -> str:
    return f"{access}-{policy}{'-hasty' if hasty else ''}"


CHAINS = [(access, policy, hasty) for access in ACCESSES for policy in POLICIES for hasty in (False, True)]
CONFIG = "".join(
    plugin(chain(*one), one[0], one[1], **({"timeout": TIMEOUT} if one[2] else {})) for one in CHAINS
) + REST + "[server]\nthreads = 2\n[server.workers]\nthreads = 64\n[server.limits]\nmax_message_size = '1MiB'\n"


def processed(prefix: str, chain: str, mode: str) -> dict[str, Any]:
    """A route whose answers show which headers of the plugin's the upstream got."""
    metadata = {"grpc_initial_metadata": [{"key": "x-extproc-chain", "value": chain}]}
    shown = [{"header": {"key": f"x-request-{name}", "value": f"%REQ(X-{name.upper()})%"}}
             for name in ("passed", "resumed", "spoilt")]
    return route(prefix, processed=True, overrides=overrides(mode, mode) | metadata, rewrite="/") | {
        "response_headers_to_add": shown}


@pytest.fixture(scope="module")
def server() -> Iterator[Extprocd]:
    with Extprocd(CONFIG) as running:
        yield running


ROUTES = [processed(path(*one, mode), chain(*one), mode) for one in CHAINS for access, mode in ROWS if access == one[0]]


@pytest.fixture(scope="module")
def front(server: Extprocd, run_envoy: RunEnvoy, version: str) -> Iterator[Envoy]:
    with run_envoy(server, ROUTES, ("streams_failed",), version) as running:
        yield running


@pytest.fixture(scope="module")
def newest(server: Extprocd, run_envoy: RunEnvoy) -> Iterator[Envoy]:
    with run_envoy(server, ROUTES, ("streams_failed",)) as running:
        yield running


def call(envoy: Envoy, where: str, fault: str = "") -> Response | None:
    """The answer to a request with a body and trailers, which the upstream gives back; None if it was cut off."""
    try:
        return request(envoy.port, where + "echo?trailers=1", method="POST", body=BODY, chunk=7_000,
                       trailers={"x-sum": "42"}, headers={"x-fault": fault} if fault else None)
    except Cut:
        return None


def assert_intact(answer: Response | None) -> Response:
    """The request and its response have passed with all that belongs to them, and nothing that was to be undone."""
    assert answer is not None
    assert (answer.status, answer.body) == (200, BODY)
    up = json.loads(answer.header("x-trailers") or "")
    assert (up.get("x-sum"), answer.trailers.get("x-end")) == ("42", "1")
    assert "x-spoilt" not in up and "x-spoilt" not in answer.trailers
    assert answer.header("x-spoilt") is None and answer.header("x-request-spoilt") is None
    return answer


def assert_undisturbed(answer: Response | None, name: str) -> None:
    whole = assert_intact(answer)
    assert (whole.header("x-request-passed"), whole.header("x-passed")) == (name, name)
    assert json.loads(whole.header("x-trailers") or "")["x-passed"] == whole.trailers["x-passed"] == name


class Counts:
    """What server and Envoy have counted since then."""

    def __init__(self, server: Extprocd, envoy: Envoy) -> None:
        self.server, self.envoy = server, envoy
        self.before, self.envoy_before, self.log_before = self._read(), envoy.counters(), len(server.log())

    def _read(self) -> dict[str, float]:
        lines = [line for line in self.server.metrics().splitlines() if not line.startswith("#")]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    def of(self, family: str, **labels: str) -> float:
        """The sum over all series that have these labels."""
        wanted = [f'{name}="{value}"' for name, value in labels.items()]
        return sum(value - self.before.get(series, 0) for series, value in self._read().items()
                   if series.partition("{")[0] == family and all(label in series for label in wanted))

    def logged(self) -> list[str]:
        return self.server.log()[self.log_before:].splitlines()

    def of_envoy(self, name: str) -> int:
        return self.envoy.counters().get(name, 0) - self.envoy_before.get(name, 0)


def in_parallel(envoy: Envoy, calls: list[tuple[str, str]]) -> list[Response | None]:
    with ThreadPoolExecutor(12) as pool:
        return list(pool.map(lambda one: call(envoy, *one), calls))


def assert_follows(policy: str, place: Place, answer: Response | None) -> None:
    if policy == "skip":
        assert_intact(answer)
    elif place.started():  # the response is cut off, or had not begun yet
        assert answer is None or answer.status == 500
    else:
        assert answer is not None
        assert answer.status == (DENY_STATUS if policy == "deny" else 500)


@pytest.mark.parametrize("fault", [*QUICK, *WAITING])
def test_a_plugin_that_fails_is_its_policys_affair(server: Extprocd, front: Envoy, fault: str) -> None:
    assert_policies_are_followed(server, front, fault)


@pytest.mark.parametrize("fault", BLOCKING)
def test_a_plugin_that_keeps_the_thread_is_its_policys_affair(server: Extprocd, newest: Envoy, fault: str) -> None:
    assert_policies_are_followed(server, newest, fault)


def assert_policies_are_followed(server: Extprocd, front: Envoy, fault: str) -> None:
    hasty = fault not in QUICK
    cases = [(policy, place) for place in places(fault) for policy in POLICIES]
    counts = Counts(server, front)
    asked = [(path(place.access, policy, hasty, place.mode), f"{fault} {place.phase} {TOO_LONG}") for policy, place in cases]
    beside = [(path(access, policy, hasty, mode), "") for access, mode in ROWS for policy in POLICIES]
    answers = in_parallel(front, [*asked, *beside])
    for (policy, place), answer in zip(cases, answers, strict=False):
        try:
            assert_follows(policy, place, answer)
        except AssertionError as error:
            told = answer and (answer.status, answer.headers, len(answer.body), answer.trailers)
            raise AssertionError(f"{policy}, {place}: {told}") from error
    for (where, _), answer in zip(beside, answers[len(cases):], strict=True):
        assert_undisturbed(answer, where.split("/")[1])

    eventually(lambda: server.metric("extproc_streams_active") == 0)
    for (access, policy), wanted in Counter((place.access, policy) for policy, place in cases).items():
        name = chain(access, policy, hasty)
        assert counts.of("extproc_plugin_failures_total", plugin=name) == wanted
        if policy != "deny":
            assert counts.of("extproc_plugin_failures_total", plugin=name, policy=policy) == wanted
    result = "error" if fault in QUICK else "timeout"
    for (access, policy, phase), wanted in Counter((place.access, policy, place.phase) for policy, place in cases).items():
        name = chain(access, policy, hasty)
        assert counts.of("extproc_plugin_calls_total", plugin=name, phase=phase, result=result) == wanted
    denied = sum(answer is not None and answer.status == DENY_STATUS for answer in answers)
    assert counts.of("extproc_plugin_failures_total", policy="deny") == denied
    failed = counts.of("extproc_plugin_failures_total", policy="fail")
    eventually(lambda: counts.of_envoy("streams_failed") == failed)
    eventually(lambda: counts.of("extproc_plugin_resumes_ignored_total") == IGNORED.get(fault, 0) * len(cases))
    if fault in WAITING:
        assert counts.of("extproc_plugin_test_faulty_cancelled_timeout_total") == len(cases)
    assert_the_plugin_saw_nothing_wrong(counts)


@pytest.mark.parametrize("fault", SOUND)
def test_what_is_odd_and_in_order_is_answered(server: Extprocd, front: Envoy, fault: str) -> None:
    counts = Counts(server, front)
    answers = in_parallel(front, [(path(place.access, "fail", False, place.mode), f"{fault} {place.phase} {SHORT}")
                                  for place in PLACES])
    for place, answer in zip(PLACES, answers, strict=True):
        whole = assert_intact(answer)
        shown = {"request_headers": whole.header("x-request-resumed"), "response_headers": whole.header("x-resumed"),
                 "request_trailers": json.loads(whole.header("x-trailers") or "").get("x-resumed"),
                 "response_trailers": whole.trailers.get("x-resumed")}
        assert shown == {phase: "1" if phase == place.phase else None for phase in shown}, place
    eventually(lambda: server.metric("extproc_streams_active") == 0)
    assert counts.of("extproc_plugin_failures_total") == counts.of_envoy("streams_failed") == 0
    eventually(lambda: counts.of("extproc_plugin_resumes_ignored_total") == IGNORED.get(fault, 0) * len(PLACES))
    assert_the_plugin_saw_nothing_wrong(counts)


@pytest.mark.parametrize("fault", ["resume_after_end", "cancelled_ignored", "resume_never"])
def test_a_client_that_goes_away_ends_what_waits(server: Extprocd, front: Envoy, fault: str) -> None:
    where = [place for place in PLACES if place.phase.endswith("_headers")]
    counts = Counts(server, front)
    with ExitStack() as stack:
        open_ = []
        for place in where:
            length = -1 if place.phase == "request_headers" else None
            one = Http1Exchange(front.port, path(place.access, "fail", False, place.mode) + "echo", method="POST",
                                length=length, headers={"x-fault": f"{fault} {place.phase} 0"})
            open_.append(stack.enter_context(one))
        eventually(lambda: counts.of("extproc_plugin_test_faulty_suspended_total") == len(where))
        for one in open_:
            one.abort()
        eventually(lambda: counts.of("extproc_plugin_test_faulty_cancelled_stream_over_total") == len(where))
    eventually(lambda: server.metric("extproc_streams_active") == 0)
    eventually(lambda: counts.of("extproc_plugin_resumes_ignored_total") == IGNORED.get(fault, 0) * len(where))
    assert counts.of("extproc_plugin_failures_total") == counts.of("extproc_plugin_test_faulty_resumed_total") == 0
    assert_the_plugin_saw_nothing_wrong(counts)


def assert_the_plugin_saw_nothing_wrong(counts: Counts) -> None:
    assert [line for line in counts.logged() if "wrong: " in line] == []
    assert counts.of("extproc_plugin_test_faulty_wrong_total") == 0
    for one in CHAINS:
        name = chain(*one)
        begun = counts.of("extproc_plugin_test_faulty_begun_total", plugin=name)
        assert counts.of("extproc_plugin_test_faulty_ended_total", plugin=name) == begun, name
    assert counts.of("extproc_protocol_errors_total") == 0
    for name in ("extproc_streams_active", "extproc_waiting_callbacks", "extproc_held_bytes"):
        assert counts.server.metric(name) == 0


FAILED = re.compile(r"failed in (\w+) of stream \d+, policy (\w+): (.*?)(?: \((\d+) earlier failures were not logged\))?$")


def failures_logged(server: Extprocd, plugin: str) -> list[re.Match[str]]:
    """The lines that tell of a plugin's failures."""
    lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    return [found for line in lines if line["logger"] == f"plugin.{plugin}" and (found := FAILED.search(line["message"]))]


def test_one_line_names_plugin_phase_and_reason(run_envoy: RunEnvoy) -> None:
    """Here each fault has a plugin of its own, which does it to all requests: lines are limited by plugin."""
    faults = {fault: text for fault, text in FAILING.items() if fault != "hold"}
    config = "".join(
        plugin(fault.replace("_", "-"), "observe", "skip", timeout=TIMEOUT,
               config=f"fault = '{fault}'\nphase = 'response_headers'\nmilliseconds = {TOO_LONG}")
        for fault in faults) + REST
    routes = [processed(f"/{fault}/", fault.replace("_", "-"), "NONE") for fault in faults]
    with Extprocd(config) as server, run_envoy(server, routes) as envoy:
        for fault in faults:
            assert_intact(call(envoy, f"/{fault}/"))
        for fault, text in faults.items():
            lines = eventually(lambda fault=fault: failures_logged(server, fault.replace("_", "-")))
            phase, policy, reason, _ = lines[0].groups()
            assert (phase, policy) == ("response_headers", "skip"), fault
            assert text in reason, fault


def test_failures_that_repeat_do_not_fill_the_log(run_envoy: RunEnvoy) -> None:
    with (Extprocd(plugin("often", "observe", "skip") + REST) as server,
          run_envoy(server, [processed("/often/", "often", "NONE")]) as envoy):
        for _ in range(50):
            assert_intact(call(envoy, "/often/", "throw request_headers 0"))

        def told() -> bool:
            """The lines say of every failure, but for those since the last line."""
            assert_intact(call(envoy, "/often/", "throw request_headers 0"))
            lines = failures_logged(server, "often")
            failed = server.metric('extproc_plugin_failures_total{plugin="often",policy="skip"}')
            return len(lines) < failed == len(lines) + sum(int(line[4] or 0) for line in lines)

        eventually(told)
