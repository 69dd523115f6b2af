"""docker/compose.yaml: valid, fitting together, and run as processes on loopback."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from client import request
from rig import BINARY, TOP, Envoy, Process, Prometheus, envoy_binary, eventually, free_port
from server_checks import port_of, reachable, seconds
from upstream import Upstream

DOCKER = TOP / "docker"
TEXT = (DOCKER / "compose.yaml").read_text()
ENVOY = (DOCKER / "envoy/envoy.yaml").read_text()
PROMETHEUS = (DOCKER / "prometheus/prometheus.yml").read_text()
CONFIG = (DOCKER / "kubernetes/extprocd.toml").read_text()

# Where an image listens without being told to.
LISTENING = {"echo": {8080}, "prometheus": {9090}}


def socket_addresses(part: Any) -> Iterator[tuple[str, int]]:
    """Every host and port of an Envoy configuration."""
    if isinstance(part, dict):
        if "socket_address" in part:
            yield part["socket_address"]["address"], part["socket_address"]["port_value"]
        for value in part.values():
            yield from socket_addresses(value)
    elif isinstance(part, list):
        for value in part:
            yield from socket_addresses(value)


def mounts(service: dict[str, Any]) -> Iterator[tuple[Path, str, str]]:
    """Source, target and mode of a service's mounts."""
    for text in service.get("volumes", []):
        source, target, mode = text.split(":")
        yield DOCKER / source, target, mode


def problems(text: str, envoy: str = ENVOY, prometheus: str = PROMETHEUS, config: str = CONFIG) -> list[str]:
    """What does not fit, in sentences."""
    try:
        compose_spec.PyCompose.from_yaml(text)
    except ValueError as error:
        return [str(error)]
    services: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    settings = tomllib.loads(config)
    addresses = list(socket_addresses(yaml.safe_load(envoy)))
    listening = LISTENING | {
        "extprocd": {port_of(address) for address in (*settings["server"]["listen"], settings["admin"]["listen"])
                     if reachable(address)},
        "envoy": {port for host, port in addresses if host == "0.0.0.0"},
    }
    found = []
    for name, service in services.items():
        found += [f"{name}: {problem}" for problem in service_problems(service, services, listening.get(name, set()))]
    targets = [target.rsplit(":", 1) for job in yaml.safe_load(prometheus)["scrape_configs"]
               for entry in job["static_configs"] for target in entry["targets"]]
    for host, port in [address for address in addresses if address[0] != "0.0.0.0"] + targets:
        if int(port) not in listening.get(host, ()):
            found.append(f"nobody listens on {host}:{port}")
    return found + [f"extprocd: {problem}" for problem in server_problems(services["extprocd"], settings)]


def service_problems(service: dict[str, Any], services: dict[str, Any], listening: set[int]) -> Iterator[str]:
    tag = service["image"].rpartition(":")[2]
    if tag in ("latest", service["image"]):
        yield "the image has no tag of its own"
    if build := service.get("build"):
        file = DOCKER / build["context"] / build["dockerfile"]
        if not file.exists():
            yield f"{build['dockerfile']} is not there"
        elif "WORKDIR" not in file.read_text():
            yield f"{build['dockerfile']} names no folder in which the healthcheck could find ./server"
    for source, target, mode in mounts(service):
        if not source.exists():
            yield f"{source.relative_to(DOCKER)} is not there"
        if mode != "ro":
            yield f"{target} is mounted to be written"
    for text in service.get("ports", []):
        host, outside, inside = text.rsplit(":", 2)
        if host != "127.0.0.1":
            yield f"{text} is open on more than loopback"
        if int(inside) not in listening:
            yield f"nobody listens on {inside}"
    needed = service.get("depends_on", {})
    for other in needed:
        condition = needed[other]["condition"] if isinstance(needed, dict) else "service_started"
        if other not in services:
            yield f"there is no service {other}"
        elif condition == "service_healthy" and "healthcheck" not in services[other]:
            yield f"{other} has no healthcheck"
    for flag in ("-c", "--config"):
        arguments = service.get("command", [])
        if flag in arguments:
            file = arguments[arguments.index(flag) + 1]
            if file not in [target for _, target, _ in mounts(service)]:
                yield f"nothing is mounted at {file}"


