"""What an sshd saw, counted from its own log (LogLevel DEBUG1)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.host import TestHost

_CONNECTION = re.compile(r"^Connection from \S+ port \d+ on ", re.MULTILINE)
_LOGIN = re.compile(r"^Accepted \S+ for (\S+) from ", re.MULTILINE)
_CHANNEL = re.compile(r"^debug1: server_input_channel_open: ctype (\S+) ", re.MULTILINE)
_SESSION = re.compile(r"^Starting session: (.+?)(?: on \S+)? for (\S+) from ", re.MULTILINE)
_CLOSED = re.compile(r"^(?:debug1: )?(?:Closing connection to|Connection closed by|Received disconnect from|Disconnected from|"
                     r"Connection reset by|Close session)", re.MULTILINE)  # fmt: skip


@dataclass
class Counts:
    """What happened: TCP connections, logins (user names), channels (their types), sessions (``command`` or ``shell``)."""

    connections: int = 0
    logins: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()


def counts(log: str) -> Counts:
    """Read the counts from a log."""
    log = log.replace("\r", "")
    return Counts(
        len(_CONNECTION.findall(log)),
        tuple(_LOGIN.findall(log)),
        tuple(_CHANNEL.findall(log)),
        tuple(s for s, _ in _SESSION.findall(log)),
    )


@contextmanager
def counting(host: TestHost) -> Iterator[Counts]:
    """Count what reaches a host's sshd within the block; the figures are there after it."""
    start = len(host.log("sshd"))
    result = Counts()
    yield result
    time.sleep(0.1)  # the server's last lines come after the client has left
    found = counts(host.log("sshd")[start:])
    for name in vars(found):
        setattr(result, name, getattr(found, name))
