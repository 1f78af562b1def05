"""Hosts over SSH (paramiko): one connection, one channel, one command.

Host keys are checked against known_hosts or a pin; an unknown or changed key is an error, never a prompt and never trust on first
use. What the inventory leaves open is taken from ``~/.ssh/config``; keys come from files and from the agent.
"""

from __future__ import annotations

import contextlib
import getpass
import importlib
import logging
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.model import Problem, Reason
from auditor.transports.base import MAX_OUTPUT, ShellAnswer, TargetError

if TYPE_CHECKING:
    import paramiko

    from auditor.inventory import HostSpec, Inventory


@dataclass(frozen=True, slots=True)
class Login:
    """Everything that decides one hop: where, as whom, with which keys, and whose host key is expected."""

    name: str  # as the inventory or ssh_config names it, for messages
    host: str
    port: int
    user: str
    identities: tuple[str, ...]
    known_hosts: tuple[str, ...]
    host_key: str  # a pin: SHA256:... or "ssh-ed25519 AAAA..."; empty: known_hosts decides
    connect_timeout: float
    jump: tuple[Login, ...] = ()  # the hops before this one, nearest to us first
    aliases: tuple[str, ...] = ()  # other names under which known_hosts may list it


class Hops:
    """Finds the logins for hosts: inventory first, then ``~/.ssh/config``, then OpenSSH's defaults."""

    def __init__(self, inventory: Inventory, ssh_config: Path | None = None) -> None:
        self._inventory = inventory
        self._config = _load_config(ssh_config or Path("~/.ssh/config").expanduser())

    def login(self, spec: HostSpec) -> Login:
        """Return the login for a host of the inventory. Raises `TargetError` for a ProxyJump that can't be used."""
        login = self._hop(spec)
        way = [self._hop(hop) for hop in self._inventory.jumps(spec)] or self._proxy_jump(login)
        hops: tuple[Login, ...] = ()
        for hop in way:
            hops = (*hops, replace(hop, jump=hops))
        return replace(login, jump=hops)

    def _hop(self, spec: HostSpec) -> Login:
        ssh = spec.ssh
        address = spec.address or spec.name
        found = self._lookup(address)
        identities = (str(ssh.identity_file),) if ssh.identity_file else tuple(found.get("identityfile", ()))
        known = (str(ssh.known_hosts),) if ssh.known_hosts else tuple(str(found.get("userknownhostsfile", "")).split())
        known = known or ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts")
        alias = found.get("hostkeyalias")
        return Login(
            spec.name, found.get("hostname", address), ssh.port or int(found.get("port", 22)),
            ssh.user or found.get("user") or _me(),
            tuple(str(Path(i).expanduser()) for i in identities), tuple(str(Path(k).expanduser()) for k in known),
            spec.host_key, ssh.connect_timeout, aliases=(alias,) if alias else (),
        )  # fmt: skip

    def _lookup(self, address: str) -> dict[str, Any]:
        return dict(self._config.lookup(address)) if self._config else {}

    def _proxy_jump(self, login: Login) -> list[Login]:
        """Return the hops that ``~/.ssh/config`` names for a host, each by its own section."""
        from auditor.inventory import HostSpec, SshOptions

        jump = self._lookup(login.name).get("proxyjump") or self._lookup(login.host).get("proxyjump")
        if not jump or jump.lower() == "none":
            return []
        way = []
        for part in jump.split(","):
            match = re.fullmatch(r"(?:(?P<user>[^@]+)@)?(?P<address>\[[^]]+\]|[^:@]+)(?::(?P<port>[0-9]+))?", part.strip())
            if match is None:
                raise TargetError(
                    Problem(Reason.UNPARSABLE, f"ProxyJump {part.strip()!r} of ~/.ssh/config is not [user@]host[:port]")
                )
            port = int(match["port"]) if match["port"] else None
            options = SshOptions(user=match["user"], port=port, connect_timeout=login.connect_timeout)
            way.append(self._hop(HostSpec(name=part.strip(), address=match["address"].strip("[]"), ssh=options)))
        return way


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "root"


def _paramiko() -> Any:
    """Import paramiko without invoke, which takes a third of its time and serves nothing but ``Match exec`` in an ssh_config."""
    if "paramiko" not in sys.modules and "invoke" not in sys.modules:
        sys.modules["invoke"] = None  # type: ignore[assignment]  # paramiko does without what can't be imported
        try:
            importlib.import_module("paramiko")
        finally:
            del sys.modules["invoke"]
    return importlib.import_module("paramiko")


