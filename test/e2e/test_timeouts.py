"""Plugins that wait longer than somebody has patience: Envoy's message_timeout, the chain's deadline, their own timeout; and
what failure_mode_allow makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

import envoy_config
from body_modes import overrides, pattern
from client import Response, request
from conftest import moved
from envoy_config import route
from faults import DENY_STATUS, POLICIES, REST, plugin
from rig import Envoy, Extprocd, eventually, free_port
from upstream import Upstream

BODY = pattern(20_000)
MESSAGE_TIMEOUT, MAX_MESSAGE_TIMEOUT = "1s", "20s"
LONGER, MOMENT = 1_600, 5  # milliseconds that a plugin waits
STATED = f"data_plane.message_timeout = '{MESSAGE_TIMEOUT}'"
# Its chain and what is said of it beside its plugin.
CHAINS = {
    "unstated": ("fail", {}, ""),
    "override": ("fail", {}, f"{STATED}\ndata_plane.max_message_timeout = '{MAX_MESSAGE_TIMEOUT}'"),
} | {f"deadline-{policy}": (policy, {}, f"{STATED}\ndeadline = '150ms'") for policy in POLICIES} | {
    f"timeout-{policy}": (policy, {"timeout": "50ms"}, STATED) for policy in POLICIES}
CONFIG = "".join(plugin(name, "observe", policy, **more) + said + "\n" for name, (policy, more, said) in CHAINS.items()) + REST
TIMED = ["NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL"]  # modes in which Envoy has a timer
DUPLEX = "FULL_DUPLEX_STREAMED"
# Envoy's details, which are the body of its local replies here.
TOO_LATE = b"ext_proc_error_per-message_timeout_exceeded"


@dataclass(frozen=True)
class Case:
    chain: str
    mode: str
    phase: str
    fault: str = "resume_later"
    milliseconds: int = LONGER


def waits(chain: str, modes: list[str], **more: Any) -> list[Case]:
    """In each phase in which the client can still get any answer, or, in full duplex, Envoy could still have any patience."""
    return [Case(chain, mode, phase, **more) for mode in modes
            for phase in ("request_headers", "request_body", "response_headers", "response_body")
            if not (phase.endswith("_body") and mode == "NONE")
            and not (phase == "response_body" and mode in ("STREAMED", DUPLEX))]


@pytest.fixture(scope="module")
def server() -> Iterator[Extprocd]:
    with Extprocd(CONFIG) as running:
        yield running


def run(server: Extprocd, upstream: Upstream, version: str, fail_open: bool) -> Iterator[Envoy]:
    def processed(chain: str, mode: str) -> dict[str, Any]:
        metadata = {"grpc_initial_metadata": [{"key": "x-extproc-chain", "value": chain}]}
        shown = [{"header": {"key": "x-request-resumed", "value": "%REQ(X-RESUMED)%"}}]
        return route(f"/{chain}/{mode}/", processed=True, overrides=overrides(mode, mode) | metadata, rewrite="/") | {
            "response_headers_to_add": shown}

    inner = envoy_config.ext_proc(message_timeout=MESSAGE_TIMEOUT, max_message_timeout=MAX_MESSAGE_TIMEOUT,
                                  failure_mode_allow=fail_open)
    port, admin = free_port(), free_port()
    config = envoy_config.bootstrap(port, admin, f"127.0.0.1:{upstream.port}", server.address,
                                    [processed(chain, mode) for chain in CHAINS for mode in [*TIMED, DUPLEX]], inner)
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["local_reply_config"] = {"body_format": {"text_format_source": {"inline_string": "%RESPONSE_CODE_DETAILS%"}}}
    with Envoy(config, port, admin, version) as envoy:
        yield envoy
        assert moved(envoy, ("streams_failed", "message_timeouts", "failure_mode_allowed")) == {}
        eventually(lambda: server.metric("extproc_streams_active") == 0)
        assert server.metric("extproc_protocol_errors_total") == 0


@pytest.fixture(scope="module")
def closed(server: Extprocd, upstream: Upstream, version: str) -> Iterator[Envoy]:
    yield from run(server, upstream, version, fail_open=False)


@pytest.fixture(scope="module", name="open_")
def fail_open(server: Extprocd, upstream: Upstream, version: str) -> Iterator[Envoy]:
    yield from run(server, upstream, version, fail_open=True)


class Asked:
    """The answers to cases, all at once, and what Envoy has counted meanwhile."""

    def __init__(self, envoy: Envoy, cases: list[Case]) -> None:
        self.envoy, self.before = envoy, envoy.counters()
        with ThreadPoolExecutor(len(cases)) as pool:
            self.answers = list(zip(cases, pool.map(self._ask, cases), strict=True))

    def _ask(self, case: Case) -> Response:
        fault = f"{case.fault} {case.phase} {case.milliseconds}"
        return request(self.envoy.port, f"/{case.chain}/{case.mode}/echo", method="POST", body=BODY,
                       headers={"x-fault": fault})

    def counted(self, **counters: int) -> bool:
        now = self.envoy.counters()
        return all(now.get(name, 0) - self.before.get(name, 0) == wanted for name, wanted in counters.items())

    def __iter__(self) -> Iterator[tuple[Case, Response]]:
        return iter(self.answers)


def assert_passed(case: Case, answer: Response, *, resumed: bool) -> None:
    """The request and the response are whole, and changed or not by the plugin that waited."""
    assert (answer.status, answer.body) == (200, BODY), case
    shown = {"request_headers": answer.header("x-request-resumed"), "response_headers": answer.header("x-resumed")}
    assert shown == {phase: "1" if resumed and phase == case.phase else None for phase in shown}, case


@pytest.mark.parametrize("fault", ["resume_later", "resume_by_timer"])
def test_a_moments_wait_changes_nothing_but_what_the_plugin_changes(closed: Envoy, fault: str) -> None:
    for case, answer in Asked(closed, waits("override", [*TIMED, DUPLEX], fault=fault, milliseconds=MOMENT)):
        assert_passed(case, answer, resumed=True)


def test_longer_than_envoy_waits_is_a_504(closed: Envoy) -> None:
    cases = waits("unstated", TIMED)
    asked = Asked(closed, cases)
    for case, answer in asked:
        assert (answer.status, answer.body) == (504, TOO_LATE), case
    assert asked.counted(message_timeouts=len(cases), override_message_timeout_received=0, streams_failed=0)


def test_longer_than_envoy_waits_passes_it_by_where_that_is_allowed(open_: Envoy) -> None:
    cases = waits("unstated", TIMED)
    asked = Asked(open_, cases)
    for case, answer in asked:
        assert_passed(case, answer, resumed=False)
    assert asked.counted(message_timeouts=len(cases), failure_mode_allowed=len(cases), override_message_timeout_received=0)


def test_more_time_is_asked_for_where_both_sides_say_so(closed: Envoy) -> None:
    cases = waits("override", TIMED)
    asked = Asked(closed, cases)
    for case, answer in asked:
        assert_passed(case, answer, resumed=True)
    assert asked.counted(message_timeouts=0, override_message_timeout_received=len(cases),
                         override_message_timeout_ignored=0, streams_failed=0)


def test_full_duplex_has_all_the_time_that_the_chain_has(closed: Envoy) -> None:
    asked = Asked(closed, [case for chain in ("unstated", "override") for case in waits(chain, [DUPLEX])])
    for case, answer in asked:
        assert_passed(case, answer, resumed=True)
    assert asked.counted(message_timeouts=0, override_message_timeout_received=0, streams_failed=0)


@pytest.mark.parametrize("mode", [*TIMED, DUPLEX])
@pytest.mark.parametrize("limit", ["deadline", "timeout"])
def test_the_policy_decides_before_envoy_gives_up(closed: Envoy, limit: str, mode: str) -> None:
    asked = Asked(closed, [case for policy in POLICIES for case in waits(f"{limit}-{policy}", [mode])])
    for case, answer in asked:
        if case.chain.endswith("skip"):
            assert_passed(case, answer, resumed=False)
        elif case.chain.endswith("deny"):
            assert answer.status == DENY_STATUS, case
        else:
            assert answer.status == 500, case
            assert answer.body.startswith(b"ext_proc_error_gRPC_error_4{did_not_answer"), answer.body
    failed = sum(case.chain.endswith("fail") for case, _ in asked)
    assert asked.counted(message_timeouts=0, override_message_timeout_received=0, streams_failed=failed)


@pytest.mark.parametrize("mode", [*TIMED, DUPLEX])
@pytest.mark.parametrize("limit", ["deadline", "timeout"])
def test_failure_mode_allow_is_for_policy_fail_alone(open_: Envoy, limit: str, mode: str) -> None:
    asked = Asked(open_, [case for policy in POLICIES for case in waits(f"{limit}-{policy}", [mode])])
    for case, answer in asked:
        if case.chain.endswith("deny"):
            assert answer.status == DENY_STATUS, case
        elif case.chain.endswith("fail") and mode == DUPLEX:
            # Envoy keeps no copy of a body that it has sent in full duplex, and fails closed; without one it may go on.
            assert answer.status == 500 or case.phase.endswith("_headers"), case
        else:
            assert_passed(case, answer, resumed=False)
    assert asked.counted(message_timeouts=0, streams_failed=sum(case.chain.endswith("fail") for case, _ in asked))


def test_a_stream_error_is_a_500_or_passed_by(closed: Envoy, open_: Envoy) -> None:
    cases = waits("unstated", TIMED, fault="throw")
    asked = Asked(closed, cases)
    for case, answer in asked:
        assert answer.status == 500, case
        assert answer.body.startswith(b"ext_proc_error_gRPC_error_2{exception:_thrown_by_a_fault"), answer.body
    assert asked.counted(streams_failed=len(cases), failure_mode_allowed=0)
    asked = Asked(open_, cases)
    for case, answer in asked:
        assert_passed(case, answer, resumed=False)
    assert asked.counted(streams_failed=len(cases), failure_mode_allowed=len(cases))