def server_problems(server: dict[str, Any], settings: dict[str, Any]) -> Iterator[str]:
    wanted = {
        "read_only": server.get("read_only") is True,
        "cap_drop ALL": server.get("cap_drop") == ["ALL"],
        "no-new-privileges": "no-new-privileges:true" in server.get("security_opt", []),
    }
    yield from (f"{name}: missing" for name, there in wanted.items() if not there)
    folder, _, options = server.get("tmpfs", [":"])[0].partition(":")
    if folder != settings["plugins"]["runtime_dir"]:
        yield "plugins.runtime_dir is no tmpfs"
    for option in ("exec", "uid=65532", "gid=65532"):
        if option not in options.split(","):
            yield f"the tmpfs is not mounted {option}"
    if server["healthcheck"]["test"][:3] != ["CMD", "./server", "--probe"]:
        yield "the healthcheck is not the binary's own"
    elif port_of(server["healthcheck"]["test"][3]) != port_of(settings["server"]["listen"][0]):
        yield "the healthcheck asks another port"
    drain = settings["server"]["drain"]
    if seconds(server.get("stop_grace_period", "10s")) <= seconds(drain["grace"]) + seconds(drain["deadline"]):
        yield "stop_grace_period is not longer than the drain"


def test_it_is_valid_and_fits_together() -> None:
    assert problems(TEXT) == []


@pytest.mark.parametrize(("old", "new", "said"), [
    ("read_only: true\n    # Mod", "readonly: true\n    # Mod", "`readonly` does not start with"),
    ("interval: 5s", "interval: 5x", "services.extprocd.healthcheck.interval"),
    ("condition: service_healthy", "condition: healthy", "services.envoy.depends_on.extprocd.condition"),
    ("envoyproxy/envoy:v1.40.0", "envoyproxy/envoy", "envoy: the image has no tag of its own"),
    ("dockerfile: docker/Dockerfile", "dockerfile: Dockerfile", "extprocd: Dockerfile is not there"),
    ("dockerfile: docker/Dockerfile", "dockerfile: docker/README.md", "extprocd: docker/README.md names no folder"),
    ("prom/prometheus:v3.5.0", "prom/prometheus:latest", "prometheus: the image has no tag of its own"),
    ("./envoy/envoy.yaml:/", "./envoy/ext_proc.yaml:/", "envoy: envoy/ext_proc.yaml is not there"),
    ("./prometheus:/etc/prometheus:ro", "./prometheus:/etc/prometheus:rw", "prometheus: /etc/prometheus is mounted to be written"),
    ("127.0.0.1:8080:8080", "0.0.0.0:8080:8080", "envoy: 0.0.0.0:8080:8080 is open on more than loopback"),
    ("127.0.0.1:9090:9090", "127.0.0.1:9090:9091", "prometheus: nobody listens on 9091"),
    ("127.0.0.1:18081:18081", "127.0.0.1:18081:18082", "extprocd: nobody listens on 18082"),
    ("depends_on: [extprocd]", "depends_on: [server]", "prometheus: there is no service server"),
    ("echo: {condition: service_started}", "echo: {condition: service_healthy}", "envoy: echo has no healthcheck"),
    ('"-c", "/etc/envoy/envoy.yaml"', '"-c", "/etc/envoy.yaml"', "envoy: nothing is mounted at /etc/envoy.yaml"),
    ('"--config", "/etc/extprocd/', '"--config", "/etc/', "extprocd: nothing is mounted at /etc/extprocd.toml"),
    ("read_only: true\n    # Mod", "read_only: false\n    # Mod", "extprocd: read_only: missing"),
    ('cap_drop: [ALL]\n    security_opt: ["no-new-privileges:true"]\n    mem', "mem", "extprocd: cap_drop ALL: missing"),
    ('cap_drop: [ALL]\n    security_opt: ["no-new-privileges:true"]\n    mem', "mem", "extprocd: no-new-privileges: missing"),
    ("/run/extprocd:exec", "/tmp:exec", "extprocd: plugins.runtime_dir is no tmpfs"),
    ("extprocd:exec,", "extprocd:", "extprocd: the tmpfs is not mounted exec"),
    ("uid=65532,", "", "extprocd: the tmpfs is not mounted uid=65532"),
    ('"CMD", "./server"', '"CMD", "curl"', "extprocd: the healthcheck is not the binary's own"),
    ('"127.0.0.1:18080"]', '"127.0.0.1:18081"]', "extprocd: the healthcheck asks another port"),
    ("stop_grace_period: 45s", "stop_grace_period: 30s", "extprocd: stop_grace_period is not longer"),
])
def test_a_mistake_is_seen(old: str, new: str, said: str) -> None:
    assert TEXT.count(old) == 1
    found = problems(TEXT.replace(old, new))
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize(("file", "old", "new", "said"), [
    ("envoy", "address: echo, port_value: 8080", "address: httpbin, port_value: 8080", "nobody listens on httpbin:8080"),
    ("envoy", "address: extprocd, port_value: 18080", "address: extprocd, port_value: 4444", "nobody listens on extprocd:4444"),
    ("envoy", "port_value: 9901", "port_value: 9902", "envoy: nobody listens on 9901"),
    ("prometheus", "extprocd:18081", "127.0.0.1:18081", "nobody listens on 127.0.0.1:18081"),
    ("config", 'listen = ["[::]:18080"]', 'listen = ["127.0.0.1:18080"]', "nobody listens on extprocd:18080"),
    ("config", 'deadline = "30s"', 'deadline = "1m"', "extprocd: stop_grace_period is not longer"),
])
def test_a_mistake_in_what_it_mounts_is_seen(file: str, old: str, new: str, said: str) -> None:
    original = {"envoy": ENVOY, "prometheus": PROMETHEUS, "config": CONFIG}[file]
    assert original.count(old) == 1
    found = problems(TEXT, **{file: original.replace(old, new)})
    assert any(said in problem for problem in found), found


