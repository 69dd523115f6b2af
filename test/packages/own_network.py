"""A network of one's own for a test: nothing but a loopback, so that every port is free, the usual ones too."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

CLONE_NEWNET = 0x40000000


def _enter() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def in_own_network(test: Callable[..., None]) -> Callable[..., None]:
    """Runs a test on a thread in a network namespace of its own. Sockets and processes that it makes are in there too."""

    @functools.wraps(test)
    def wrapped(*arguments: Any, **named: Any) -> None:
        def body() -> None:
            _enter()
            test(*arguments, **named)

        with ThreadPoolExecutor(1) as thread:
            thread.submit(body).result()

    return wrapped
