"""Where the results of a run are kept while it goes on: one entry a target, so that what is done needs no memory."""

from __future__ import annotations

import dataclasses
import functools
import json
import threading
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

    A thread of its own asks the store: a database that is locked, or takes a statement and never answers, must not hold up the
    audit. ``refused`` is the exception by which the store says that it can't be written; any other one is raised to who keeps.
    """

    #: Seconds until a store that refused is asked again, and that the end of a run waits for one that takes nothing.
    PAUSE, PATIENCE = 5.0, 30.0
    #: Seconds that a target waits until the store has it, unless the store is behind: more than it needs while all is well.
    AT_ONCE = 2.0
    #: How many late entries are written at once.
    BATCH = 20

    def __init__(self, spool: Spool, store: Shared, refused: type[Exception]) -> None:
        self._spool, self._store, self._refused = spool, store, refused
        self._changed = threading.Condition()  # guards what follows
        self._late: dict[str, Entry | None] = {}  # what the store does not have; None: what it is must be read from the spool
        self._going: dict[str, Entry | None] = {}  # what it is given just now
        self._asked = False  # whether the run is still ours
        self._busy = False
        self._pause, self._again = self.PAUSE, 0.0
        self._problem: Exception | None = None  # what the store said last
        self._thread: threading.Thread | None = None

    def check(self) -> None:
        """See that the run is still this process's, as far as the store can tell."""
        with self._changed:
            if self._is_well():
                self._asked = True
                self._wait()
            self._raise()

    def keep(self, entries: Sequence[Entry]) -> None:
        """Keep entries."""
        with self._changed:
            self._spool.keep(entries)
            well = self._is_well()
            at_hand = self._left() < self.BATCH  # a store that is far behind is given the others from the spool
            self._late.update((e.name, e if at_hand else None) for e in entries)
            if well:
                self._wait()
            self._raise()

    def _is_well(self) -> bool:
        return not self._left() and not self._busy and time.monotonic() >= self._again

    def _left(self) -> int:
        return len(self._late) + len(self._going)

    def _wait(self) -> None:
        """Let the store be asked, and wait a little until it has answered."""
        self._problem = None
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="history", daemon=True)
            self._thread.start()
        self._changed.notify_all()
        done = lambda: not (self._left() or self._asked or self._busy) or self._problem is not None  # noqa: E731
        self._changed.wait_for(done, self.AT_ONCE)

    def _raise(self) -> None:
        """Raise what is no refusal: the run is another process's by now, or a mistake of ours."""
        if self._problem is not None and self._is_over():
            raise self._problem

    def _is_over(self) -> bool:
        return self._problem is not None and not isinstance(self._problem, self._refused)

    def _follow(self) -> None:
        while True:
            with self._changed:
                while not (wanted := self._late or self._asked) or time.monotonic() < self._again:
                    self._changed.wait(max(0.0, self._again - time.monotonic()) if wanted else None)
                asked, self._asked, self._busy = self._asked, False, True
                self._going = {name: self._late.pop(name) for name in list(self._late)[: self.BATCH]}
                entries = [e or next(self._spool.entries((name,))) for name, e in self._going.items()]
            problem = None
            try:
                if asked:
                    self._store.check()
                if entries:
                    self._store.keep(entries)
            except Exception as error:  # noqa: BLE001 - it is raised to who keeps
                problem = error
            with self._changed:
                if problem is not None:
                    self._late = {**self._going, **self._late}
                    self._again = time.monotonic() + self._pause
                self._problem, self._going, self._busy = problem, {}, False
                self._changed.notify_all()
                if self._is_over():
                    return

    def settle(self) -> None:
        """See that the store holds everything, for which it gets time as long as it takes something; else raise what it said."""
        with self._changed:
            self._asked = False
            self._pause = min(1.0, self.PAUSE)
            self._again = min(self._again, time.monotonic() + self._pause)
            self._changed.notify_all()
            self._raise()
            while left := self._left():
                moved = self._changed.wait_for(lambda n=left: self._left() < n or self._is_over(), self.PATIENCE)  # type: ignore[misc]
                self._raise()
                if not moved:
                    raise self._problem or self._refused(f"it took nothing for {self.PATIENCE:g} s")

    def entries(self, names: Iterable[str]) -> Iterator[Entry]:
        """Return the entries that this process made."""
        return self._spool.entries(names)


def chosen_document(entry: Entry) -> list[list[str]]:
    """Return the choices of an entry as JSON values."""
    return [[ref, c.version, c.because, c.warning] for ref, c in entry.chosen]


def chosen_of(document: Iterable[Sequence[str]]) -> tuple[tuple[str, Choice], ...]:
    """Return the choices that `chosen_document` wrote."""
    return tuple((ref, Choice(version, because, warning)) for ref, version, because, warning in document)
