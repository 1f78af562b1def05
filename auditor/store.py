"""The history of audits: what was found when, in a database.

An SQLite file of the user's own by default, PostgreSQL by its URL. A finding is one row of columns to filter by; the whole
documents are beside (`auditor.packs`). What is loaded equals what was saved, to the last digit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from auditor.databases import Lock, begun, engine_of, held, lock_of, taken
from auditor.migrations import upgrade
from auditor.model import AuditRun, Counts, TargetStatus
from auditor.packs import DamagedError, documents, keep_findings
from auditor.results import counts_document, run_of, text_of_finding
from auditor.rows import column, rows_of
from auditor.score import mean
from auditor.spooled import spooled
from auditor.tables import SCHEMA_VERSION, tables

if TYPE_CHECKING:
    import sqlalchemy as sa


class StoreError(Exception):
    """The history can't be read or written; the message is one line and says why."""


@dataclass(frozen=True, slots=True)
class Figures:
    """A benchmark (name and version) in a run: means over its targets in percent, None where there are none, and findings."""

    benchmark: str
    score: float | None
    coverage: float | None
    fail: int
    error: int


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A line of the history."""

    id: str
    started: str
    finished: str
    targets: int
    audited: int
    benchmarks: tuple[Figures, ...]  # a mean over several of them would say nothing
    counts: Counts
    status: str = "finished"  # or "running" (or killed), or "interrupted"
    kind: str = "full"  # or "re-check" or "demo": what these found is no measure of the whole
    baseline: bool = False


#: What `runs.status` says: a run that was killed stays "running".
RUNNING, INTERRUPTED, FINISHED = "running", "interrupted", "finished"
#: The name of the mark that `Store.mark` sets.
BASELINE = "baseline"
_BACK = re.compile(r"latest(?:~([0-9]{1,6}))?")


def default_url() -> str:
    """Return the URL of the user's own history: ``$XDG_STATE_HOME/cis-auditor/history.sqlite``."""
    state = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(state) if state.startswith("/") else Path("~/.local/state").expanduser()
    return f"sqlite:///{folder / 'cis-auditor' / 'history.sqlite'}"


