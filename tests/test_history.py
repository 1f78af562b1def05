"""Questions about earlier runs: trend, baseline, pruning, and histories that an earlier version wrote. Real SQLite files."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import reports
from auditor import audit, listing, score
from auditor.model import AuditRun, Finding, Observation, Severity, Status, TargetStatus
from auditor.past import Past
from auditor.registers import Change, Registers
from auditor.store import Store, StoreError
from auditor.summary import percent
from auditor.trends import failures, past_of, trend
from tests.support import sample_run, stores

ROOT = Path(__file__).parent.parent
FAIL, PASS, ERROR = Status.FAIL, Status.PASS, Status.ERROR


@pytest.fixture(params=stores.KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return stores.new(request.param, tmp_path)


def run(n: int, *statuses: Status, targets: tuple[str, ...] = ("web-1",), version: str = "1.6.0", **selection) -> AuditRun:
    """The ``n``th run, on day ``n``: a control for each status, on every target."""
    found = [
        Finding(t, "cis-docker", version, f"5.{c}", f"control-{c}", f"Control {c}", 1, "automated", Severity.HIGH, status, "",
                (Observation("daemon/dockerd", status, "x", "y"),))
        for t in targets for c, status in enumerate(statuses)
    ]  # fmt: skip
    made = sample_run.run_of_parts([sample_run.target(t) for t in targets], found, ())
    day = f"2026-01-{n:02}T05:00:00Z"
    return dataclasses.replace(
        made, id=f"run-{n:02}", started=day, finished=day, scores=score.scores(found), selection={"level": 2, **selection}
    )


def saved(url: str, *runs: AuditRun) -> Store:
    store = Store(url)
    for r in runs:
        store.save(r)
    return store


KEY = ("web-1", "cis-docker", "control-0")


def test_a_trend_is_of_what_compares(url: str) -> None:
    runs = [
        run(1, FAIL, FAIL), run(2, PASS, FAIL, targets=("web-1", "gone")), run(3, PASS, recheck="run-02"), run(4, PASS, demo=True),
        run(5, PASS, only=["control-0"]), run(6, PASS, level=1), run(7, PASS, FAIL, version="1.8.0"), run(8, PASS, PASS),
    ]  # fmt: skip
    with saved(url, *runs) as store:
        points = trend(store, "run-08")["cis-docker"]
        assert [(p.run, p.score, p.fail, p.targets) for p in points] == [
            ("run-01", 0.0, 2, 1), ("run-02", 50.0, 1, 1), ("run-07", 50.0, 1, 1), ("run-08", 100.0, 0, 1),
        ]  # fmt: skip
        assert points[2].version == "1.8.0"
        assert [p.run for p in trend(store, "run-08", 2)["cis-docker"]] == ["run-07", "run-08"]
        assert trend(store, "run-03") == {}, "a re-check is no measure of the whole"
        kinds = {r.id: r.kind for r in store.history()}
        assert (kinds["run-03"], kinds["run-04"], kinds["run-08"]) == ("re-check", "demo", "full")
        assert [a.since[:10] for _, a in failures(store, "run-07")] == ["2026-01-01"]


_BUSY = """
import sys
from auditor.databases import lock_of
from auditor.store import Store
with Store(sys.argv[1]) as store, store.held(lock_of("run-02", "2/2")) as lock:
    print(lock.alone, flush=True)
    sys.stdin.read()
