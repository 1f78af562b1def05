"""Peers that break in every way a network or a server can: what stands before a real sshd, or in place of one."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Behaviour = Callable[["Peer", socket.socket], None]


@dataclass
class Peer:
    """A port that behaves in one way; ``count`` is how many connections it took."""

    behaviour: Behaviour
    port: int = 0
    count: int = 0
    _open: list[socket.socket] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.count += 1
            self._open.append(connection)
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self.behaviour(self, connection)

    def cut(self) -> None:
        """End every connection that was passed on; those that come are passed on again."""
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close what is open."""
        for connection in self._open:
            connection.close()


@contextlib.contextmanager
def peer(behaviour: Behaviour, *, after: float = 0.0) -> Iterator[Peer]:
    """Run a peer on a port of the loopback; it listens only ``after`` some seconds."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    found = Peer(behaviour, listener.getsockname()[1])

    if not after:
        listener.listen(64)

    def run() -> None:
        time.sleep(after)
        with contextlib.suppress(OSError):
            listener.listen(64)
            found.serve(listener)

    threading.Thread(target=run, daemon=True).start()
    try:
        yield found
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        found.close()


def says(*parts: bytes, close: bool = False) -> Behaviour:
    """Say something, then nothing more; or hang up."""

    def behave(_: Peer, connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)
        if close:
            connection.close()

    return behave


def endless(part: bytes) -> Behaviour:
    """Say the same for ever."""

    def behave(_: Peer, connection: socket.socket) -> None:
        while True:
            connection.sendall(part)

    return behave


def dropping(times: int, then: Behaviour, said: bytes = b"Exceeded MaxStartups\r\n") -> Behaviour:
    """Hang up on the first connections, as an sshd does that has too many of them."""

    def behave(self: Peer, connection: socket.socket) -> None:
        if self.count <= times:
            connection.sendall(said)
            connection.close()
        else:
            then(self, connection)

    return behave


def through(address: str, limit: int = 1 << 60, *, end: str = "stall", port: int = 22) -> Behaviour:
    """Pass everything on from a server until it has said ``limit`` bytes: then stall, close or reset."""

    def behave(self: Peer, connection: socket.socket) -> None:
        server = socket.create_connection((address, port))
        self._open.append(server)
        threading.Thread(target=_copy, args=(connection, server, 1 << 60), daemon=True).start()
        _copy(server, connection, limit)
        if end == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if end != "stall":
            connection.shutdown(socket.SHUT_RDWR if end == "close" else socket.SHUT_RD)
            connection.close()
            server.close()

    return behave


def until(silent: threading.Event, address: str, port: int = 22) -> Behaviour:
    """Pass everything on until then; from then on nobody hears anything, and nobody is told."""

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(65536)) and not silent.is_set():
                sink.sendall(data)

    def behave(self: Peer, connection: socket.socket) -> None:
        if not silent.is_set():
            server = socket.create_connection((address, port))
            self._open.append(server)
            threading.Thread(target=copy, args=(connection, server), daemon=True).start()
            copy(server, connection)

    return behave


def _copy(source: socket.socket, sink: socket.socket, limit: int) -> None:
    with contextlib.suppress(OSError):
        while limit > 0 and (data := source.recv(min(65536, limit))):
            sink.sendall(data)
            limit -= len(data)
