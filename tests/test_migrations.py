"""Histories that earlier versions wrote: upgraded by Alembic without losing anything, on SQLite and on PostgreSQL."""

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from auditor import migrations
from auditor.databases import engine_of
from auditor.model import Status
from auditor.store import Store, StoreError
from auditor.tables import SCHEMA_VERSION, tables
from auditor.trends import failures, past_of
from tests.support import sample_run, stores
from tests.test_ages import KEY, attested
from tests.test_history import run, saved

ROOT = Path(__file__).parent.parent
FAIL, PASS = Status.FAIL, Status.PASS


@pytest.fixture(params=stores.KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return stores.new(request.param, tmp_path)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_earlier_history_is_upgraded_and_loses_nothing(url: str, version: int) -> None:
    runs = [run(1, FAIL, PASS), run(2, FAIL, demo=True), sample_run.hostile(500)]
    saved(url, *runs).close()
    stores.earlier(url, version)
    for _ in range(2):
        with Store(url) as store:
            assert [store.load(r.id) for r in runs] == runs
            assert {r.id: r.kind for r in store.history()} == {"run-01": "full", "run-02": "demo", runs[2].id: "full"}
    with Store(url) as store:
        store.save(run(3, FAIL))
        assert past_of(store, "run-03").ages[KEY].runs == 2, "the demo's runs are no past of a real one"
        store.mark("run-01")


def test_the_migrations_make_the_tables_that_the_program_has(url: str) -> None:
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir()
    engine = engine_of(sa.make_url(url))
    with engine.begin() as connection:
        migrations.upgrade(connection, 0)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables().runs.metadata) == []
    engine.dispose()
    assert stores.execute(url, "SELECT value FROM meta") == [(str(SCHEMA_VERSION),)]
    with Store(url) as store:
        store.save(run(1, FAIL))
        assert store.load() == run(1, FAIL)


def test_an_upgrade_that_fails_changes_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(url, run(1, FAIL)).close()
    stores.earlier(url, 1)
    from auditor import store as module

    def broken(connection: sa.Connection, version: int) -> None:
        migrations.upgrade(connection, version)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "upgrade", broken)
    with pytest.raises(StoreError, match="No space left"):
        Store(url)
    monkeypatch.undo()
    assert stores.execute(url, "SELECT value FROM meta") == [("1",)]
    with Store(url) as store:
        assert store.load() == run(1, FAIL)


@pytest.mark.parametrize("version", [0, 1])
def test_processes_that_open_a_history_at_once(url: str, version: int) -> None:
    """The first run of several at once, and an upgrade."""
    if version:
        saved(url, run(1, FAIL)).close()
        stores.earlier(url, version)
    code = "import sys; from auditor.store import Store; Store(sys.argv[1]).close()"
    started = [subprocess.Popen([sys.executable, "-c", code, url], cwd=ROOT, stderr=subprocess.PIPE) for _ in range(4)]
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    assert stores.execute(url, "SELECT value FROM meta") == [(str(SCHEMA_VERSION),)]


def test_a_current_history_is_opened_without_alembic(tmp_path: Path) -> None:
    code = "import sys; from auditor.store import Store; Store(sys.argv[1]).close(); print('alembic' in sys.modules)"
    for _ in range(2):  # also when it is made
        printed = subprocess.run(
            [sys.executable, "-c", code, stores.new("sqlite", tmp_path)], cwd=ROOT, check=True, capture_output=True, text=True
        )
        assert printed.stdout == "False\n"


@pytest.mark.parametrize("version", [2, 3])
def test_what_people_attested_before_an_upgrade(url: str, version: int) -> None:
    saved(url, attested(1, "fail", "pass"), attested(2, "fail", "fail")).close()
    stores.earlier(url, version)
    with Store(url) as store:
        store.save(attested(3, "fail", "fail"))
        assert sorted(age.runs for _, age in failures(store, "run-03")) == [2, 3]
