"""The examples of the SDK behind a real Envoy, in every body mode that their access to bodies allows."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from body_modes import MODES, overrides, pattern
from client import Http1Exchange, Response, request
from conftest import RunEnvoy
from envoy_config import route
from rig import Envoy, Extprocd, eventually
from upstream import PATIENCE, Upstream

BODIES = [mode for mode in MODES if mode != "NONE"]
# Modes in which trailers may follow a body that a plugin holds back.
WITH_TRAILERS = [mode for mode in BODIES if mode != "STREAMED"]
EXAMPLES = {
    "tenant_header": 'value = "acme"',
    "json_redactor": 'keys = ["password"]',
    "stream_rewriter": 'word = "blue"\nreplacement = "green"',
    "reply_in_pieces": "",
    "group_lookup": "port = {directory}",
    "group_lookup_coroutine": "port = {directory}",
    "audit_log": 'file = "{audit}"',
    "plain_c": "",
}
# What stands in an entry itself.
ENTRIES = dict.fromkeys(("group_lookup", "group_lookup_coroutine"), 'timeout = "3s"\non_error = "deny"\ndeny_status = 504\n')
GROUPS = {"alice": "admins", "slow": "patient", "twice": "echoes"}


def takes_pieces(version: str) -> bool:
    """Envoy takes local replies in pieces since 1.37."""
    return not version.startswith("1.36.")


class Directory:
    """What group_lookup asks, over UDP. It answers "slow" late, "twice" two times and "silent" never."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._timers: list[threading.Timer] = []
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Directory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        for timer in self._timers:
            timer.join()
        self._socket.close()

    def _serve(self) -> None:
        while (asked := self._socket.recvfrom(512))[0]:
            number, user = asked[0].decode().split(" ", 1)
            answer = f"{number} {GROUPS.get(user, '')}".encode()
            if user == "slow":
                self._timers.append(threading.Timer(0.5, self._socket.sendto, (answer, asked[1])))
                self._timers[-1].start()
            elif user != "silent":
                for _ in range(2 if user == "twice" else 1):
                    self._socket.sendto(answer, asked[1])


def config(version: str, **places: object) -> str:
    """Each example as a chain of its own, for the paths that begin with its name."""
    text = f"[data_plane]\nstreamed_immediate_response = {'true' if takes_pieces(version) else 'false'}\n"
    for name, options in EXAMPLES.items():
        text += f'[[plugin]]\nname = "{name}"\nmodule = "{name}.so"\n{ENTRIES.get(name, "")}'
        text += f"[plugin.config]\n{options.format(**places)}\n"
        text += f'[[chain]]\nname = "{name}"\nplugins = ["{name}"]\n[chain.match]\npath_prefix = "/{name}/"\n'
    return text + '[[chain]]\nname = "rest"\nplugins = []\n'


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit") / "audit.log"


@pytest.fixture(scope="module")
def server(version: str, audit: Path) -> Iterator[Extprocd]:
    with Directory() as directory, Extprocd(config(version, directory=directory.port, audit=audit)) as running:
        yield running


@pytest.fixture(scope="module")
def envoy(server: Extprocd, run_envoy: RunEnvoy, version: str) -> Iterator[Envoy]:
    routes = [route(f"/{name}/{mode}/", processed=True, overrides=overrides(mode, mode), rewrite="/")
              for name in EXAMPLES for mode in MODES]
    with run_envoy(server, routes, version=version) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_held_or_broken(server: Extprocd) -> Iterator[None]:
    yield
    eventually(lambda: server.metric("extproc_streams_active") == 0)
    assert server.metric("extproc_held_bytes") == 0
    assert server.metric("extproc_protocol_errors_total") == 0


def echoed(envoy: Envoy, path: str, body: bytes, kind: str, chunk: int = 0, trailers: dict[str, str] | None = None) -> Response:
    """The upstream gives back the body that it got; its answer has no content type, so no example changes it."""
    return request(envoy.port, path + "echo", method="POST", body=body, headers={"content-type": kind}, chunk=chunk,
                   trailers=trailers)


def answered(envoy: Envoy, path: str, body: str, kind: str) -> Response:
    """The upstream answers with this body."""
    return request(envoy.port, path + "respond?" + urlencode({":body": body, "content-type": kind}))


@pytest.mark.parametrize("mode", MODES)
def test_tenant_header_stamps_requests_and_refuses_others(envoy: Envoy, mode: str) -> None:
    path = f"/tenant_header/{mode}/headers"
    assert request(envoy.port, path).seen["X-Tenant"] == "acme"
    answer = request(envoy.port, path, headers={"x-tenant": "mine"})
    assert (answer.status, answer.body) == (400, b"clients may not choose their tenant\n")


