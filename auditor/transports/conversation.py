"""One command on a host: the script goes in, both streams come out, and all of it ends in time."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from auditor.model import Problem, Reason
from auditor.transports.base import MAX_OUTPUT, ShellAnswer, TargetError

if TYPE_CHECKING:
    import paramiko

LATE = Problem(Reason.TIMEOUT, "the host did not answer everything in time")
BROKEN = Problem(Reason.TRUNCATED, "the connection broke off before the host had answered everything")


class _Clock:
    """Closes connections whose time is up: one thread for all, since starting two for each host is a fifth of a login's work."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._waiting: list[tuple[float, int, threading.Event, Any]] = []  # a heap: when, which, what says so, the connection
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def add(self, seconds: float, transport: Any) -> tuple[threading.Event, Callable[[], None]]:
        """Close a connection in so many seconds. Returns what is set then, and what calls it off."""
        expired = threading.Event()
        entry = (time.monotonic() + seconds, next(self._numbers), expired, transport)
        with self._wake:
            heapq.heappush(self._waiting, entry)
            if self._thread is None or not self._thread.is_alive():  # after a fork it is not there
                self._thread = threading.Thread(target=self._run, name="ssh-clock", daemon=True)
                self._thread.start()
            elif self._waiting[0] is entry:
                self._wake.notify()

        def cancel() -> None:
            with self._wake, contextlib.suppress(ValueError):
                self._waiting.remove(entry)
                heapq.heapify(self._waiting)

        return expired, cancel

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting or self._waiting[0][0] > time.monotonic():
                    self._wake.wait(self._waiting[0][0] - time.monotonic() if self._waiting else None)
                _, _, expired, transport = heapq.heappop(self._waiting)
                expired.set()
            threading.Thread(target=transport.close, daemon=True).start()  # it may wait for a thread that hangs


_CLOCK = _Clock()


@contextlib.contextmanager
def ended_after(seconds: float, transport: Any) -> Iterator[threading.Event]:
    """Close a connection when the time is up: paramiko waits for some answers without a limit. Yields what says that it was."""
    expired, cancel = _CLOCK.add(seconds, transport)
    try:
        yield expired
    finally:
        cancel()


def converse(transport: paramiko.Transport, command: str, script: bytes, timeout: float) -> ShellAnswer:
    """Send the script and read both streams at once until the command ends or the time is up."""
    import paramiko

    deadline = time.monotonic() + timeout
    with ended_after(timeout + 1, transport) as expired:
        try:
            channel = transport.open_session(timeout=timeout)
        except paramiko.ssh_exception.ChannelException as error:
            detail = f"the server opens no session for this account ({' '.join(error.text.split())[:200]}; MaxSessions?)"
            raise TargetError(Problem(Reason.DENIED, detail)) from None
        channel.settimeout(timeout)
        try:
            channel.exec_command(command)
        except Exception:
            if expired.is_set():
                raise TimeoutError("the host did not start the audit's shell") from None
            raise
        output, errors = (_Reader(channel, receive, deadline) for receive in (channel.recv, channel.recv_stderr))
        thread = threading.Thread(target=errors.read, daemon=True)
        thread.start()
        try:
            channel.sendall(script)
            channel.shutdown_write()
        except (OSError, EOFError):
            pass  # the command ended before it had read everything; what it said tells why
        output.read()
        if output.lost:
            channel.close()
        thread.join(max(0.0, deadline - time.monotonic()) + 1)
        lost = output.lost or errors.lost
        if lost is None:
            code = channel.recv_exit_status()
            if code not in (0, -1) and not output.data:
                said = " ".join(bytes(errors.data).decode("utf-8", "replace").split())[:300]
                raise TargetError(Problem(Reason.DENIED, f"the login shell ended with {code} before the audit began: {said}"))
            if code == -1 and not transport.is_active():
                lost = LATE if expired.is_set() else BROKEN
    return ShellAnswer(bytes(output.data), bytes(errors.data), lost)


class _Reader:
    """Reads one stream of a channel to its end, up to a size and a deadline."""

    def __init__(self, channel: Any, receive: Any, deadline: float) -> None:
        self._channel = channel
        self._receive = receive
        self._deadline = deadline
        self.data = bytearray()
        self.lost: Problem | None = None

    def read(self) -> None:
        """Read until the end of the stream; sets ``lost`` when it was not reached."""
        import paramiko

        while True:
            try:
                self._channel.settimeout(max(0.1, self._deadline - time.monotonic()))
                chunk = self._receive(65536)
            except (TimeoutError, OSError):
                self.lost = LATE
                return
            except (EOFError, paramiko.SSHException):  # it broke off while the server was told that there is room again
                self.lost = BROKEN
                return
            if not chunk:
                return
            self.data += chunk
            if len(self.data) > MAX_OUTPUT:
                self.lost = Problem(Reason.TRUNCATED, f"the host answered more than {MAX_OUTPUT} bytes")
                self._channel.close()  # whoever reads the other stream need not wait for its end
                return
            if time.monotonic() > self._deadline:
                self.lost = LATE
                return