"""


def test_pruning_spares_a_run_that_a_process_is_doing(url: str) -> None:
    with saved(url, *(run(n, FAIL) for n in range(1, 5))) as store:
        plan = """'{"parts": {"1/2": {}, "2/2": {}}}'"""
        stores.execute(url, f"UPDATE runs SET status = 'running', plan = {plan} WHERE id IN ('run-01', 'run-02')")
        with subprocess.Popen([sys.executable, "-c", _BUSY, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as busy:
            assert busy.stdout is not None
            assert busy.stdout.readline() == "True\n"
            assert store.prune(keep=1, dry=True) == ["run-03", "run-01"]
            assert store.prune(before="2027-01-01") == ["run-04", "run-03", "run-01"]
            busy.communicate()
        assert store.prune(before="2027-01-01") == ["run-02"]


def test_names_of_runs(url: str) -> None:
    with saved(url, run(1, PASS), run(2, PASS), run(3, PASS)) as store:
        assert [store.load(w).id for w in ("latest", "latest~0", "latest~2")] == ["run-03", "run-03", "run-01"]
        with pytest.raises(StoreError, match="there is no run 'latest~3'"):
            store.load("latest~3")
        with pytest.raises(StoreError, match="no run is the baseline"):
            store.load("baseline")
        assert store.mark("run-01") == "run-01"
        assert store.mark("latest~1") == "run-02"
        assert store.load("baseline").id == "run-02"
        assert [r.id for r in store.history() if r.baseline] == ["run-02"]
        store.unmark()
        assert not any(r.baseline for r in store.history())


def test_of_runs_of_one_second_the_latest_is_the_same_in_every_database(url: str) -> None:
    """By the bytes of their ids, whatever the database sorts by, whenever they ended and in whatever order they came."""
    at = "2026-01-01T05:00:00Z"
    names = [
        "20260101T050000Z-0ff9a0",
        "20260101T050000Z-100000",
        "20260101T050000Z-fff000",
        "B",
        "a",
        "night-b",
        "nightA",
        "nighta",
    ]
    made = [dataclasses.replace(run(1, FAIL), id=n, started=at, finished=at[:-3] + f"{9 - i}0Z") for i, n in enumerate(names)]
    Store(url).close()
    if url.startswith("postgresql"):  # one that takes upper and lower case for nearly the same, as many servers' own does
        stores.execute(url, 'ALTER TABLE runs ALTER COLUMN id TYPE text COLLATE "und-x-icu"')
    with saved(url, *made[::2], *made[1::2]) as store:
        assert [r.id for r in store.history()] == names[::-1]
        assert [store.identity(f"latest~{n}") for n in range(len(names))] == names[::-1]
        assert past_of(store, names[3]).ages["web-1", "cis-docker", "control-0"].runs == 4, "what comes later is not its past"
        assert store.prune(keep=2, dry=True) == names[-3::-1]


def test_ids_sort_by_time_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [1767243600.0, 1767243600.001, 1767243600.4999, 1767243600.5, 1767243600.9999, 1767243601.0]
    made = []
    for at in times:
        monkeypatch.setattr(audit.time, "time", lambda at=at: at)
        made.append(audit.new_id())
    assert made == sorted(made)
    assert all(re.fullmatch(r"20260101T05000[01]Z-[0-9a-f]{6}", i) for i in made)


def test_pruning_spares_the_baseline_and_leaves_nothing_behind(url: str) -> None:
    runs = [dataclasses.replace(run(n, FAIL), benchmarks=sample_run.BENCHMARKS[:1]) for n in range(1, 7)]
    with saved(url, *runs) as store:
        store.mark("run-01")
        assert store.prune(keep=2, dry=True) == ["run-04", "run-03", "run-02"]
        assert len(store.history()) == 6
        assert store.prune(keep=2) == ["run-04", "run-03", "run-02"]
        assert [r.id for r in store.history()] == ["run-06", "run-05", "run-01"]
        assert store.prune(before="2026-01-06") == ["run-05"]
        assert store.load("baseline") == runs[0]
        store.unmark()
        assert store.prune(before="2027-01-01") == ["run-06", "run-01"]
    for table in ("runs", "findings", "packs", "scores", "targets", "benchmarks", "texts"):
        assert stores.execute(url, f"SELECT count(*) FROM {table}") == [(0,)], table


def test_a_trend_says_where_the_tailoring_was_another(url: str) -> None:
    def tailored(n: int, *, after: str = "9", place: str = "t.yaml:3") -> AuditRun:
        mine = Change("parameter", "control-0", "every target", "5", after, "ours", place)
        return dataclasses.replace(run(n, PASS, FAIL), registers=Registers(tailoring=(mine,)))

    runs = (tailored(1, after="8"), tailored(2), tailored(3, place="renamed.yaml:9"))
    with saved(url, *runs) as store:
        assert [p.version for p in trend(store, "run-03")["cis-docker"]] == ["1.6.0 (other tailoring)", "1.6.0", "1.6.0"]


def test_a_trend_counts_a_target_once(url: str) -> None:
    """A run may judge a target by several versions; neither their failures add up nor do their scores mix."""
    old, new = run(1, FAIL, FAIL, version="1.10"), run(2, FAIL, FAIL, version="1.9")
    found = (*new.findings, *run(2, FAIL, PASS, version="1.10").findings)
    with saved(url, old, dataclasses.replace(new, findings=found, scores=score.scores(found))) as store:
        points = trend(store, "run-02")["cis-docker"]
        assert [(p.version, p.targets, p.score, p.fail) for p in points] == [("1.10", 1, 0, 2), ("1.10", 1, 50, 1)]


def test_a_trends_mean_counts_the_targets_that_have_a_score(url: str) -> None:
    found = (*run(1, FAIL).findings, *run(1, Status.NOT_APPLICABLE, targets=("node-1",)).findings)
    with saved(
        url, dataclasses.replace(run(1, FAIL, targets=("web-1", "node-1")), findings=found, scores=score.scores(found))
    ) as store:
        assert [(p.targets, p.score, p.fail) for p in trend(store, "run-01")["cis-docker"]] == [(1, 0, 1)]


def test_figures_of_each_benchmark_stand_by_themselves(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    def both(n: int) -> AuditRun:
        made = run(n, PASS, FAIL, targets=("web-1", "web-2"))
        other = [dataclasses.replace(f, benchmark="shop", version="1", status=PASS) for f in made.findings[:1]]
        found = [*made.findings, *other, *(dataclasses.replace(f, benchmark="idle", status=Status.NOT_APPLICABLE) for f in other)]
        return dataclasses.replace(made, findings=tuple(found), scores=score.scores(found))

    with saved(url, run(1, FAIL, FAIL), both(2)) as store:
        listing.show_history(store.history())
        lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
        assert [line[-6:] for line in lines] == [
            ["cis-docker", "1.6.0", "50.0", "100.0", "2", "0"],
            ["shop", "1", "100.0", "100.0", "0", "0"],
            ["cis-docker", "1.6.0", "0.0", "100.0", "2", "0"],
        ]
        assert lines[0][3:6] == ["2", "of", "2"]
        assert [p.targets for p in trend(store, "run-02", target="web-1")["cis-docker"]] == [1, 1]
        listing.show_trend(trend(store, "run-02"))
        assert "0.0 to 50.0; open failures" in capsys.readouterr().out


def test_no_figure_is_rounded_up_to_100() -> None:
    assert [percent(v) for v in (99.96, 100.0, 99.94, 0.0, None)] == ["99.9", "100.0", "99.9", "0.0", "-"]


def test_the_report_shows_trend_and_age(url: str) -> None:
    with saved(url, run(1, FAIL, FAIL), run(2, FAIL, PASS), run(9, FAIL, FAIL)) as store:
        past = past_of(store, "run-09")
        page = reports.render(store.load("run-09"), "html", reports.Options(past=past)).decode()
    assert "Score by run, oldest first: 0.0 %, 50.0 %, 0.0 %" in page
    assert "failing since 2026-01-01, 3 runs" in page
    assert "new in this run" in page
    assert "style=" not in page.partition("<main")[2].partition("<script")[0], "the policy allows none"
    alone = reports.render(run(9, FAIL), "html").decode()
    assert 'id="trend"' not in alone


def auditor(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "auditor", *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(cwd / "state"), "XDG_CONFIG_HOME": str(cwd / "config")},
    )  # fmt: skip


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    (tmp_path / "state" / "cis-auditor").mkdir(parents=True)
    saved(
        f"sqlite:///{tmp_path}/state/cis-auditor/history.sqlite", run(1, PASS, FAIL), run(2, FAIL, PASS), run(3, FAIL, FAIL)
    ).close()
    return tmp_path


def test_commands(kept: Path) -> None:
    done = auditor(kept, "history")
    assert "run-03" in done.stdout
    assert "3 comparable runs" in done.stdout
    assert "run-01" not in auditor(kept, "history", "--since", "2026-01-02").stdout
    aged = auditor(kept, "history", "--failures").stdout.splitlines()
    assert aged[1].split()[:3] == ["2026-01-02", "1", "2"], "the oldest first: since, days, runs"
    assert auditor(kept, "history", "baseline", "run-01").stdout == "baseline: run-01\n"
    assert auditor(kept, "history", "prune", "--keep", "1", "--dry-run").stdout == "would delete: run-02\n1 run would be deleted\n"
    assert auditor(kept, "history", "baseline", "--clear").returncode == 0
    for words in (("prune",), ("prune", "--keep", "1", "--older-than", "3d"), ("prune", "--older-than", "soon"), ("baseline",)):
        done = auditor(kept, "history", *words)
        assert done.returncode == 2, words
        assert "Traceback" not in done.stderr


def test_failures_of_a_run_that_lost_targets(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What nobody could look at is not free of failures."""
    with saved(url, sample_run.small(), run(1, PASS)) as store:
        whole, lost = sorted(store.history(), key=lambda r: r.targets)
    listing.show_failures(whole, [], 10)
    listing.show_failures(lost, [], 10)
    assert capsys.readouterr().out.splitlines() == [
        "no failures in run run-01",
        f"no failures in run {lost.id}; 3 of its 6 targets were not audited",
    ]


