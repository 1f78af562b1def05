"""Signed runs that nobody touched are fine to `auditor verify`, however they came about, and follow each other."""

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from auditor import integrity, session, signing
from auditor.audit import Selection
from auditor.cli import _demo_beside
from auditor.collect import Collector
from auditor.integrity import NAME
from auditor.inventory import Spec
from auditor.model import Evidence
from auditor.store import Store
from auditor.tailoring import NOTHING
from auditor.verification import verify
from reports import FORMATS
from tests.support import sample_run, stores
from tests.support.recorded_audit import answering, inventory
from tests.support.signed_runs import DEMO, RUNS, World, flip, invoke, new_key, payload, said

LIBRARY = functools.cache(session.packaged_library)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("integrity"))


@pytest.fixture
def world(made: World) -> Iterator[World]:
    yield made
    made.restore()


# What is fine


def test_runs_that_nobody_touched_are_fine(world: World) -> None:
    for checked in (world.check(), world.check(history=True), world.check(*(world.runs / n for n in RUNS), history=True)):
        assert checked.problems == checked.notes == []
        assert len(checked.runs) == 4
        assert (checked.files, checked.bundles) == (4 * 5, 4 * 3)
    assert {m.home.name: m.link.position for m in world.check().runs} == {n: i for i, n in enumerate(RUNS, 1)}


def test_one_run_alone_is_fine_and_says_what_it_follows(world: World) -> None:
    checked = world.check(world.runs / "three")
    assert checked.problems == []
    (note,) = checked.notes
    assert f"follows run {world.id('two')}" in note
    assert world.check(world.runs / "three", history=True).problems == []


def test_a_moved_folder_and_a_copy_are_no_fault(world: World) -> None:
    shutil.copytree(world.runs / "four", world.base / "elsewhere")
    (world.runs / "four").rename(world.runs / "last")
    checked = world.check(world.runs, world.base / "elsewhere")
    assert checked.problems == []
    assert len([n for n in checked.notes if "was written to a folder named four" in n]) == 2
    shutil.rmtree(world.base / "elsewhere")


def test_the_statement_says_what_the_run_was(world: World) -> None:
    told, results = payload(world.runs / "two" / NAME), json.loads((world.runs / "two" / "results.json").read_text())
    assert (told["_type"], told["predicateType"]) == ("https://in-toto.io/Statement/v1", integrity.PREDICATE)
    digests = {p.relative_to(world.runs / "two").as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
               for p in (world.runs / "two").rglob("*") if p.is_file() and p.name != NAME}  # fmt: skip
    assert {s["name"]: s["digest"]["sha256"] for s in told["subject"]} == digests
    predicate = told["predicate"]
    assert {k: predicate["run"][k] for k in ("id", "started", "finished", "operator")} == {
        k: results["run"][k] for k in ("id", "started", "finished", "operator")
    }
    assert [(b["name"], b["digest"]["sha256"]) for b in predicate["benchmarks"]] == [
        (b["name"], b["sha256"]) for b in results["benchmarks"]
    ]
    assert {t["name"]: t["evidence"]["sha256"] for t in predicate["targets"]} == {
        t["name"]: t["evidence_sha256"] for t in results["targets"]
    }
    before = hashlib.sha256((world.runs / "one" / NAME).read_bytes()).hexdigest()
    assert predicate["chain"]["previous"] == {"run": world.id("one"), "digest": {"sha256": before}}


def stopped_at(name: str) -> Any:
    """Return what stands in for the collector's `run`: a Ctrl-C when it comes to a target."""

    def run(self: Collector, targets: Sequence[Spec], _: Any = None) -> Iterator[Evidence]:
        for found in answering(Path(os.devnull))(self, targets):
            if found.target.name == name:
                self.stopped = True
                return
            yield found

    return run


