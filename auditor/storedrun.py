"""A run of the history while it goes on: there from its first moment, with every target, and each result as it comes.

Several processes may write one run (shards), each its own targets. What was kept is there after a kill -9 or a power cut.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor import __version__
from auditor.closing import Closing
from auditor.collect import now
from auditor.databases import Lock, insert_all
from auditor.journal import Entry, chosen_document, chosen_of
from auditor.model import BenchmarkInfo, TargetResult
from auditor.packs import documents, keep_findings
from auditor.results import finding_of, info_document, registers_document, target_of, text_of
from auditor.rows import benchmark_rows, placed, run_row, score_row, target_row
from auditor.store import FINISHED, INTERRUPTED, RUNNING, Store, StoreError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from auditor.audit import Benchmarks

#: Findings and scores of the target at position N are at N * STRIDE and after it: no process needs to know the others' numbers.
STRIDE = 4096


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What a run is from its start on.

    ``targets`` is every target in the run's order, as it stands there until it is done; ``done`` names those that nobody asks.
    ``benchmarks`` is every version that may judge. ``options`` is what it takes to go on with it; ``part`` the shard that begins,
    such as ``1/1``, and ``folder`` where its evidence is.
    """

    id: str
    operator: str
    selection: Mapping[str, Any]
    targets: Sequence[TargetResult]
    benchmarks: Sequence[BenchmarkInfo]
    done: frozenset[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)
    part: str = "1/1"
    folder: Path = Path()


class TakenOverError(Exception):
    """Another process does by now what this one was doing; the message is one line and says what."""