class Store:
    """The runs in a database, which is made when it isn't there. Use it as a context manager, or `close` it."""

    def __init__(self, url: str | None = None) -> None:
        """Open ``url``, by default that of `default_url`; raises `StoreError`."""
        import sqlalchemy as sa

        try:
            parsed = sa.make_url(url or default_url())
        except (sa.exc.ArgumentError, ValueError):  # it is not quoted: a password may stand anywhere in it
            raise StoreError("what was given is no database URL such as sqlite:////path/to/history.sqlite") from None
        # Its name in messages: where a password is part of the URL it is not shown, nor what else an URL may say.
        shown = parsed.set(query={}) if parsed.get_backend_name() != "sqlite" else parsed
        self.name = parsed.database or str(parsed) if shown is parsed else shown.render_as_string()
        self.tables = tables()
        with self.plainly():
            self._engine = engine_of(parsed)
        try:
            with self.plainly():
                self._prepare()
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def save(self, run: AuditRun) -> None:
        """Write a run, whole or not at all; raises `StoreError`."""
        rows = rows_of(run)
        with self.plainly(), self.writing() as connection:
            self.keep_texts(connection, rows.pop("texts"))
            for table, listed in rows.items():
                if listed:
                    connection.execute(getattr(self.tables, table).insert(), listed)
            keep_findings(connection, self.tables, run.id, 0, run.findings, list(map(text_of_finding, run.findings)))

    def keep_texts(self, connection: sa.Connection, rows: Iterable[Mapping[str, str]]) -> None:
        """Write the words of benchmarks that are not there yet."""
        import sqlalchemy as sa

        texts = self.tables.texts
        for row in rows:
            if connection.execute(sa.select(texts.c.sha256).where(texts.c.sha256 == row["sha256"])).first() is None:
                with contextlib.suppress(sa.exc.IntegrityError), connection.begin_nested():  # somebody else just wrote it
                    connection.execute(texts.insert(), row)

    def load(self, run: str = "latest") -> AuditRun:
        """Return a run by (the beginning of) its id, ``latest``, ``latest~2`` (two before) or ``baseline``; raises `StoreError`."""
        with self.plainly(), self.reading() as connection:
            found = self.find(connection, run)
            try:
                targets = map(json.loads, self._texts(connection, self.tables.targets, found))
                findings = (json.loads(text) for _, text in documents(connection, self.tables, found))
                return run_of({**self._document(connection, found), "targets": targets, "findings": findings})
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise StoreError(f"{self.name}: run {found} can't be read ({type(error).__name__}: {_line(error)})") from None

    def identity(self, run: str) -> str:
        """Return the id of a run that `load` would return; raises `StoreError`."""
        with self.plainly(), self.reading() as connection:
            return self.find(connection, run)

    def open(self, run: str, folder: Path) -> AuditRun:
        """Return a run (`load` says how it is named) whose targets and findings are read from a file in ``folder`` when they are
        asked for; raises `StoreError`. The file has no name and needs no history any more."""  # noqa: D205, D209 - one sentence
        with self.plainly(), self.reading() as connection:
            found = self.find(connection, run)

            def refuse(error: Exception) -> StoreError:
                return StoreError(f"{self.name}: run {found} can't be read ({type(error).__name__}: {_line(error)})")

            targets, findings = spooled(folder, refuse)
            for document in self._texts(connection, self.tables.targets, found):
                targets.add(document)
            texts = (text for _, text in documents(connection, self.tables, found))
            while some := list(itertools.islice(texts, 200)):
                findings.add(some)
            try:
                head = run_of({**self._document(connection, found), "targets": (), "findings": ()})
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise refuse(error) from None
        return dataclasses.replace(head, targets=targets, findings=findings)

    def _texts(self, connection: sa.Connection, table: sa.Table, run: str) -> Iterator[str]:
        """Yield the documents of a table's rows in their order."""
        import sqlalchemy as sa

        query = sa.select(table.c.document).where(table.c.run == run).order_by(table.c.position)
        with connection.execute(query.execution_options(yield_per=500)) as rows:
            yield from rows.scalars()

    def _document(self, connection: sa.Connection, run: str) -> dict[str, Any]:
        """Return the document of a run without its targets and findings."""
        import sqlalchemy as sa

        t = self.tables

        row = connection.execute(t.runs.select().where(t.runs.c.id == run)).one()
        head = json.loads(row.document)
        judged = None
        if (row.status or FINISHED) != FINISHED:
            f, waiting = t.findings.c, sa.select(t.targets.c.done).where(t.targets.c.run == run)
            judged = {tuple(r) for r in connection.execute(sa.select(f.benchmark, f.version).where(f.run == run).distinct())}
            done = connection.execute(waiting).scalars().all()
            said = f"{sum(d == 0 for d in done)} of {len(done)} targets are not in it, and each says why"
            head["notices"] = [f"This run is {'going on' if row.status == RUNNING else 'not complete'}: {said}.", *head["notices"]]
        benchmarks = []
        query = t.benchmarks.select().where(t.benchmarks.c.run == run).order_by(t.benchmarks.c.position)
        for b in connection.execute(query).all():
            if judged is None or (b.name, b.version) in judged:
                text = connection.execute(t.texts.select().where(t.texts.c.sha256 == b.text)).one()
                benchmarks.append({**json.loads(text.document), "selected_because": json.loads(b.document)})
        return {"run": head, "benchmarks": benchmarks, "scores": map(json.loads, self._texts(connection, t.scores, run))}

    def history(
        self, limit: int = 20, *, target: str | None = None, benchmark: str | None = None, since: str = ""
    ) -> list[RunSummary]:
        """Return the latest runs, newest first, none that started before ``since`` (ISO 8601, UTC); raises `StoreError`.

        With ``target`` or ``benchmark`` (``name`` or ``name@version``) only runs that have it, and only its scores.
        """
        import sqlalchemy as sa

        t = self.tables
        wanted_targets = [] if target is None else [t.targets.c.name == column(target)]
        wanted_scores = [] if target is None else [t.scores.c.target == column(target)]
        if benchmark is not None:
            name, _, version = benchmark.partition("@")
            wanted_scores += [t.scores.c.benchmark == column(name), *([t.scores.c.version == column(version)] if version else [])]
        query = t.runs.select().where(t.runs.c.started >= since).order_by(*self.newest()).limit(limit)
        if target is not None:
            query = query.where(sa.exists().where(t.targets.c.run == t.runs.c.id, *wanted_targets))
        if benchmark is not None:
            query = query.where(sa.exists().where(t.scores.c.run == t.runs.c.id, *wanted_scores))
        ids = sa.select(query.subquery().c.id)
        with self.plainly(), self.reading() as connection:
            runs = connection.execute(query).all()
            statuses = sa.select(t.targets.c.run, t.targets.c.status).where(t.targets.c.run.in_(ids), *wanted_targets)
            targets = connection.execute(statuses).all()
            scores = connection.execute(t.scores.select().where(t.scores.c.run.in_(ids), *wanted_scores)).all()
            marked = connection.execute(sa.select(t.marks.c.run).where(t.marks.c.name == BASELINE)).scalar()
        by_run: dict[str, tuple[list[Any], list[Any]]] = {r.id: ([], []) for r in runs}
        for i, rows in enumerate((targets, scores)):
            for row in rows:
                by_run[row.run][i].append(row)
        return [_summary(r, *by_run[r.id], baseline=r.id == marked) for r in runs]

    def reading(self) -> sa.Connection:
        """Return a connection for queries alone; use it inside `plainly`."""
        return self._engine.execution_options(reads=True).connect()

    @contextlib.contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[sa.Connection]:
        """Give a transaction that writes, ``alone`` or beside other writers; use it inside `plainly`."""
        with self._engine.begin() as connection:
            begun(connection, alone=alone)
            yield connection

    @contextlib.contextmanager
    def held(self, what: str) -> Iterator[Lock]:
        """Keep something to this process unless another one has it. It is free again when its holder ends, however."""
        with contextlib.ExitStack() as stack:
            with self.plainly():
                lock = stack.enter_context(held(self._engine, what))
            yield lock

    def newest(self) -> tuple[sa.ColumnElement[Any], ...]:
        """Return the order of runs: the newest first; of those that began in one second by their ids' bytes, in every database."""
        runs = self.tables.runs.c
        identity = runs.id.collate("C") if self._engine.dialect.name == "postgresql" else runs.id
        return (runs.started.desc(), identity.desc())

    def mark(self, run: str) -> str:
        """Make a run the baseline, in place of the one that was; return its id. Raises `StoreError`."""
        marks = self.tables.marks
        with self.plainly(), self.writing(alone=True) as connection:
            found = self.find(connection, run)
            connection.execute(marks.delete().where(marks.c.name == BASELINE))
            connection.execute(marks.insert(), {"name": BASELINE, "run": found})
        return found

    def unmark(self) -> None:
        """Have no baseline any more."""
        marks = self.tables.marks
        with self.plainly(), self.writing(alone=True) as connection:
            connection.execute(marks.delete().where(marks.c.name == BASELINE))

    def prune(self, *, keep: int | None = None, before: str | None = None, dry: bool = False) -> list[str]:
        """Delete the runs beyond the newest ``keep``, or those that started before a time; return their ids, newest first.

        Neither the baseline nor a run that a process is doing is ever among them. With ``dry`` nothing is deleted. Raises
        `StoreError`.
        """
        import sqlalchemy as sa

        t = self.tables
        with self.plainly(), self.reading() if dry else self.writing(alone=True) as connection:
            wanted = (t.runs.c.id, t.runs.c.started, t.runs.c.status, t.runs.c.plan)
            rows = connection.execute(sa.select(*wanted).order_by(*self.newest())).all()
            kept = set(connection.execute(sa.select(t.marks.c.run)).scalars())
            for r in (r for r in rows if r.status == RUNNING and r.plan):
                if taken(self._engine, (lock_of(r.id, part) for part in json.loads(r.plan)["parts"])):
                    kept.add(r.id)
            if keep is not None:  # one that is going on is neither counted nor deleted, one that was killed long ago is
                over = [n for n, r in enumerate(rows) if r.status != RUNNING]
                old = rows[over[keep - 1] + 1 :] if len(over) >= keep else []
            else:
                old = [r for r in rows if before is not None and r.started < before]
            gone = [str(r.id) for r in old if r.id not in kept]
            if not dry:
                for run in gone:
                    for table in (t.findings, t.packs, t.scores, t.targets, t.benchmarks):
                        connection.execute(table.delete().where(table.c.run == run))
                    connection.execute(t.runs.delete().where(t.runs.c.id == run))
                used = sa.select(t.benchmarks.c.text).distinct()
                connection.execute(t.texts.delete().where(t.texts.c.sha256.not_in(used)))
        return gone

    def find(self, connection: sa.Connection, wanted: str, *, unfinished: bool = False) -> str:
        """Return the id that ``wanted`` means; raises `StoreError`.

        ``latest`` is the latest that is over, or with ``unfinished`` the latest that is not.
        """
        import sqlalchemy as sa

        runs, marks = self.tables.runs, self.tables.marks
        newest = sa.select(runs.c.id).order_by(*self.newest())
        back = _BACK.fullmatch(wanted)
        if back:
            over = sa.func.coalesce(runs.c.status, FINISHED)
            newest = newest.where(over != FINISHED if unfinished else over != RUNNING)
            found = connection.execute(newest.limit(1).offset(int(back[1] or 0))).scalar()
            if found is None:
                none = "no run is left to go on with; auditor history lists them" if unfinished else "no run is stored yet"
                raise StoreError(f"{self.name}: there is no run {wanted!r}" if back[1] else f"{self.name}: {none}")
            return str(found)
        if wanted == BASELINE:
            found = connection.execute(sa.select(marks.c.run).where(marks.c.name == BASELINE)).scalar()
            if found is None:
                raise StoreError(f"{self.name}: no run is the baseline; auditor history baseline RUN makes one so")
            return str(found)
        prefix = column(wanted)
        ids = [str(r.id) for r in connection.execute(newest.where(sa.func.substr(runs.c.id, 1, len(prefix)) == prefix).limit(6))]
        if wanted in ids:
            return wanted
        if not wanted or not ids:
            raise StoreError(f"{self.name}: there is no run {wanted!r}; auditor history lists them")
        if len(ids) > 1:
            raise StoreError(f"{self.name}: several runs begin with {wanted!r}: {', '.join(ids[:5])}{', ...' * (len(ids) > 5)}")
        return ids[0]

    def _prepare(self) -> None:
        """See that the tables are there, are ours and are today's."""
        with self.reading() as connection:
            if self._version(connection) == SCHEMA_VERSION:
                return
        with self.writing(alone=True) as connection:  # of two first runs at once, the second finds the tables of the first
            version = self._version(connection)
            if version is None:
                meta = self.tables.meta
                meta.metadata.create_all(connection)
                connection.execute(meta.insert(), {"name": "schema_version", "value": str(SCHEMA_VERSION)})
            elif version < SCHEMA_VERSION:
                upgrade(connection, version)

    def _version(self, connection: sa.Connection) -> int | None:
        """Return the version of the tables, None where there are none; raises `StoreError` when they are not ours to read."""
        import sqlalchemy as sa

        meta = self.tables.meta
        present = sa.inspect(connection).get_table_names()
        if meta.name not in present:
            if present:
                raise StoreError(f"{self.name}: is another program's database (it has a table {present[0]!r})")
            return None
        row = connection.execute(meta.select().where(meta.c.name == "schema_version")).first()
        version = row.value if row else "none"
        if not (version.isdecimal() and 1 <= int(version) <= SCHEMA_VERSION):
            raise StoreError(
                f"{self.name}: has the schema version {version}, this auditor knows {SCHEMA_VERSION}: use one that fits"
            )
        return int(version)

    @contextlib.contextmanager
    def plainly(self) -> Iterator[None]:
        """Turn what a database can raise into one line about this one."""
        import sqlalchemy as sa

        try:
            yield
        except sa.exc.IntegrityError as error:
            raise StoreError(f"{self.name}: the run is stored already ({_line(error.orig)})") from None
        except sa.exc.DBAPIError as error:
            raise StoreError(f"{self.name}: {_line(error.orig)}") from None
        except sa.exc.SQLAlchemyError as error:
            raise StoreError(f"{self.name}: {_line(error)}") from None
        except ModuleNotFoundError as error:
            raise StoreError(f"{self.name}: needs the Python package {error.name!r}, which is not installed") from None
        except DamagedError as error:
            raise StoreError(f"{self.name}: {error}") from None
        except OSError as error:
            raise StoreError(f"{self.name}: can't be opened: {error.strerror}") from None


def _line(error: BaseException | None) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."


def _summary(run: Any, targets: list[Any], scores: list[Any], *, baseline: bool) -> RunSummary:
    counts = {n: sum(getattr(s, n) for s in scores) for n in counts_document(Counts())}
    by_benchmark: dict[str, list[Any]] = {}
    for s in scores:
        by_benchmark.setdefault(f"{s.benchmark} {s.version}", []).append(s)
    return RunSummary(
        id=run.id,
        started=run.started,
        finished=run.finished,
        targets=len(targets),
        audited=sum(t.status == TargetStatus.AUDITED.value for t in targets),
        benchmarks=tuple(_figures(ref, found) for ref, found in by_benchmark.items()),
        counts=Counts(counts.pop("pass"), **counts),
        status=run.status or FINISHED,
        kind=run.kind or "full",
        baseline=baseline,
    )


def _figures(ref: str, scores: list[Any]) -> Figures:
    return Figures(ref, mean(s.score for s in scores), mean(s.coverage for s in scores), sum(s.fail for s in scores),
                   sum(s.error for s in scores))  # fmt: skip
