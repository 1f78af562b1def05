"""Logging in: keys from files, the agent's keys, then a password where one was given. What was tried is said when all fail."""

from __future__ import annotations

import base64
import errno
import os
import socket
import struct
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

from auditor.model import Problem, Reason
from auditor.transports.base import TargetError
from auditor.transports.logins import IDENTITIES, Login, Secret

_HANGS = "the agent does not answer in time"


class Keys:
    """Private keys from files, each read and decrypted once an audit: that may take a second for an encrypted one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: dict[tuple[str, Secret | None], Any] = {}
        self.agent_hangs = False  # it was waited for once, and is not by every other target

    def load(self, file: str, passphrase: Secret | None) -> Any:
        """Return the key of a file with its certificate (``FILE-cert.pub``) if it has one, or why it can't be used, as text."""
        with self._lock:
            key = (file, passphrase)
            if key not in self._loaded:
                self._loaded[key] = _read(file, passphrase)
            return self._loaded[key]


def _read(file: str, passphrase: Secret | None) -> Any:
    import paramiko
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return paramiko.PKey.from_path(file)
    except TypeError:  # cryptography's way to say that it is encrypted
        if passphrase is None:
            return f"the key {file} needs a passphrase (an agent, or passphrase_env, passphrase_file or passphrase_prompt)"
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise  # that is about now, not about the key
        return f"the key {file} can't be read ({error.strerror})"
    except (ValueError, UnsupportedAlgorithm, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as error:
        return f"the key {file} can't be read ({type(error).__name__})"
    try:
        return paramiko.PKey.from_path(file, passphrase.reveal().encode())  # type: ignore[arg-type]  # bytes are what it takes
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm, paramiko.SSHException, paramiko.pkey.UnknownKeyType):
        return f"the passphrase given for the key {file} is wrong"


def authenticate(transport: Any, login: Login, keys: Keys) -> None:
    """Log in over a connection whose host key is trusted. Raises `TargetError` when nothing that we have is accepted."""
    import paramiko

    tried: list[str] = []
    takes: tuple[str, ...] = ()
    offered = _offered(login, keys, tried)
    try:
        for label, key in offered:
            try:
                takes = tuple(transport.auth_publickey(login.user, key))
            except paramiko.BadAuthenticationType as error:
                takes = tuple(error.allowed_types)
                break
            except paramiko.AuthenticationException as error:
                _give_up_if_gone(transport, login, error)
                tried.append(f"{label} is not accepted")
                continue
            if not takes:
                return
            tried.append(f"{label} is accepted but not enough")
            break
    finally:
        offered.close()
    if login.password is not None:
        try:
            takes = tuple(transport.auth_password(login.user, login.password.reveal(), fallback=True))
            if not takes:
                return
        except paramiko.BadAuthenticationType as error:
            takes = tuple(error.allowed_types)
        except paramiko.AuthenticationException as error:
            _give_up_if_gone(transport, login, error)
            tried.append("the password is not accepted")
    raise TargetError(Problem(Reason.DENIED, f"login as {login.at} refused: {_why(login, tried, takes)}"))


def _give_up_if_gone(transport: Any, login: Login, error: Exception) -> None:
    said = " ".join(str(error).split())[:200]
    if "timeout" in said.lower():
        raise TargetError(Problem(Reason.TIMEOUT, f"login as {login.at}: no answer in time")) from None
    if not transport.is_active():
        detail = f"login as {login.at} refused: the server closed the connection ({said or 'too many keys offered?'})"
        raise TargetError(Problem(Reason.DENIED, detail)) from None


def _why(login: Login, tried: list[str], takes: tuple[str, ...]) -> str:
    known = [t for t in takes if t.isprintable()][:5]
    if known and "publickey" not in known and login.password is None:
        return f"the server takes {', '.join(known)} only, and no password was given (password_env, password_file, password_prompt)"
    words = tried or [_nothing(login)]
    return "; ".join([*words[:4], *([f"{len(words) - 4} more keys"] if len(words) > 4 else [])])


def _nothing(login: Login) -> str:
    missing = ", ".join(login.identities[:3] or IDENTITIES)
    return f"no key to log in with ({missing} not found, and no agent with keys)"


def _offered(login: Login, keys: Keys, tried: list[str]) -> Generator[tuple[str, Any], None, None]:
    """Yield keys with words for them: files that the inventory or ssh_config name, or the usual ones, then the agent's."""
    import paramiko

    files = [f for f in (login.identities or (str(Path(i).expanduser()) for i in IDENTITIES)) if Path(f).is_file()]
    blobs = set()
    locked = set()
    for file in files:
        key = keys.load(file, login.passphrase)
        if isinstance(key, str):
            if login.identities:
                tried.append(key)
            locked.add(_public(f"{file}.pub"))
            continue
        blobs.add(key.asbytes())
        yield f"the key {file}", key
    if not os.environ.get("SSH_AUTH_SOCK"):
        return
    if keys.agent_hangs:
        tried.append(_HANGS)
        return
    connection = None
    try:
        connection = _to_agent(login.connect_timeout)
        for key in _keys_of(connection, login.connect_timeout) if connection is not None else ():
            blob = key.asbytes()
            if blob not in blobs and (blob in locked or not login.only_identities):
                yield "a key of the agent", key
    except BlockingIOError:
        keys.agent_hangs = True
        tried.append(_HANGS)
    except (paramiko.SSHException, OSError):
        tried.append("the agent does not answer")
    finally:
        if connection is not None:
            connection.close()


def _to_agent(timeout: float) -> socket.socket | None:
    """Connect to the agent; None where none listens. Raises BlockingIOError when it does not take the connection in time."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _limit(connection, timeout)
        connection.connect(os.environ["SSH_AUTH_SOCK"])
    except BlockingIOError:
        connection.close()
        raise
    except OSError:  # the agent that was there is gone
        connection.close()
        return None
    return connection


def _keys_of(connection: socket.socket, timeout: float) -> tuple[Any, ...]:
    """Return an agent's keys, as paramiko's own `Agent` does, which waits for ever for one that hangs.

    Raises BlockingIOError when it does not answer in time, and SSHException or OSError when it breaks off.
    """
    import paramiko

    agent: Any = paramiko.agent.AgentSSH()
    agent._connect(connection)  # noqa: SLF001 - the one part of it that takes a connection of ours
    _limit(connection, 3 * timeout)  # to sign it may ask its user first
    keys: tuple[Any, ...] = agent.get_keys()
    return keys


def _limit(connection: socket.socket, seconds: float) -> None:
    """Have the system end each wait: Python's own limit does not let a full queue of connections be waited for."""
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # the second one is for connecting too
        connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6)))


def _public(file: str) -> bytes:
    """Return the public key beside a private one that we can't read; an agent may hold it."""
    try:
        return base64.b64decode(Path(file).read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return b""
