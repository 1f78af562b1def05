"""What reports ask of a run's findings: where those of a target or of a control stand among them.

It is answered alike for findings in memory (a tuple) and for findings on disk (`auditor.spooled`), of which each is made anew
whenever it is asked for. Who goes by it target by target or control by control holds little of a run at a time.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, overload, runtime_checkable

from auditor.model import Finding, Observation, Severity, Status

#: The fields of findings that `positions` goes by.
INDEXED = ("target", "benchmark", "version", "id", "control", "severity", "status")

Positions = Mapping[tuple[Any, ...], Sequence[int]]


@runtime_checkable
class Indexed(Protocol):
    """Findings that know where they stand."""

    def positions(self, *fields: str) -> Positions:
        """Answer `positions`."""
        ...


def positions(findings: Sequence[Finding], *fields: str) -> Positions:
    """Return where findings stand by the values of some of the `INDEXED` fields, in the order of each one's first."""
    if isinstance(findings, Indexed):
        return findings.positions(*fields)
    found: dict[tuple[Any, ...], list[int]] = {}
    for n, finding in enumerate(findings):
        found.setdefault(tuple([getattr(finding, name) for name in fields]), []).append(n)
    return found


def having(findings: Sequence[Finding], statuses: Iterable[Status], severities: Iterable[Severity] = Severity) -> Iterator[Finding]:
    """Yield the findings of these statuses and severities, in the run's order; no other is made."""
    found = positions(findings, "status", "severity")
    wanted = [found.get(key, ()) for key in itertools.product(statuses, severities)]
    return map(findings.__getitem__, heapq.merge(*wanted))


def evidence(findings: Sequence[Finding], n: int, found: Sequence[Observation]) -> Sequence[Observation]:
    """Return the observations ``found`` of a finding such that they take no memory of their own: those on disk are read anew."""
    return found if isinstance(findings, tuple) or not found else Evidence(findings, n, len(found))


class Evidence(Sequence[Observation]):
    """The observations of one of some findings."""

    __slots__ = ("_findings", "_len", "_n")

    def __init__(self, findings: Sequence[Finding], n: int, length: int) -> None:
        self._findings, self._n, self._len = findings, n, length

    def __len__(self) -> int:
        return self._len

    def __iter__(self) -> Iterator[Observation]:
        return iter(self._findings[self._n].observations)

    @overload
    def __getitem__(self, n: int) -> Observation: ...
    @overload
    def __getitem__(self, n: slice) -> Sequence[Observation]: ...
    def __getitem__(self, n: int | slice) -> Observation | Sequence[Observation]:
        return self._findings[self._n].observations[n]


class Joined(Sequence[Finding]):
    """Findings and a few more after them."""

    def __init__(self, findings: Sequence[Finding], more: Sequence[Finding]) -> None:
        self._findings, self._more, self._len = findings, more, len(findings)

    def __len__(self) -> int:
        return self._len + len(self._more)

    @overload
    def __getitem__(self, n: int) -> Finding: ...
    @overload
    def __getitem__(self, n: slice) -> Sequence[Finding]: ...
    def __getitem__(self, n: int | slice) -> Finding | Sequence[Finding]:
        if isinstance(n, slice):
            return [self[i] for i in range(*n.indices(len(self)))]
        n = range(len(self))[n]
        return self._findings[n] if n < self._len else self._more[n - self._len]

    def __iter__(self) -> Iterator[Finding]:
        yield from self._findings
        yield from self._more

    def positions(self, *fields: str) -> Positions:
        """Answer `positions`."""
        found = dict(positions(self._findings, *fields))
        for key, places in positions(self._more, *fields).items():
            found[key] = [*found.get(key, ()), *(self._len + n for n in places)]
        return found
