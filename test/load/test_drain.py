"""SIGTERM under load: which streams it may cost, and which not."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from pathlib import Path

import grpc
from hyperframe.frame import GoAwayFrame

from neighbour import one_stream
from rig import Extprocd
from test_many import finish_streams, open_streams
from trial import CONFIG
from wire import PROCESS, Connection

STREAMS = 2000


class Draining(Extprocd):
    """A server with its own times of grace and deadline."""

    def __init__(self, grace: str, deadline: str) -> None:
        super().__init__(config=CONFIG)
        assert self.config_path is not None
        Path(self.config_path).write_text(f"{CONFIG}[server.drain]\ngrace = '{grace}'\ndeadline = '{deadline}'\n")

    def terminate(self) -> None:
        assert self.child is not None
        self.child.send_signal(signal.SIGTERM)


def test_thousands_of_slow_streams_finish_within_the_deadline() -> None:
    with Draining(grace="0s", deadline="30s") as server, Connection(server.address) as connection:
        streams = open_streams(connection, STREAMS)
        server.terminate()
        # Only those are counted that are open when connections are told to go.
        assert any(isinstance(frame, GoAwayFrame) for frame in connection.frames())
        for at in range(0, STREAMS, 200):  # a good while
            finish_streams(connection, streams[at : at + 200])
            time.sleep(0.1)
        assert server.stop() == 0
        assert f"{STREAMS} open streams finished, 0 cancelled" in server.log()


def test_a_client_that_honours_goaway_loses_no_stream() -> None:
    """A connection that opens no stream any more once GOAWAY has come: all that it has are finished."""
    with Draining(grace="500ms", deadline="30s") as server, Connection(server.address) as connection:
        finished = 0
        server.terminate()
        begun = time.monotonic()
        while time.monotonic() - begun < 0.4:  # within the grace all is as ever
            finish_streams(connection, open_streams(connection, 20))
            finished += 20
        streams = open_streams(connection, 100)  # begun before GOAWAY
        assert any(isinstance(frame, GoAwayFrame) for frame in connection.frames())
        finish_streams(connection, streams)
        assert server.stop() == 0
        assert finished > 0
        assert "0 cancelled" in server.log()


def run_workers(target: str, options: list[tuple[str, object]], stop: threading.Event, failures: list[str],
                workers: int = 8) -> list[int]:
    """Short streams of a gRPC client, one after the other on each channel, until told to stop; how many were right."""

    async def work(number: int, done: list[int]) -> None:
        alone = [("grpc.use_local_subchannel_pool", 1), *options]
        async with grpc.aio.insecure_channel(target, options=alone) as channel:
            method = channel.stream_stream(PROCESS)
            turn = 0
            while not stop.is_set():
                turn += 1
                if wrong := await one_stream(method, number * 1_000_000 + turn):
                    failures.append(wrong)
                else:
                    done[0] += 1

    async def all_of_them() -> list[int]:
        counts: list[list[int]] = [[0] for _ in range(workers)]
        await asyncio.gather(*(work(number, counts[number]) for number in range(workers)))
        return [count[0] for count in counts]

    return asyncio.run(all_of_them())


def drain_one_of_two(options: list[tuple[str, object]]) -> tuple[list[int], list[str]]:
    """Load on two servers, SIGTERM to the first in the middle; streams that went well by worker, and what went wrong."""
    with Draining(grace="1s", deadline="10s") as first, Draining(grace="1s", deadline="10s") as second:
        stop = threading.Event()
        failures: list[str] = []

        def leave() -> None:
            time.sleep(0.7)
            first.terminate()
            assert first.child is not None
            first.child.wait(30)
            time.sleep(0.3)
            stop.set()

        leaving = threading.Thread(target=leave)
        leaving.start()
        counts = run_workers(f"ipv4:{first.address},{second.address}", options, stop, failures)
        leaving.join()
        assert first.stop() == 0
        assert "0 cancelled" in first.log()
    return counts, failures


def test_a_client_that_follows_health_sees_no_failure() -> None:
    config = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
    counts, failures = drain_one_of_two([("grpc.service_config", json.dumps(config))])
    assert failures == []
    assert all(counts)


def test_a_client_that_follows_nothing_loses_at_most_streams_without_a_reply() -> None:
    """gRPC 1.51 cancels streams that reach it between its shutdown and the client's reading of GOAWAY. They have had no
    reply: a stream that has, is finished."""
    counts, failures = drain_one_of_two([])  # pick_first: all on the server that leaves
    assert all(counts)
    for failure in failures:
        assert " after 0 replies: " in failure, failure
    assert len(failures) <= 8, failures  # one a worker: each has one stream at a time
