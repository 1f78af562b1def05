"""Opening the databases that a run history may be in: SQLite files and PostgreSQL."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlalchemy as sa

#: Seconds that a writer waits for another one, and that a database server has to answer at all.
LOCK_SECONDS = 30
CONNECT_SECONDS = 10
#: The advisory lock of PostgreSQL that writers of one history share and that its maker, its upgrade and its pruning hold alone.
_ADVISORY = 0x636973_61756469


_PASSWORD = re.compile(r"[^:/?]*://[^:/?]*:[^@]+@|.*[?&](ssl)?password=", re.DOTALL)


def holds_password(url: str) -> bool:
    """Return whether a database URL holds a password, or might: it must not stand in a list of processes."""
    return _PASSWORD.match(url) is not None


def engine_of(url: sa.URL) -> sa.Engine:
    """Return the engine of a database; nothing is connected yet."""
    import sqlalchemy as sa

    if url.get_backend_name() == "sqlite":
        return _sqlite(url)
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername == "postgresql+psycopg":
        return _postgresql(url)
    return sa.create_engine(url)


def begun(connection: sa.Connection, *, alone: bool) -> None:
    """Keep others out as far as needed, in a transaction that writes: SQLite's writers exclude each other by themselves."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock{'' if alone else '_shared'}({_ADVISORY})")


#: How the drivers that we know mark a place for a value.
_PLACES = {"sqlite": "?", "postgresql": "%s"}


def insert_all(connection: sa.Connection, table: sa.Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert many rows, their values in the order of ``columns``, without what it costs to look at each of them in between."""
    if not rows:
        return
    place = _PLACES.get(connection.dialect.name)
    if place is None:
        connection.execute(table.insert(), [dict(zip(columns, row, strict=True)) for row in rows])
        return
    names = ", ".join(connection.dialect.identifier_preparer.quote(c) for c in columns)
    connection.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({', '.join([place] * len(columns))})", list(rows))  # noqa: S608 - our own names


def lock_of(run: str, part: str) -> str:
    """Return the name of the lock that a process holds while it does a part (``I/N``) of a run."""
    return f"{run} {part}"


def taken(engine: sa.Engine, names: Iterable[str]) -> bool:
    """Return whether another process holds one of some locks."""
    for name in names:
        with held(engine, name) as lock:
            if not lock.alone:
                return True
    return False


class Lock:
    """What `held` gives; ``alone``: it was free."""

    def __init__(self, *, alone: bool) -> None:
        self.alone = alone

    def renew(self) -> bool:
        """Take it again where it was lost with a connection, and return whether nobody else can have had it since it was seen last.

        Raises what the driver does where that can't be found out.
        """
        return True


class _Advisory(Lock):
    """A lock of PostgreSQL's, which lives as long as a connection.

    Whoever gives it up may be another thread than the one that renews it and waits for a server that stands still. psycopg frees a
    connection's memory when it closes it, whoever is using it: so it is closed by the one who used it last.
    """

    def __init__(self, engine: sa.Engine, number: int) -> None:
        self._engine, self._number = engine, number
        self._connection: sa.Connection | None = None
        self._use = threading.Lock()
        self._over = False
        super().__init__(alone=self._take())

    def _take(self) -> bool:
        """Have it or not; who has it already may take it once more."""
        if self._connection is None:
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            for name, value in (("idle", 30), ("interval", 10), ("count", 3)):
                self._connection.exec_driver_sql(f"SET tcp_keepalives_{name} = {value}")
        return bool(self._connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({self._number})").scalar())

    def renew(self) -> bool:
        import sqlalchemy as sa

        try:
            with self._use:
                if self._over:
                    return False
                known = self._connection is not None
                try:
                    return self._take() and known
                except sa.exc.DBAPIError:
                    self._disconnect()
                self._take()
                return False
        finally:
            if self._over:
                self.close()

    def close(self) -> None:
        """Give it up, now or as soon as nobody is asking the server for it."""
        self._over = True
        if self._use.acquire(blocking=False):
            try:
                self._disconnect()
            finally:
                self._use.release()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()  # it is closed, not kept for others, which frees the lock
            connection.close()


@contextlib.contextmanager
def held(engine: sa.Engine, what: str) -> Iterator[Lock]:
    """Hold a lock that all who use this database see, unless somebody else does.

    It ends with the process, also with one that is killed, and about a minute after a machine was lost: it hangs on a connection to
    the server, or on a byte of a file beside the database.
    """
    number = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], "big") >> 2
    if engine.dialect.name == "postgresql":
        with contextlib.closing(_Advisory(engine, number)) as lock:
            yield lock
    elif engine.dialect.name == "sqlite" and engine.url.database not in (None, "", ":memory:"):
        place = f"{os.path.realpath(str(engine.url.database))}.lock"  # one lock, by whatever link the file is found
        with os.fdopen(os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "rb+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except (BlockingIOError, PermissionError):
                alone = False
            else:
                alone = True
            yield Lock(alone=alone)
    else:
        yield Lock(alone=True)


def _postgresql(url: sa.URL) -> sa.Engine:
    """Open a database of a server that is not waited for without an end: not for others' locks, nor when it is out of reach."""
    import sqlalchemy as sa

    limits = {
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": int(LOCK_SECONDS * 1000),
    }
    words = {"connect_timeout": CONNECT_SECONDS, "application_name": "cis-auditor", **limits}
    # A connection that broke while targets were asked is found out before it is used.
    engine = sa.create_engine(url, pool_pre_ping=True, connect_args=words)

    def connected(connection: Any, _: Any) -> None:
        connection.execute(f"SET lock_timeout = {int(LOCK_SECONDS * 1000)}")
        connection.commit()

    sa.event.listen(engine, "connect", connected)
    return engine


def _sqlite(url: sa.URL) -> sa.Engine:
    """Open an SQLite file that only its owner can read, in a mode in which readers and a writer don't wait for each other."""
    import sqlalchemy as sa

    in_memory = not url.database or url.database == ":memory:"
    if not in_memory:
        path = Path(os.path.realpath(url.database or ""))  # where a link leads to nothing yet, the file is made there, ours alone
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    words: dict[str, Any] = {"timeout": LOCK_SECONDS, "isolation_level": None}
    if in_memory:  # each thread would have one of its own
        engine = sa.create_engine(url, poolclass=sa.pool.StaticPool, connect_args={**words, "check_same_thread": False})
    else:
        engine = sa.create_engine(url, connect_args=words)

    def connected(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        if not in_memory and connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            with contextlib.suppress(sqlite3.OperationalError):  # busy: whoever is first sets it for all
                connection.execute("PRAGMA journal_mode = WAL")

    def begin(connection: sa.Connection) -> None:
        # A transaction that reads first and writes later can't wait for another writer, so it starts as a writer's.
        connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get("reads") else "BEGIN IMMEDIATE")

    sa.event.listen(engine, "connect", connected)
    sa.event.listen(engine, "begin", begin)
    return engine
