"""The ExtProc guide of kgateway, played against a server that runs already: a real Envoy, a processed route, another one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import envoy_config
from client import Response, request
from rig import Envoy, free_port
from upstream import Upstream

ADD = json.dumps({"addHeaders": {"extproc": "true"}})


@contextmanager
def behind_envoy(address: str) -> Iterator[int]:
    """The port of an Envoy that processes /headers with the server at `address`, and no other path."""
    routes = [envoy_config.route("/headers", processed=True), envoy_config.route("/", processed=False)]
    port, admin = free_port(), free_port()
    with Upstream() as upstream:
        config = envoy_config.bootstrap(port, admin, f"127.0.0.1:{upstream.port}", address, routes, envoy_config.ext_proc())
        with Envoy(config, port, admin):
            yield port


def processed(port: int) -> Response:
    return request(port, "/headers", headers={"instructions": ADD})


def check_guide(address: str) -> None:
    """The guide's two calls: the route with the policy is processed, the other one is not."""
    with behind_envoy(address) as port:
        answer = processed(port)
        assert (answer.status, answer.seen["Extproc"], answer.seen["Instructions"]) == (200, "true", ADD)
        answer = request(port, "/get", headers={"instructions": ADD})
        assert answer.status == 200
        assert "Extproc" not in answer.seen
