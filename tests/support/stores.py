"""Run histories for tests: the same tests on an SQLite file and on a real PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from auditor.databases import engine_of
from tests.support import postgres

KINDS = ("sqlite", "postgresql")


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
