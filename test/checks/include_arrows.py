"""Fails if a room of core/ includes a room that is not below it, or a heavy header leaks out of its room."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from posixpath import dirname, normpath

# The lowest line first. A room may include rooms on lower lines only; rooms on one line do not know each other.
LINES = [["http"], ["wire", "telemetry"], ["config"], ["plugin"], ["engine"], ["transport", "admin"], ["server"]]
LEVEL = {room: level for level, rooms in enumerate(LINES) for room in rooms}

# Headers that make builds slow: only in .cc files and tests, and only in these folders.
HEAVY = {
    r"grpcpp/|grpc/(grpc|support)": ("core/transport/grpc/",),
    r"boost/asio|nghttp2/|boost/intrusive": ("core/admin/", "core/transport/h2/"),
    r"boost/beast": ("core/admin/",),
    r"boost/dll": ("core/plugin/",),
    r"toml\+\+/": ("core/config/",),
}
# A header that only the .cc files of its own folder include may name what they are about.
PRIVATE_HEADERS = {
    "core/transport/grpc/call.h",
    *(f"core/transport/h2/{name}.h" for name in ("acceptor", "call", "connection", "loop")),
}

INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^">]+)[">]', re.MULTILINE)


def room_of(path: str) -> str | None:
    parts = path.split("/")
    return parts[1] if len(parts) > 2 and parts[0] == "core" else None


def faults_of(path: str, text: str) -> list[str]:
    """What is wrong with the includes of one file; `path` is relative to the top folder."""
    faults = []
    room = room_of(path)
    for include in INCLUDE.findall(text):
        if include.startswith("."):
            include = normpath(f"{dirname(path)}/{include}")
        target = room_of(include)
        if include.startswith("core/") and room is None and not path.startswith("test/"):
            faults.append(f"{path}: only core/ and test/ may include {include}")
        elif strangers := {room, target} - {None} - LEVEL.keys():
            faults.append(f"{path}: no place in LINES for the room {', '.join(sorted(strangers))}")
        elif room and target and target != room and LEVEL[target] >= LEVEL[room]:
            faults.append(f"{path}: the room {room} may not include {include}")
        elif path.startswith("core/transport/") and include.startswith("core/transport/"):
            mine, other = path.split("/")[2:-1], include.split("/")[2:-1]
            if other and mine != other:
                faults.append(f"{path}: one transport may not include another, nor what is shared a transport: {include}")
        for pattern, folders in HEAVY.items():
            if re.match(pattern, include) and path.startswith("core/"):
                header = path.endswith(".h") and path not in PRIVATE_HEADERS
                if header or not path.startswith(folders):
                    faults.append(f"{path}: {include} belongs into .cc files of {' or '.join(folders)}")
    return faults


def faults(top: Path) -> list[str]:
    found = []
    for folder in ("core", "sdk", "plugins"):
        for file in sorted((top / folder).rglob("*")):
            if file.suffix in {".h", ".cc", ".c", ".hpp"}:
                found += faults_of(file.relative_to(top).as_posix(), file.read_text(encoding="utf-8"))
    return found


def main() -> int:
    found = faults(Path(__file__).resolve().parents[2])
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
