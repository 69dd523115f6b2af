"""Streams whose plugin misbehaves, fifty at a time, beside a neighbour whose streams pass the same plugin."""

from __future__ import annotations

import time

import pytest
from hyperframe.frame import HeadersFrame, RstStreamFrame

from rig import Extprocd, eventually
from trial import attack
from wire import Connection, data, grpc_frame, header, open_stream, request_headers

STREAMS = 50
SECONDS = 1.0
OK, UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED = "0", "2", "4", "8"
# What they do, and how their streams end.
FAULTS = {
    "nothing": OK,
    "resume_later": OK,
    "resume_twice": OK,
    "resume_from_ten_threads": OK,
    "bad_calls": OK,
    "throw": UNKNOWN,
    "unknown_action": UNKNOWN,
    "suspend_without_handle": UNKNOWN,
    "allocate": RESOURCE_EXHAUSTED,
    "resume_never": DEADLINE_EXCEEDED,
    "resume_late": DEADLINE_EXCEEDED,
    "suspend_for_ever": DEADLINE_EXCEEDED,
}
BLOCKING = ["sleep", "spin"]
BLOCKED = 20  # milliseconds a stream


def config(threads: int, module: str = "faulty_observe", timeout: str = "20s", more: str = "") -> str:
    return (f"[server]\nthreads = {threads}\n[[plugin]]\nname = 'instructions'\nmodule = 'instructions.so'\n"
            f"[[plugin]]\nname = 'faulty'\nmodule = '{module}.so'\ntimeout = '{timeout}'\n{more}")


def suffer(server: Extprocd, fault: str, milliseconds: int, end: str) -> str:
    """Fifty streams of one connection in which the plugin does that, fifty again when they have ended, and so on for a
    while; each must end so. How many there were a second."""
    count = 0
    begun = time.monotonic()
    entries = header("x-fault", f"{fault} request_headers {milliseconds}".encode()) if fault != "nothing" else b""
    message = grpc_frame(request_headers(entries))
    over = time.monotonic() + SECONDS
    with Connection(server.address) as connection:
        while time.monotonic() < over:
            waiting = {connection.new_stream() for _ in range(STREAMS)}
            connection.send(b"".join(open_stream(one) + data(one, message, end=True) for one in sorted(waiting)))
            for frame in connection.frames():
                assert not isinstance(frame, RstStreamFrame)
                if isinstance(frame, HeadersFrame):
                    status = connection.status(frame)
                    if "END_STREAM" in frame.flags:
                        assert status["grpc-status"] == end, status
                        waiting.remove(frame.stream_id)
                        if not waiting:
                            break
            assert not waiting
            count += STREAMS
    return f"{count / (time.monotonic() - begun):.0f} streams a second"


def test_a_stream_that_waits_is_cancelled_when_the_drains_deadline_is_over() -> None:
    class Draining(Extprocd):
        def __init__(self) -> None:
            super().__init__(config="")
            assert self.config_path is not None
            self.config_path.write_text(config(threads=1, timeout="30s") + "[server.drain]\ngrace = 0\ndeadline = '300ms'\n")

    with Draining() as server, Connection(server.address) as connection:
        message = request_headers(header("x-fault", b"resume_never request_headers 0"))
        connection.send_stream(message)
        eventually(lambda: server.metric('extproc_plugin_test_faulty_suspended_total{plugin="faulty"}') == 1)
        assert server.stop() == 0
        assert "0 open streams finished, 1 cancelled" in server.log()


@pytest.mark.parametrize("fault", FAULTS)
def test_beside_streams_whose_plugin_misbehaves(fault: str) -> None:
    title = "50 streams, plugin in order" if fault == "nothing" else f"50 streams, plugin: {fault.replace('_', ' ')}"
    timeout = "20s" if FAULTS[fault] == OK else "50ms"
    attack(title, lambda server: suffer(server, fault, 10, FAULTS[fault]), bound=32, config=config(threads=2, timeout=timeout))


@pytest.mark.parametrize("fault", BLOCKING)
def test_beside_a_thread_that_is_blocked(fault: str) -> None:
    """The neighbour's connection is on one thread, that of the streams on the other."""
    attack(f"50 streams, plugin: {fault} of {BLOCKED} ms, on the other thread",
           lambda server: suffer(server, fault, BLOCKED, OK), bound=32, config=config(threads=2))


def test_beside_workers_that_are_blocked() -> None:
    """All is on one thread, but for the plugin, which says that it may block."""
    only = "when.header = { x-fault = '*' }\n"  # else the neighbour would wait for a worker
    attack(f"50 streams, plugin: sleep of {BLOCKED} ms, may_block",
           lambda server: suffer(server, "sleep", BLOCKED, OK), bound=32,
           config=config(threads=1, module="faulty_blocking", more=only))


def test_on_the_thread_that_is_blocked() -> None:
    attack(f"50 streams, plugin: sleep of {BLOCKED} ms, on the neighbour's thread",
           lambda server: suffer(server, "sleep", BLOCKED, OK), bound=32, config=config(threads=1))
