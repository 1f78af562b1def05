"""Hosts over SSH (paramiko): one connection, one channel, one command.

Host keys are checked before anything is sent that is worth something; an unknown, changed or revoked one is an error, never a
prompt and never trust on first use. Everything ends in time: what paramiko waits for without a limit is ended by a timer.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auditor.model import Problem, Reason
from auditor.transports.base import ShellAnswer, TargetError
from auditor.transports.certificates import ALGORITHMS
from auditor.transports.conversation import converse, ended_after
from auditor.transports.hostkeys import HostKey, Verdict
from auditor.transports.logins import Login
from auditor.transports.proxy import Helper
from auditor.transports.sshauth import Keys, authenticate
from auditor.transports.wire import InOrder, wire_class

if TYPE_CHECKING:
    import paramiko

#: Seconds before a connection is tried again that a server refused or dropped before it logged us in: it may be starting
#: again, or have too many logins at once (MaxStartups). Each is made longer or shorter by up to half, so that hosts don't meet.
RETRIES = (0.4, 0.8, 1.6)


class _DroppedError(TargetError):
    """The connection was refused or broke off before the login: that may pass."""


class _WayBrokeError(_DroppedError):
    """The jump host's connection broke off, for which the host behind it can do nothing."""


@dataclass
class _Way:
    """A connection to a jump host, shared by the targets behind it, or why there is none."""

    lock: threading.Lock
    room: threading.BoundedSemaphore
    transport: Any = None
    problem: Problem | None = None


class Pace:
    """Lets threads go on one by one, at most ``rate`` a second; None is no limit."""

    def __init__(self, rate: float | None) -> None:
        self._gap = 1 / rate if rate else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self, given_up: threading.Event) -> float:
        """Wait for one's turn, or until all is given up; return for how many seconds."""
        if not self._gap:
            return 0.0
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._gap
        given_up.wait(turn - now)
        return turn - now


