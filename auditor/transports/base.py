"""What all transports share: how they fail, the raw answer of a shell, and asking several at once."""

from __future__ import annotations

import contextlib
import ipaddress
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from auditor.model import Problem

_T = TypeVar("_T")


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


def at_once(ask: Callable[[str], _T], names: Sequence[str], many: int) -> list[_T]:
    """Ask several at once; return the answers in their order, or raise what one of them raised.

    Not by a pool of the standard library's: the interpreter would ask all that are left before it ends.
    """
    waiting, found, errors = deque(enumerate(names)), dict[int, _T](), list[Exception]()

    def work() -> None:
        while waiting and not errors:
            with contextlib.suppress(IndexError):
                n, name = waiting.popleft()
                try:
                    found[n] = ask(name)
                except Exception as error:  # noqa: BLE001 - it is raised to who waits
                    errors.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(many, len(names)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [found[n] for n in range(len(names))]
