"""TLS between a real Envoy and the server, over each transport."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import envoy_config
from certificates import Authority, Certificate, Secret
from client import request
from envoy_config import any_of, route
from rig import BINARY, TOP, Envoy, Extprocd, envoy_versions, eventually, free_port
from upstream import Upstream

ADD = {"instructions": json.dumps({"addHeaders": {"extproc": "true"}})}
INSTRUCTIONS = "[[plugin]]\nname = 'instructions'\nmodule = 'instructions.so'\n"


@pytest.fixture(params=["grpc", "native"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each transport in turn, whatever the environment names."""
    monkeypatch.setenv("EXTPROCD_TRANSPORT", request.param)
    return request.param


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("server CA")


@pytest.fixture(scope="module")
def clients() -> Authority:
    return Authority("client CA")


@pytest.fixture
def secret(tmp_path: Path, authority: Authority) -> Secret:
    return Secret(tmp_path / "secret", authority.sign())


@pytest.fixture
def client_ca(tmp_path: Path, clients: Authority) -> Path:
    file = tmp_path / "clients.pem"
    file.write_text(clients.certificate)
    return file


def tls_table(secret: Secret, client_ca: Path | None = None) -> str:
    table = f"[server.tls]\ncertificate = '{secret.certificate}'\nkey = '{secret.key}'\n"
    return table + (f"client_ca = '{client_ca}'\n" if client_ca else "")


def upstream_tls(trusted: str, own: Certificate | None = None) -> dict[str, Any]:
    """The transport socket of Envoy's cluster."""
    names = [{"san_type": "DNS", "matcher": {"exact": "localhost"}}]
    context: dict[str, Any] = {
        "validation_context": {"trusted_ca": {"inline_string": trusted}, "match_typed_subject_alt_names": names}
    }
    if own:
        context["tls_certificates"] = [
            {"certificate_chain": {"inline_string": own.certificate}, "private_key": {"inline_string": own.key}}
        ]
    config = any_of("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", sni="localhost",
                    common_tls_context=context)
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


@contextmanager
def envoy_with(server: Extprocd, upstream: Upstream, tls: dict[str, Any], *, version: str = "",
               requests_per_connection: int = 0) -> Iterator[Envoy]:
    port, admin = free_port(), free_port()
    config = envoy_config.bootstrap(port, admin, f"127.0.0.1:{upstream.port}", server.address,
                                    [route("/", processed=True)], envoy_config.ext_proc())
    cluster = next(one for one in config["static_resources"]["clusters"] if one["name"] == "extprocd")
    cluster["transport_socket"] = tls
    if requests_per_connection:
        options = next(iter(cluster["typed_extension_protocol_options"].values()))
        options["common_http_protocol_options"] = {"max_requests_per_connection": requests_per_connection}
    with Envoy(config, port, admin, version) as envoy:
        yield envoy


def is_processed(envoy: Envoy) -> bool:
    answer = request(envoy.port, "/headers", headers=ADD)
    return answer.status == 200 and answer.seen.get("Extproc") == "true"


@contextmanager
def traffic(envoy: Envoy) -> Iterator[list[bool]]:
    """Requests from two clients, one after the other; whether each was processed."""
    processed: list[bool] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            processed.append(is_processed(envoy))

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(ask) for _ in range(2)]
        try:
            yield processed
        finally:
            stop.set()
        for one in asked:
            one.result()


def handshakes(server: Extprocd, result: str) -> float:
    return server.metric(f'extproc_tls_handshakes_total{{result="{result}"}}')