def test_envoy_accepts_its_configuration() -> None:
    done = subprocess.run([str(envoy_binary()), "--mode", "validate", "-c", str(DOCKER / "envoy/envoy.yaml")],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


class Server(Process):
    """extprocd with the configuration of the container, its addresses on loopback and its folder the test's."""

    name = "extprocd"

    def __init__(self, moved: Callable[[str], str]) -> None:
        super().__init__()
        (self.folder / "server").symlink_to(BINARY)
        (self.folder / "extprocd.toml").write_text(moved(CONFIG).replace("/run/extprocd", str(self.folder / "run")))
        self.address = tomllib.loads((self.folder / "extprocd.toml").read_text())["server"]["listen"][0]

    def command(self) -> list[str]:
        arguments = yaml.safe_load(TEXT)["services"]["extprocd"]["command"]
        return [str(BINARY), *(argument.replace("/etc/extprocd", str(self.folder)) for argument in arguments)]

    def is_ready(self) -> bool:
        """The healthcheck."""
        _, program, flag, _ = yaml.safe_load(TEXT)["services"]["extprocd"]["healthcheck"]["test"]
        return subprocess.run([program, flag, self.address], cwd=self.folder, capture_output=True, timeout=30,
                              check=False).returncode == 0


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, str]]:
    """What each address of the files is replaced with."""
    with Upstream() as upstream:
        yield {"echo:8080": f"127.0.0.1:{upstream.port}"} | {
            address: f"127.0.0.1:{free_port()}"
            for address in ("0.0.0.0:8080", "0.0.0.0:9901", "[::]:18080", "[::]:18081")}


@pytest.fixture(scope="module")
def server(places: dict[str, str]) -> Iterator[Server]:
    def moved(text: str) -> str:
        for address in ("[::]:18080", "[::]:18081"):
            assert text.count(address) == 1
            text = text.replace(address, places[address])
        return text

    with Server(moved) as running:
        yield running


def moved_envoy(places: dict[str, str]) -> dict[str, Any]:
    """Envoy's configuration with other hosts and ports, and nothing else changed."""
    text = ENVOY
    for address, place in (places | {"extprocd:18080": places["[::]:18080"]}).items():
        (host, port), (new_host, new_port) = address.rsplit(":", 1), place.rsplit(":", 1)
        old = f"{{address: {host}, port_value: {port}}}"
        assert text.count(old) == (0 if host == "[::]" else 1), old
        text = text.replace(old, f"{{address: {new_host}, port_value: {new_port}}}")
    return dict(yaml.safe_load(text))


def test_the_guides_two_calls(places: dict[str, str], server: Server) -> None:
    port, admin = port_of(places["0.0.0.0:8080"]), port_of(places["0.0.0.0:9901"])
    headers = {"instructions": '{"addHeaders":{"extproc":"true"}}'}
    with Envoy(moved_envoy(places), port, admin):
        answer = request(port, "/headers", headers=headers)
        assert (answer.status, answer.seen["Extproc"]) == (200, "true")
        answer = request(port, "/get", headers=headers)
        assert answer.status == 200
        assert "Extproc" not in answer.seen


class ComposePrometheus(Prometheus):
    """Prometheus with the file of compose; only the target is replaced, and the wait for the first scrape shortened."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        assert PROMETHEUS.count("extprocd:18081") == PROMETHEUS.count("scrape_interval: 15s") == 1
        text = PROMETHEUS.replace("extprocd:18081", target).replace("scrape_interval: 15s", "scrape_interval: 1s")
        (self.folder / "prometheus.yml").write_text(text)


def test_prometheus_scrapes_the_server(places: dict[str, str], server: Server) -> None:
    with ComposePrometheus(places["[::]:18081"]) as prometheus:
        assert eventually(lambda: prometheus.query('extproc_build_info{job="extprocd"}'))