@pytest.mark.parametrize("mode", BODIES)
def test_json_redactor_takes_secrets_out_of_requests(envoy: Envoy, mode: str) -> None:
    path = f"/json_redactor/{mode}/"
    document = {"n": list(range(1000)), "login": [{"password": "p" * 5000, "user": "u"}]}
    body, wanted = json.dumps(document).encode(), {**document, "login": [{"password": "***", "user": "u"}]}
    for chunk in (0, 1000):
        answer = echoed(envoy, path, body, "application/json; charset=utf-8", chunk)
        assert (answer.status, json.loads(answer.body)) == (200, wanted), chunk
    assert echoed(envoy, path, body, "text/plain").body == body
    assert echoed(envoy, path, b'{ "a" : 1 }', "application/json").body == b'{ "a" : 1 }'
    assert echoed(envoy, path, b"", "application/json").body == b""
    refused = echoed(envoy, path, b'{"password":"secret"', "application/json")
    assert (refused.status, refused.body) == (400, b"the request's body is not JSON\n")


@pytest.mark.parametrize("mode", WITH_TRAILERS)
def test_json_redactor_takes_secrets_out_of_requests_with_trailers(envoy: Envoy, mode: str) -> None:
    body = json.dumps({"password": "p" * 20_000}).encode()
    answer = echoed(envoy, f"/json_redactor/{mode}/", body, "application/json", 5_000, {"x-sum": "42"})
    assert (answer.status, answer.body, answer.header("x-trailers")) == (200, b'{"password":"***"}', '{"x-sum": "42"}')


@pytest.mark.parametrize("mode", BODIES)
def test_json_redactor_takes_secrets_out_of_responses(envoy: Envoy, mode: str) -> None:
    path = f"/json_redactor/{mode}/"
    assert answered(envoy, path, '{"password": 1, "x": [2]}', "application/json").body == b'{"password":"***","x":[2]}'
    assert answered(envoy, path, '{"password": 1, "x": [2]}', "text/html").body == b'{"password": 1, "x": [2]}'


def test_json_redactor_lets_no_response_pass_that_it_cannot_read(envoy: Envoy) -> None:
    answer = answered(envoy, "/json_redactor/BUFFERED/", '{"password": 1', "application/json")
    assert (answer.status, answer.body) == (502, b"the response's body is not JSON\n")


@pytest.mark.parametrize("mode", BODIES)
def test_json_redactor_refuses_a_body_that_is_too_large(envoy: Envoy, mode: str) -> None:
    body = json.dumps({"password": "p" * (2 << 20)}).encode()
    answer = echoed(envoy, f"/json_redactor/{mode}/", body, "application/json", 100_000)
    # max_body_bytes or Envoy's own limit is passed; but the part that is sent in BUFFERED_PARTIAL may just fit, and then it
    # is no JSON.
    assert answer.status in ((400, 413) if mode == "BUFFERED_PARTIAL" else (413,))


@pytest.mark.parametrize("mode", BODIES)
def test_stream_rewriter_replaces_the_word_wherever_it_is_cut(envoy: Envoy, mode: str) -> None:
    path, text = f"/stream_rewriter/{mode}/", b"a blue sky over the blue sea, blu" * 20
    for chunk in (0, 1, 3, 7, 100):
        answer = echoed(envoy, path, text, "text/plain", chunk)
        assert (answer.status, answer.body) == (200, text.replace(b"blue", b"green")), chunk
    assert echoed(envoy, path, text, "application/octet-stream", 7).body == text
    assert answered(envoy, path, "the blue sea", "text/html").body == b"the green sea"


@pytest.mark.parametrize("mode", WITH_TRAILERS)
def test_stream_rewriter_lets_go_what_it_holds_before_the_trailers(envoy: Envoy, mode: str) -> None:
    answer = echoed(envoy, f"/stream_rewriter/{mode}/", b"blue, blu", "text/plain", 2, {"x-sum": "42"})
    assert (answer.status, answer.body, answer.header("x-trailers")) == (200, b"green, blu", '{"x-sum": "42"}')


