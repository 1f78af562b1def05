"""Where the results of a run are kept while it goes on: one entry a target, so that what is done needs no memory."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from auditor import score
from auditor.model import Finding, Score, TargetResult
from auditor.results import finding_of, target_document, target_of, text_of, text_of_finding
from auditor.scratch import Scratch
from auditor.versions import Choice


@dataclass(frozen=True)
class Entry:
    """A target's result: what it turned out to be, what it was judged by (``name@version``) and why, and what was found.

    ``done`` is False for one that the run did not come to, which is asked when the run goes on.
    """

    target: TargetResult
    chosen: tuple[tuple[str, Choice], ...] = ()
    findings: tuple[Finding, ...] = ()
    done: bool = True

    @property
    def name(self) -> str:
        """The target's name."""
        return self.target.name

    @property
    def scores(self) -> tuple[Score, ...]:
        """The scores of the target."""
        return score.scores(self.findings)

    @functools.cached_property
    def lines(self) -> list[str]:
        """The findings as JSON texts."""
        return [text_of_finding(f) for f in self.findings]


class Journal(Protocol):
    """Keeps the entries of a run."""

    def keep(self, entries: Sequence[Entry]) -> None:
        """Keep entries, all or none; an entry replaces an earlier one of the same target."""
        ...

    def entries(self, names: Iterable[str]) -> Iterator[Entry]:
        """Return the entries of some targets, in the order of these names; those that there are none of are left out."""
        ...


class Shared(Journal, Protocol):
    """Keeps the entries of a run that other processes could take over."""

    def check(self) -> None:
        """See that the run is still this process's."""
        ...


class Memory:
    """Keeps entries in memory: for what is in memory anyhow."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def keep(self, entries: Sequence[Entry]) -> None:
        """Keep entries."""
        self._entries.update((e.name, e) for e in entries)

    def entries(self, names: Iterable[str]) -> Iterator[Entry]:
        """Return entries."""
        return (self._entries[n] for n in names if n in self._entries)


class Headlines(Memory):
    """Keeps what became of each target without its findings: for who collects and judges nothing for good."""

    def keep(self, entries: Sequence[Entry]) -> None:
        """Keep entries."""
        super().keep([Entry(dataclasses.replace(e.target, seen=(), scanned=())) for e in entries])


class Spool:
    """Keeps entries in a file that is gone with the process.

    It lies in ``folder``, where the reports will be, for the usual place of temporary files may be memory.
    """

    def __init__(self, folder: Path) -> None:
        self._scratch = Scratch(folder)
        self._places: dict[str, tuple[int, int]] = {}

    def keep(self, entries: Sequence[Entry]) -> None:
        """Keep entries."""
        for entry in entries:
            head = text_of({"target": target_document(entry.target), "chosen": chosen_document(entry), "done": entry.done})
            data = f"[{','.join((head, *entry.lines))}]".encode("ascii")
            self._places[entry.name] = (self._scratch.put(data), len(data))

    def entries(self, names: Iterable[str]) -> Iterator[Entry]:
        """Return entries, each read when it is asked for."""
        for name in names:
            if name in self._places:
                head, *found = json.loads(self._scratch.get(*self._places[name]))
                yield Entry(target_of(head["target"]), chosen_of(head["chosen"]), tuple(map(finding_of, found)), head["done"])


class Following:
    """Keeps entries in a spool and in a store. While the store can't be written the spool goes on, and the store follows later.

    ``refused`` are the exceptions by which the store says so.
    """

    #: Seconds until a store that refused is asked again, and that the end of a run waits for it at most.
    PAUSE, PATIENCE = 5.0, 30.0
    #: How many late entries are written at once.
    BATCH = 20

    def __init__(self, spool: Spool, store: Shared, refused: type[Exception]) -> None:
        self._spool, self._store, self._refused = spool, store, refused
        self._late: dict[str, None] = {}
        self._again = 0.0
        self._problem: Exception | None = None  # what the store said last

    def check(self) -> None:
        """See that the run is still this process's, as far as the store can tell."""
        if time.monotonic() >= self._again:
            try:
                self._store.check()
            except self._refused as error:
                self._refuse(error)

    def keep(self, entries: Sequence[Entry]) -> None:
        """Keep entries."""
        self._spool.keep(entries)
        if not self._late and time.monotonic() >= self._again:
            try:
                self._store.keep(entries)
            except self._refused as error:
                self._refuse(error)
                self._late.update(dict.fromkeys(e.name for e in entries))
            return
        self._late.update(dict.fromkeys(e.name for e in entries))
        if time.monotonic() >= self._again:
            self._follow()

    def _refuse(self, error: Exception) -> None:
        self._problem = error
        self._again = time.monotonic() + self.PAUSE

    def _follow(self) -> None:
        try:
            while self._late:
                names = list(self._late)[: self.BATCH]
                self._store.keep(list(self._spool.entries(names)))
                for name in names:
                    del self._late[name]
        except self._refused as error:
            self._refuse(error)

    def settle(self) -> None:
        """See that the store holds everything, for which it may get a little more time; else raise what it said."""
        end = time.monotonic() + self.PATIENCE
        self._follow()
        while self._late and time.monotonic() < end:
            time.sleep(min(1.0, self.PAUSE))
            self._follow()
        if self._late and self._problem is not None:
            raise self._problem

    def entries(self, names: Iterable[str]) -> Iterator[Entry]:
        """Return the entries that this process made."""
        return self._spool.entries(names)


def chosen_document(entry: Entry) -> list[list[str]]:
    """Return the choices of an entry as JSON values."""
    return [[ref, c.version, c.because, c.warning] for ref, c in entry.chosen]


def chosen_of(document: Iterable[Sequence[str]]) -> tuple[tuple[str, Choice], ...]:
    """Return the choices that `chosen_document` wrote."""
    return tuple((ref, Choice(version, because, warning)) for ref, version, because, warning in document)