class Connections:
    """SSH connections of one audit. Connections to jump hosts are shared; close them all with `close`.

    ``rate`` is how many are begun in a second at most, first and later attempts, jump hosts and those behind them alike.
    """

    def __init__(self, retries: tuple[float, ...] = RETRIES, rate: float | None = None) -> None:
        # What goes wrong is raised and reported; without a handler Python would print paramiko's tracebacks as well.
        logging.getLogger("paramiko").addHandler(logging.NullHandler())
        self._ways: dict[tuple[Login, ...], _Way] = {}
        self._open: set[paramiko.Transport] = set()
        self._lock = threading.Lock()
        self._keys = Keys()
        self._retries = retries
        self._given_up = threading.Event()
        self._pace = Pace(rate)

    def close(self) -> None:
        """Close every connection, those in use too, and open no other: the audit is over or given up."""
        self._given_up.set()
        with self._lock:
            left = list(self._open)
        for transport in left:
            transport.close()

    def run(self, login: Login, command: str, script: bytes, timeout: float) -> ShellAnswer:
        """Run ``command`` on the host with ``script`` on its standard input, in at most ``timeout`` seconds after login.

        Raises `TargetError` when the host can't be reached, its key is not the expected one or the login is refused.
        """
        with self._through(login) as reach, _explained(login):
            transport = self._connect(login, reach)
            try:
                return converse(transport, command, script, timeout)
            finally:
                self._end(transport)

    def show_keys(self, login: Login) -> list[HostKey]:
        """Ask a host for its keys, one of each type that it has, without logging in there. Raises `TargetError`."""
        shown: dict[str, HostKey] = {}
        problem: Problem | None = None
        with self._through(login) as reach:
            for kind, algorithms in ALGORITHMS.items():
                try:
                    with _explained(login):
                        transport = self._retried(login, lambda a=algorithms: self._handshake(login, reach(), a))  # type: ignore[misc]
                except TargetError as error:
                    problem = error.problem
                    if error.problem.reason is not Reason.UNPARSABLE:  # a type that it doesn't have
                        break
                    continue
                shown[kind] = _key_of(transport)
                self._end(transport)
        if not shown and problem is not None:
            raise TargetError(problem)
        return list(shown.values())

    # -- connecting ---------------------------------------------------------

    @contextlib.contextmanager
    def _through(self, login: Login) -> Iterator[Callable[[], Any]]:
        """Yield what gives the connection that leads to a host, with room for one more channel in it; None where none is needed."""
        if not login.jump:
            yield lambda: None
            return
        way = self._way(login.jump)
        with way.room:
            self._reach(way, login.jump)  # now, so that it takes nothing of the host's own time
            yield lambda: self._reach(way, login.jump)

    def _way(self, jump: tuple[Login, ...]) -> _Way:
        with self._lock:
            if jump not in self._ways:
                self._ways[jump] = _Way(threading.Lock(), threading.BoundedSemaphore(jump[-1].channels))
            return self._ways[jump]

    def _reach(self, way: _Way, jump: tuple[Login, ...]) -> Any:
        """Connect to a jump host unless that is done. One that failed is not tried again for every target behind it."""
        with way.lock:
            if way.problem is not None:
                raise TargetError(way.problem)
            if way.transport is None or not way.transport.is_active():
                before = self._way(jump[:-1]) if jump[:-1] else None
                try:
                    with _explained(jump[-1], "jump host "):
                        way.transport = self._connect(jump[-1], lambda: before and self._reach(before, jump[:-1]))
                except TargetError as error:
                    detail = error.problem.detail
                    if not detail.startswith("jump host "):
                        detail = f"jump host {jump[-1].name}: {detail}"
                    way.problem = Problem(error.problem.reason, detail)
                    raise TargetError(way.problem) from None
            return way.transport

    def _connect(self, login: Login, reach: Callable[[], Any]) -> paramiko.Transport:
        """Return a connection with a trusted host that has let us in. ``reach`` gives what leads there."""
        transport: paramiko.Transport = self._retried(login, lambda: self._logged_in(login, reach()))
        return transport

    def _logged_in(self, login: Login, jump: Any) -> Any:
        transport = self._trusted(login, jump)
        try:
            with ended_after(login.connect_timeout * 3, transport):
                authenticate(transport, login, self._keys)
        except BaseException as error:
            self._end(transport)
            _check_jump(jump, login, error)
            raise
        return transport

    def _retried(self, login: Login, attempt: Callable[[], Any]) -> Any:
        """Connect, and again after a moment when the server refused or dropped the connection; nothing else is tried twice."""
        begun = time.monotonic()
        for wait in self._retries:
            pause = wait * random.uniform(0.5, 1.5)  # noqa: S311 - not a secret
            begun += self._pace.wait(self._given_up)  # which is no time that the host took
            try:
                return attempt()
            except _DroppedError as error:
                if isinstance(error, _WayBrokeError):
                    begun = time.monotonic()
                if time.monotonic() + pause - begun > login.connect_timeout or self._given_up.wait(pause):
                    raise
        self._pace.wait(self._given_up)
        return attempt()

    def _trusted(self, login: Login, jump: Any) -> Any:
        transport = self._handshake(login, jump, login.trust.algorithms())
        verdict, why = login.trust.judge(_key_of(transport))
        if verdict is not Verdict.KNOWN:
            self._end(transport)
            raise TargetError(Problem(Reason.DENIED, why))
        return transport

    def _handshake(self, login: Login, jump: Any, algorithms: tuple[str, ...]) -> Any:
        """Return a connection whose keys are exchanged and whose host has proved to have its key, whichever that is."""
        import paramiko

        begun = time.monotonic()
        transport = None
        if self._given_up.is_set():
            raise TargetError(Problem(Reason.UNREACHABLE, f"{login.at}: given up"))
        try:
            helper = Helper(login.proxy_command) if login.proxy_command and jump is None else None
            sock = helper.sock if helper else _tcp(login) if jump is None else _tcp_through(login, jump)
            try:
                transport = wire_class()(sock)
                transport.helper = helper
            except BaseException:
                helper.end() if helper else sock.close()
                raise
            transport.wanted = algorithms
            transport.banner_timeout = transport.auth_timeout = transport.channel_timeout = login.connect_timeout
            with self._lock:
                self._open.add(transport)
            ready = threading.Event()
            transport.start_client(event=ready)
            end = time.monotonic() + login.connect_timeout  # paramiko's own limit counts with a clock that may be set
            while not ready.wait(0.2) and transport.is_active() and time.monotonic() < end:
                pass
            _check_exchanged(transport)
        except BaseException as error:
            if transport is not None:
                self._end(transport)
            _check_jump(jump, login, error)
            if isinstance(error, TargetError | TimeoutError | paramiko.ssh_exception.IncompatiblePeer | socket.gaierror):
                raise
            if isinstance(error, OSError | EOFError | paramiko.SSHException):
                early = time.monotonic() - begun < login.connect_timeout * 0.9
                problem = _problem(error, login, slow=not early)
                if early and _may_pass(error, begun=bool(transport)):
                    raise _DroppedError(problem) from None
                raise TargetError(problem) from None
            raise
        return transport

    def _end(self, transport: Any) -> None:
        with self._lock:
            self._open.discard(transport)
        transport.close()


def _check_exchanged(transport: Any) -> None:
    """Raise what ended the exchange of keys, or that it was not done in time."""
    if error := transport.get_exception():
        raise error
    if not transport.is_active():
        raise EOFError("the server closed the connection")
    if transport.host_key is None:
        raise TimeoutError("no end of the key exchange" if transport.remote_version else "no SSH server answered")


def _tcp(login: Login) -> socket.socket:
    """Connect to the first address of a name that takes the connection, in the time for one, which they share."""
    found = socket.getaddrinfo(login.host, login.port, type=socket.SOCK_STREAM)
    end = time.monotonic() + login.connect_timeout
    last: OSError = OSError(errno.EHOSTUNREACH, "the name has no address")
    for left, (family, kind, protocol, _, address) in zip(range(len(found), 0, -1), found, strict=True):
        sock = None
        try:
            sock = socket.socket(family, kind, protocol)
            sock.settimeout(max(0.1, (end - time.monotonic()) / left))
            sock.connect(address)
        except OSError as error:
            if sock is not None:
                sock.close()
            last = error
        else:
            return sock
    raise last