def shown_by(address: str) -> str:
    """The server's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 20) as plain, context.wrap_socket(plain) as tls:
        return ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True) or b"")


def probe(*flags: str) -> subprocess.CompletedProcess[str]:
    """A probe where the system has no CAs, as in a small image."""
    nowhere = {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": "/nonexistent", "GRPC_SYSTEM_SSL_ROOTS_DIR": "/nonexistent",
               "GRPC_NOT_USE_SYSTEM_SSL_ROOTS": "true"}
    return subprocess.run([str(BINARY), "--probe", *flags], capture_output=True, text=True, timeout=30, check=False,
                          env=os.environ | nowhere)


@pytest.mark.parametrize("version", envoy_versions())
def test_envoy_is_served_over_tls(transport: str, secret: Secret, authority: Authority, upstream: Upstream,
                                  version: str) -> None:
    with (Extprocd(INSTRUCTIONS + tls_table(secret)) as server,
          envoy_with(server, upstream, upstream_tls(authority.certificate), version=version) as envoy):
        assert is_processed(envoy)
        assert envoy.stat("cluster.extprocd.ssl.handshake") >= 1
        if transport == "native":
            assert handshakes(server, "ok") >= 1


def test_envoy_is_served_over_mutual_tls(transport: str, secret: Secret, client_ca: Path, authority: Authority,
                                         clients: Authority, upstream: Upstream) -> None:
    with (Extprocd(INSTRUCTIONS + tls_table(secret, client_ca)) as server,
          envoy_with(server, upstream, upstream_tls(authority.certificate, clients.sign("envoy"))) as envoy):
        assert is_processed(envoy)


def test_an_envoy_that_trusts_another_ca_fails_its_requests(transport: str, secret: Secret, clients: Authority,
                                                            upstream: Upstream) -> None:
    with (Extprocd(INSTRUCTIONS + tls_table(secret)) as server,
          envoy_with(server, upstream, upstream_tls(clients.certificate)) as envoy):
        assert request(envoy.port, "/headers", headers=ADD).status == 500
        assert envoy.stat("cluster.extprocd.ssl.fail_verify_error") >= 1
        if transport == "native":
            assert eventually(lambda: handshakes(server, "refused_by_client"))
        eventually(lambda: "handshake" in server.log().lower())


@pytest.mark.parametrize("shown", ["none", "another CA's"])
def test_an_envoy_without_the_right_certificate_fails_its_requests(
    transport: str, secret: Secret, client_ca: Path, authority: Authority, upstream: Upstream, shown: str
) -> None:
    own = authority.sign("envoy") if shown != "none" else None
    with (Extprocd(INSTRUCTIONS + tls_table(secret, client_ca)) as server,
          envoy_with(server, upstream, upstream_tls(authority.certificate, own)) as envoy):
        assert request(envoy.port, "/headers", headers=ADD).status == 500
        if transport == "native":
            assert eventually(lambda: handshakes(server, "certificate" if own else "no_certificate"))
        assert eventually(lambda: "handshake" in server.log().lower())
        assert server.metric("extproc_streams_started_total") == 0


def test_certificates_that_are_renewed_under_traffic_lose_no_stream(transport: str, secret: Secret, authority: Authority,
                                                                    upstream: Upstream) -> None:
    with (Extprocd(INSTRUCTIONS + tls_table(secret)) as server,
          envoy_with(server, upstream, upstream_tls(authority.certificate), requests_per_connection=2) as envoy):
        with traffic(envoy) as processed:
            for _ in range(3):
                renewed = authority.sign()
                secret.renew(renewed)
                eventually(lambda wanted=renewed: shown_by(server.address) == wanted.certificate)
                before = len(processed)
                eventually(lambda least=before + 10: len(processed) > least)
        assert all(processed)
        assert server.metric('extproc_tls_reloads_total{result="ok"}') == 3
        assert server.metric('extproc_tls_reloads_total{result="error"}') == 0
        assert envoy.counters()["streams_failed"] == 0
        assert envoy.stat("cluster.extprocd.ssl.handshake") >= 3


def test_a_renewal_that_is_broken_is_reported_and_the_old_certificate_stays(
    transport: str, secret: Secret, authority: Authority, upstream: Upstream
) -> None:
    before = secret.certificate.read_text()
    with (Extprocd(INSTRUCTIONS + tls_table(secret)) as server,
          envoy_with(server, upstream, upstream_tls(authority.certificate), requests_per_connection=1) as envoy):
        secret.renew(Certificate(authority.sign().certificate, authority.sign().key))

        def is_reported() -> bool:
            assert is_processed(envoy)
            return server.metric('extproc_tls_reloads_total{result="error"}') > 0

        eventually(is_reported)
        assert shown_by(server.address) == before
        assert "is not the key of the first certificate" in server.log()


def test_a_probe_of_a_server_with_tls(transport: str, secret: Secret, client_ca: Path, clients: Authority,
                                      tmp_path: Path) -> None:
    own = Secret(tmp_path / "probe", clients.sign("probe"))
    shown = ("--probe-cert", str(own.certificate), "--probe-key", str(own.key))
    with Extprocd(INSTRUCTIONS + tls_table(secret)) as server:
        assert probe(server.address).returncode == 1
        done = probe(server.address, "--probe-tls")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert probe(server.address, *shown).returncode == 0
    with Extprocd(INSTRUCTIONS + tls_table(secret, client_ca)) as server:
        assert probe(server.address, "--probe-tls").returncode == 1
        done = probe(server.address, *shown)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_files_that_are_broken_stop_the_start_with_their_place(tmp_path: Path, secret: Secret) -> None:
    file = tmp_path / "extprocd.toml"
    file.write_text("[server.tls]\ncertificate = 'secret/tls.crt'\nkey = 'none.pem'\n")
    for flags in (["--check"], []):
        done = subprocess.run([str(BINARY), "--config", str(file), *flags], capture_output=True, text=True, timeout=30,
                              check=False)
        assert done.returncode == 1
        assert done.stderr == (
            f"extprocd: {file}:1:9: server.tls.key: {tmp_path}/none.pem: cannot be read: No such file or directory\n"
        )


def test_the_example_of_mutual_tls_serves(transport: str, tmp_path: Path, secret: Secret, client_ca: Path,
                                          authority: Authority, clients: Authority, upstream: Upstream) -> None:
    own = Secret(tmp_path / "envoy", clients.sign("envoy"))
    (tmp_path / "ca.crt").write_text(authority.certificate)
    text = (TOP / "config/envoy/ext_proc_tls.yaml").read_text()
    for name, file in {"tls.crt": own.certificate, "tls.key": own.key, "ca.crt": tmp_path / "ca.crt"}.items():
        assert f"/etc/envoy/tls/{name}" in text
        text = text.replace(f"/etc/envoy/tls/{name}", str(file))
    text = text.replace("extprocd.example", "localhost")
    config = yaml.safe_load(text)
    with Extprocd(INSTRUCTIONS + tls_table(secret, client_ca)) as server:
        port, admin = free_port(), free_port()
        ports = {9901: admin, 8080: port, 8000: upstream.port, 18080: int(server.address.rpartition(":")[2])}
        with Envoy(with_ports(config, ports), port, admin) as envoy:
            assert is_processed(envoy)


def with_ports(part: Any, ports: dict[int, int]) -> Any:
    """A configuration with other ports."""
    if isinstance(part, list):
        return [with_ports(one, ports) for one in part]
    if isinstance(part, dict):
        return {key: ports[value] if key == "port_value" else with_ports(value, ports) for key, value in part.items()}
    return part