class StoredRun:
    """The journal of a run in the history. Every method raises `StoreError`, and what writes `TakenOverError`."""

    def __init__(self, store: Store, beginning: Beginning, lock: Lock, *, join: bool) -> None:
        """Begin a run, or with ``join`` go on with the one of this id, which must have been begun in the same way.

        ``lock`` keeps its part to this process. It can be lost with a connection; who came meanwhile left a word of its own.
        """
        import sqlalchemy as sa

        self._store = store
        self._run, self._part = beginning.id, beginning.part
        self._lock, self._word = lock, secrets.token_hex(8)
        self._written: set[str] = set()  # here; another process may have written more before
        self._places = {t.name: n for n, t in enumerate(beginning.targets)}
        targets = store.tables.targets
        self._replace = targets.update().where(targets.c.run == beginning.id, targets.c.position == sa.bindparam("place"))
        with store.plainly(), store.writing() as connection:
            self.joined = not self._begin(connection, beginning)
            if self.joined and not join:
                raise StoreError(f"{store.name}: there is a run {beginning.id!r} already")
            self.started, self.resumed = self._take_part(connection, beginning, joined=self.joined)

    def _begin(self, connection: sa.Connection, beginning: Beginning) -> bool:
        """Write a run that is not there yet; return whether it was not."""
        import sqlalchemy as sa

        t = self._store.tables
        at = now()
        head = {"id": self._run, "started": at, "finished": at, "auditor_version": __version__, "operator": beginning.operator,
                "selection": dict(beginning.selection), "notices": []}  # fmt: skip
        plan = {"options": dict(beginning.options), "digests": _digests(beginning), "parts": {}}
        row = {**run_row(head), "status": RUNNING, "plan": text_of(plan)}
        try:
            with connection.begin_nested():
                connection.execute(t.runs.insert(), row)
        except sa.exc.IntegrityError:
            return False
        rows = ({**target_row(target), "done": int(target.name in beginning.done)} for target in beginning.targets)
        connection.execute(t.targets.insert(), placed(self._run, rows))
        self._benchmarks(connection, beginning.benchmarks)
        return True

    def _take_part(self, connection: sa.Connection, beginning: Beginning, *, joined: bool) -> tuple[str, bool]:
        """Note that a shard begins or goes on; return when the run began, and whether the shard had begun before."""
        runs = self._store.tables.runs
        row = connection.execute(runs.select().where(runs.c.id == self._run).with_for_update()).one()
        plan = json.loads(row.plan or "{}")
        if joined:
            different = [what for what, digest in _digests(beginning).items() if plan.get("digests", {}).get(what) != digest]
            if different:
                raise StoreError(
                    f"{self._store.name}: run {self._run} was begun with other {' and '.join(different)}: "
                    "go on with it as it was begun, or begin a new one"
                )
        part = plan["parts"].setdefault(beginning.part, {"resumed": []})
        resumed = "folder" in part
        if resumed:
            part["resumed"].append(now())
        part["folder"] = str(beginning.folder.absolute())
        part["by"] = self._word
        values = {"plan": text_of(plan), "status": RUNNING}
        connection.execute(runs.update().where(runs.c.id == self._run).values(**values))
        return str(row.started), resumed

    def done(self) -> dict[str, TargetResult]:
        """Return the targets that are done, by name, without what was seen there."""
        t = self._store.tables.targets
        found: dict[str, TargetResult] = {}
        query = t.select().where(t.c.run == self._run, t.c.done == 1).order_by(t.c.position).execution_options(yield_per=100)
        with self._store.plainly(), self._store.reading() as connection, connection.execute(query) as rows:
            for row in rows:
                target = target_of({**json.loads(row.document), "seen": []})
                found[target.name] = target
        return found

    def check(self) -> None:
        """See that this process still does its part, and that no other one begins to."""
        with self._store.plainly():
            if not self._lock.renew():
                with self._store.reading() as connection:
                    self._ours(connection)

    def _ours(self, connection: sa.Connection) -> None:
        """See that nobody has taken the part over, nor does until the transaction is over."""
        import sqlalchemy as sa

        runs = self._store.tables.runs
        query = sa.select(runs.c.plan).where(runs.c.id == self._run).with_for_update(read=True, key_share=True)
        plan = connection.execute(query).scalar()
        if plan is None:
            raise StoreError(f"{self._store.name}: run {self._run} is no longer there")
        if json.loads(plan)["parts"][self._part].get("by") != self._word:
            raise TakenOverError(
                f"{which(self._run, self._part)} was taken over by another process while the history could not be reached: "
                "this one ends here and leaves the rest to it"
            )

    def keep(self, entries: Sequence[Entry]) -> None:
        """Write the results of targets in place of what stood there, all of them or none."""
        t = self._store.tables
        with self._store.plainly(), self._store.writing() as connection:
            self._ours(connection)
            for entry in entries:
                place = self._places[entry.name]
                row = {**target_row(entry.target), "done": int(entry.done), "chosen": text_of(chosen_document(entry))}
                connection.execute(self._replace, {**row, "place": place})
                first = place * STRIDE
                for table in (t.findings, t.packs, t.scores) if self.joined or entry.name in self._written else ():
                    old = (table.c.run == self._run, table.c.position >= first, table.c.position < first + STRIDE)
                    connection.execute(table.delete().where(*old))
                assert len(entry.findings) < STRIDE
                keep_findings(connection, t, self._run, first, entry.findings, entry.lines)
                self._written.add(entry.name)
                scores = placed(self._run, map(score_row, entry.scores), first)
                insert_all(connection, t.scores, list(scores[0]) if scores else (), [tuple(s.values()) for s in scores])

    def entries(self, names: Iterable[str]) -> Iterator[Entry]:
        """Return the entries of some targets, in the order of their names, each read when it is asked for."""
        t = self._store.tables
        for name in names:
            place = self._places[name]
            with self._store.plainly(), self._store.reading() as connection:
                row = connection.execute(
                    t.targets.select().where(t.targets.c.run == self._run, t.targets.c.position == place)
                ).one()
                first = place * STRIDE
                texts = documents(connection, t, self._run, range(first, first + STRIDE))
                found = tuple(finding_of(json.loads(text)) for _, text in texts)
            yield Entry(target_of(json.loads(row.document)), chosen_of(json.loads(row.chosen or "[]")), found, bool(row.done))

    def close(self, benchmarks: Benchmarks, *, interrupted: bool) -> int:
        """Write what the run says as a whole, as far as its targets are in; return how many are not."""
        t = self._store.tables
        with self._store.plainly(), self._store.writing() as connection:
            self._ours(connection)
            run = connection.execute(t.runs.select().where(t.runs.c.id == self._run).with_for_update()).one()
            closing = Closing(benchmarks, str(run.started), json.loads(run.document)["selection"])
            missing = 0
            query = t.targets.select().where(t.targets.c.run == self._run).order_by(t.targets.c.position)
            with connection.execute(query.execution_options(yield_per=100)) as rows:
                for row in rows:
                    missing += row.done == 0
                    closing.add(Entry(target_of(json.loads(row.document)), chosen_of(json.loads(row.chosen or "[]"))))
            self._marks(connection, closing)
            infos = closing.infos()
            used = {(b.name, b.version) for b in infos}
            if missing:  # whoever comes later may be judged by others
                infos += [b for b in benchmarks.infos() if (b.name, b.version) not in used]
            self._benchmarks(connection, infos)
            head = json.loads(run.document) | {"finished": now(), "registers": registers_document(closing.registers()),
                                               "notices": [*_resumed(json.loads(run.plan)), *closing.notices()]}  # fmt: skip
            status = FINISHED if not missing else INTERRUPTED if interrupted else RUNNING
            values = {"finished": head["finished"], "document": text_of(head), "status": status}
            connection.execute(t.runs.update().where(t.runs.c.id == self._run).values(**values))
        return missing

    def _marks(self, connection: sa.Connection, closing: Closing) -> None:
        """Show the register of waivers and attestations all findings that it may speak about."""
        import sqlalchemy as sa

        f = self._store.tables.findings
        if not closing.controls:
            return
        closing.judged(connection.execute(sa.select(f.c.control).where(f.c.run == self._run).distinct()).scalars())
        places = sa.select(f.c.position).where(f.c.run == self._run, f.c.control.in_(closing.controls))
        wanted = set(connection.execute(places).scalars())
        for place, text in documents(connection, self._store.tables, self._run):
            if place in wanted:
                closing.mark(finding_of(json.loads(text)))

    def _benchmarks(self, connection: sa.Connection, infos: Sequence[BenchmarkInfo]) -> None:
        t = self._store.tables
        texts, rows = benchmark_rows(self._run, [info_document(b) for b in infos])
        self._store.keep_texts(connection, texts)
        connection.execute(t.benchmarks.delete().where(t.benchmarks.c.run == self._run))
        if rows:
            connection.execute(t.benchmarks.insert(), rows)