WHOLE = ("audit", "-i", "inventory.yaml", "--only", "docker-image-healthcheck")
SHARD = (*WHOLE, "--run", "nightly", "--format", "json", "--shard")
#: Commands, and the folder that each writes to, which is fine at once; * is a run that is interrupted.
WRITTEN: dict[str, tuple[tuple[tuple[str, ...], str], ...]] = {
    "every format": (((*WHOLE, "--format", ",".join(f for f in FORMATS if f != "pdf")), "out"),),  # a PDF takes seconds
    "two folders in turn": tuple(((*WHOLE, "--format", "json"), folder) for folder in ("one", "two", "one")),
    "without history": (((*WHOLE, "--format", "json", "--no-store"), "out"),),
    "collected and evaluated": (
        (("collect", *WHOLE[1:]), "out/evidence"),
        (("evaluate", "out/evidence", "--format", "json"), "out"),
        (("evaluate", "out/evidence", "--format", "csv", "--save"), "other"),
    ),
    "evaluated in its folder": (
        ((*WHOLE, "--format", "json"), "out"),
        (("evaluate", "out/evidence", "--format", "csv", "--save"), "out"),
    ),
    "reported again": (
        ((*WHOLE, "--format", "json"), "out"),
        (("report", "latest", "--format", "json,csv"), "out"),
        (("report", "latest", "--format", "csv"), "other"),
    ),
    "gone on with": (
        (("*", *WHOLE, "--format", "json"), "out"),
        (("audit", "--resume", "latest", "--format", "json,csv"), "out"),
        ((*WHOLE, "--format", "json"), "out"),
    ),
    "gone on with elsewhere": (
        (("*", *WHOLE, "--format", "json"), "out"),
        (("audit", "--resume", "latest", "--format", "json"), "other"),
    ),
    "checked again": (
        ((*WHOLE, "--format", "json"), "out"),
        (("audit", "-i", "inventory.yaml", "--recheck", "latest", "--format", "json"), "out"),
        (("audit", "-i", "inventory.yaml", "--recheck", "out", "--format", "json"), "other"),
    ),
    "in shards": (
        ((*SHARD, "1/3"), "one"),
        (("*", *SHARD, "2/3"), "two"),
        (("audit", "--resume", "nightly", "--shard", "2/3", "--format", "json"), "two"),
        ((*SHARD, "3/3"), "three"),
        ((*SHARD, "1/3"), "one"),
        (("report", "nightly", "--format", "json"), "all"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("made", WRITTEN.values(), ids=WRITTEN)
def test_what_was_just_written_is_fine(
    made: tuple[tuple[tuple[str, ...], str], ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a target that can't be reached, each by itself and all together, by themselves and against the history."""
    inventory(tmp_path, 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "packaged_library", LIBRARY)
    for words, folder in made:
        monkeypatch.setattr(Collector, "run", stopped_at("cp-0-1") if words[0] == "*" else answering(tmp_path / "log"))
        done = invoke(tmp_path, *(w for w in words if w != "*"), "-o", folder, *(["--quiet"] if words[0] != "report" else []))
        assert done.exit_code in (0, 3), done.output
        for where in {folder, *(f for _, f in made if Path(f).exists())}:
            for history in ((), ("--history",)):
                checked = invoke(tmp_path, "verify", where, *history)
                assert (checked.exit_code, checked.output.splitlines()[-1][:5]) == (0, "fine:"), checked.output
    lost = payload(Path(made[0][1]) / NAME)
    if "lost" in {t["name"] for t in lost["predicate"]["targets"]} and made[0][0][0] != "*":
        assert any(s["name"].endswith("lost.evidence.json") for s in lost["subject"]), "its bundle is signed as well"


# The history
@pytest.mark.parametrize("kind", stores.KINDS)
def test_runs_that_end_at_once_get_places_one_after_the_other(kind: str, tmp_path: Path) -> None:
    url, key, run = stores.new(kind, tmp_path), new_key(tmp_path / "key"), sample_run.single()

    def end(n: int) -> None:
        folder = tmp_path / "runs" / str(n)
        folder.mkdir(parents=True)
        (folder / "file").write_text(str(n))
        with Store(url) as store:
            assert integrity.sign(run, folder, [folder / "file"], key, store) == ""

    with Store(url) as store:
        store.save(run)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(end, range(8)))
    with Store(url) as store:
        checked = verify([tmp_path / "runs"], [key.public], store)
        assert [r.position for r in integrity.rows(store)] == list(range(1, 9))
    assert checked.problems == []
    assert sorted(m.link.position for m in checked.runs) == list(range(1, 9))
    assert all(m.history for m in checked.runs)


def test_a_history_that_cannot_be_written_leaves_the_output_signed(world: World, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("x")
    world.sql("CREATE TRIGGER refuse BEFORE INSERT ON meta BEGIN SELECT RAISE(FAIL, 'no more'); END")
    with Store(world.url) as store:
        problem = integrity.sign(sample_run.single(), tmp_path / "out", [tmp_path / "out" / "file"], world.key, store)
        assert problem.startswith("the manifest is not in the run history: ")
        assert "no more" in problem
        assert len(integrity.rows(store)) == 4
    (manifest,) = verify([tmp_path / "out"], [world.key.public]).runs
    assert (manifest.problem, manifest.link.position, manifest.history) == ("", 1, "")


# Without a history


def test_runs_without_a_history_follow_each_other_by_their_folders(tmp_path: Path) -> None:
    key, run = new_key(tmp_path / "key"), sample_run.single()

    def end(name: str) -> None:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file-{name}").write_text(name)
        assert integrity.sign(run, folder, [folder / f"file-{name}"], key, None) == ""

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(end, "abcdef"))
    end("a")
    checked = verify([tmp_path / "runs"], [key.public])
    assert checked.problems == checked.notes == []
    assert len({m.link.position for m in checked.runs}) == 6
    last = max(checked.runs, key=lambda m: m.link.position)
    assert (last.home.name, last.link.position) == ("a", 7)
    dropped = sorted(checked.runs, key=lambda m: m.link.position)[3]
    shutil.rmtree(dropped.home)
    assert verify([tmp_path / "runs"], [key.public]).problems


def test_one_folder_written_to_again_and_again_keeps_its_chain(tmp_path: Path) -> None:
    for formats in ("json,csv", "json", "markdown"):
        done = invoke(
            tmp_path, "evaluate", DEMO, "-o", tmp_path / "out", "--format", formats, "--quiet", "--only", "docker-image-healthcheck"
        )
        assert done.exit_code == 0, done.output
    done = invoke(tmp_path, "verify", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "place 3 of its chain" in done.output
    assert "of the earlier run" in done.output  # the formats that were not written again
    flip(tmp_path / "out" / "findings.csv", 5)
    assert "altered: " in (text := invoke(tmp_path, "verify", tmp_path / "out").output)
    assert "findings.csv" in text


def test_what_is_collected_is_signed(tmp_path: Path) -> None:
    done = invoke(tmp_path, "collect", "-o", tmp_path / "out", "--quiet", "--only", "docker-image-healthcheck")
    assert (tmp_path / "out" / NAME).exists(), done.output
    (bundle,) = (tmp_path / "out").glob("*.evidence.json")
    assert "1 of them evidence" in invoke(tmp_path, "verify", tmp_path / "out").output
    flip(bundle, bundle.stat().st_size // 2)
    assert said(
        verify([tmp_path / "out"], [signing.load_signing_key(tmp_path / ".config/cis-auditor/signing.key").public]),
        "altered",
        bundle.name,
    )


def test_the_demo_beside_a_run_is_signed_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key, library, out = new_key(path), session.packaged_library(), tmp_path / "out"
    out.mkdir()
    (out / "file").write_text("x")
    integrity.sign(sample_run.single(), out, [out / "file"], key, None)
    options = {"quiet": True, "no_sign": False, "signing_key": path}
    _demo_beside(out, ["csv"], library, Selection((), 2, ("docker-image-healthcheck",), NOTHING), options)
    checked = verify([out], [key.public])
    assert (checked.problems, len(checked.runs), checked.files) == ([], 2, 2)
    (out / "demo" / "findings.csv").unlink()
    assert said(verify([out], [key.public]), "missing", "demo/findings.csv")


# The command line


def test_exit_codes(world: World) -> None:
    assert invoke(world.base, "verify", world.runs).exit_code == 0
    done = invoke(world.base, "verify", world.runs, "--store", world.url, "--key", world.base / ".config/cis-auditor/signing.pub")
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "fine: 4 runs, 20 files, 12 of them evidence")
    (world.runs / "two" / "new\x1b[2Jname").write_text("x")
    done = invoke(world.base, "verify", world.runs)
    assert done.exit_code == 1
    assert "\x1b" not in done.output
    assert done.output.splitlines()[-1].startswith("NOT FINE: 1 problem ")
