"""A plugin that blocks runs on threads of its own: through a real Envoy, with one thread for all streams."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from client import Response, request
from conftest import RunEnvoy
from envoy_config import route
from rig import Envoy, Extprocd, eventually

CONFIG = """
[server]
threads = 1
[server.workers]
threads = {workers}
max_queue = {queue}
[[plugin]]
name = "sleeper"
module = "sleeper.so"
may_block = true
{more}
[plugin.config]
milliseconds = 50
until = "{until}"
[[plugin]]
name = "instructions"
module = "instructions.so"
[[chain]]
name = "slow"
plugins = ["sleeper"]
[chain.match]
metadata = {{ x-extproc-chain = "slow" }}
[[chain]]
name = "fast"
plugins = ["instructions"]
"""
METADATA = [{"key": "x-extproc-chain", "value": "slow"}]
ROUTES = [route("/slow/", processed=True, overrides={"grpc_initial_metadata": METADATA}, rewrite="/"),
          route("/", processed=True)]
FAST = {"instructions": json.dumps({"addHeaders": {"x-fast": "1"}})}


def config(until: Path | str = "", workers: int = 2, queue: int = 100, more: str = "") -> str:
    return CONFIG.format(until=until, workers=workers, queue=queue, more=more)


def slow(envoy: Envoy) -> Response:
    return request(envoy.port, "/slow/headers")


def test_others_are_served_while_plugins_block(run_envoy: RunEnvoy, version: str, tmp_path: Path) -> None:
    file = tmp_path / "go"
    with Extprocd(config(file)) as server, run_envoy(server, ROUTES, version=version) as envoy, \
            ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(slow, envoy) for _ in range(6)]
        eventually(lambda: server.metric("extproc_worker_queue_length") == 4)
        for _ in range(20):
            assert request(envoy.port, "/headers", headers=FAST).seen.get("X-Fast") == "1"
        assert server.metric("extproc_workers_busy") == 2
        assert not any(answer.done() for answer in answers)
        file.touch()
        assert [answer.result().seen.get("X-Slept") for answer in answers] == ["50"] * 6
        eventually(lambda: server.metric("extproc_workers_busy") == 0)
        eventually(lambda: server.metric('extproc_worker_jobs_total{result="run"}') >= 6)


def test_a_plugin_that_blocks_too_long_is_left_out_in_time(run_envoy: RunEnvoy, tmp_path: Path) -> None:
    file = tmp_path / "go"
    with Extprocd(config(file, more="on_error = 'skip'\ntimeout = '100ms'")) as server, run_envoy(server, ROUTES) as envoy:
        for _ in range(4):  # the last of them find both workers inside
            answer = slow(envoy)
            assert (answer.status, answer.seen.get("X-Slept")) == (200, None)
        assert server.metric('extproc_plugin_failures_total{plugin="sleeper",policy="skip"}') == 4
        file.touch()  # the server stops when its plugins' callbacks have returned


@pytest.mark.parametrize("policy", ["skip", "deny"])
def test_a_full_queue_is_answered_by_the_plugins_policy(run_envoy: RunEnvoy, tmp_path: Path, policy: str) -> None:
    file = tmp_path / "go"
    with Extprocd(config(file, workers=1, queue=1, more=f"on_error = '{policy}'\ndeny_status = 503")) as server, \
            run_envoy(server, ROUTES) as envoy, ThreadPoolExecutor(2) as pool:
        first = pool.submit(slow, envoy)
        eventually(lambda: server.metric("extproc_workers_busy") == 1)
        second = pool.submit(slow, envoy)
        eventually(lambda: server.metric("extproc_worker_queue_length") == 1)
        assert slow(envoy).status == {"skip": 200, "deny": 503}[policy]
        assert server.metric('extproc_worker_jobs_total{result="refused"}') == 1
        assert "server.workers.max_queue" in server.log()
        file.touch()
        assert [answer.result().seen.get("X-Slept") for answer in (first, second)] == ["50", "50"]
