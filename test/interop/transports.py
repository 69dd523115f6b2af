"""The transports of the server under test. Who takes one as a parameter is run with each."""

from __future__ import annotations

import pytest

from rig import Extprocd

each_transport = pytest.mark.parametrize("transport", ["grpc", "native"])


def server(transport: str, config: str, address: str | None = None) -> Extprocd:
    return Extprocd(config, ["--transport", transport], address)
