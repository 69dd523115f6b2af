"""Attributes and metadata as values of their types, through real Envoys: what they send arrives as what it is, and what a
plugin sets arrives in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client import request
from conftest import moved
from envoy_config import FILTER, any_of, cluster, enabled, ext_proc, listener, static, wrapped
from rig import Envoy, Extprocd, eventually, free_port
from upstream import Upstream

CONFIG = """
[[plugin]]
name = "probe"
module = "metadata_probe.so"
"""
LIST = "[request.method,'b']"
ATTRIBUTES = ["request.path", "request.size", "request.time", "connection.mtls", "source.port", LIST]
STRING = "type.googleapis.com/google.protobuf.StringValue"
HELLO = "0a0568656c6c6f"  # a StringValue of "hello"
DEEPEST = 30


class LoggingEnvoy(Envoy):
    """An Envoy that does not hold its access log back."""

    def command(self) -> list[str]:
        return [*super().command(), "--file-flush-interval-msec", "20"]


def config(port: int, admin: int, server: str, upstream: int, log: Path) -> dict[str, Any]:
    """One ext_proc filter that is shown everything; before it another filter that sets metadata."""
    spaces = {"untyped": ["probe", "given"], "typed": ["probe", "given"]}
    filter_ = ext_proc(
        request_attributes=ATTRIBUTES,
        metadata_options={"forwarding_namespaces": spaces, "receiving_namespaces": spaces},
    )
    given = any_of(
        "envoy.extensions.filters.http.set_metadata.v3.Config",
        metadata=[
            {"metadata_namespace": "given", "value": {"roles": ["admin", 2, True], "owner": {"name": "ann"}}},
            {"metadata_namespace": "given", "typed_value": any_of("google.protobuf.StringValue", value="hello")},
        ],
    )
    line = {"json_format": {"probe": "%DYNAMIC_METADATA(probe)%", "id": "%REQ(X-ID)%"}}
    access_log = {
        "name": "file",
        "typed_config": any_of("envoy.extensions.access_loggers.file.v3.FileAccessLog", path=str(log), log_format=line),
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}, "typed_per_filter_config": enabled(FILTER)}
    hosts = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]}
    filters = [{"name": "given", "typed_config": given}, wrapped(filter_)]
    clusters = [cluster("upstream", f"127.0.0.1:{upstream}", http2=False), cluster("extprocd", server, http2=True)]
    return static(admin, [listener("http", port, hosts, filters, access_log=[access_log])], clusters)


class Probed:
    """An Envoy whose requests the probe plugin sees."""

    def __init__(self, envoy: Envoy, server: Extprocd, log: Path) -> None:
        self.envoy = envoy
        self.server = server
        self.log = log
        self.count = 0

    def seen(self, *orders: str, **headers: str) -> list[str]:
        """What the plugin saw of what it was told to show of the request."""
        answer = request(self.envoy.port, "/headers", headers={"show": "; ".join(orders)} | headers)
        assert answer.status == 200, self.server.log()
        return answer.seen["Seen"].split("; ")

    def logged(self, **headers: str) -> Any:
        """The metadata of the namespace `probe` in the access log after a request with these headers."""
        self.count += 1
        assert request(self.envoy.port, "/headers", headers=headers | {"x-id": str(self.count)}).status == 200

        def line() -> dict[str, Any] | None:
            lines = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
            return next((one for one in lines if one["id"] == str(self.count)), None)

        return eventually(line)["probe"]


@pytest.fixture(scope="module")
def probed(version: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probed]:
    log = tmp_path_factory.mktemp("envoy") / "access.log"
    port, admin = free_port(), free_port()
    with (
        Extprocd(CONFIG) as server,
        LoggingEnvoy(config(port, admin, server.address, upstream.port, log), port, admin, version) as envoy,
    ):
        yield Probed(envoy, server, log)
        assert moved(envoy, ()) == {}


def test_attributes_have_the_types_that_envoy_gives_them(probed: Probed) -> None:
    path, size, mtls, port, absent = probed.seen(
        "attribute request.path", "attribute request.size", "attribute connection.mtls", "attribute source.port",
        "attribute request.none")
    assert path == "'/headers'"
    assert size == "0"
    assert mtls == "false"
    assert 1024 <= int(port) <= 65535
    assert absent == "absent"


def test_what_envoy_has_no_type_for_comes_as_text(probed: Probed) -> None:
    time, values = probed.seen("attribute request.time", f"attribute {LIST}")
    assert time.startswith("'20")
    assert values == "'CelList value'"


def test_metadata_of_another_filter_has_its_types(probed: Probed) -> None:
    everything, roles, absent, typed = probed.seen("metadata given", "metadata given roles", "metadata given other", "typed given")
    assert everything == "{owner: {name: 'ann'}, roles: ['admin', 2, true]}"
    assert roles == "['admin', 2, true]"
    assert absent == "absent"
    assert typed == f"{STRING}={HELLO}"


def test_lists_and_structs_arrive_in_the_access_log(probed: Probed) -> None:
    value = {"list": [1, "two", [False, None], {"three": 3.5}], "empty": {}, "text": "\u00fc \"quoted\""}
    orders = [f"probe value {json.dumps(value)}", "probe number -0.125", "probe flag true", "probe gone []"]
    logged = probed.logged(set="; ".join(orders), remove="probe gone")
    assert logged == {"value": value, "number": -0.125, "flag": True}


def test_metadata_is_sent_back_with_later_messages(probed: Probed) -> None:
    order = "show=metadata%20probe%20value"
    answer = request(probed.envoy.port, f"/respond?{order}", headers={"set": 'probe value {"list": [1, [2]]}'})
    assert answer.header("seen") == "{list: [1, [2]]}"


@pytest.mark.parametrize(("opened", "closed"), [('{"k": ', "}"), ("[", "]")])
def test_the_deepest_value_that_can_be_set_arrives(probed: Probed, opened: str, closed: str) -> None:
    text = opened * DEEPEST + "1" + closed * DEEPEST
    assert probed.logged(set=f"probe deep {text}") == {"deep": json.loads(text)}


def test_typed_metadata_arrives_in_envoys_that_know_it_and_does_no_harm_in_others(probed: Probed, version: str) -> None:
    headers = {"set-typed": f"probe {STRING} {HELLO}", "set": "probe plain true"}
    answer = request(probed.envoy.port, "/respond?show=typed%20probe;%20metadata%20probe%20plain", headers=headers)
    knows = tuple(map(int, version.split("."))) >= (1, 40)
    assert answer.header("seen") == f"{f'{STRING}={HELLO}' if knows else 'absent'}; true"