@pytest.mark.parametrize("mode", BODIES)
def test_plain_c_writes_text_in_capitals(envoy: Envoy, mode: str) -> None:
    path, text = f"/plain_c/{mode}/", ("a quiet wörd, " * 1000).encode()
    for trailers in (None, {"x-sum": "42"}):
        answer = echoed(envoy, path, text, "text/plain", 999, trailers)
        assert (answer.status, answer.body) == (200, text.upper()), trailers
    assert answered(envoy, path, "a word", "text/html").body == b"A WORD"
    binary = pattern(10_000)
    assert echoed(envoy, path, binary, "application/octet-stream").body == binary


def test_reply_in_pieces_gives_the_body_back(envoy: Envoy, version: str) -> None:
    path, body = "/reply_in_pieces/FULL_DUPLEX_STREAMED/", pattern(50_000)
    answer = request(envoy.port, path, method="POST", body=body, chunk=10_000)
    assert (answer.status, answer.header("content-type")) == (200, "text/plain")
    assert answer.body == b"you sent: " + body
    assert answer.trailers == ({"x-bytes": "50000"} if takes_pieces(version) else {})


def test_reply_in_pieces_goes_out_while_the_request_comes(envoy: Envoy, version: str) -> None:
    with Http1Exchange(envoy.port, "/reply_in_pieces/FULL_DUPLEX_STREAMED/", method="POST", headers=None, length=-1) as one:
        one.send(b"first")
        come = b""
        if takes_pieces(version):
            assert one.head().status == 200
            while not come.endswith(b"first"):
                come += one.piece()
        one.send(b"second")
        one.end()
        if not takes_pieces(version):  # all of it at once
            assert one.head().status == 200
        while piece := one.piece():
            come += piece
    assert come == b"you sent: firstsecond"


def test_reply_in_pieces_keeps_the_request_from_the_upstream_but_for_one_envoy(envoy: Envoy, upstream: Upstream,
                                                                                version: str) -> None:
    with upstream.script() as script:
        path = f"/reply_in_pieces/FULL_DUPLEX_STREAMED/hold?{script.query}"
        with Http1Exchange(envoy.port, path, method="POST", headers=None, length=-1) as one:
            if version == "1.40.0":  # which sends the request's headers on
                assert one.head().status == 200
                assert script.come.wait(PATIENCE)
            one.send(b"x")
            one.end()
            if version != "1.40.0":
                assert one.head().status == 200
            assert b"".join(iter(one.piece, b"")) == b"you sent: x"
        assert script.come.is_set() == (version == "1.40.0")


@pytest.mark.parametrize("mode", ["NONE", "FULL_DUPLEX_STREAMED"])
def test_reply_in_pieces_is_complete_where_there_is_no_body(envoy: Envoy, mode: str) -> None:
    answer = request(envoy.port, f"/reply_in_pieces/{mode}/")
    assert (answer.status, answer.body) == (200, b"you sent: ")


@pytest.mark.parametrize("example", ["group_lookup", "group_lookup_coroutine"])
@pytest.mark.parametrize("mode", MODES)
def test_group_lookup_tells_the_group_when_the_directory_has_answered(envoy: Envoy, example: str, mode: str) -> None:
    path = f"/{example}/{mode}/"
    for user in ("alice", "slow", "twice"):
        assert request(envoy.port, path + "headers", headers={"x-user": user}).seen["X-Group"] == GROUPS[user]
    echo = request(envoy.port, path + "echo", method="POST", body=pattern(50_000), chunk=5_000, headers={"x-user": "slow"})
    assert (echo.status, echo.body) == (200, pattern(50_000))
    refused = request(envoy.port, path, headers={"x-user": "mallory"})
    assert (refused.status, refused.body) == (403, b"nobody knows you\n")


@pytest.mark.parametrize("example", ["group_lookup", "group_lookup_coroutine"])
def test_group_lookup_serves_others_while_one_waits_in_vain(envoy: Envoy, server: Extprocd, example: str) -> None:
    path = f"/{example}/BUFFERED/headers"
    answers: list[Response] = []
    in_vain = threading.Thread(target=lambda: answers.append(request(envoy.port, path, headers={"x-user": "silent"})))
    in_vain.start()
    eventually(lambda: server.metric(f'extproc_plugin_waiting{{plugin="{example}"}}') == 1)
    assert request(envoy.port, path, headers={"x-user": "alice"}).seen["X-Group"] == "admins"
    in_vain.join()
    assert answers[0].status == 504  # deny_status, when the plugin's timeout is over


@pytest.mark.parametrize("mode", MODES)
def test_audit_log_writes_a_line_for_each_request(envoy: Envoy, audit: Path, mode: str) -> None:
    path = f"/audit_log/{mode}/headers"
    assert request(envoy.port, path).status == 200
    assert f"GET {path}\n" in audit.read_text()
