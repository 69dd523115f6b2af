"""The server from outside: command line, sockets, health, reflection, metrics, drain."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from client import request
from conftest import RunEnvoy
from envoy_config import route
from protobuf_fields import field
from rig import BINARY, TOP, Extprocd, Prometheus, eventually, free_port, http_get

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
REQUEST_HEADERS = b"\x12\x00"  # a ProcessingRequest with nothing but empty request_headers
HEADERS_REPLY = b"\x0a\x00"  # the empty HeadersResponse to them


def run(*arguments: str, program: Path = BINARY) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=30, check=False)


class RawStream:
    """A Process stream with bytes for messages."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.more = threading.Semaphore(0)
        self.outgoing: list[bytes | None] = []
        self.call = channel.stream_stream(PROCESS)(self._messages())

    def _messages(self):  # noqa: ANN202
        while True:
            self.more.acquire()
            message = self.outgoing.pop(0)
            if message is None:
                return
            yield message

    def send(self, message: bytes | None) -> None:
        self.outgoing.append(message)
        self.more.release()

    def read(self) -> bytes:
        return next(self.call)


def test_check_prints_the_chain_and_exits_0() -> None:
    done = run("--check")
    assert done.returncode == 0, done.stderr
    assert "1. instructions: extproc.instructions" in done.stdout
    assert "request_headers" in done.stdout


def test_check_shows_every_mistake_with_its_place_and_exits_1(tmp_path: Path) -> None:
    config = tmp_path / "bad.toml"
    config.write_text("[server]\nlisen = []\nthreads = -1\n")
    done = run("--check", "--config", str(config))
    assert done.returncode == 1
    assert f"{config}:2:1: unknown key 'server.lisen'; did you mean 'listen'?" in done.stderr
    assert f"{config}:3:1: server.threads" in done.stderr


def test_check_shows_what_is_wrong_with_every_plugin(tmp_path: Path) -> None:
    config = tmp_path / "bad.toml"
    config.write_text(
        "[[plugin]]\nname = 'a'\nmodule = 'none.so'\n"
        "[[plugin]]\nname = 'b'\nmodule = 'instructions.so'\n[plugin.config]\nheder = 'x'\nstrip = 1\n"
        "[[plugin]]\nname = 'c'\nmodule = 'instructions.so'\n[plugin.config]\nheder = 'x'\n"
    )
    done = run("--check", "--config", str(config))
    assert done.returncode == 1
    assert f"{config}:1:" in done.stderr and "none.so" in done.stderr
    assert f"{config}:9:1" in done.stderr and "strip" in done.stderr
    assert f"{config}:14:1" in done.stderr and "did you mean 'header'?" in done.stderr


def test_version_help_and_bad_flags() -> None:
    assert run("--version").stdout.startswith("extprocd 0.")
    assert "--listen" in run("--help").stdout
    bad = run("--lisen", "x")
    assert bad.returncode == 2
    assert "--help" in bad.stderr


def test_a_busy_port_is_one_clear_line_and_exit_1(extprocd: Extprocd) -> None:
    done = run("--listen", extprocd.address, "--admin", "off")
    assert done.returncode == 1
    assert done.stderr.strip() == f"extprocd: cannot listen on {extprocd.address}: Address already in use"


def test_probe_tells_health(extprocd: Extprocd) -> None:
    assert run("--probe", extprocd.address).returncode == 0
    gone = run("--probe", f"127.0.0.1:{free_port()}")
    assert gone.returncode == 1
    assert "probe of" in gone.stderr


