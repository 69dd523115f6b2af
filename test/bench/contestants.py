"""Who is measured: each can be started on cores of its own, with so many threads, set up for a case."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from servers import BINARY, PROGRAMS, Bare, PinnedExtprocd, peers
from surroundings import output_of

CALLED_INSTRUCTIONS = ("instructions", "instructions.so")
SET_BY_INSTRUCTION = "extproc:true"


class Running(Protocol):
    """A server that serves."""

    @property
    def address(self) -> str: ...
    @property
    def child(self) -> subprocess.Popen[bytes] | None: ...


class Peer(Protocol):
    """Another ext_proc server. It follows the request's instruction as the plugin `instructions` does, or has it prepared."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def max_threads(self) -> int: ...
    def why_not(self) -> str: ...
    def version(self) -> str: ...
    def start(self, cores: Sequence[int], threads: int, *, set_header: str) -> AbstractContextManager[Running]: ...


@dataclass(frozen=True)
class Setup:
    """What a case asks of a server."""

    sets_header: bool = False  # every request brings an instruction
    streams: int = 1000  # at a time
    chain: tuple[str, int] | None = None  # extprocd's: a module beside `instructions`, so many times


class Contestant(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def is_ours(self) -> bool:
        """An extprocd."""

    @property
    def max_threads(self) -> int: ...
    def why_not(self) -> str:
        """Why it cannot be started; empty if it can."""

    def version(self) -> str:
        """Of what it is made of, in words."""

    def start(self, cores: Sequence[int], threads: int, setup: Setup) -> AbstractContextManager[Running]: ...


@dataclass(frozen=True)
class BareContestant:
    """The yardstick. What it sets is prepared when it starts."""

    name: str = "bare"
    title: str = "the yardstick: nghttp2 and epoll, views, prepared answers"
    is_ours: bool = False
    max_threads: int = 1
    flags: list[str] = field(default_factory=list)

    def why_not(self) -> str:
        program = PROGRAMS / "bare"
        return "" if program.exists() else f"{program} is not built"

    def version(self) -> str:
        return f"nghttp2 {output_of('pkg-config', '--modversion', 'libnghttp2')}"

    def start(self, cores: Sequence[int], threads: int, setup: Setup) -> AbstractContextManager[Running]:
        assert threads == 1
        return Bare([*self.flags, *(["--set-header", SET_BY_INSTRUCTION] if setup.sets_header else [])], cores[0])


@dataclass(frozen=True)
class ExtprocdContestant:
    """extprocd with metrics on and the plugin `instructions`, or the chain that the case asks for."""

    name: str
    title: str
    transport: str  # as in the configuration
    is_ours: bool = True
    max_threads: int = 1024

    def why_not(self) -> str:
        return "" if BINARY.exists() else f"{BINARY} is not built"

    def version(self) -> str:
        library = "libnghttp2" if self.transport == "native" else "grpc++"
        number = output_of(str(BINARY), "--version").removeprefix("extprocd ")
        return (f"{number}, commit {output_of('git', 'describe', '--always', '--dirty')}, "
                f"{library.removeprefix('lib')} {output_of('pkg-config', '--modversion', library)}")

    def config(self, threads: int, setup: Setup) -> str:
        lines = ["[server]", f"threads = {threads}", f'transport = "{self.transport}"']
        # All contestants answer as many messages.
        lines += ["[data_plane]", "early_end = false"]
        # All streams may be on one connection; those of the warm-up may still be there.
        most = setup.streams + 10_000
        lines += ["[server.limits]", f"max_streams_per_connection = {most}", f"max_streams = {most}", "[log]", 'level = "warn"']
        plugins = [CALLED_INSTRUCTIONS]
        if setup.chain:
            module, count = setup.chain
            plugins = [(f"{module}-{number}", f"{module}.so") for number in range(1, count + 1)]
        for name, module in plugins:
            lines += ["[[plugin]]", f'name = "{name}"', f'module = "{module}"']
        return "\n".join(lines) + "\n"

    def start(self, cores: Sequence[int], threads: int, setup: Setup) -> AbstractContextManager[Running]:
        return PinnedExtprocd(cores, self.config(threads, setup))


@dataclass(frozen=True)
class PeerContestant:
    """A peer as it is."""

    peer: Peer
    is_ours: bool = False

    @property
    def name(self) -> str:
        return self.peer.name

    @property
    def title(self) -> str:
        return self.peer.title

    @property
    def max_threads(self) -> int:
        return self.peer.max_threads

    def why_not(self) -> str:
        return self.peer.why_not()

    def version(self) -> str:
        return self.peer.version()

    def start(self, cores: Sequence[int], threads: int, setup: Setup) -> AbstractContextManager[Running]:
        return self.peer.start(cores, threads, set_header=SET_BY_INSTRUCTION if setup.sets_header else "")


def contestants() -> list[Contestant]:
    """All there are, the yardstick first."""
    return [
        BareContestant(),
        ExtprocdContestant("extprocd", "extprocd, native transport", "native"),
        ExtprocdContestant("extprocd-grpc", "extprocd, transport on grpc++", "grpc"),
        *(PeerContestant(peer) for peer in peers()),
    ]
