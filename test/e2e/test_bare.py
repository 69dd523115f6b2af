"""The yardstick of the benchmarks is an ext_proc server that Envoy is content with; else it would measure nothing."""

from __future__ import annotations

import pytest

from client import request
from conftest import RunEnvoy
from envoy_config import route
from servers import Bare


@pytest.mark.parametrize("mode", ["NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED"])
def test_envoy_is_content_with_the_bare_server(run_envoy: RunEnvoy, mode: str) -> None:
    modes = {"request_body_mode": mode, "response_body_mode": mode, "request_trailer_mode": "SEND", "response_trailer_mode": "SEND"}
    body = b"0123456789" * 20000
    with (
        Bare(["--set-header", "extproc:true"]) as server,
        run_envoy(server, [route("/", processed=True)], processing_mode=modes) as envoy,  # type: ignore[arg-type]
    ):
        assert request(envoy.port, "/headers").seen["Extproc"] == "true"
        response = request(envoy.port, "/echo", method="POST", body=body, trailers={"x-end": "1"})
        assert (response.status, response.body) == (200, body)
