"""The history of audits: what was found when, in a database.

An SQLite file of the user's own by default, any database that SQLAlchemy speaks by its URL. A finding is one row: columns to
filter by, and the whole document. What is loaded equals what was saved, to the last digit.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from auditor.model import AuditRun, Counts, TargetStatus
from auditor.results import counts_document, run_of, to_document
from auditor.score import mean

if TYPE_CHECKING:
    import sqlalchemy as sa

SCHEMA_VERSION = 1
LOCK_SECONDS = 30


class StoreError(Exception):
    """The history can't be read or written; the message is one line and says why."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A line of the history. ``score`` and ``coverage`` are means over the scores, in percent; None where there are none."""

    id: str
    started: str
    finished: str
    targets: int
    audited: int
    score: float | None
    coverage: float | None
    counts: Counts


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
        except sa.exc.ArgumentError:
            raise StoreError(f"{url!r} is no database URL such as sqlite:////path/to/history.sqlite") from None
        self.name = parsed.database or str(parsed) if parsed.get_backend_name() == "sqlite" else parsed.render_as_string()
        self._tables = _tables()
        with self._plainly():
            self._engine = _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else sa.create_engine(parsed)
        try:
            with self._plainly():
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
        import sqlalchemy as sa

        rows = _rows(run)
        with self._plainly(), self._engine.begin() as connection:
            texts = self._tables.texts
            for row in rows.pop("texts"):
                if connection.execute(sa.select(texts.c.sha256).where(texts.c.sha256 == row["sha256"])).first() is None:
                    with contextlib.suppress(sa.exc.IntegrityError), connection.begin_nested():  # somebody else just wrote it
                        connection.execute(texts.insert(), row)
            for table, listed in rows.items():
                if listed:
                    connection.execute(getattr(self._tables, table).insert(), listed)

    def load(self, run: str = "latest") -> AuditRun:
        """Return a run by its id, the beginning of its id, or ``latest``; raises `StoreError`."""
        with self._plainly(), self._reading() as connection:
            found = self._find(connection, run)
            try:
                return run_of(self._document(connection, found))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise StoreError(f"{self.name}: run {found} can't be read ({type(error).__name__}: {_line(error)})") from None

    def _document(self, connection: sa.Connection, run: str) -> dict[str, Any]:
        t = self._tables

        def documents(table: sa.Table) -> list[Any]:
            query = table.select().where(table.c.run == run).order_by(table.c.position)
            return [json.loads(row.document) for row in connection.execute(query)]

        head = connection.execute(t.runs.select().where(t.runs.c.id == run)).one()
        benchmarks = []
        query = t.benchmarks.select().where(t.benchmarks.c.run == run).order_by(t.benchmarks.c.position)
        for row in connection.execute(query).all():
            text = connection.execute(t.texts.select().where(t.texts.c.sha256 == row.text)).one()
            benchmarks.append({**json.loads(text.document), "selected_because": json.loads(row.document)})
        return {"run": json.loads(head.document), "targets": documents(t.targets), "benchmarks": benchmarks,
                "findings": documents(t.findings), "scores": documents(t.scores)}  # fmt: skip

    def history(self, limit: int = 20, *, target: str | None = None, benchmark: str | None = None) -> list[RunSummary]:
        """Return the latest runs, newest first; raises `StoreError`.

        With ``target`` or ``benchmark`` (``name`` or ``name@version``) only runs that have it, and only its scores.
        """
        import sqlalchemy as sa

        t = self._tables
        wanted_targets = [] if target is None else [t.targets.c.name == _column(target)]
        wanted_scores = [] if target is None else [t.scores.c.target == _column(target)]
        if benchmark is not None:
            name, _, version = benchmark.partition("@")
            wanted_scores += [t.scores.c.benchmark == _column(name), *([t.scores.c.version == _column(version)] if version else [])]
        query = t.runs.select().order_by(t.runs.c.started.desc(), t.runs.c.finished.desc(), t.runs.c.id.desc()).limit(limit)
        if target is not None:
            query = query.where(sa.exists().where(t.targets.c.run == t.runs.c.id, *wanted_targets))
        if benchmark is not None:
            query = query.where(sa.exists().where(t.scores.c.run == t.runs.c.id, *wanted_scores))
        ids = sa.select(query.subquery().c.id)
        with self._plainly(), self._reading() as connection:
            runs = connection.execute(query).all()
            statuses = sa.select(t.targets.c.run, t.targets.c.status).where(t.targets.c.run.in_(ids), *wanted_targets)
            targets = connection.execute(statuses).all()
            scores = connection.execute(t.scores.select().where(t.scores.c.run.in_(ids), *wanted_scores)).all()
        by_run: dict[str, tuple[list[Any], list[Any]]] = {r.id: ([], []) for r in runs}
        for i, rows in enumerate((targets, scores)):
            for row in rows:
                by_run[row.run][i].append(row)
        return [_summary(r, *by_run[r.id]) for r in runs]

    def _reading(self) -> sa.Connection:
        return self._engine.execution_options(reads=True).connect()

    def _find(self, connection: sa.Connection, wanted: str) -> str:
        import sqlalchemy as sa

        runs = self._tables.runs
        newest = runs.select().order_by(runs.c.started.desc(), runs.c.finished.desc(), runs.c.id.desc())
        if wanted == "latest":
            row = connection.execute(newest.limit(1)).first()
            if row is None:
                raise StoreError(f"{self.name}: no run is stored yet")
            return str(row.id)
        prefix = _column(wanted)
        ids = [str(r.id) for r in connection.execute(newest.where(sa.func.substr(runs.c.id, 1, len(prefix)) == prefix).limit(6))]
        if wanted in ids:
            return wanted
        if not wanted or not ids:
            raise StoreError(f"{self.name}: there is no run {wanted!r}; auditor history lists them")
        if len(ids) > 1:
            raise StoreError(f"{self.name}: several runs begin with {wanted!r}: {', '.join(ids[:5])}{', ...' * (len(ids) > 5)}")
        return ids[0]

    def _prepare(self) -> None:
        """See that the tables are there and are ours."""
        with self._reading() as connection:
            if self._is_ours(connection):
                return
        with self._engine.begin() as connection:  # alone now: of two first runs at once, the second finds the tables of the first
            if not self._is_ours(connection):
                meta = self._tables.meta
                meta.metadata.create_all(connection)
                connection.execute(meta.insert(), {"name": "schema_version", "value": str(SCHEMA_VERSION)})

    def _is_ours(self, connection: sa.Connection) -> bool:
        """Return whether the tables are there; raises `StoreError` when they are of another version or another program."""
        import sqlalchemy as sa

        meta = self._tables.meta
        tables = sa.inspect(connection).get_table_names()
        if meta.name not in tables:
            if tables:
                raise StoreError(f"{self.name}: is another program's database (it has a table {tables[0]!r})")
            return False
        row = connection.execute(meta.select().where(meta.c.name == "schema_version")).first()
        version = row.value if row else "none"
        if version != str(SCHEMA_VERSION):
            raise StoreError(
                f"{self.name}: has the schema version {version}, this auditor knows {SCHEMA_VERSION}: use one that fits"
            )
        return True

    @contextlib.contextmanager
    def _plainly(self) -> Iterator[None]:
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
        except OSError as error:
            raise StoreError(f"{self.name}: can't be opened: {error.strerror}") from None