def test_health_answers_for_any_service_and_lists(extprocd: Extprocd) -> None:
    with grpc.insecure_channel(extprocd.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ["", "envoy.service.ext_proc.v3.ExternalProcessor", "anything"]:
            assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == health_pb2.HealthCheckResponse.SERVING
        listing = channel.unary_unary("/grpc.health.v1.Health/List")(b"")
        assert b"envoy.service.ext_proc.v3.ExternalProcessor" in listing


def test_reflection_shows_the_services_and_their_messages(extprocd: Extprocd) -> None:
    with grpc.insecure_channel(extprocd.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert "envoy.service.ext_proc.v3.ExternalProcessor" in database.get_services()
        file = database.FindFileContainingSymbol("envoy.service.ext_proc.v3.ProcessingRequest")
        assert file.package == "envoy.service.ext_proc.v3"


def test_sigterm_turns_health_first_then_lets_open_streams_finish() -> None:
    with Extprocd(config="[[plugin]]\nname = 'i'\nmodule = 'instructions.so'\n") as server:
        with grpc.insecure_channel(server.address) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            stream = RawStream(channel)
            stream.send(REQUEST_HEADERS)
            assert stream.read() == HEADERS_REPLY
            assert server.child is not None
            server.child.send_signal(signal.SIGTERM)
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
            watch.cancel()
            stream.send(b"\x1a\x00")  # response_headers: the stream still works
            assert stream.read() == b"\x12\x00"
            stream.send(None)
            assert stream.call.code() == grpc.StatusCode.OK
        assert server.stop() == 0
        assert "open streams finished, 0 cancelled" in server.log()


def test_what_is_open_at_the_drain_deadline_is_cancelled() -> None:
    config = "[[plugin]]\nname = 'i'\nmodule = 'instructions.so'\n"
    server = Extprocd(config=config)
    assert server.config_path is not None
    server.config_path.write_text(config + "[server.drain]\ngrace = 0\ndeadline = '200ms'\n")
    with server, grpc.insecure_channel(server.address) as channel:
        stream = RawStream(channel)
        stream.send(REQUEST_HEADERS)
        assert stream.read() == HEADERS_REPLY
        assert server.stop() == 0
        assert "1 cancelled" in server.log()
        assert stream.call.code() != grpc.StatusCode.OK


def test_a_client_that_breaks_the_protocol_ends_only_its_own_stream(extprocd: Extprocd) -> None:
    with grpc.insecure_channel(extprocd.address) as channel:
        good, bad = RawStream(channel), RawStream(channel)
        good.send(REQUEST_HEADERS)
        assert good.read() == HEADERS_REPLY
        bad.send(b"\xff\xff\xff")
        with pytest.raises(grpc.RpcError) as error:
            bad.read()
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert error.value.details()
        good.send(b"\x1a\x00")
        assert good.read() == b"\x12\x00"
        good.send(None)


def test_messages_over_four_mebibytes_pass(extprocd: Extprocd) -> None:
    with grpc.insecure_channel(extprocd.address, options=[("grpc.max_send_message_length", -1)]) as channel:
        stream = RawStream(channel)
        stream.send(field(4, field(1, b"x" * (10 << 20))))  # request_body
        assert stream.read() == b"\x1a\x00"
        stream.send(None)


def test_metrics_pass_promtool(extprocd: Extprocd) -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=extprocd.metrics(), capture_output=True, text=True,
                          timeout=30, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_real_prometheus_scrapes_it(extprocd: Extprocd) -> None:
    with Prometheus(extprocd.admin) as prometheus:
        up = eventually(lambda: [r for r in prometheus.query("up") if r["value"][1] == "1"])
        assert up[0]["metric"]["job"] == "extprocd"
        assert eventually(lambda: prometheus.query("extproc_build_info"))
        assert eventually(lambda: prometheus.query('extproc_plugin_info{plugin="instructions"}'))


def test_admin_paths(extprocd: Extprocd) -> None:
    assert http_get(f"http://{extprocd.admin}/healthz") == (200, "ok\n")
    assert http_get(f"http://{extprocd.admin}/readyz") == (200, "ready\n")
    assert http_get(f"http://{extprocd.admin}/nothing")[0] == 404


def test_envoy_reaches_it_over_a_unix_socket(run_envoy: RunEnvoy, tmp_path: Path) -> None:
    with (
        Extprocd(address=f"unix:{tmp_path}/extprocd.sock") as server,
        run_envoy(server, [route("/", processed=True)]) as envoy,
    ):
        assert request(envoy.port, "/headers", headers={"instructions": '{"addHeaders":{"x":"1"}}'}).seen["X"] == "1"


def test_it_stands_in_for_the_sample_server(run_envoy: RunEnvoy, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/server"
    shutil.copy(BINARY, program)
    shutil.copytree(BINARY.parents[1] / "plugins", tmp_path / "plugins",
                    ignore=lambda folder, names: [name for name in names if not name.endswith(".so")])

    class SampleServer(Extprocd):
        def command(self) -> list[str]:
            return [str(program), "-grpcport", self.address, "--admin", self.admin, "-add-header", "x-extproc-server-a:true",
                    "--add-header", "x-b:2"]

    with SampleServer() as server, run_envoy(server, [route("/", processed=True)]) as envoy:
        seen = request(envoy.port, "/headers").seen
        assert (seen["X-Extproc-Server-A"], seen["X-B"]) == ("true", "2")
        seen = request(envoy.port, "/headers", headers={"instructions": '{"removeHeaders":["x-b"]}'}).seen
        assert seen["X-B"] == "2"  # added after the instructions


def test_the_binary_runs_from_any_folder_and_logs_json_where_no_terminal_is(extprocd: Extprocd) -> None:
    first = extprocd.log().splitlines()[0]
    assert first.startswith('{"time":"')
    for part in ["extprocd 0.", extprocd.address, extprocd.admin, "chains default: instructions"]:
        assert part in first


def test_promtool_accepts_the_example_scrape_configuration() -> None:
    done = subprocess.run(["promtool", "check", "config", str(TOP / "docker/prometheus/prometheus.yml")],
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
