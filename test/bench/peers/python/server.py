"""An ext_proc server as one writes it in Python for speed: grpcio's asyncio server, protobuf's messages, one process.

The messages are generated with the build, into the folder that --messages names.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import grpc

MAX_MESSAGE = 64 << 20
OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # a second server on the port is a mistake
]


async def serve(address: str) -> int:
    from processor import METHOD, SERVICE, process

    server = grpc.aio.server(options=OPTIONS)
    # Messages go in and out as bytes: process() has those that it says over and over ready.
    handler = grpc.stream_stream_rpc_method_handler(process)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler})])
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        print(f"python: cannot listen on {address}: {error}", file=sys.stderr)
        return 1
    terminated = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, terminated.set)
    await server.start()
    host = address.rpartition(":")[0]
    print(f"listening on {address if address.startswith('unix:') else f'{host}:{port}'}", flush=True)
    await terminated.wait()
    await server.stop(None)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python", description="An ext_proc server on grpcio's asyncio API")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="ADDR", help="host:port or unix:/path; default %(default)s")
    parser.add_argument("--messages", type=Path, required=True, metavar="FOLDER", help="with protobuf's classes")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.messages))
    return asyncio.run(serve(arguments.listen))


if __name__ == "__main__":
    sys.exit(main())
