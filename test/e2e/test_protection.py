"""A plugin that blocks, one that fails again and again, and more streams than there is room for, behind a real Envoy."""

from __future__ import annotations

import re

import pytest

from client import Http1Exchange, Response, request
from conftest import RunEnvoy
from envoy_config import route
from rig import Envoy, Extprocd, Failed, eventually
from upstream import HALF

PROBE = """
[[plugin]]
name = "probe"
module = "trouble_probe.so"
deny_status = 503
"""
# The stream of a request lasts until its response.
KEPT_OPEN = "[data_plane]\nearly_end = false\n"
ROUTES = [route("/", processed=True)]
FAILED = 500  # what Envoy makes of a stream that failed


def asked(envoy: Envoy, what: str = "") -> Response:
    return request(envoy.port, "/headers", headers={"x-do": what} if what else {})


def called(answer: Response) -> bool:
    """Did the plugin see this request?"""
    assert answer.status == 200
    return "X-Probe" in answer.seen


def test_a_callback_that_blocks_is_reported_with_its_stack(run_envoy: RunEnvoy) -> None:
    with Extprocd(PROBE) as server, run_envoy(server, ROUTES) as envoy:
        assert called(asked(envoy, "block 1500"))
        log = eventually(lambda: (log := server.log()) and "returned from request_headers" in log and log)
        blocked = re.search(r'"plugin\.probe","message":"has kept thread \d+ in request_headers for \d+ ms: (.*)"', log)
        assert blocked, log
        assert re.search(r"trouble::block\(\) \(trouble_probe\.so\+0x[0-9a-f]+\)", blocked[1]), blocked[1]
        assert server.metric('extproc_watchdog_reports_total{plugin="probe",phase="request_headers"}') == 1
        eventually(lambda: server.metric("extproc_blocked_threads") == 0)
        assert called(asked(envoy))


@pytest.mark.parametrize("where, told", [("", "plugin probe has not returned from request_headers"),
                                         ("may_block = true\n", "could not stop, ends all the same")])
def test_a_server_whose_plugin_never_returns_stops_all_the_same(run_envoy: RunEnvoy, where: str, told: str) -> None:
    with pytest.raises(Failed, match=f"(?s)ended with code 1:.*{told}"):
        with Extprocd(PROBE + where) as server, run_envoy(server, ROUTES, ("streams_failed",)) as envoy:
            with Http1Exchange(envoy.port, "/headers", headers={"x-do": "block 600000"}) as hanging:
                hanging.end()
                eventually(lambda: server.metric('extproc_messages_total{phase="request_headers"}') == 1)


@pytest.mark.parametrize("policy", ["deny", "skip"])
def test_a_plugin_that_fails_again_and_again_is_put_aside_and_tried_again(run_envoy: RunEnvoy, policy: str) -> None:
    rule = f"[plugin.quarantine]\nfailures = 2\nduration = '3s'\npolicy = '{policy}'\n"
    with Extprocd(PROBE + rule) as server, run_envoy(server, ROUTES, ("streams_failed",)) as envoy:
        def state(name: str) -> float:
            return server.metric(f'extproc_plugin_state{{plugin="probe",state="{name}"}}')

        assert called(asked(envoy))
        assert [asked(envoy, "fail").status for _ in range(2)] == [FAILED, FAILED]
        assert state("quarantined") == 1
        aside = asked(envoy)
        assert aside.status == 503 if policy == "deny" else not called(aside)
        assert server.metric(f'extproc_plugin_quarantined_streams_total{{plugin="probe",policy="{policy}"}}') == 1
        eventually(lambda: (answer := asked(envoy)).status == 200 and called(answer))
        eventually(lambda: state("active"))
        assert server.metric('extproc_plugin_quarantines_total{plugin="probe"}') == 1


@pytest.mark.parametrize("policy", ["fail", "deny", "skip"])
def test_streams_beyond_the_limit_are_refused_and_those_before_finish(run_envoy: RunEnvoy, policy: str) -> None:
    overload = f"[server.overload]\nmax_streams = 1\npolicy = '{policy}'\n"
    with Extprocd(PROBE + KEPT_OPEN + overload) as server, run_envoy(server, ROUTES, ("streams_failed",)) as envoy:
        with Http1Exchange(envoy.port, "/echo", method="POST", length=2 * len(HALF)) as first:
            first.send(HALF)
            eventually(lambda: server.metric('extproc_messages_total{phase="request_headers"}') == 1)
            second = asked(envoy)
            assert second.status == {"fail": FAILED, "deny": 503, "skip": 200}[policy]
            assert policy != "skip" or not called(second)
            first.send(HALF)
            first.end()
            assert first.response().body == HALF + HALF
        assert server.metric(f'extproc_overload_streams_total{{limit="streams",policy="{policy}"}}') == 1
        assert "server.overload.max_streams, 1, is reached" in server.log()
        eventually(lambda: server.metric("extproc_streams_active") == 0)
        assert called(asked(envoy))