def _load_config(path: Path) -> Any:
    """Return the parsed ssh_config, or None where there is none. Raises `TargetError` for one that can't be read."""
    paramiko = _paramiko()
    try:
        text = path.read_text()
        if re.search(r"(?i)\bexec\b", text):
            paramiko.config.invoke = importlib.import_module("invoke")
        return paramiko.SSHConfig.from_text(text)
    except FileNotFoundError:
        return None
    except (OSError, paramiko.SSHException, UnicodeDecodeError) as error:
        raise TargetError(Problem(Reason.UNPARSABLE, f"{path}: {error}")) from None


class Connections:
    """SSH connections of one audit. Connections to jump hosts are shared; close them all with `close`."""

    def __init__(self) -> None:
        # What goes wrong is raised and reported; without a handler Python would print paramiko's tracebacks as well.
        logging.getLogger("paramiko").addHandler(logging.NullHandler())
        self._jumps: dict[tuple[Login, ...], paramiko.SSHClient] = {}
        self._talking: set[paramiko.SSHClient] = set()
        self._lock = threading.Lock()
        self._locks: dict[tuple[Login, ...], threading.Lock] = {}
        self._known: dict[tuple[str, ...], Any] = {}

    def close(self) -> None:
        """Close the connections to jump hosts, and those in use when the audit is given up."""
        for client in (*self._talking, *self._jumps.values()):
            client.close()
        self._jumps.clear()

    def run(self, login: Login, command: str, script: bytes, timeout: float) -> ShellAnswer:
        """Run ``command`` on the host with ``script`` on its standard input, in at most ``timeout`` seconds after login.

        Raises `TargetError` when the host can't be reached, its key is not the expected one or the login is refused.
        """
        with _explained(login):
            client = self._connect(login, self._way(login.jump))
            self._talking.add(client)
            try:
                return _converse(client, command, script, timeout)
            finally:
                self._talking.discard(client)
                client.close()

    def _way(self, jump: tuple[Login, ...]) -> paramiko.SSHClient | None:
        if not jump:
            return None
        with self._lock:
            lock = self._locks.setdefault(jump, threading.Lock())
        with lock:
            client = self._jumps.get(jump)
            transport = client.get_transport() if client else None
            if client is None or transport is None or not transport.is_active():
                with _explained(jump[-1], "jump host "):
                    client = self._connect(jump[-1], self._way(jump[:-1]))
                self._jumps[jump] = client
        return client

    def _connect(self, login: Login, through: paramiko.SSHClient | None) -> paramiko.SSHClient:
        import paramiko

        sock = None
        if through is not None:
            transport = through.get_transport()
            assert transport is not None
            sock = transport.open_channel("direct-tcpip", (login.host, login.port), ("127.0.0.1", 0), timeout=login.connect_timeout)
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(_policy(login.host_key))
        self._trust(client, login)
        identities = [i for i in login.identities if Path(i).is_file()]
        if login.identities and not identities and not os.environ.get("SSH_AUTH_SOCK"):
            missing = ", ".join(login.identities[:3])
            raise TargetError(Problem(Reason.DENIED, f"no key to log in with: {missing} not found and no agent runs"))
        try:
            client.connect(
                login.host, login.port, login.user, key_filename=identities or None,  # type: ignore[arg-type]
                 sock=sock, timeout=login.connect_timeout,
                banner_timeout=login.connect_timeout, auth_timeout=login.connect_timeout, channel_timeout=login.connect_timeout,
                look_for_keys=not identities, allow_agent=True, compress=False,
            )  # fmt: skip
        except BaseException:
            client.close()
            raise
        return client

    def _trust(self, client: paramiko.SSHClient, login: Login) -> None:
        import paramiko

        name = login.host if login.port == 22 else f"[{login.host}]:{login.port}"
        keys = client.get_host_keys()
        if login.host_key.startswith("SHA256:"):
            return  # compared by the policy for keys that are in no list
        if login.host_key:
            entry = paramiko.hostkeys.HostKeyEntry.from_line(f"{name} {login.host_key}")
            if entry is None or entry.key is None:
                raise TargetError(Problem(Reason.UNPARSABLE, "host_key is not of the form 'ssh-ed25519 AAAA...'"))
            keys.add(name, entry.key.get_name(), entry.key)
            return
        for alias in (*login.aliases, name, login.host, login.name):
            found = self._known_hosts(login.known_hosts).lookup(alias)
            for kind in found or ():
                keys.add(name, kind, found[kind])
            if found:
                return

    def _known_hosts(self, files: tuple[str, ...]) -> Any:
        import paramiko

        with self._lock:
            if files not in self._known:
                keys = paramiko.HostKeys()
                for file in files:
                    try:
                        keys.load(file)
                    except FileNotFoundError:
                        continue
                    except OSError as error:
                        raise TargetError(Problem(Reason.DENIED, f"{file} can't be read: {error.strerror}")) from None
                self._known[files] = keys
            return self._known[files]


