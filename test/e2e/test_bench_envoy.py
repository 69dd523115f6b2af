"""What the benchmark measures through Envoy is what it says: every request's and response's headers go to the server, and a
server that is wrong gives no figures."""

from __future__ import annotations

import os

import pytest

from cases import Bench, Entrant, Settings
from contestants import BareContestant, ExtprocdContestant, Setup
from rig import Failed
from through_envoy import ENVOY_CASES, NONE, AnsweringEnvoy, EnvoyCase, check_was_called, h2load

CORES = sorted(os.sched_getaffinity(0))
BENCH = Bench(Settings(rounds=1, seconds=1.0, warm_up=0.5, server_cores=(CORES[-1],), load_core=CORES[0]))
EXTPROCD = ExtprocdContestant("extprocd", "extprocd", "native")


@pytest.mark.parametrize("case", ENVOY_CASES, ids=lambda case: case.name)
def test_requests_with_and_without_a_server_are_measured(case: EnvoyCase) -> None:
    entrants = case.entrants([BareContestant(), EXTPROCD])
    assert [entrant.label for entrant in entrants] == [NONE, "bare", "extprocd"]
    reports = {entrant.label: case.measure(entrant, BENCH) for entrant in entrants}
    for label, report in reports.items():
        assert report["latency_us"]["p50"] > 0
        assert set(report["cpu_us_per_request"]) == ({"envoy"} if label == NONE else {"envoy", "server"})
    for figure in case.figures:
        assert figure.of(reports, "extprocd") is not None, figure.title
    if case.rate:
        assert reports["extprocd"]["requests"] == pytest.approx(1.5 * case.rate, rel=0.5)


def test_no_requests_give_no_figures() -> None:
    with AnsweringEnvoy(CORES[0], "") as envoy, pytest.raises(Failed, match="no request was answered"):
        h2load(envoy, CORES[-1], 0.05, 0.5, 1)  # one a second: the second comes later


def test_requests_that_no_server_was_asked_about_are_told() -> None:
    with EXTPROCD.start(CORES[-1:], 1, Setup()) as server, AnsweringEnvoy(CORES[0], server.address) as envoy:
        requests = h2load(envoy, CORES[0], 1.0, 0.1, 0)
        called = envoy.stat("http.http.downstream_rq_completed")
        assert called >= len(requests)
        check_was_called(envoy, called)
        with pytest.raises(Failed, match="Envoy sent"):
            check_was_called(envoy, called + 1000)


def test_a_server_that_is_wrong_gives_no_figures() -> None:
    wrong = BareContestant(flags=["--wrong", "kind"])
    with pytest.raises(Failed, match="not answered with 200"):
        ENVOY_CASES[0].measure(Entrant("bare", wrong), BENCH)
