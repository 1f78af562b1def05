"""Signed runs that were changed: `auditor verify` names what was altered, taken out, put in or put elsewhere."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import reports
from auditor import integrity
from auditor.integrity import FORMER, NAME
from auditor.signing import SigningKey
from auditor.verification import verify
from tests.support import sample_run, stores
from tests.support.signed_runs import DEMO, World, flip, invoke, new_key, payload, said


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("integrity"))


@pytest.fixture
def world(made: World) -> Iterator[World]:
    yield made
    made.restore()


# One byte


def outputs() -> list[str]:
    bundles = [f"evidence/{p.name}" for p in sorted(DEMO.glob("*.evidence.json"))]
    return ["results.json", "findings.csv", *bundles, NAME]


@pytest.mark.parametrize("run", ["two", "four"])
@pytest.mark.parametrize("name", outputs())
def test_one_byte_of_any_output(world: World, name: str, run: str) -> None:
    path = world.runs / run / name
    size = path.stat().st_size
    for at in (0, size // 3, size - 1):
        flip(path, at)
        assert said(world.check(), "altered", str(path)), at
        flip(path, at)
    assert world.check().problems == []


def test_one_byte_of_every_format(tmp_path: Path) -> None:
    """But for the PDF, which has a signature of its own in test_pades.py."""
    key, run, out = new_key(tmp_path / "key"), sample_run.small(), tmp_path / "out"
    written = reports.write(run, out, [f for f in reports.FORMATS if f != "pdf"])
    assert len({p.suffix for p in written}) >= 9
    assert integrity.sign(run, out, written, key, None) == ""
    assert verify([out], [key.public]).problems == []
    for path in written:
        flip(path, path.stat().st_size // 2)
        checked = verify([out], [key.public])
        assert said(checked, "altered", str(path))
        assert len(checked.problems) == 1
        flip(path, path.stat().st_size // 2)


def test_every_byte_of_a_manifest(world: World) -> None:
    """Also those that the signature doesn't cover: spaces, the last bits of base64, the key's name."""
    path = world.runs / "four" / NAME
    data = path.read_bytes()
    begin, end = data.index(b'"payload": "') + 20, data.index(b'",\n "payloadType"') - 8
    for at in (*range(begin), *range(begin, end, 11), *range(end, len(data))):
        changed = bytearray(data)
        changed[at] ^= 1
        path.write_bytes(changed)
        assert integrity.read(path, [world.key.public]).problem, at


def test_bytes_more_or_less(world: World) -> None:
    for name in ("results.json", NAME):
        path = world.runs / "four" / name
        whole = path.read_bytes()
        for changed in (whole + b"\n", whole[:-1], b"", b"{}", b"[" * 100_000):
            path.write_bytes(changed)
            assert said(world.check(), "altered", str(path))
        path.write_bytes(whole)


# Files missing, added, or another's


@pytest.mark.parametrize("name", outputs())
def test_a_file_that_is_gone(world: World, name: str) -> None:
    path = world.runs / "two" / name
    path.unlink()
    assert said(world.check(), "missing", str(path))
    assert said(world.check(world.runs / "two"), "missing", str(path))


@pytest.mark.parametrize(
    "name", ["extra.txt", "evidence/other.evidence.json", "manifests/x", ".hidden", "new/deep/file", "manifests/a.dsse.json"]
)
def test_a_file_that_is_new(world: World, name: str) -> None:
    path = world.runs / "two" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    checked = world.check()
    assert said(checked, "altered" if name.endswith(".dsse.json") else "added", str(path))
    assert len(checked.problems) == 1


def test_links_are_no_files(world: World) -> None:
    path, other = world.runs / "two" / "results.json", world.base / "away.json"
    path.rename(other)
    path.symlink_to(other)
    assert said(world.check(), "altered", str(path), "a link")
    (world.runs / "two" / "linked").symlink_to(world.base)
    assert said(world.check(), "added", "linked")
    os.mkfifo(world.runs / "two" / "pipe")
    assert said(world.check(), "added", "pipe")


def test_a_folder_within_cannot_hide_files(world: World) -> None:
    hidden = world.runs / "two" / "hidden"
    hidden.mkdir()
    (hidden / NAME).write_text("{}")
    (hidden / "file").write_text("x")
    assert said(world.check(), "altered", str(hidden / NAME))
    shutil.copy(world.runs / "one" / NAME, hidden / NAME)
    assert said(world.check(), "added", str(hidden / "file"))


def test_an_empty_folder_is_not_fine(world: World, tmp_path: Path) -> None:
    assert said(world.check(tmp_path), "missing", str(tmp_path / NAME))


def test_evidence_of_another_run_of_the_same_digest_claim(world: World) -> None:
    """A bundle whose own digest was made to fit again is altered all the same."""
    path = world.runs / "two" / "evidence" / "web-1.evidence.json"
    document = json.loads(path.read_text())
    document["collected_at"] = "2020-01-01T00:00:00Z"
    body = {k: v for k, v in document.items() if k != "sha256"}
    document["sha256"] = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    path.write_text(json.dumps(document, sort_keys=True, indent=1) + "\n")
    assert said(world.check(), "altered", str(path))


# Runs swapped, dropped, made anew


def swap(a: Path, b: Path) -> None:
    a.rename(a.with_name("aside"))
    b.rename(a)
    a.with_name("aside").rename(b)


def test_two_runs_swapped(world: World) -> None:
    swap(world.runs / "two", world.runs / "three")
    checked = world.check()
    assert said(checked, "re-ordered", str(world.runs / "two"), world.id("three"))
    assert said(checked, "re-ordered", str(world.runs / "three"), world.id("two"))
    assert len(checked.problems) == 2


def test_two_runs_swapped_in_folders_named_after_runs(world: World) -> None:
    (world.runs / "two").rename(world.runs / f"cis-audit-{world.id('three')}")
    assert said(world.check(world.runs / f"cis-audit-{world.id('three')}"), "re-ordered", world.id("two"))


def test_manifests_of_two_runs_swapped(world: World) -> None:
    swap(world.runs / "two" / NAME, world.runs / "three" / NAME)
    checked = world.check()
    assert said(
        checked, "re-ordered", str(world.runs / "two" / "results.json"), f"run {world.id('two')}", f"not of run {world.id('three')}"
    )


def test_one_file_of_two_runs_swapped(world: World) -> None:
    swap(world.runs / "two" / "results.json", world.runs / "three" / "results.json")
    checked = world.check()
    for name, other in (("two", "three"), ("three", "two")):
        assert said(checked, "re-ordered", str(world.runs / name / "results.json"), f"that of run {world.id(other)}")
    assert len(checked.problems) == 2


@pytest.mark.parametrize("name", ["two", "three"])
def test_a_run_between_others_dropped(world: World, name: str) -> None:
    shutil.rmtree(world.runs / name)
    checked = world.check()
    assert said(checked, "missing", world.id(name))
    assert len(checked.problems) == 1


def test_the_last_run_dropped_is_known_to_the_history(world: World) -> None:
    shutil.rmtree(world.runs / "four")
    assert world.check().problems == []  # the chain can't know; docs/integrity.md says so
    assert said(world.check(history=True), "missing", str(world.runs / "four"), world.id("four"))


def test_the_first_run_dropped_is_a_note(world: World) -> None:
    shutil.rmtree(world.runs / "one")
    for checked in (world.check(), world.check(history=True)):
        assert checked.problems == []
        assert any(world.id("one") in n for n in checked.notes)


def resign(path: Path, key: SigningKey, change: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
    statement = payload(path)
    change(statement)
    path.write_bytes(key.envelope(json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()))


def test_signed_again_by_another_key(world: World, tmp_path: Path) -> None:
    other, path = new_key(tmp_path / "key"), world.runs / "two" / NAME
    resign(path, other)
    checked = world.check()
    assert said(checked, "not trusted", str(path), other.fingerprint, world.key.fingerprint, world.id("two"))
    # Even where the other key is trusted as well, the next run doesn't follow that manifest.
    both = world.check(keys=[world.key.public, other.public])
    assert said(both, "altered", str(path), f"run {world.id('three')} follows another manifest")
    assert said(world.check(keys=[world.key.public, other.public], history=True), "missing", "does not know", str(path))
    assert said(world.check(keys=[other.public]), "not trusted", str(world.runs / "one" / NAME))


def test_another_key_under_the_name_of_ours(world: World, tmp_path: Path) -> None:
    other, path = new_key(tmp_path / "key"), world.runs / "four" / NAME
    resign(path, other)
    path.write_bytes(path.read_bytes().replace(other.fingerprint.encode(), world.key.fingerprint.encode()))
    assert said(world.check(), "altered", str(path), "signature")


def test_a_run_made_again_with_our_own_key_is_a_fork(world: World) -> None:
    """Who has the key can sign anything, but not take the place of a run that others follow."""
    shutil.copytree(world.runs / "two", world.runs / "again")
    resign(world.runs / "again" / NAME, world.key, lambda s: s["predicate"].update(folder="again", made="2026-01-01T00:00:00Z"))
    assert said(world.check(), "forked", str(world.runs / "again" / NAME), str(world.runs / "two" / NAME))
    shutil.rmtree(world.runs / "two")
    (world.runs / "again").rename(world.runs / "two")
    assert said(world.check(), "altered", str(world.runs / "two" / NAME), f"run {world.id('three')} follows another manifest")


# The history


def test_findings_changed_in_the_history(world: World) -> None:
    stores.rewrite(world.url, lambda text: text.replace('"status":"fail"', '"status":"pass"'), world.id("two"))
    assert said(world.check(history=True), "altered", "history.sqlite", world.id("two"))
    world.restore()
    for statement in (
        "UPDATE findings SET document = '{}' WHERE run = :run",
        "UPDATE findings SET attested = 'pass' WHERE run = :run AND position = 0",
        "UPDATE packs SET document = substr(document, 1, 100) WHERE run = :run",
        "UPDATE packs SET position = position + 1 WHERE run = :run",
        "DELETE FROM packs WHERE run = :run",
        "UPDATE findings SET severity = 'critical' WHERE run = :run",
        "DELETE FROM findings WHERE run = :run AND position = 0",
        "UPDATE runs SET document = document || ' ' WHERE id = :run",
        "UPDATE texts SET document = replace(document, 'health', 'wealth')",
    ):
        world.sql(statement, run=world.id("two"))
        checked = world.check(history=True)
        assert said(checked, "altered", "history.sqlite", world.id("two")), statement
        world.restore()


def test_a_history_of_an_earlier_version_is_what_was_signed(world: World) -> None:
    """The signature is over what is kept, not over how: before an upgrade, after it, and of a row that was changed before it."""
    stores.earlier(world.url, 3)
    assert world.check(history=True).problems == []
    world.sql("UPDATE findings SET document = replace(document, 'fail', 'pass') WHERE run = :run", run=world.id("two"))
    assert said(world.check(history=True), "altered", "history.sqlite", world.id("two"))


def test_the_historys_list_of_manifests_changed(world: World) -> None:
    world.sql("DELETE FROM meta WHERE name = 'manifest/000000002'")
    checked = world.check(history=True)
    assert said(checked, "missing", "before place 3")
    assert said(checked, "missing", "does not know", str(world.runs / "two"))
    world.restore()
    for a, b in (("2", "x"), ("3", "2"), ("x", "3")):
        world.sql("UPDATE meta SET name = :b WHERE name = :a", a=f"manifest/00000000{a}", b=f"manifest/00000000{b}")
    checked = world.check(history=True)
    assert said(checked, "re-ordered", "history.sqlite", world.id("two"), "at place 3")
    assert said(checked, "re-ordered", "does not follow")


def test_runs_that_were_pruned_are_a_note(world: World) -> None:
    done = invoke(world.base, "history", "prune", "--keep", "1", "--store", world.url)
    assert done.exit_code == 0, done.output
    checked = world.check(history=True)
    assert checked.problems == []
    assert len([n for n in checked.notes if "not kept any more" in n]) == 3


def test_an_older_state_of_a_folder_put_back(world: World) -> None:
    home = world.runs / "four"
    shutil.copytree(home, world.base / "older")
    done = invoke(world.base, "report", world.id("four"), "--store", world.url, "-o", home, "--format", "markdown")
    assert done.exit_code == 0, done.output
    newer = world.check(history=True)
    assert newer.problems == newer.notes == []
    assert (home / FORMER).is_dir()
    (home / "findings.csv").unlink()
    assert said(world.check(), "missing", str(home / "findings.csv"))  # the run's, though that manifest isn't the newest
    shutil.rmtree(home)
    (world.base / "older").rename(home)
    assert world.check().problems == []
    assert said(world.check(history=True), "re-ordered", str(home / NAME))
