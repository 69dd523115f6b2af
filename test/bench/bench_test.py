"""The load program takes right replies for right and wrong ones for wrong. Run by ctest, without pytest.

Few streams and no judgement on times: what is measured is no matter here.
"""

from __future__ import annotations

import http.server
import signal
import socket
import threading
import time
import unittest

from servers import Bare, Extprocd, eventually, free_port, load, load_json

COUNT = 300
HELD = 2000
BRIEF = ["--count", str(COUNT), "--warm-up", "0", "--duration", "60"]
INSTRUCTIONS = '{"addHeaders":{"extproc":"true"}}'
PROFILES = {
    "headers": [],
    "headers, reset as Envoy does": ["--reset"],
    "headers by the clock": ["--rate", "1000"],
    "an instruction": ["--instructions", INSTRUCTIONS, "--expect-mutation"],
    "buffered": ["--profile", "buffered", "--body", "100KiB"],
    "duplex": ["--profile", "duplex", "--body", "100KiB", "--chunk", "9000"],
    "duplex in large pieces": ["--profile", "duplex", "--body", "200KiB", "--chunk", "200KiB"],
    "an empty body, duplex": ["--profile", "duplex", "--body", "0"],
    "an empty body, buffered": ["--profile", "buffered", "--body", "0"],
    "one stream at a time": ["--connections", "1", "--streams", "1"],
    "many streams at a time": ["--connections", "3", "--streams", "200"],
    "metadata": ["--metadata", "x-tenant:acme"],
}
FAULTS = {
    "kind": ([], "expected request_headers, got response_headers"),
    "extra": ([], "a reply too many: response_headers"),
    "echo": (["--profile", "duplex"], "the echo differs from the body"),
    "short": (["--profile", "duplex"], "the echo is shorter than the body"),
    "streamed": (["--profile", "buffered"], "a streamed_response outside of FULL_DUPLEX_STREAMED"),
    "unstreamed": (["--profile", "duplex"], "no streamed_response in FULL_DUPLEX_STREAMED"),
    "silence": (["--timeout", "0.5"], "16 x no answer within 0.5 s"),
    "status": ([], "gRPC status 13"),
    "no-status": ([], "the stream ended without a gRPC status"),
    "reset": ([], "the stream was reset (CANCEL) before request_headers was answered"),
}


class RightReplies(unittest.TestCase):
    def check_profiles(self, address: str) -> None:
        for name, flags in PROFILES.items():
            with self.subTest(name):
                report = load_json(address, *BRIEF, *flags)
                self.assertEqual((report["fault_count"], report["all_streams"]), (0, COUNT))
                self.assertEqual(report["latency_us"]["stream"]["count"], COUNT)
                echoed = 2 * COUNT * report["body_bytes"] if report["profile"] == "duplex" else 0
                self.assertAlmostEqual(report["echoed_bytes_per_second"] * report["seconds"], echoed, delta=1)

    def check_hold(self, server: Bare | Extprocd) -> None:
        assert server.child is not None
        report = load_json(server.address, "--profile", "idle", "--streams", str(HELD), "--duration", "0.1",
                           "--pid", str(server.child.pid))
        self.assertEqual((report["fault_count"], report["memory"]["streams"], report["all_streams"]), (0, HELD, HELD))
        self.assertGreater(report["memory"]["bytes_per_stream"], 100)
        self.assertGreater(report["memory"]["message"], 1000)

    def test_of_the_bare_server(self) -> None:
        with Bare(["--set-header", "extproc:true"]) as server:
            self.check_hold(server)
            self.check_profiles(server.address)

    def test_of_extprocd(self) -> None:
        with Extprocd(flags=["--threads", "1"]) as server:
            self.check_hold(server)
            self.check_profiles(server.address)
            ended = [f'extproc_streams_ended_total{{reason="{reason}"}}' for reason in ("completed", "cancelled")]
            streams = 200 + HELD + len(PROFILES) * COUNT  # 200 before it holds any
            eventually(lambda: sum(server.metric(series) for series in ended) == streams)

    def test_end_as_asked(self) -> None:
        count = 3000  # nghttp2 takes more than 1000 resets of a connection for an attack if it is not told
        for flags, reset in ([], 0), (["--reset"], count):
            with self.subTest(flags), Bare() as server:
                load_json(server.address, "--count", str(count), "--warm-up", "0", "--duration", "60", *flags)
                server.stop()
                self.assertIn(f"{count} streams, {reset} reset", server.log())

    def test_are_counted_and_shown_as_a_table(self) -> None:
        with Bare() as server:
            assert server.child is not None
            done = load(server.address, "--duration", "0.3", "--warm-up", "0.1", "--pid", str(server.child.pid))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for word in ("CPU of the server", "p99.9", "request_headers", "response_headers", "stream"):
            self.assertIn(word, done.stdout)