def which(run: str, part: str) -> str:
    """Name a part (``I/N``) of a run in a message."""
    return f"run {run}" if part == "1/1" else f"shard {part} of run {run}"


def plan_of(store: Store, run: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return of (the beginning of) a run's id the whole of it, what the run selected, and its plan. Raises `StoreError`."""
    t = store.tables
    with store.plainly(), store.reading() as connection:
        row = connection.execute(t.runs.select().where(t.runs.c.id == store.find(connection, run, unfinished=True))).one()
    if row.plan is None:
        raise StoreError(f"{store.name}: run {row.id} can't be gone on with: it was stored when it was over")
    if (row.status or FINISHED) == FINISHED:
        raise StoreError(f"{store.name}: run {row.id} is finished; its reports are written again by: auditor report {row.id}")
    return str(row.id), dict(json.loads(row.document)["selection"]), dict(json.loads(row.plan))


def _digests(beginning: Beginning) -> dict[str, str]:
    """Return what tells two ways to begin a run apart."""
    tailoring = [name.rpartition(" (")[2] for name in beginning.selection.get("tailoring", ())]  # wherever the files are
    parts: dict[str, Any] = {
        "options": {**beginning.selection, "tailoring": tailoring},
        "benchmarks": sorted([b.name, b.version, b.sha256, sorted(c.id for c in b.controls)] for b in beginning.benchmarks),
        "targets": [[t.name, t.transport, t.address, sorted(t.groups)] for t in beginning.targets],
        "shards": beginning.part.partition("/")[2],
    }
    return {name: hashlib.sha256(text_of(part).encode()).hexdigest() for name, part in parts.items()}


def _resumed(plan: Mapping[str, Any]) -> Iterator[str]:
    for name, part in sorted(plan["parts"].items()):
        if part["resumed"]:
            which = "This run" if name == "1/1" else f"Shard {name} of this run"
            times = ", ".join(part["resumed"])
            yield f"{which} was interrupted and gone on with ({times}): targets that were done before were not asked again."
