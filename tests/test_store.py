"""The history: exact round trips, two writers at once, and errors in one line. Real SQLite files and a real PostgreSQL."""

import dataclasses
import os
import sqlite3
import stat
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from auditor.cli import cli
from auditor.databases import holds_password
from auditor.model import AuditRun, Counts, Finding, Observation, Score, Severity, Status, TargetStatus
from auditor.score import mean
from auditor.store import Store, StoreError, default_url
from auditor.tables import SCHEMA_VERSION
from tests.support import postgres, sample_run, stores

ROOT = Path(__file__).parent.parent


@pytest.fixture(params=stores.KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return stores.new(request.param, tmp_path)


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return stores.new("sqlite", tmp_path)


def named(run: AuditRun, name: str, started: str = "2025-01-01T00:00:00Z") -> AuditRun:
    return dataclasses.replace(run, id=name, started=started)


@pytest.mark.parametrize(
    "run", [sample_run.small(), sample_run.single(), sample_run.hostile(1000)], ids=["small", "single", "hostile"]
)
def test_what_is_loaded_equals_what_was_saved(url: str, run: AuditRun) -> None:
    with Store(url) as store:
        store.save(run)
    with Store(url) as store:
        assert store.load() == run
        assert store.load(run.id) == run


def test_postgresql_by_a_service_file_as_a_secret_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = sa.make_url(stores.new("postgresql", tmp_path))
    service = tmp_path / "pg_service.conf"
    keys = {"host": parsed.query["host"], "options": parsed.query["options"], "user": parsed.username, "dbname": parsed.database}
    service.write_text("[audits]\n" + "".join(f"{k}={v}\n" for k, v in keys.items()))
    service.chmod(0o440)
    monkeypatch.setenv("PGSERVICEFILE", str(service))
    with Store("postgresql:///?service=audits") as store:
        store.save(sample_run.small())
        assert store.load() == sample_run.small()


def test_scores_keep_every_digit(url: str) -> None:
    run = sample_run.small()
    score = Score("web-1", "cis-docker", "1.6.0", 100 / 3, 200 / 7, Counts(1, 2, 3, 4, 5, 6))
    run = dataclasses.replace(run, scores=(score, dataclasses.replace(score, score=None, coverage=None)))
    with Store(url) as store:
        store.save(run)
        assert store.load().scores == run.scores
        assert [f.score for f in store.history()[0].benchmarks] == [100 / 3]


def test_text_that_databases_refuse_survives(url: str) -> None:
    odd = "nul \x00, half a pair \ud800, \x1b[31mred, 'quote\"; DROP TABLE runs;--"
    run = sample_run.small()
    finding = Finding(
        odd, odd, odd, odd, odd, odd, 1, "manual", Severity.LOW, Status.FAIL, odd, (Observation(odd, Status.FAIL, odd, odd, odd),)
    )
    run = dataclasses.replace(run, findings=(finding,), operator=odd)
    with Store(url) as store:
        store.save(run)
        assert store.load() == run
        assert store.history(target=odd) == []


def test_file_and_folder_belong_to_the_user_alone(file_url: str, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Store(file_url) as store:
            store.save(sample_run.small())
            files = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "state").iterdir()}
    finally:
        os.umask(before)
    assert files.pop("history.sqlite") == 0o600
    assert set(files.values()) <= {0o600}
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    with sqlite3.connect(tmp_path / "state" / "history.sqlite") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_history_that_a_link_leads_to(file_url: str, tmp_path: Path) -> None:
    """It is made for its owner alone, and has one lock by both names."""
    link, before = tmp_path / "link.sqlite", os.umask(0)
    link.symlink_to(tmp_path / "state" / "history.sqlite")
    try:
        with Store(f"sqlite:///{link}") as store, Store(file_url) as other, store.held("run") as lock:
            code = "import sys; from auditor.store import Store\nwith Store(sys.argv[1]).held('run') as lock: print(lock.alone)"
            done = subprocess.run([sys.executable, "-c", code, file_url], cwd=ROOT, capture_output=True, text=True, check=True)
            assert (lock.alone, done.stdout, other.history()) == (True, "False\n", [])
    finally:
        os.umask(before)
    assert {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "state").iterdir()} == {0o600}
    (tmp_path / "planted.sqlite.lock").symlink_to(tmp_path / "elsewhere")
    with Store(f"sqlite:///{tmp_path}/planted.sqlite") as store, pytest.raises(StoreError), store.held("run"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_url() == f"sqlite:///{tmp_path}/cis-auditor/history.sqlite"
    Store().close()
    assert (tmp_path / "cis-auditor" / "history.sqlite").is_file()
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_url() == f"sqlite:///{tmp_path}/.local/state/cis-auditor/history.sqlite"


def test_runs_are_found_by_the_beginning_of_their_id(url: str) -> None:
    run = sample_run.small()
    with Store(url) as store:
        for name, started in (
            ("abc1", "2025-01-01T00:00:00Z"),
            ("abc2", "2025-01-03T00:00:00Z"),
            ("xyz", "2025-01-02T00:00:00Z"),
            ("ab", "2024-01-01T00:00:00Z"),
        ):
            store.save(named(run, name, started))
        assert store.load("x").id == "xyz"
        assert store.load("ab").id == "ab", "a whole id wins over others that begin with it"
        assert store.load("latest").id == "abc2"
        assert [s.id for s in store.history()] == ["abc2", "xyz", "abc1", "ab"]
        assert [s.id for s in store.history(2)] == ["abc2", "xyz"]
        with pytest.raises(StoreError, match=r"several runs begin with 'abc': abc2, abc1$"):
            store.load("abc")
        for missing in ("q", "%", "_bc1", "X", ""):
            with pytest.raises(StoreError, match="there is no run"):
                store.load(missing)


def test_empty_history(url: str) -> None:
    with Store(url) as store:
        assert store.history() == []
        with pytest.raises(StoreError, match="no run is stored yet"):
            store.load()


def test_history_of_one_target_or_benchmark(url: str) -> None:
    run = sample_run.small()
    with Store(url) as store:
        store.save(named(run, "all"))
        (whole,) = store.history()
        assert (whole.targets, whole.audited) == (len(run.targets), sum(t.status is TargetStatus.AUDITED for t in run.targets))
        assert whole.counts.total == len(run.findings)
        for f in whole.benchmarks:  # each by itself: a mean over several would change with what is judged
            scores = [s for s in run.scores if f"{s.benchmark} {s.version}" == f.benchmark]
            assert f.score == pytest.approx(mean(s.score for s in scores))
            assert (f.fail, f.error) == (sum(s.counts.fail for s in scores), sum(s.counts.error for s in scores))
        assert len({f.benchmark for f in whole.benchmarks}) == len(whole.benchmarks) > 1
        first = run.scores[0]
        (one,) = store.history(target=first.target)
        (figures,) = one.benchmarks
        assert (one.targets, figures.score, figures.coverage, one.counts) == (1, first.score, first.coverage, first.counts)
        (one,) = store.history(benchmark=f"{first.benchmark}@{first.version}", target=first.target)
        assert [f.score for f in one.benchmarks] == [first.score]
        assert store.history(benchmark=first.benchmark)
        assert (
            store.history(benchmark=f"{first.benchmark}@0") == store.history(benchmark="none") == store.history(target="none") == []
        )


def test_saving_twice_changes_nothing(url: str) -> None:
    run = sample_run.small()
    with Store(url) as store:
        store.save(run)
        with pytest.raises(StoreError, match="is stored already"):
            store.save(dataclasses.replace(run, findings=(), scores=()))
        assert store.load() == run


def test_a_benchmarks_words_are_kept_once(url: str) -> None:
    run = sample_run.small()
    with Store(url) as store:
        for name in ("a", "b", "c"):
            store.save(named(run, name))
    assert stores.execute(url, "SELECT count(*) FROM texts") == [(len(run.benchmarks),)]


SAVE = """
import dataclasses, sys, time
from auditor.store import Store
from tests.support import sample_run
run = sample_run.small()
time.sleep(max(0, float(sys.argv[3]) - time.time()))
with Store(sys.argv[1]) as store:
    for n in range(8):
        store.save(dataclasses.replace(run, id=f"{sys.argv[2]}-{n}"))
"""


def test_processes_that_save_at_once(url: str) -> None:
    start = str(time.time() + 1.5)
    writers = [
        subprocess.Popen([sys.executable, "-c", SAVE, url, f"w{n}", start], cwd=ROOT, stderr=subprocess.PIPE) for n in range(3)
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors.decode()
    with Store(url) as store:
        assert len(store.history(100)) == 24
        run = sample_run.small()
        assert all(store.load(s.id) == named(run, s.id, run.started) for s in store.history(100))


def test_locked(file_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.databases.LOCK_SECONDS", 0.2)
    with Store(file_url) as store:
        store.save(named(sample_run.small(), "before"))
        other = sqlite3.connect(tmp_path / "state" / "history.sqlite", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        try:
            with pytest.raises(StoreError, match=r"history\.sqlite: database is locked$"):
                store.save(named(sample_run.small(), "after"))
            assert store.load().id == "before", "a writer doesn't keep readers out"
            with Store(file_url) as second:
                assert second.load().id == "before"
        finally:
            other.execute("ROLLBACK")
            other.close()


def test_locked_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who upgrades or prunes a history keeps writers out, and may hang: they wait as long as for an SQLite file."""
    monkeypatch.setattr("auditor.databases.LOCK_SECONDS", 0.2)
    url = stores.new("postgresql", tmp_path)
    with Store(url) as store, Store(url) as other:
        store.save(named(sample_run.small(), "before"))
        with other.writing(alone=True):
            with pytest.raises(StoreError, match=r"canceling statement due to lock timeout"):
                store.save(named(sample_run.small(), "after"))
            assert store.load().id == "before", "nor readers out"
        store.save(named(sample_run.small(), "after"))


def one_line(url: str) -> str:
    with pytest.raises(StoreError) as error:
        Store(url)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
    return str(error.value)


def test_no_database(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    path.write_bytes(b"this is not a database, but long enough to be taken for one" * 20)
    assert one_line(f"sqlite:///{path}") == f"{path}: file is not a database"


def test_damaged_database(file_url: str, tmp_path: Path) -> None:
    path = tmp_path / "state" / "history.sqlite"
    with Store(file_url) as store:
        store.save(sample_run.small())
    content = bytearray(path.read_bytes())
    for page in range(4096 * 2, len(content), 4096):
        content[page : page + 200] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(StoreError, match="malformed"), Store(file_url) as store:
        store.load()


def test_findings_that_were_tampered_with(url: str, tmp_path: Path) -> None:
    run = sample_run.small()
    with Store(url) as store:
        store.save(run)
    ((whole,),) = stores.execute(url, "SELECT document FROM packs")
    others = (zlib.compress(text) for text in (b"{}", b"[]", b"no JSON", b'{"status": "passed"}', "\xe4\n{}".encode()))
    for pack in (*others, b"", b"no pack", bytes(whole)[:-9]):
        stores.execute(url, "UPDATE packs SET document = :document", document=pack)
        with Store(url) as store:
            with pytest.raises(StoreError, match=f"run {run.id} can't be read"):
                store.load()
            with pytest.raises(StoreError, match=f"run {run.id} can't be read"):
                store.open(run.id, tmp_path).findings[0]
    stores.execute(url, "UPDATE packs SET document = :document", document=bytes(whole))
    stores.execute(url, "UPDATE findings SET document = '{}' WHERE position = 0")
    with Store(url) as store, pytest.raises(StoreError, match=f"run {run.id} can't be read: there are two at place 0"):
        store.load()


def test_another_version_and_another_program(url: str, tmp_path: Path) -> None:
    Store(url).close()
    stores.execute(url, "UPDATE meta SET value = '99'")
    assert f"has the schema version 99, this auditor knows {SCHEMA_VERSION}" in one_line(url)
    other = stores.new("sqlite", tmp_path / "other")
    (tmp_path / "other" / "state").mkdir(parents=True)
    for empty in (other, stores.new(url.partition(":")[0], tmp_path / "another")):
        (tmp_path / "another" / "state").mkdir(parents=True, exist_ok=True)
        stores.execute(empty, "CREATE TABLE songs (name TEXT)")
        assert "another program's database (it has a table 'songs')" in one_line(empty)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    said = one_line(f"postgresql://audit:hunter2@/audit?host={tmp_path}")
    assert "connection" in said
    assert "hunter2" not in said


def test_a_server_that_was_gone_and_is_back(tmp_path: Path) -> None:
    url = stores.new("postgresql", tmp_path)
    run = sample_run.small()
    with Store(url) as store:
        store.save(named(run, "before"))
        postgres.server().stop()
        try:
            with pytest.raises(StoreError) as error:
                store.save(named(run, "lost"))
            assert "\n" not in str(error.value)
        finally:
            postgres.server().start()
        store.save(named(run, "after"))
        assert {s.id for s in store.history()} == {"before", "after"}


def test_places_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert one_line(f"sqlite:///{tmp_path}/file/history.sqlite").endswith(("Not a directory", "File exists"))
    (tmp_path / "folder").mkdir()
    assert "unable to open" in one_line(f"sqlite:///{tmp_path}/folder")
    assert "is no database URL" in one_line("history.sqlite")
    assert "needs the Python package 'asyncpg'" in one_line("postgresql+asyncpg://audit:secret@db/audit")
    assert "Can't load plugin" in one_line("nonsense://x")


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's folder needs root to be made")
def test_another_users_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    script = (  # everything is imported before root is given up: this Python may lie in root's own folder
        "import os, sys; from auditor.store import Store, StoreError; Store('sqlite://').close(); os.setuid(65534)\n"
        "try: Store(sys.argv[1])\nexcept StoreError as e: print(e)"
    )
    folder = tmp_path / "roots"
    folder.mkdir(mode=0o700)
    result = subprocess.run(
        [sys.executable, "-c", script, f"sqlite:///{folder}/h.sqlite"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.stdout == f"{folder}/h.sqlite: can't be opened: Permission denied\n", result.stderr


def test_errors_hold_no_password(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as error:
        Store("mysql+nothing://audit:hunter2@db/audit")
    assert "hunter2" not in str(error.value)


def test_large_run_is_written_in_bulk(url: str) -> None:
    run = sample_run.large(100, 117)
    start = time.process_time()
    with Store(url) as store:
        store.save(run)
        assert time.process_time() - start < 10
        assert store.load() == run


@pytest.mark.parametrize(
    "url",
    ["postgresql://a:hunter2@db/x", "postgresql://a:hunt/er2@[db/x", "postgresql://db/x?user=a&password=hunter2", "a://b:hunter2@"],
)
@pytest.mark.parametrize("command", ["history", "audit --demo", "report latest", "fix", "verify .", "history prune --keep 1"])
def test_a_password_in_a_url_is_refused(url: str, command: str) -> None:
    done = CliRunner().invoke(cli, [*command.split(), "--store", url])
    assert (done.exit_code, type(done.exception)) == (2, SystemExit)
    assert "a password stands in the list of processes" in done.output
    assert "hunter2" not in done.output


@pytest.mark.parametrize("url", ["postgresql://db:hunter2/x", "postgresql//a:hunter2@db", "//a:hunter2", "hunter2"])
def test_what_is_no_url_is_not_quoted(url: str) -> None:
    assert one_line(url) == "what was given is no database URL such as sqlite:////path/to/history.sqlite"


@pytest.mark.parametrize(
    "url", ["sqlite:////a:b@c/x?y", "sqlite:///a/x.sqlite", "postgresql://a@db:5432/x", "postgresql:///x?host=/a@b:c"]
)
def test_urls_without_a_password(url: str) -> None:
    assert not holds_password(url)