class OpenLoop(unittest.TestCase):
    def test_counts_the_wait_of_streams_that_could_not_begin(self) -> None:
        rate, stopped = 400, 1.0
        with Bare() as server:
            assert server.child is not None
            child = server.child

            def pause() -> None:
                time.sleep(0.3)
                child.send_signal(signal.SIGSTOP)
                time.sleep(stopped)
                child.send_signal(signal.SIGCONT)

            pausing = threading.Thread(target=pause)
            pausing.start()
            report = load_json(server.address, "--rate", str(rate), "--streams", "4", "--count", str(2 * rate),
                               "--warm-up", "0", "--duration", "60")
            pausing.join()
        # Only four streams were open when the server stopped; all that should have begun meanwhile waited as well.
        stream = report["latency_us"]["stream"]
        self.assertEqual(stream["count"], 2 * rate)
        self.assertGreater(stream["p99"], 0.5e6 * stopped)
        self.assertGreater(report["latest_start_us"], 0.5e6 * stopped)


    def test_says_when_the_time_was_too_short(self) -> None:
        with Bare() as server:
            done = load(server.address, "--rate", "10", "--count", "100", "--warm-up", "0", "--duration", "0.5")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"only \d+ of 100 streams were begun in time")


class WrongReplies(unittest.TestCase):
    def check_refusal(self, address: str, flags: list[str], text: str, code: int = 1) -> None:
        done = load(address, *BRIEF, *flags)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(text, done.stderr)

    def test_are_told(self) -> None:
        for fault, (flags, text) in FAULTS.items():
            with self.subTest(fault), Bare(["--wrong", fault]) as server:
                self.check_refusal(server.address, flags, text)

    def test_are_counted_apart_where_they_are_a_servers_right(self) -> None:
        with Bare(["--wrong", "status"]) as server:
            report = load_json(server.address, *BRIEF, "--refusal", "gRPC status 13")
            self.assertEqual((report["fault_count"], report["streams"], report["refused"]), (0, 0, COUNT))
            self.assertEqual(report["latency_us"]["refused"]["count"], COUNT)
            self.check_refusal(server.address, ["--refusal", "gRPC status 8"], "gRPC status 13")

    def test_of_held_streams_are_told(self) -> None:
        for fault, text in {"kind": "expected request_headers", "status": "gRPC status 13"}.items():
            with self.subTest(fault), Bare(["--wrong", fault]) as server:
                self.check_refusal(server.address, ["--profile", "idle"], text)

    def test_a_reply_without_the_change_is_told(self) -> None:
        with Bare() as server:
            self.check_refusal(server.address, ["--expect-mutation"], "the reply to request_headers changes no header")

    def test_a_lost_connection_is_told(self) -> None:
        with Bare() as server:
            assert server.child is not None
            killing = threading.Timer(0.3, server.child.send_signal, [signal.SIGTERM])
            killing.start()
            done = load(server.address, "--duration", "60")
            killing.join()
        self.assertEqual(done.returncode, 1)
        self.assertIn("the connection was lost", done.stderr)

    def test_nobody_there_is_told(self) -> None:
        address = f"127.0.0.1:{free_port()}"
        self.check_refusal(address, [], f"cannot connect to {address}: Connection refused")
        self.check_refusal("unix:/nonexistent.sock", [], "cannot connect to unix:/nonexistent.sock: No such file")
        self.check_refusal("nothing", [], "nothing: write host:port")

    def test_another_kind_of_server_is_told(self) -> None:
        with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
            serving = threading.Thread(target=server.serve_forever)
            serving.start()
            http.server.BaseHTTPRequestHandler.log_message = lambda *_: None  # type: ignore[method-assign]
            try:
                self.check_refusal(f"127.0.0.1:{server.server_port}", [], "does not serve gRPC")
            finally:
                server.shutdown()
                serving.join()

    def test_a_server_that_says_nothing_is_told(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"
            self.check_refusal(address, ["--timeout", "0.3"], "no HTTP/2 settings came")

    def test_more_streams_than_the_server_allows_are_told(self) -> None:
        limits = "[server.limits]\nmax_streams_per_connection = 10\n[data_plane]\nearly_end = false\n"
        with Extprocd(config=limits) as server:
            flags = ["--connections", "2", "--streams", "21"]
            self.check_refusal(server.address, flags, "allows 10 streams a connection, not 11")
            report = load_json(server.address, *BRIEF, *flags, "--more-connections")
            self.assertEqual((report["connections"], report["all_streams"]), (3, COUNT))

    def test_a_process_that_is_not_there_is_told(self) -> None:
        with Bare() as server:
            self.check_refusal(server.address, ["--pid", "999999999"], "--pid 999999999: No such process")

    def test_mistakes_on_the_command_line_end_with_2(self) -> None:
        for flags in (["--profile", "nothing"], ["--rate", "-1"], ["--metadata", "x"], ["--nothing"]):
            with self.subTest(flags):
                self.check_refusal("127.0.0.1:1", flags, "Run with --help", code=2)


if __name__ == "__main__":
    unittest.main()
