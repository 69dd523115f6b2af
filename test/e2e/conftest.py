"""What the end-to-end tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

import body_modes
import envoy_config
from rig import Envoy, Extprocd, envoy_versions, free_port
from upstream import Upstream

# Counters of Envoy that must not move where nothing is meant to fail.
FAILURES = ("spurious_msgs_received", "streams_failed", "message_timeouts", "rejected_header_mutations",
            "failure_mode_allowed", "http_not_ok_resp_received")

RunEnvoy = Callable[..., AbstractContextManager[Envoy]]


@pytest.fixture(scope="session", params=envoy_versions())
def version(request: pytest.FixtureRequest) -> str:
    """A version of Envoy; who asks for it runs with each."""
    return request.param


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        yield server


@pytest.fixture(scope="session")
def run_envoy(upstream: Upstream) -> RunEnvoy:
    """Starts an Envoy before an extprocd; when it is left, its failure counters must be zero but for those allowed."""

    @contextmanager
    def run(server: Extprocd, routes: list[dict[str, Any]], may_fail: tuple[str, ...] = (), version: str = "",
            buffer_limit: int = 0, **inner: Any) -> Iterator[Envoy]:
        port, admin = free_port(), free_port()
        config = envoy_config.bootstrap(port, admin, f"127.0.0.1:{upstream.port}", server.address, routes,
                                        envoy_config.ext_proc(**inner), buffer_limit)
        with Envoy(config, port, admin, version) as envoy:
            yield envoy
            assert moved(envoy, may_fail) == {}

    return run


@pytest.fixture(scope="session")
def envoy_of_modes(extprocd: Extprocd, run_envoy: RunEnvoy, version: str) -> Iterator[Envoy]:
    """For each version an Envoy with the routes of body_modes; a module's fixture `envoy` may be this one."""
    with run_envoy(extprocd, body_modes.routes(), version=version, buffer_limit=body_modes.BUFFER_LIMIT) as running:
        yield running


def moved(envoy: Envoy, may_fail: tuple[str, ...]) -> dict[str, int]:
    """The failure counters that are not zero though they should be."""
    counters = envoy.counters()
    return {name: counters[name] for name in FAILURES if counters[name] and name not in may_fail}


@pytest.fixture(autouse=True)
def _nothing_failed(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test that shares its module's Envoy: nothing has failed there."""
    yield
    if "envoy" in request.fixturenames:
        assert moved(request.getfixturevalue("envoy"), ()) == {}


@pytest.fixture(scope="session")
def extprocd() -> Iterator[Extprocd]:
    """A server with the built-in configuration."""
    with Extprocd() as server:
        yield server