def _tcp_through(login: Login, jump: Any) -> Any:
    import paramiko

    try:
        channel = jump.open_channel("direct-tcpip", (login.host, login.port), ("127.0.0.1", 0), timeout=login.connect_timeout)
    except paramiko.ssh_exception.ChannelException as error:
        if error.code == 1:  # administratively prohibited (RFC 4254, section 5.1)
            detail = f"{login.at}: the jump host forwards no connection there (AllowTcpForwarding, PermitOpen)"
            raise TargetError(Problem(Reason.DENIED, detail)) from None
        words = {2: "the jump host can't connect to it", 4: "the jump host has no room for another connection"}
        raise ConnectionRefusedError(errno.ECONNREFUSED, words.get(error.code, f"the jump host refused ({error.code})")) from None
    channel._set_transport(InOrder(jump))  # noqa: SLF001
    return channel


def _check_jump(jump: Any, login: Login, error: BaseException) -> None:
    """Raise that the jump host's connection broke, where it did, and leave it.

    It is asked: one that has fallen silent tells nobody, and of one that broke paramiko may tell its channels before it says so.
    """
    if jump is None or not isinstance(error, Exception) or isinstance(error, ConnectionRefusedError):
        return  # the last is what the jump host has just answered
    try:
        with ended_after(login.jump[-1].connect_timeout, jump):
            jump.global_request("keepalive@openssh.com", wait=True)
    except Exception:  # noqa: BLE001 - whatever it is that keeps a question from being sent
        jump.close()
    if not jump.is_active():
        raise _WayBrokeError(Problem(Reason.UNREACHABLE, f"jump host {login.jump[-1].at}: the connection broke off")) from None


def _key_of(transport: Any) -> HostKey:
    key = transport.get_remote_server_key()
    shown = key.public_blob  # paramiko keeps the certificate there, and takes the key itself out of it
    certificate = shown.key_blob if shown is not None else b""
    return HostKey(key.get_name(), key.asbytes(), certificate)


def _may_pass(error: BaseException, *, begun: bool) -> bool:
    """Refused, reset or closed before any key: servers do that while they start, or when too many want to log in."""
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return error.errno in (errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE, errno.EMFILE, errno.ENFILE, errno.EAGAIN)
    words = str(error).lower()
    return begun and (isinstance(error, EOFError) or "banner" in words)


@contextlib.contextmanager
def _explained(login: Login, what: str = "") -> Iterator[None]:
    """Turn every way in which a connection fails into a `TargetError` with one clear line."""
    import paramiko

    try:
        yield
    except TargetError as error:
        detail = error.problem.detail
        if what and not detail.startswith(what):
            raise TargetError(Problem(error.problem.reason, what + detail)) from None
        raise
    except (OSError, EOFError, paramiko.SSHException) as error:
        problem = _problem(error, login)
        raise TargetError(Problem(problem.reason, what + problem.detail)) from None


def _problem(error: BaseException, login: Login, *, slow: bool = False) -> Problem:
    import paramiko

    at, said = login.at, _words(error)
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        return Problem(Reason.UNPARSABLE, f"{at}: no common algorithm ({said})")
    if isinstance(error, socket.gaierror):
        return Problem(Reason.UNREACHABLE, f"{at}: the name can't be resolved ({error.strerror})")
    if isinstance(error, TimeoutError):
        return Problem(Reason.TIMEOUT, f"{at}: {said or 'no answer'} in time" if "time" not in said else f"{at}: {said}")
    if login.proxy_command and isinstance(error, BrokenPipeError | ConnectionResetError | EOFError):
        return Problem(Reason.UNREACHABLE, f"{at}: the connection was closed (did the command end?)")
    if isinstance(error, OSError):
        ours = " here: raise ulimit -n or lower --jobs" if error.errno in (errno.EMFILE, errno.ENFILE) else ""
        return Problem(Reason.UNREACHABLE, f"{at}: {error.strerror or error}{ours}")
    if slow or "timeout" in said.lower() or "timed out" in said.lower():
        return Problem(Reason.TIMEOUT, f"{at}: no SSH server answered in time")
    if "protocol version" in said:
        return Problem(Reason.UNREACHABLE, f"{at}: what answers is no SSH server")
    if "banner" in said.lower():
        hint = "did the command end?" if login.proxy_command else "MaxStartups?"
        return Problem(Reason.UNREACHABLE, f"{at}: the server closed the connection before it said what it is ({hint})")
    return Problem(Reason.UNREACHABLE, f"{at}: {said or 'the connection broke off'}")


def _words(error: BaseException) -> str:
    return " ".join(str(getattr(error, "text", error)).split())[:300]
