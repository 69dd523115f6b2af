"""The server is killed under load, several times, and comes back on the same port: Envoy answers every request, and nothing
is stuck. Its plugin waits a little, so that there are always streams that the kill meets in the middle."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

import envoy_config
import trial
from body_modes import overrides, pattern
from client import request
from rig import Envoy, Extprocd, eventually, free_port
from upstream import Upstream

BODY = pattern(5_000)
MODES = ["NONE", "STREAMED", "BUFFERED", "FULL_DUPLEX_STREAMED"]
CLIENTS = 2  # of each mode, one request after the other
KILLS = 4
DOWN, UP = 0.4, 0.8  # seconds
CONFIG = """
[[plugin]]
name = "slow"
module = "faulty_observe.so"
[plugin.config]
fault = "resume_later"
milliseconds = 5
mark = "x-passed"
"""
HEADING = ("| failure_mode_allow | kills | requests | 200 unprocessed | 500 | 504 | longest answer | "
           "first answer after the kill, of a server started at once |\n|---|---|---|---|---|---|---|---|")


@dataclass
class Answer:
    mode: str
    begun: float
    ended: float
    status: int
    processed: bool


@dataclass
class Clients:
    """They send one request after the other as long as they are entered."""

    port: int
    answers: list[Answer] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def _work(self, mode: str) -> None:
        while not self.over.is_set():
            begun = time.monotonic()
            try:
                answer = request(self.port, f"/{mode}/echo", method="POST", body=BODY)
                self.answers.append(Answer(mode, begun, time.monotonic(), answer.status,
                                           answer.header("x-passed") is not None))
                if answer.status == 200 and answer.body != BODY:
                    self.faults.append(f"{mode}: another body")
            except Exception as error:  # noqa: BLE001: whatever a client meets is a fault of the load
                self.faults.append(f"{mode}: {error!r}")
            time.sleep(0.005)

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._work, args=[mode]) for mode in MODES for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join()

    def since(self, when: float) -> list[Answer]:
        return [answer for answer in list(self.answers) if answer.begun >= when]

    def all_is_well_since(self, when: float) -> bool:
        """Many requests have begun since then, and the latest were all processed."""
        latest = self.since(when)[-50:]
        return len(latest) == 50 and all(answer.processed for answer in latest)


@contextmanager
def fronting(address: str, upstream: Upstream, fail_open: bool) -> Iterator[Envoy]:
    routes = [envoy_config.route(f"/{mode}/", processed=True, overrides=overrides(mode, mode), rewrite="/") for mode in MODES]
    port, admin = free_port(), free_port()
    inner = envoy_config.ext_proc(message_timeout="2s", failure_mode_allow=fail_open)
    config = envoy_config.bootstrap(port, admin, f"127.0.0.1:{upstream.port}", address, routes, inner)
    with Envoy(config, port, admin) as envoy:
        yield envoy


def nothing_is_open(envoy: Envoy) -> bool:
    """No request, and no stream to the server."""
    return not any(envoy.stat(name) for name in ("cluster.extprocd.upstream_rq_active", "cluster.upstream.upstream_rq_active",
                                                 "http.http.downstream_rq_active"))


@pytest.mark.parametrize("fail_open", [False, True], ids=["closed", "open"])
def test_killed_and_started_again(fail_open: bool) -> None:
    address = f"127.0.0.1:{free_port()}"
    back: list[float] = []
    killed = 0.0
    with Upstream() as upstream, fronting(address, upstream, fail_open) as envoy:
        clients = Clients(envoy.port)
        with clients.running():
            for turn in range(KILLS + 1):
                with Extprocd(CONFIG, address=address) as server:
                    ready = time.monotonic()
                    eventually(lambda ready=ready: clients.all_is_well_since(ready))
                    if killed and turn % 2:
                        back.append(min(one.ended for one in clients.since(killed) if one.processed) - killed)
                    if turn < KILLS:
                        time.sleep(UP)
                        killed = time.monotonic()
                        server.kill()
                    else:
                        clients.over.set()
                        eventually(lambda: nothing_is_open(envoy))
                        eventually(lambda: server.metric("extproc_streams_active") == 0)
                if turn % 2:
                    time.sleep(DOWN)
    # A response that had begun, of which Envoy keeps no copy, can only be cut off.
    begun = ("STREAMED: Cut(", "FULL_DUPLEX_STREAMED: Cut(")
    assert [fault for fault in clients.faults if not fault.startswith(begun)] == []
    unprocessed = [one for one in clients.answers if not one.processed]
    statuses = {status: sum(one.status == status for one in unprocessed) for status in (200, 500, 504)}
    assert sum(statuses.values()) == len(unprocessed), {one.status for one in unprocessed}
    if fail_open:  # but for a body that Envoy has sent without keeping a copy
        assert all(one.status == 200 or one.mode == "FULL_DUPLEX_STREAMED" for one in clients.answers)
    assert all(one.status in (200, 500, 504) for one in clients.answers)
    longest = max(one.ended - one.begun for one in clients.answers)
    trial.tables.setdefault(HEADING, []).append(
        f"| {str(fail_open).lower()} | {KILLS} | {len(clients.answers)} | {statuses[200]} | {statuses[500]} | "
        f"{statuses[504]} | {longest * 1000:.0f} ms | {', '.join(f'{seconds * 1000:.0f} ms' for seconds in back)} |")