def test_diff_command(kept: Path) -> None:
    done = auditor(kept, "diff", "run-01", "--fail-on-new")
    assert done.returncode == 1
    assert "New failures (1)" in done.stdout
    assert "since 2026-01-02, 2 runs" in done.stdout
    assert "gate failed: --fail-on-new low: 1 new" in done.stderr
    assert auditor(kept, "diff", "latest~2", "latest", "--fail-on-new=critical").returncode == 0
    (kept / "out").mkdir()
    (kept / "out" / "results.json").write_bytes(reports.render(run(4, PASS, PASS), "json"))
    done = auditor(kept, "diff", "latest", "out", "--format", "json")
    assert json.loads(done.stdout)["summary"]["fixed"] == 2
    assert auditor(kept, "diff", "latest", "out/results.json", "--format", "html", "-o", "d.html").returncode == 0
    assert "What changed" in (kept / "d.html").read_text()
    (kept / "bad.json").write_text('{"schema": "x"}')
    for words in (("latest", "bad.json"), ("latest", "nothing"), ("latest~9", "latest")):
        done = auditor(kept, "diff", *words)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1, done.stderr


def test_recheck_command(tmp_path: Path) -> None:
    """On this machine: what failed or could not be judged is audited again, the rest is not, and the new run says so."""
    (tmp_path / "inventory.yaml").write_text(
        "hosts:\n- {name: here, transport: local}\n- {name: lost, address: 127.0.0.1, ssh: {port: 9}}\n"
    )
    common = ("-i", "inventory.yaml", "--benchmark", "cis-docker@1.8.0", "--format", "json")
    done = auditor(tmp_path, "audit", *common, "-o", "first")
    assert done.returncode == 3, done.stderr
    first = json.loads((tmp_path / "first" / "results.json").read_text())
    wanted = {(f["target"], f["control"]) for f in first["findings"] if f["status"] in ("fail", "error")}
    done = auditor(tmp_path, "audit", "-i", "inventory.yaml", "--format", "json", "-o", "second", "--recheck", "first")
    assert done.returncode == 3, done.stderr
    assert "What changed since the run that was checked again" in done.stdout
    assert "Covered:" not in done.stdout, "a re-check speaks about what it judged"
    second = json.loads((tmp_path / "second" / "results.json").read_text())
    assert {(f["target"], f["control"]) for f in second["findings"]} <= wanted
    before, after = ([t["roles"] for t in d["targets"] if t["name"] == "here"] for d in (first, second))
    if before == after:  # a test host's engine, beside which this runs, is seen from here and may have ended
        assert bool(second["findings"]) == bool(wanted), "a machine without an engine may have nothing to check"
    assert second["run"]["selection"]["recheck"] == first["run"]["id"]
    assert "re-check" in auditor(tmp_path, "history").stdout
    done = auditor(tmp_path, "audit", "-i", "inventory.yaml", "--recheck", "first", "--level", "1")
    assert done.returncode == 2
    assert "--recheck takes" in done.stderr


def test_each_target_has_a_document_with_a_safe_name(tmp_path: Path) -> None:
    one = run(1, FAIL, targets=("web-1", "WEB-1", "../../etc/passwd", ".hidden"))
    lost = sample_run.target("lost", status=TargetStatus.UNREACHABLE, error="no route")
    one = dataclasses.replace(one, targets=(*one.targets, lost))
    paths = reports.write(one, tmp_path / "out", ["pdf"], reports.Options(pdf=("summary", "per-target"), past=Past()))
    assert paths[0] == tmp_path / "out" / "summary.pdf"
    names = [p.name for p in paths[1:]]
    assert names[0] == "web-1.pdf"
    assert len({n.lower() for n in names}) == 4
    assert all(p.parent == tmp_path / "out" / "targets" and p.read_bytes().startswith(b"%PDF-") for p in paths[1:])
    assert not any(n.startswith(".") or "/" in n for n in names)
