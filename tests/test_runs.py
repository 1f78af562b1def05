"""Runs that go on after a kill, runs side by side, and runs in shards: nothing asked twice, nothing lost, the same results."""

import contextlib
import dataclasses
import functools
import json
import signal
import sqlite3
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from auditor import session
from auditor.cli import cli
from auditor.collect import Collector
from auditor.model import Target
from auditor.shards import shards_of
from auditor.store import Store, StoreError
from auditor.storedrun import plan_of
from tests.support import broken, postgres, sample_run, stores
from tests.support import recorded_audit as fleet
from tests.support.auditing import auditor, write_inventory

pytestmark = pytest.mark.slow

FLEET = ("-i", "inventory.yaml", "--tailoring", "site.yaml")
JSON = ("--format", "json", "-o")
#: What a command is told in the place of its module: a history that is locked or silent is not waited for.
IMPATIENT = (
    "import auditor.databases as d, auditor.journal as j; from tests.support.recorded_audit import main; d.LOCK_SECONDS = 0.3; "
    "j.Following.PAUSE, j.Following.PATIENCE, j.Following.AT_ONCE = 0.1, 1.0, 0.5; main()"
)


@pytest.fixture(params=stores.KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return stores.new(request.param, tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the fleet in one go, without a history."""
    folder = tmp_path_factory.mktemp("whole")
    fleet.inventory(folder, 4)
    done = fleet.audit(folder, "log", *FLEET, *JSON, "out", "--no-store")
    assert done.returncode == 3, done.stderr
    document = json.loads((folder / "out" / "results.json").read_text())
    registers = {w["id"]: (w["state"], w["waived"], w["partly"]) for w in document["run"]["registers"]["waivers"]}
    assert registers == {"W-HOSTS": ("in force", 2, 0), "W-PART": ("in force", 0, 4), "W-NOTHING": ("matches nothing", 0, 0)}
    assert [a["findings"] for a in document["run"]["registers"]["attestations"]] == [1]
    return folder / "out" / "results.json"


def test_a_killed_run_goes_on(url: str, tmp_path: Path, whole: Path) -> None:
    """Killed in a host, then between a cluster's nodes, then by SIGTERM: what was done is asked no more, the end is the same."""
    fleet.inventory(tmp_path, 4)
    fleet.ended(tmp_path, "first", "cp-0-1", *FLEET, *JSON, "out", "--store", url)
    with Store(url) as store:
        (run,) = store.history()
        assert (run.status, run.targets, run.audited) == ("running", 8, 1), "every target is there from the first moment"
        loaded = store.load(run.id)
        assert {t.name for t in loaded.targets if t.error} == {"web-0", "web-1", "web-2", "web-3", "cp-0-1", "shop-0", "lost"}
        assert "interrupted, or is still going on" in str([t.error for t in loaded.targets])
        assert loaded.notices[0] == "This run is going on: 7 of 8 targets are not in it, and each says why."
        assert {f.target for f in loaded.findings} == {"cp-0-0"}
        with pytest.raises(StoreError, match="no run is stored yet|there is no run"):
            store.load("latest")
    stores.earlier(url, 3)  # all this was done by a version of the program before the last change of the tables
    fleet.ended(tmp_path, "second", "web-2", "--resume", "latest", "--format", "json", "--store", url)
    # The cluster was not judged, so its evidence was waited for in vain; its node's was kept and is not asked for again.
    assert fleet.asked(tmp_path, "second") == ["shop-0", "cp-0-1", "web-0", "web-1", "web-2"]
    said = fleet.ended(tmp_path, "third", "web-3", "--resume", run.id[:16], "--format", "json", "--store", url, by=signal.SIGTERM)
    assert "interrupted: what was collected so far is reported" in said
    assert fleet.asked(tmp_path, "third") == ["web-2", "web-3"]
    with Store(url) as store:
        assert store.history()[0].status == "interrupted"
    listed = subprocess.run(
        [*fleet.command(tmp_path, "none")[:5], "history", "--store", url],
        cwd=tmp_path,
        env=fleet.environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "full, interrupted" in listed.stdout
    done = fleet.audit(tmp_path, "fourth", "--resume", "latest", "--format", "json", "--store", url)
    assert done.returncode == 3, done.stderr
    assert fleet.asked(tmp_path, "fourth") == ["web-3", "lost"]
    assert "goes on: 6 of 8 targets were done before" in done.stderr
    found, expected = fleet.comparable(tmp_path / "out" / "results.json"), fleet.comparable(whole)
    (notice,) = [n for n in found["run"]["notices"] if n not in expected["run"]["notices"]]
    assert notice.startswith("This run was interrupted and gone on with (")
    found["run"]["notices"].remove(notice)
    assert found == expected
    with Store(url) as store:
        (after,) = store.history()
        assert (after.id, after.started, after.status) == (run.id, run.started, "finished")
    done = fleet.audit(tmp_path, "fifth", "--resume", run.id, "--store", url)
    assert done.returncode == 2
    assert f"is finished; its reports are written again by: auditor report {run.id}" in done.stderr
    done = fleet.audit(tmp_path, "again", "--resume", "latest", "--store", url)
    assert "no run is left to go on with" in done.stderr, "its report may have been cut short"


def test_evidence_that_was_altered_is_not_judged_but_asked_for(tmp_path: Path) -> None:
    url = stores.new("sqlite", tmp_path)
    fleet.inventory(tmp_path, 0)
    fleet.ended(tmp_path, "first", "lost", *FLEET, *JSON, "out", "--store", url, "--limit", "cp-0-*", "--limit", "lost")
    (tmp_path / "out" / "evidence" / "cp-0-0.evidence.json").unlink()
    assert fleet.audit(tmp_path, "second", "--resume", "latest", "--store", url, "--format", "json").returncode == 3
    assert fleet.asked(tmp_path, "second") == ["lost"], "hosts that no cluster of the run names are done"
    fleet.ended(tmp_path, "third", "cp-0-1", *FLEET, *JSON, "out2", "--store", url)
    (tmp_path / "out2" / "evidence" / "cp-0-0.evidence.json").write_text("{}")
    assert fleet.audit(tmp_path, "fourth", "--resume", "latest", "--store", url, "--format", "json").returncode == 3
    assert fleet.asked(tmp_path, "fourth") == ["shop-0", "cp-0-0", "cp-0-1", "lost"]


def test_what_can_not_be_gone_on_with(tmp_path: Path) -> None:
    url = stores.new("sqlite", tmp_path)
    fleet.inventory(tmp_path, 2, 0)
    fleet.ended(tmp_path, "log", "web-1", *FLEET, *JSON, "out", "--store", url)
    for words, said in (
        (("--resume", "latest", "--level", "1"), "takes from the run what is selected"),
        (("--resume", "none"), "there is no run 'none'"),
        (("--resume", "latest", "--no-store"), "goes by the history"),
        (("--resume", "latest", "--shard", "2/3"), "has 1 shard, not 3"),
        (("--shard", "1/2"), "--shard needs --run"),
        (("--run", "../x"), "letters, digits"),
        (("--run", "r", "--shard", "3/2"), "counted from 1"),
        (("--run", "r", "--shard", "job/2"), "JOB_COMPLETION_INDEX is not set"),
        (("--run", "r", "--demo"), "need the history"),
    ):
        done = fleet.audit(tmp_path, "log", *words, *(("--store", url) if "--no-store" not in words else ()))
        assert done.returncode == 2, words
        assert said in " ".join(done.stderr.split()), (words, done.stderr)
    fleet.inventory(tmp_path, 3, 0)
    done = fleet.audit(tmp_path, "log", "--resume", "latest", "--store", url)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "was begun with other targets" in done.stderr


def shards(folder: Path, url: str, count: int, *indices: int) -> list[subprocess.CompletedProcess[str]]:
    """Run shards, all at once."""
    started = [
        subprocess.Popen(fleet.command(folder, f"shard-{i}", *FLEET, "--format", "json", "-o", f"out-{i}", "--store", url, "--run", "nightly",
                                       "--shard", f"{i}/{count}", "--quiet"),
                         cwd=folder, env=fleet.environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for i in indices
    ]  # fmt: skip
    return [subprocess.CompletedProcess(p.args, p.wait(120), *p.communicate(timeout=120)) for p in started]


def test_shards_give_what_one_run_gives(tmp_path: Path, whole: Path) -> None:
    url = stores.new("postgresql", tmp_path)
    fleet.inventory(tmp_path, 4)
    count = 3
    first = shards(tmp_path, url, count, 1, 3)
    assert {d.returncode for d in first} <= {0, 3}, first
    assert all("Traceback" not in d.stderr for d in first)
    mine = {i: fleet.asked(tmp_path, f"shard-{i}") for i in (1, 3)}
    with Store(url) as store:
        lost = store.load("nightly")
        (row,) = store.history()
    missing = [t for t in lost.targets if "shard 2/3 was interrupted, or is still going on" in (t.error or "")]
    assert {t.name for t in missing} == {t.name for t in lost.targets} - set(mine[1] + mine[3])
    assert row.status == "running"
    assert lost.notices[0] == f"This run is going on: {len(missing)} of 8 targets are not in it, and each says why."
    shown = subprocess.run([*fleet.command(tmp_path, "none")[:5], "report", "nightly", "--store", url, "-o", "early", "--format", "html"],
                           cwd=tmp_path, env=fleet.environment(tmp_path), capture_output=True, text=True, check=False)  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert "shard 2/3 was interrupted" in (tmp_path / "early" / "report.html").read_text()
    (last,) = shards(tmp_path, url, count, 2)
    assert last.returncode == 3, "the last one speaks for the whole run, of which a host is lost"
    everything = [n for i in (1, 2, 3) for n in fleet.asked(tmp_path, f"shard-{i}")]
    assert sorted(everything) == sorted({t["name"] for t in json.loads(whole.read_text())["targets"]}), "each target once"
    assert fleet.comparable(tmp_path / "out-2" / "results.json") == fleet.comparable(whole)
    (again,) = shards(tmp_path, url, count, 2)
    assert again.returncode == 3
    assert fleet.asked(tmp_path, "shard-2") == everything[len(mine[1]) : len(everything) - len(mine[3])], (
        "a shard that is done asks nobody"
    )


def test_ten_shards_one_after_the_other(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = stores.new("postgresql", tmp_path)
    fleet.inventory(tmp_path, 4)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Collector, "run", fleet.answering(tmp_path / "log"))
    monkeypatch.setattr(session, "packaged_library", functools.cache(session.packaged_library))
    codes = []
    for i in range(1, 11):
        words = ["audit", *FLEET, *JSON, f"out-{i}", "--quiet", "--store", url, "--run", "nightly", "--shard", f"{i}/10"]
        codes.append(CliRunner().invoke(cli, words, catch_exceptions=False).exit_code)
    assert set(codes) == {0, 3}
    assert sorted(fleet.asked(tmp_path, "log")) == sorted({t["name"] for t in json.loads(whole.read_text())["targets"]})
    assert not (tmp_path / "out-1" / "results.json").exists(), "the report is made once all are in"
    assert fleet.comparable(tmp_path / "out-10" / "results.json") == fleet.comparable(whole)


def test_shards_of_another_inventory_are_refused(tmp_path: Path) -> None:
    url = stores.new("sqlite", tmp_path)
    fleet.inventory(tmp_path, 2, 0)
    shards(tmp_path, url, 2, 1)
    fleet.inventory(tmp_path, 3, 0)
    (other,) = shards(tmp_path, url, 2, 2)
    assert other.returncode == 2
    assert "run nightly was begun with other targets" in other.stderr
    (other,) = shards(tmp_path, url, 3, 2)
    assert "other targets and shards" in other.stderr


def test_two_runs_at_once(url: str, tmp_path: Path, whole: Path) -> None:
    fleet.inventory(tmp_path, 4)
    started = [
        subprocess.Popen(fleet.command(tmp_path, f"log-{i}", *FLEET, *JSON, f"out-{i}", "--store", url, "--quiet"),
                         cwd=tmp_path, env=fleet.environment(tmp_path), stderr=subprocess.PIPE, text=True)
        for i in range(3)
    ]  # fmt: skip
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 3, errors
    for i in range(3):
        assert fleet.comparable(tmp_path / f"out-{i}" / "results.json") == fleet.comparable(whole)
    with Store(url) as store:
        assert [r.status for r in store.history()] == ["finished"] * 3


def test_a_store_that_breaks_in_the_middle(tmp_path: Path, whole: Path) -> None:
    """The audit goes on, the report is whole, and what happened is said."""
    url = stores.new("sqlite", tmp_path)
    fleet.inventory(tmp_path, 4)
    code = (
        "import auditor.journal as j, sys\nfrom auditor.store import StoreError\nimport auditor.storedrun as s\n"
        "j.Following.PAUSE, j.Following.PATIENCE = 0.1, 1.0\n"
        "keep, count = s.StoredRun.keep, []\n"
        "def broken(self, entries):\n    count.append(1)\n    if {when}: raise StoreError('history: disk is full')\n    keep(self, entries)\n"
        "s.StoredRun.keep = broken\nfrom tests.support.recorded_audit import main\nmain()"
    )
    for name, when in (("for-good", "len(count) > 3"), ("for-a-while", "3 < len(count) < 6")):
        words = [str(tmp_path / name), "-", "audit", *FLEET, *JSON, f"out-{name}", "--store", url, "--quiet"]
        done = subprocess.run([fleet.sys.executable, "-c", code.replace("{when}", when), *words], cwd=tmp_path, env=fleet.environment(tmp_path), capture_output=True, text=True, check=False, timeout=120)  # fmt: skip
        assert done.returncode == 3, done.stderr
        assert done.stderr.splitlines() == (["the run history was not kept: history: disk is full"] if name == "for-good" else [])
        assert fleet.comparable(tmp_path / f"out-{name}" / "results.json") == fleet.comparable(whole)
    with Store(url) as store:
        assert [r.status for r in store.history()] == ["finished", "running"]


def test_a_history_that_is_locked_holds_nobody_up(tmp_path: Path, whole: Path) -> None:
    """Locked for longer than is waited for it: every target is asked and reported, and what happened is said."""
    url = stores.new("sqlite", tmp_path)
    fleet.inventory(tmp_path, 4)
    run = fleet.begun(tmp_path, "log", "web-1", *FLEET, *JSON, "out", "--store", url, "--quiet", program=IMPATIENT)
    fleet.until(run, tmp_path, "log", "web-1")
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        (tmp_path / "log-web-1").touch()
        said, _ = run.communicate(timeout=60)
    assert run.returncode == 3, said
    assert [line.rpartition(": ")[2] for line in said.splitlines()] == ["database is locked"]
    assert fleet.comparable(tmp_path / "out" / "results.json") == fleet.comparable(whole)
    assert fleet.audit(tmp_path, "again", "--resume", "latest", "--store", url, "--format", "json").returncode == 3
    assert fleet.asked(tmp_path, "again")[0] == "web-1", "what was in the history before is not asked again"
    assert {**fleet.comparable(tmp_path / "out" / "results.json"), "run": {}} == {**fleet.comparable(whole), "run": {}}


def test_a_history_that_takes_a_word_and_never_answers_holds_nobody_up(tmp_path: Path, whole: Path) -> None:
    """PostgreSQL stands still, with its connections open."""
    url = stores.new("postgresql", tmp_path)
    fleet.inventory(tmp_path, 4)
    run = fleet.begun(tmp_path, "log", "web-1", *FLEET, *JSON, "out", "--store", url, "--quiet", program=IMPATIENT)
    fleet.until(run, tmp_path, "log", "web-1")
    with postgres.server().stopped():
        (tmp_path / "log-web-1").touch()
        said, _ = run.communicate(timeout=60)
    assert run.returncode == 3, said
    assert said.splitlines() == ["the run history was not kept: it took nothing for 1 s"]
    assert fleet.comparable(tmp_path / "out" / "results.json") == fleet.comparable(whole)


def test_a_lock_is_not_closed_under_a_thread_that_asks_for_it(tmp_path: Path) -> None:
    """psycopg would free what that thread is using, and the process crash. It is given up when the server has answered."""
    url, said = stores.new("postgresql", tmp_path), []
    with Store(url) as store, contextlib.ExitStack() as stack:
        lock: Any = stack.enter_context(store.held("part"))
        used = lock._connection.connection.dbapi_connection
        with postgres.server().stopped():
            asking = threading.Thread(target=lambda: said.append(lock.renew()), daemon=True)
            asking.start()
            while not lock._use.locked():
                time.sleep(0.01)
            stack.close()
            assert not used.closed
        asking.join(30)
        assert said == [True]
        assert used.closed
        assert lock.renew() is False, "it was given up"
        free = []
        for _ in range(100):  # the server notices it in its own time
            with store.held("part") as again:
                free.append(again.alone)
            if free[-1]:
                break
            time.sleep(0.1)
    assert free[-1]


def test_a_run_whose_time_is_over_is_not_going_on(url: str, tmp_path: Path) -> None:
    """It is the latest one, it says that it is not complete, and it can be gone on with."""
    with broken.peer(broken.says(b"SSH-2.0-silent\r\n")) as peer:
        hosts = [{"name": f"h{n}", "address": "127.0.0.1", "ssh": {"port": peer.port}} for n in range(2)]
        done = auditor(tmp_path, "audit", "-i", str(write_inventory(tmp_path, hosts)), "-o", str(tmp_path / "out"), "--format", "json",
                       "--store", url, "--deadline", "0.5")  # fmt: skip
    assert done.code == 3, done.stderr
    assert done.document["run"]["notices"] == ["This run is not complete: 2 of 2 targets are not in it, and each says why."]
    with Store(url) as store:
        assert [r.status for r in store.history()] == ["interrupted"]
        assert store.load("latest").id == done.document["run"]["id"]
        assert plan_of(store, "latest")[0] == done.document["run"]["id"]


def restarted() -> None:
    """PostgreSQL is gone for a moment, and with it every connection and lock."""
    postgres.server().kill()
    postgres.server().start()


def test_a_lock_that_was_lost_with_its_connection_is_taken_again(tmp_path: Path, whole: Path) -> None:
    url = stores.new("postgresql", tmp_path)
    fleet.inventory(tmp_path, 4)
    first = fleet.begun(tmp_path, "first", "web-1,web-3", *FLEET, *JSON, "out", "--store", url)
    fleet.until(first, tmp_path, "first", "web-1")
    restarted()
    (tmp_path / "first-web-1").touch()
    fleet.until(first, tmp_path, "first", "web-3")
    second = fleet.audit(tmp_path, "second", "--resume", "latest", "--store", url, "--format", "json")
    assert second.returncode == 2
    assert "is being done by another process" in second.stderr
    (tmp_path / "first-web-3").touch()
    said, _ = first.communicate(timeout=60)
    assert first.returncode == 3, said
    assert fleet.comparable(tmp_path / "out" / "results.json") == fleet.comparable(whole)


def test_who_lost_a_run_to_another_process_leaves_it_alone(tmp_path: Path) -> None:
    """It has an answer that came too late, in the folder that the other one writes to, and ends with one line."""
    url = stores.new("postgresql", tmp_path)
    fleet.inventory(tmp_path, 4)
    first = fleet.begun(tmp_path, "first", "web-1", *FLEET, *JSON, "out", "--store", url, "--quiet")
    fleet.until(first, tmp_path, "first", "web-1")
    restarted()
    second = fleet.audit(tmp_path, "second", "--resume", "latest", "--store", url, "--format", "json", "--quiet")
    assert second.returncode == 3, second.stderr
    assert fleet.asked(tmp_path, "second") == ["web-1", "web-2", "web-3", "lost"]

    def everything() -> dict[Path, tuple[int, bytes]]:
        return {p: (p.stat().st_ino, p.read_bytes()) for p in (tmp_path / "out").rglob("*") if p.is_file()}

    before, rows = everything(), [stores.execute(url, f"SELECT * FROM {t} ORDER BY 1, 2") for t in ("runs", "targets", "findings")]
    (tmp_path / "first-web-1").touch()
    said, _ = first.communicate(timeout=60)
    assert (first.returncode, said.count("\n")) == (2, 1), said
    assert "was taken over by another process" in said
    assert fleet.asked(tmp_path, "first")[-1] == "web-1", "nobody is asked any more"
    assert everything() == before
    assert rows == [stores.execute(url, f"SELECT * FROM {t} ORDER BY 1, 2") for t in ("runs", "targets", "findings")]


def test_nothing_of_the_spool_is_left_or_open_to_others(tmp_path: Path) -> None:
    from auditor.journal import Spool

    spool = Spool(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert stat.S_IMODE(fleet.os.fstat(spool._scratch._fd).st_mode) == 0o600


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full to stand for a full disk")
def test_a_full_disk_loses_no_result(tmp_path: Path) -> None:
    from auditor.journal import Entry, Spool

    first, second = (Entry(dataclasses.replace(sample_run.target("a"), address=a)) for a in ("one", "two"))
    spool = Spool(tmp_path)
    with Path("/dev/full").open("r+b", buffering=0) as full:
        spool.keep([first])
        own, spool._scratch._fd = spool._scratch._fd, full.fileno()
        spool.keep([second])
        assert list(spool.entries(["a", "none"])) == [second]
        spool._scratch._fd = own


def test_shards_follow_from_names_alone() -> None:
    hosts = [Target(f"host-{n}", "ssh") for n in range(1000)]
    clusters = [Target(f"c-{n}", "kubernetes", nodes=(f"host-{n}", f"host-{n + 50}", "elsewhere")) for n in range(100)]
    found = shards_of([*hosts, *clusters], 10)
    assert found == shards_of([*clusters, *hosts[::-1]], 10), "not from their order"
    assert all(found[c.name] == found[n] for c in clusters for n in c.nodes if n in found)
    sizes = [sum(s == i for s in found.values()) for i in range(1, 11)]
    assert sum(sizes) == 1100
    assert min(sizes) > 70
    assert found["host-500"] == shards_of([Target("host-500", "ssh")], 10)["host-500"], "nor from who else there is"
    assert set(shards_of(hosts, 1).values()) == {1}