def _line(error: BaseException | None) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."


def _sqlite(url: sa.URL) -> sa.Engine:
    """Open an SQLite file that only its owner can read, in a mode in which readers and a writer don't wait for each other."""
    import sqlalchemy as sa

    in_memory = not url.database or url.database == ":memory:"
    if not in_memory:
        path = Path(url.database or "")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    engine = sa.create_engine(url, connect_args={"timeout": LOCK_SECONDS, "isolation_level": None})

    def connected(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        if not in_memory and connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            with contextlib.suppress(sqlite3.OperationalError):  # busy: whoever is first sets it for all
                connection.execute("PRAGMA journal_mode = WAL")

    def begun(connection: sa.Connection) -> None:
        # A transaction that reads first and writes later can't wait for another writer, so it starts as a writer's.
        connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get("reads") else "BEGIN IMMEDIATE")

    sa.event.listen(engine, "connect", connected)
    sa.event.listen(engine, "begin", begun)
    return engine


@dataclass(frozen=True)
class _Tables:
    meta: sa.Table
    runs: sa.Table
    texts: sa.Table
    benchmarks: sa.Table
    targets: sa.Table
    findings: sa.Table
    scores: sa.Table


@functools.cache
def _tables() -> _Tables:
    import sqlalchemy as sa

    metadata = sa.MetaData()
    text, number = sa.Text, sa.Integer

    def of_run(name: str, *columns: sa.Column[Any]) -> sa.Table:
        run = sa.Column("run", text, sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
        position = sa.Column("position", number, primary_key=True)
        return sa.Table(name, metadata, run, position, *columns, sa.Column("document", text, nullable=False))

    return _Tables(
        meta=sa.Table("meta", metadata, sa.Column("name", text, primary_key=True), sa.Column("value", text, nullable=False)),
        runs=sa.Table(
            "runs", metadata, sa.Column("id", text, primary_key=True), sa.Column("started", text, nullable=False, index=True),
            sa.Column("finished", text, nullable=False), sa.Column("document", text, nullable=False),
        ),
        # A benchmark's words are the same in every run, so they are kept once.
        texts=sa.Table("texts", metadata, sa.Column("sha256", text, primary_key=True), sa.Column("document", text, nullable=False)),
        benchmarks=of_run("benchmarks", sa.Column("name", text), sa.Column("version", text), sa.Column("sha256", text),
                          sa.Column("text", text, sa.ForeignKey("texts.sha256"), nullable=False)),
        targets=of_run("targets", sa.Column("name", text, index=True), sa.Column("kind", text), sa.Column("status", text)),
        findings=of_run("findings", *(sa.Column(n, text) for n in ("target", "benchmark", "version", "id", "control")),
                        sa.Column("level", number), sa.Column("severity", text), sa.Column("status", text)),
        scores=of_run("scores", *(sa.Column(n, text) for n in ("target", "benchmark", "version")), sa.Column("score", sa.Double),
                      sa.Column("coverage", sa.Double), *(sa.Column(n, number) for n in counts_document(Counts()))),
    )  # fmt: skip


def _json(value: Any) -> str:
    """ASCII alone, so that text that a database refuses (NUL, half a surrogate pair) is written as its escape."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _column(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "?")


def _rows(run: AuditRun) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of every table. Scores are written as they are, not with the two digits of the results document."""
    document = to_document(run)
    key = run.id
    texts: dict[str, str] = {}
    benchmarks = []
    for position, b in enumerate(document["benchmarks"]):
        words = _json({k: v for k, v in b.items() if k != "selected_because"})
        digest = hashlib.sha256(words.encode()).hexdigest()
        texts[digest] = words
        benchmarks.append({"run": key, "position": position, **_columns(b, ("name", "version", "sha256")), "text": digest,
                           "document": _json(b["selected_because"])})  # fmt: skip
    scores = [{**d, "score": s.score, "coverage": s.coverage} for d, s in zip(document["scores"], run.scores, strict=True)]
    finding_columns = ("target", "benchmark", "version", "id", "control", "level", "severity", "status")
    return {
        "texts": [{"sha256": digest, "document": words} for digest, words in texts.items()],
        "runs": [{"id": key, **_columns(document["run"], ("started", "finished")), "document": _json(document["run"])}],
        "benchmarks": benchmarks,
        "targets": _listed(key, document["targets"], ("name", "kind", "status")),
        "findings": _listed(key, document["findings"], finding_columns),
        "scores": [
            {**row, "score": s["score"], "coverage": s["coverage"], **s["counts"]}
            for row, s in zip(_listed(key, scores, ("target", "benchmark", "version")), scores, strict=True)
        ],
    }


def _columns(document: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {n: _column(v) if isinstance(v := document[n], str) else v for n in names}


def _listed(run: str, documents: list[dict[str, Any]], names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"run": run, "position": i, **_columns(d, names), "document": _json(d)} for i, d in enumerate(documents)]


def _summary(run: Any, targets: list[Any], scores: list[Any]) -> RunSummary:
    counts = {n: sum(getattr(s, n) for s in scores) for n in counts_document(Counts())}
    return RunSummary(
        id=run.id,
        started=run.started,
        finished=run.finished,
        targets=len(targets),
        audited=sum(t.status == TargetStatus.AUDITED.value for t in targets),
        score=mean(s.score for s in scores),
        coverage=mean(s.coverage for s in scores),
        counts=Counts(counts.pop("pass"), **counts),
    )
