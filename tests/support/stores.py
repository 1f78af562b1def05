"""Run histories for tests: the same tests on an SQLite file and on a real PostgreSQL."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from auditor.databases import engine_of
from auditor.packs import documents
from auditor.tables import SCHEMA_VERSION, tables
from tests.support import postgres

KINDS = ("sqlite", "postgresql")


#: What each version of the tables added, taken back.
_ADDED = {
    2: ("DROP TABLE marks", "DROP INDEX findings_of_control", "ALTER TABLE runs DROP COLUMN kind"),
    3: tuple(f"ALTER TABLE {t} DROP COLUMN {c}" for t, c in (("runs", "status"), ("runs", "plan"), ("targets", "done"), ("targets", "chosen"))),
    4: ("DROP TABLE packs", "ALTER TABLE findings DROP COLUMN attested"),
}  # fmt: skip


def new(kind: str, folder: Path) -> str:
    """Return the URL of a history that is not there yet; skips, with the reason, where there is no PostgreSQL."""
    if kind == "sqlite":
        return f"sqlite:///{folder}/state/history.sqlite"
    if reason := postgres.why_not():
        pytest.skip(reason)
    return postgres.server().url()


def execute(url: str, statement: str, **values: Any) -> list[Any]:
    """Run one statement of SQL behind the program's back and return its rows."""
    engine = engine_of(sa.make_url(url))
    with engine.begin() as connection:
        result = connection.execute(sa.text(statement), values)
        rows = [tuple(r) for r in result] if result.returns_rows else []
    engine.dispose()
    return rows


def earlier(url: str, version: int) -> None:
    """Make a history what an earlier version of the program wrote."""
    if version < 4:
        _unpack(url)
    for added in range(SCHEMA_VERSION, version, -1):
        for statement in _ADDED[added]:
            execute(url, statement)
    execute(url, f"UPDATE meta SET value = '{version}' WHERE name = 'schema_version'")


def _unpack(url: str) -> None:
    """Put the document of each finding into its row."""
    engine = engine_of(sa.make_url(url))
    f = tables().findings
    with engine.begin() as connection:
        for (run_,) in connection.execute(sa.select(f.c.run).distinct()).all():
            for place, text in list(documents(connection, tables(), run_)):
                connection.execute(f.update().where(f.c.run == run_, f.c.position == place).values(document=text))
    engine.dispose()


def rewrite(url: str, change: Callable[[str], str], run: str | None = None) -> None:
    """Change the documents of all findings, or of one run's, behind the program's back."""
    engine = engine_of(sa.make_url(url))
    p = tables().packs
    with engine.begin() as connection:
        for row in connection.execute(p.select()).all():
            if run in (None, row.run):
                texts = map(change, zlib.decompress(bytes(row.document)).decode().split("\n"))
                pack = zlib.compress("\n".join(texts).encode())
                connection.execute(p.update().where(p.c.run == row.run, p.c.position == row.position).values(document=pack))
    engine.dispose()
