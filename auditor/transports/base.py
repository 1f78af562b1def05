"""What all transports share: how they fail, and the raw answer of a shell."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from auditor.model import Problem


class TargetError(Exception):
    """A target can't be audited at all; ``problem`` says why in one line."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


#: Bytes of one stream of a host; beyond that the rest is said to be truncated.
MAX_OUTPUT = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ShellAnswer:
    """What a shell wrote on both streams; ``lost`` says why it may be incomplete."""

    stdout: bytes
    stderr: bytes
    lost: Problem | None = None


def is_here(url: str) -> bool:
    """Return whether the host that an URL names is this machine's loopback, where nobody is in between."""
    try:
        name = urlsplit(url).hostname or ""
        return name == "localhost" or ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False
