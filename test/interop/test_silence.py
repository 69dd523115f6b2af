"""Connections that are silent, slow to begin, or old: which of them the native transport ends, and which not."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest
from hyperframe.frame import GoAwayFrame

from tls_files import TlsFiles
from rig import eventually
from siege import PLUGIN, Siege, siege
from transports import server
from wire import PREFACE, RESPONSE_HEADERS, Connection, connect, grpc_frame, request_headers
from wire_ends import Ending

OK, GOAWAY = "200 grpc-status 0", "GOAWAY NO_ERROR"
SECONDS = 20.0
NEVER = 2**31 - 1  # the last stream of a GOAWAY that refuses none


def expect_hit(siege: Siege, limit: str, times: int = 1) -> None:
    eventually(lambda: siege.hits()[limit] == times)


def is_closed(sock: socket.socket) -> bool:
    """Reads on to the end."""
    sock.settimeout(SECONDS)
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


def finish(connection: Connection, watch: Ending) -> str:
    """Sends an open stream's last message."""
    connection.send_data(watch.stream, grpc_frame(RESPONSE_HEADERS), end=True)
    end = watch.wait(SECONDS)
    return watch.wait(SECONDS) if end == GOAWAY else end


@pytest.mark.parametrize("sent", [b"", PREFACE[:10], PREFACE], ids=["nothing", "half_a_preface", "no_settings"])
def test_who_does_not_begin_is_cut_off(sent: bytes) -> None:
    with siege("native", "[server.limits]\nhandshake_timeout = '300ms'\n") as besieged:
        with connect(besieged.running.address) as slow:
            slow.sendall(sent)
            assert is_closed(slow)
        expect_hit(besieged, "handshake_timeout")
        besieged.expect_calm()


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], ids=["nothing", "half_a_hello"])
def test_who_does_not_begin_tls_is_cut_off(sent: bytes, tmp_path: Path) -> None:
    config = PLUGIN + "[server.limits]\nhandshake_timeout = '300ms'\n" + TlsFiles(tmp_path).config(mutual=False)
    with server("native", config) as running, connect(running.address) as slow:
        slow.sendall(sent)
        assert is_closed(slow)
        eventually(lambda: running.metric('extproc_limits_hit_total{limit="handshake_timeout"}') == 1)


def test_plain_http2_to_a_tls_port_is_closed(tmp_path: Path) -> None:
    with server("native", PLUGIN + TlsFiles(tmp_path).config(mutual=False)) as running:
        with connect(running.address) as plain:
            plain.sendall(PREFACE)
            assert is_closed(plain)


def test_a_connection_without_a_stream_is_told_to_go() -> None:
    with siege("native", "[server.limits]\nidle_timeout = '1s'\n") as besieged:
        with Connection(besieged.running.address) as idle, Connection(besieged.running.address) as busy:
            waiting = Ending(busy, busy.send_stream(request_headers()))
            watch = Ending(idle, idle.send_stream(request_headers(), end=True))
            assert watch.wait(SECONDS) == OK
            assert watch.wait(SECONDS) == GOAWAY
            assert is_closed(idle.socket)
            # An open stream may be silent for as long as it likes.
            assert finish(busy, waiting) == OK
        expect_hit(besieged, "idle_timeout")
        besieged.expect_calm()


def test_who_does_not_answer_a_ping_is_cut_off() -> None:
    with siege("native", "[server.keepalive]\ninterval = '1s'\ntimeout = '500ms'\n") as besieged:
        with Connection(besieged.running.address) as deaf, Connection(besieged.running.address) as patient:
            Ending(deaf, deaf.send_stream(request_headers())).wait(0.2)
            waiting = Ending(patient, patient.send_stream(request_headers()))
            assert waiting.wait(3.0) == "silence"  # its connection answers meanwhile
            assert finish(patient, waiting) == OK
            assert is_closed(deaf.socket)
        expect_hit(besieged, "keepalive_timeout")
        besieged.expect_calm()


def test_an_old_connection_is_told_to_go_and_may_finish() -> None:
    with siege("native", "[server.keepalive]\nmax_connection_age = '1s'\n") as besieged:
        with Connection(besieged.running.address) as old:
            watch = Ending(old, old.send_stream(request_headers()))
            assert watch.wait(SECONDS) == GOAWAY
            time.sleep(1.0)
            assert finish(old, watch) == OK
            assert is_closed(old.socket)
        besieged.expect_calm()


def test_an_old_connection_is_closed_after_its_grace() -> None:
    limits = "[server.keepalive]\nmax_connection_age = '1s'\nmax_connection_age_grace = '500ms'\n"
    with siege("native", limits) as besieged:
        with Connection(besieged.running.address) as old:
            watch = Ending(old, old.send_stream(request_headers()))
            assert watch.wait(SECONDS) == GOAWAY
            assert is_closed(old.socket)
        besieged.expect_calm()


def test_a_stream_that_crosses_goaway_is_served() -> None:
    """The first GOAWAY refuses nothing; the last, once the client has answered the PING behind the first, names the streams
    that were."""
    with server("native", PLUGIN) as running:
        crossing = [Connection(running.address) for _ in range(50)]
        for connection in crossing:
            assert Ending(connection, connection.send_stream(request_headers(), end=True)).wait(SECONDS) == OK
        running.send_signal(signal.SIGTERM)
        eventually(lambda: any(has_goaway(connection) for connection in crossing[:1]))
        for connection in crossing[1:]:  # of which none has read GOAWAY
            last: list[int] = []
            watch = Ending(connection, connection.send_stream(request_headers(), end=True))
            for frame in connection.frames():
                if isinstance(frame, GoAwayFrame):
                    last.append(frame.last_stream_id)
                elif end := watch.of(frame):
                    assert end == OK
            assert last == [NEVER, watch.stream]
            connection.close()
        crossing[0].close()
        assert running.stop() == 0
        assert ", 0 cancelled" in running.log()


def has_goaway(connection: Connection) -> bool:
    return any(isinstance(frame, GoAwayFrame) for frame in connection.take_in())