def _policy(pin: str) -> Any:
    """Return what decides about a key that no list knows: a pinned fingerprint, else refusal with what a person needs to check."""
    import paramiko

    class Policy(paramiko.MissingHostKeyPolicy):
        def missing_host_key(self, _client: Any, hostname: str, key: Any) -> None:
            shown = f"{key.get_name()} {key.fingerprint}"
            if not pin.startswith("SHA256:"):
                detail = (
                    f"unknown host key: {shown} of {hostname} is in no known_hosts; check it and add it, or pin it with host_key:"
                )
                raise TargetError(Problem(Reason.DENIED, detail))
            if key.fingerprint.rstrip("=") != pin.rstrip("="):
                raise TargetError(Problem(Reason.DENIED, f"host key changed: the host shows {shown}, pinned is {pin}"))

    return Policy()


@contextlib.contextmanager
def _explained(login: Login, what: str = "") -> Iterator[None]:
    """Turn every way in which a connection fails into a `TargetError` with one clear line."""
    import paramiko

    at = f"{what}{login.user}@{login.host}:{login.port}"
    try:
        yield
    except paramiko.BadHostKeyException as error:
        detail = (
            f"{what}host key changed: the host shows {error.key.get_name()} {error.key.fingerprint}, "
            f"known is {error.expected_key.fingerprint}; somebody may be in between"
        )
        raise TargetError(Problem(Reason.DENIED, detail)) from None
    except paramiko.PasswordRequiredException:
        raise TargetError(Problem(Reason.DENIED, f"the key for {at} needs a passphrase; load it into an agent")) from None
    except paramiko.AuthenticationException as error:
        raise TargetError(Problem(Reason.DENIED, f"login as {at} refused: {_short(error)}")) from None
    except paramiko.ssh_exception.NoValidConnectionsError as error:
        causes = {getattr(e, "strerror", None) or str(e) for e in error.errors.values()}
        raise TargetError(Problem(Reason.UNREACHABLE, f"{at}: {', '.join(sorted(causes))}")) from None
    except (TimeoutError, paramiko.ssh_exception.ChannelException, paramiko.SSHException, EOFError) as error:
        said = _short(error)
        if "No existing session" in said:  # paramiko's words for a server that took the connection and did not speak in time
            said = "no SSH server answered in time"
        slow = isinstance(error, TimeoutError) or any(word in said.lower() for word in ("timeout", "banner", "in time"))
        reason = Reason.TIMEOUT if slow else Reason.UNREACHABLE
        raise TargetError(Problem(reason, f"{at}: {said or 'no answer in time'}")) from None
    except socket.gaierror as error:
        raise TargetError(Problem(Reason.UNREACHABLE, f"{at}: the name can't be resolved ({error.strerror})")) from None
    except OSError as error:
        raise TargetError(Problem(Reason.UNREACHABLE, f"{at}: {error.strerror or error}")) from None


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _converse(client: paramiko.SSHClient, command: str, script: bytes, timeout: float) -> ShellAnswer:
    """Send the script and read both streams at once until the command ends or the time is up."""
    transport = client.get_transport()
    assert transport is not None
    deadline = time.monotonic() + timeout
    channel = transport.open_session(timeout=timeout)
    channel.settimeout(timeout)
    channel.exec_command(command)
    errors = _Reader(channel, channel.recv_stderr, deadline)
    thread = threading.Thread(target=errors.read, daemon=True)
    thread.start()
    output = _Reader(channel, channel.recv, deadline)
    try:
        channel.sendall(script)
        channel.shutdown_write()
    except OSError:
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
        while True:
            try:
                self._channel.settimeout(max(0.1, self._deadline - time.monotonic()))
                chunk = self._receive(65536)
            except (TimeoutError, OSError):
                self.lost = Problem(Reason.TIMEOUT, "the host did not answer everything in time")
                return
            if not chunk:
                return
            self.data += chunk
            if len(self.data) > MAX_OUTPUT:
                self.lost = Problem(Reason.TRUNCATED, f"the host answered more than {MAX_OUTPUT} bytes")
                return
            if time.monotonic() > self._deadline:
                self.lost = Problem(Reason.TIMEOUT, "the host did not answer everything in time")
                return
