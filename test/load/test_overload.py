"""Twice of what a plugin can do. It waits for a backend that does one thing after the other, as a database does, so its
streams would wait longer and longer; the chain's deadline ends that, and the limits of [server.overload] sooner.

OVERLOAD_SECONDS says how long each is kept up.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

import trial
from rig import Extprocd, eventually
from servers import load_json
from trial import active, memory

SECONDS = float(os.environ.get("OVERLOAD_SECONDS", "5"))
BACKEND = 1000  # that the backend does in a second, at most
DEADLINE, MAX_WAITING = 1, 200
HEADING = ("| limit | offered a second | served a second | refused a second | served after p50 | refused after p50 | "
           "memory grew by |\n|---|---|---|---|---|---|---|")
CONFIG = f"""
[[plugin]]
name = "slow"
module = "faulty_observe.so"
[plugin.config]
fault = "backend"
backend_per_second = {BACKEND}
[chains]
deadline = '{DEADLINE}s'
[[chain]]
name = "all"
plugins = ["slow"]
"""
LIMITS = {
    f"deadline of {DEADLINE} s": "",
    f"max_waiting = {MAX_WAITING}, fail": f"[server.overload]\nmax_waiting = {MAX_WAITING}\npolicy = 'fail'\n",
    f"max_waiting = {MAX_WAITING}, deny": f"[server.overload]\nmax_waiting = {MAX_WAITING}\npolicy = 'deny'\n",
}
# A call that is refused, or over its time, ends so.
REFUSALS = ["--refusal", "gRPC status 4", "--refusal", "gRPC status 8", "--refusal", "expected request_headers, got immediate"]


class Memory:
    """The resident memory of a server while it is entered, ten times over the time."""

    def __init__(self, server: Extprocd) -> None:
        self.server, self.before = server, memory(server)
        self.seen: list[float] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self.over.wait(SECONDS / 10):
            self.seen.append(memory(self.server) - self.before)

    def __enter__(self) -> Memory:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


def offer(server: Extprocd, rate: float, seconds: float) -> dict[str, Any]:
    return load_json(server.address, "--rate", str(rate), "--connections", "4", "--streams", "40000", "--warm-up", "0.5",
                     "--duration", str(seconds), "--timeout", "20", *REFUSALS, seconds=seconds + 60)


@pytest.mark.parametrize("limit", LIMITS)
def test_memory_is_bounded_at_twice_the_capacity(limit: str) -> None:
    with Extprocd(config=CONFIG + LIMITS[limit]) as server:
        alone = load_json(server.address, "--streams", "100", "--warm-up", "0.3", "--duration", "1")
        capacity = alone["streams_per_second"]
        with Memory(server) as kept:
            report = offer(server, 2 * capacity, SECONDS)
        served, refused = report["streams"] / report["seconds"], report["refused"] / report["seconds"]
        grown = max(kept.seen)

        def after(kind: str) -> str:
            return f"{report['latency_us'][kind]['p50'] / 1000:.1f} ms"

        trial.tables.setdefault(HEADING, []).append(
            f"| {limit} | {2 * capacity:.0f} | {served:.0f} | {refused:.0f} | {after('stream')} | {after('refused')} | "
            f"{grown:.0f} MiB in {SECONDS:.0f} s |")
        assert refused > 0 and served > capacity / 2, report
        # Half way it is as full as it gets.
        half = kept.seen[: len(kept.seen) // 2]
        assert grown < 64 and grown <= max(half) * 1.5 + 8, kept.seen
        eventually(lambda: active(server) == 0)
        again = load_json(server.address, "--streams", "100", "--warm-up", "0.3", "--duration", "1")
        assert again["streams_per_second"] > capacity / 2
