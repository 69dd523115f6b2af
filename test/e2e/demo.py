"""The ExtProc guide of kgateway on one machine: Envoy, an echo upstream and extprocd; then the guide's two calls."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import shutil
import signal
import socket
import subprocess
import sys

import envoy_config
from rig import BINARY, Envoy, Extprocd, Failed, NotReady, envoy_binary, free_port
from upstream import Upstream

INSTRUCTIONS = 'instructions: {"addHeaders":{"extproc":"true"}}'


def fail(text: str) -> int:
    print(f"demo: {text}", file=sys.stderr)
    return 1


def missing(port: int) -> str:
    """What keeps the demo from running, in one line; empty if nothing does."""
    if not BINARY.exists():
        return f"{BINARY} is not there; run ./dev build"
    try:
        there = envoy_binary().exists()
    except ImportError:
        there = False
    if not there:
        return "Envoy is not there; remove build/venv and try again"
    if shutil.which("curl") is None:
        return "curl is not there; install it"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            if getattr(error, "errno", None) != errno.EADDRINUSE:
                return f"port {port} cannot be used ({error}); choose another with --port"
            return f"port {port} is busy; choose another with --port"
    return ""


def call(path: str, port: int) -> bool:
    """One call of the guide, shown with its output; whether the upstream saw the added header."""
    command = ["curl", "-s", f"http://127.0.0.1:{port}{path}", "-H", "host: extproc.example", "-H", INSTRUCTIONS]
    shown = " ".join(f"'{word}'" if " " in word or "{" in word else word for word in command)
    print(f"\n$ {shown}", flush=True)
    output = subprocess.run(command, check=False, timeout=30, stdout=subprocess.PIPE, text=True).stdout
    print(output, end="", flush=True)
    try:
        return "Extproc" in json.loads(output)["headers"]
    except (ValueError, KeyError, TypeError):
        raise Failed(f"{path} did not come back from the upstream") from None


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="stay up afterwards, until Ctrl-C")
    parser.add_argument("--port", type=int, default=8080, help="where Envoy listens (default: 8080)")
    arguments = parser.parse_args()
    if reason := missing(arguments.port):
        return fail(reason)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    routes = [envoy_config.route("/headers", processed=True), envoy_config.route("/", processed=False)]
    admin = free_port()
    try:
        with contextlib.ExitStack() as stack:
            upstream = stack.enter_context(Upstream())
            server = stack.enter_context(Extprocd())
            config = envoy_config.bootstrap(arguments.port, admin, f"127.0.0.1:{upstream.port}", server.address, routes,
                                            envoy_config.ext_proc(failure_mode_allow=True, message_timeout="0.2s"))
            stack.enter_context(Envoy(config, arguments.port, admin))
            print(f"Envoy on 127.0.0.1:{arguments.port}: /headers goes through extprocd ({server.address}), /get does not.")
            if not call("/headers", arguments.port):
                raise Failed("extprocd did not add the header on /headers")
            if call("/get", arguments.port):
                raise Failed("extprocd added the header on /get, which it should not see")
            print(f"\nOn /headers the upstream saw Extproc: true. Metrics: http://{server.admin}/metrics", flush=True)
            if arguments.keep:
                print("Everything stays up until Ctrl-C.", flush=True)
                signal.pause()
    except (Failed, NotReady) as error:
        return fail(str(error).replace("\n", "; "))
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
