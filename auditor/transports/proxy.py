"""``ProxyCommand`` of ``~/.ssh/config``: a program of the user's own whose standard input and output are the connection."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Mapping
from typing import Any

from auditor.model import Problem, Reason
from auditor.transports.base import TargetError

#: What may stand for ``%h`` and ``%r``: the command is a shell's, and a name must not become a part of it.
_HARMLESS = re.compile(r"(?!-)[A-Za-z0-9._:@%+~-]*")
#: Seconds that a command has to end by itself once its connection is closed.
_PATIENCE = 0.5


def given(found: Mapping[str, Any], host: str) -> str:
    """Return the command in a section's options, its tokens still in it; empty for none. Raises `TargetError`."""
    command = str(found.get("proxycommand") or "")
    if command.lower() in ("", "none"):
        return ""
    if str(found.get("proxyusefdpass", "no")).lower() == "yes":
        raise refused(host, "ProxyUseFdpass is not supported")
    return command


def expanded(command: str, host: str, port: int, user: str) -> str:
    """Return a command with what its tokens stand for. Raises `TargetError`: one that can't be used isn't left out in silence."""
    if not command:
        return ""
    if not _HARMLESS.fullmatch(host) or not _HARMLESS.fullmatch(user):
        raise refused(host, "the host's or the account's name holds what means something to a shell")
    words = {"%": "%", "h": host, "p": str(port), "r": user}
    if unknown := [t for t in re.findall(r"%(.?)", command) if t not in words]:
        raise refused(host, f"the token %{unknown[0]} is not supported, only %h, %p, %r and %% are")
    return re.sub("%(.)", lambda match: words[match[1]], command)


def refused(host: str, why: str) -> TargetError:
    """Return what says that a host's command can't be used."""
    return TargetError(Problem(Reason.UNPARSABLE, f"ProxyCommand of ~/.ssh/config for {host}: {why}"))


class Helper:
    """A command that is the way to a host. Its messages are not read: they may be anybody's words."""

    def __init__(self, command: str) -> None:
        """Start it as ``ssh`` does, by a shell that it takes the place of. Raises OSError."""
        self.sock, theirs = socket.socketpair()
        try:
            words = ["/bin/sh", "-c", f"exec {command}"]  # the user's own, from a file that ssh would run it from as well
            self._process = subprocess.Popen(words, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.DEVNULL,  # noqa: S603
                                             start_new_session=True)  # fmt: skip
        except BaseException:
            self.sock.close()
            raise
        finally:
            theirs.close()

    def end(self) -> None:
        """End it and all that it started."""
        self.sock.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE)
