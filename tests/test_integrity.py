"""Signed runs: whatever is changed in one, taken out, put in or put elsewhere is named by `auditor verify`."""

import base64
import functools
import hashlib
import json
import multiprocessing
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from auditor import integrity, session, signing
from auditor.audit import Selection
from auditor.cli import _demo_beside, cli
from auditor.collect import Collector
from auditor.integrity import FORMER, NAME
from auditor.inventory import Spec
from auditor.model import Evidence
from auditor.signing import PublicKey, SignatureProblem, SigningKey
from auditor.store import Store
from auditor.tailoring import NOTHING
from auditor.verification import Checked, verify
from reports import FORMATS, as_html, as_pdf
from tests.support import sample_run, stores
from tests.support.recorded_audit import answering, inventory

DEMO = Path(__file__).parents[1] / "auditor" / "demo"
LIBRARY = functools.cache(session.packaged_library)
RUNS = ("one", "two", "three", "four")


def new_key(path: Path) -> SigningKey:
    key = ed25519.Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()))
    path.chmod(0o600)
    return signing.load_signing_key(path)


def invoke(home: Path, *argv: object) -> Result:
    env = {"HOME": str(home), "XDG_CONFIG_HOME": "", "XDG_STATE_HOME": ""}
    return CliRunner().invoke(cli, [str(a) for a in argv], env=env, standalone_mode=False)


class World:
    """Four runs with their evidence, one after the other, and the history that holds them."""

    def __init__(self, base: Path) -> None:
        self.base, self.runs, self.url = base, base / "runs", f"sqlite:///{base}/state/history.sqlite"
        for name in RUNS:
            shutil.copytree(DEMO, self.runs / name / "evidence", ignore=shutil.ignore_patterns("__*"))
            done = invoke(base, "evaluate", self.runs / name / "evidence", "-o", self.runs / name, "--format", "json,csv", "--quiet",
                          "--save", "--store", self.url, "--only", "docker-image-healthcheck")  # fmt: skip
            assert done.exit_code == 0, done.output
        self.key = signing.load_signing_key(base / ".config/cis-auditor/signing.key")
        for part in ("runs", "state"):
            shutil.copytree(base / part, base / "kept" / part)

    def restore(self) -> None:
        for part in ("runs", "state"):
            shutil.rmtree(self.base / part)
            shutil.copytree(self.base / "kept" / part, self.base / part)

    def id(self, name: str) -> str:
        return str(json.loads((self.base / "kept/runs" / name / "results.json").read_text())["run"]["id"])

    def check(self, *folders: Path, keys: list[PublicKey] | None = None, history: bool = False) -> Checked:
        trusted = [self.key.public] if keys is None else keys
        if not history:
            return verify(folders or [self.runs], trusted)
        with Store(self.url) as store:
            return verify(folders or [self.runs], trusted, store)

    def sql(self, statement: str, **values: Any) -> list[Any]:
        return stores.execute(self.url, statement, **values)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("integrity"))


@pytest.fixture
def world(made: World) -> Iterator[World]:
    yield made
    made.restore()


def said(checked: Checked, kind: str, *words: str) -> bool:
    return any(p.startswith(f"{kind}: ") and all(w in p for w in words) for p in checked.problems)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def payload(manifest: Path) -> dict[str, Any]:
    return dict(json.loads(base64.b64decode(json.loads(manifest.read_text())["payload"])))


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


def test_the_key_is_private_and_its_other_half_lies_beside(world: World) -> None:
    folder = world.base / ".config" / "cis-auditor"
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {"signing.key": 0o600, "signing.pub": 0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert signing.load_public_key(folder / "signing.pub").fingerprint == world.key.fingerprint
    assert stat.S_IMODE((world.runs / "one" / NAME).stat().st_mode) == 0o600


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
    for statement in (
        'UPDATE findings SET document = replace(document, \'"status":"fail"\', \'"status":"pass"\') WHERE run = :run',
        "UPDATE findings SET severity = 'critical' WHERE run = :run",
        "DELETE FROM findings WHERE run = :run AND position = 0",
        "UPDATE runs SET document = document || ' ' WHERE id = :run",
        "UPDATE texts SET document = replace(document, 'health', 'wealth')",
    ):
        world.sql(statement, run=world.id("two"))
        checked = world.check(history=True)
        assert said(checked, "altered", "history.sqlite", world.id("two")), statement
        world.restore()


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


# Others' tools


def test_securesystemslib_verifies_the_envelope(world: World, tmp_path: Path) -> None:
    path = world.runs / "two" / NAME
    public = forms.load_pem_public_key((world.base / ".config/cis-auditor/signing.pub").read_bytes())
    key = SSlibKey.from_crypto(public, keyid=world.key.fingerprint)
    envelope = Envelope.from_dict(json.loads(path.read_text()))
    assert set(envelope.verify([key], 1)) == {world.key.fingerprint}
    assert envelope.payload_type == "application/vnd.in-toto+json"
    other = new_key(tmp_path / "other")
    stranger = SSlibKey.from_crypto(other.public.half, keyid=world.key.fingerprint)
    with pytest.raises(VerificationError):
        envelope.verify([stranger], 1)
    document = json.loads(path.read_text())
    document["payload"] = base64.b64encode(base64.b64decode(document["payload"]).replace(b'"sha256":"', b'"sha256":"0', 1)).decode()
    with pytest.raises(VerificationError):
        Envelope.from_dict(document).verify([key], 1)


def test_openssl_gives_the_fingerprint_that_the_documentation_says(world: World) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    command = ["openssl", "pkey", "-pubin", "-in", str(world.base / ".config/cis-auditor/signing.pub"), "-outform", "DER"]
    der = subprocess.run(command, check=True, capture_output=True).stdout
    assert hashlib.sha256(der).hexdigest() == world.key.fingerprint


def test_keys_of_openssh(world: World, tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    private = tmp_path / "id"
    private.write_bytes(key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.OpenSSH, forms.NoEncryption()))
    private.chmod(0o600)
    (tmp_path / "id.pub").write_bytes(key.public_key().public_bytes(forms.Encoding.OpenSSH, forms.PublicFormat.OpenSSH))
    done = invoke(
        tmp_path, "audit", "--demo", "-o", tmp_path / "out", "--format", "csv", "--no-store", "--quiet", "--signing-key", private
    )
    assert done.exit_code == 0, done.output
    assert not (tmp_path / ".config").exists()
    assert invoke(tmp_path, "verify", tmp_path / "out", "--key", tmp_path / "id.pub").exit_code == 0
    assert invoke(tmp_path, "verify", tmp_path / "out", "--key", world.base / ".config/cis-auditor/signing.pub").exit_code == 1


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


def bad_key(kind: str, folder: Path) -> Path:
    path = folder / kind
    made: Any = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ed25519.Ed25519PrivateKey.generate()
    protection = forms.BestAvailableEncryption(b"x") if kind == "passphrase" else forms.NoEncryption()
    path.write_bytes(made.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, protection) if kind != "nonsense" else b"x")
    path.chmod(0o644 if kind == "open" else 0o600)
    return path


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("rsa", "no Ed25519 key"),
        ("passphrase", "without a passphrase"),
        ("nonsense", "no private key"),
        ("open", "0644"),
        ("absent", "can't be read"),
    ],
)
def test_a_key_that_can_not_sign_ends_the_command_before_anything_is_done(kind: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "absent" if kind == "absent" else bad_key(kind, tmp_path)
    done = invoke(tmp_path, "audit", "--demo", "-o", tmp_path / "out", "--format", "csv", "--no-store", "--signing-key", path)
    assert why in str(done.exception)
    assert type(done.exception).__name__ == "InputError"
    assert not (tmp_path / "out").exists()


def test_bad_usage(world: World, tmp_path: Path) -> None:
    done = invoke(tmp_path, "verify", world.runs)
    assert type(done.exception).__name__ == "UsageError"
    assert "no key to check with" in str(done.exception.format_message())  # type: ignore[union-attr]
    assert "is a private key" in str(invoke(tmp_path, "verify", world.runs, "--key", world.key.path).exception)
    assert type(invoke(tmp_path, "verify", tmp_path / "nowhere").exception).__name__ == "BadParameter"
    done = invoke(tmp_path, "audit", "--demo", "--no-sign", "--signing-key", world.key.path)
    assert type(done.exception).__name__ == "UsageError"


def test_nothing_is_signed_where_that_is_asked_for_or_no_key_can_be_made(tmp_path: Path) -> None:
    common = ("audit", "--demo", "--format", "csv", "--no-store", "--quiet", "-o", tmp_path / "out")
    assert invoke(tmp_path, *common, "--no-sign").exit_code == 0
    (tmp_path / ".config").write_text("in the way")
    done = invoke(tmp_path, *common)
    assert done.exit_code == 0
    assert "not signed: " in done.output
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["findings.csv"]


def _first(home: str, answers: Any) -> None:
    os.environ.update(HOME=home, XDG_CONFIG_HOME="")
    answers.put(signing.own_key().fingerprint)


def test_two_first_runs_at_once_make_one_key(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    processes = [context.Process(target=_first, args=(str(tmp_path), answers)) for _ in range(6)]
    for process in processes:
        process.start()
    found = {answers.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert len(found) == 1
    assert {p.name for p in (tmp_path / ".config/cis-auditor").iterdir()} == {"signing.key", "signing.pub"}
    assert signing.load_public_key(tmp_path / ".config/cis-auditor/signing.pub").fingerprint in found


# What comes from outside

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda c: st.lists(c, max_size=3) | st.dictionaries(
    st.sampled_from(["payload", "payloadType", "signatures", "sig", "keyid", "_type", "predicate", "predicateType", "subject", "chain"]), c, max_size=4), max_leaves=10)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | JSON.map(lambda v: json.dumps(v).encode()))
def test_odd_envelopes_are_told_apart_from_faults(data: bytes) -> None:
    try:
        assert signing.open_envelope(data, []).problem
    except SignatureProblem as error:
        assert str(error) == "is no DSSE envelope"


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_odd_statements_that_are_signed_are_no_manifests(value: Any) -> None:
    half = ed25519.Ed25519PrivateKey.from_private_bytes(b"1" * 32)
    key = SigningKey(half, signing._public(half.public_key()), Path("key"))
    envelope = key.envelope(json.dumps(value).encode())
    with tempfile.NamedTemporaryFile() as file:
        file.write(envelope)
        file.flush()
        assert integrity.read(Path(file.name), [key.public]).problem


# The reports


def test_reports_print_the_fingerprint_and_what_a_signature_does_not_prove() -> None:
    run, signer = sample_run.single(), "ab" * 32
    for text in (
        as_html.render(run, signer=signer).decode(),
        *(as_pdf.page(run, mode, signer=signer) for mode in ("by-control", "summary", "per-target")),
    ):
        assert signer in text
        assert "does not prove whose key it is" in text
    for text in (as_html.render(run).decode(), as_pdf.page(run)):
        assert "No key signed this report" in text
        assert "fingerprint" not in text


def test_the_report_of_a_run_prints_the_key_that_signed_it(tmp_path: Path) -> None:
    done = invoke(
        tmp_path, "audit", "--demo", "-o", tmp_path / "out", "--format", "html", "--quiet", "--only", "docker-image-healthcheck"
    )
    assert done.exit_code == 0, done.output
    key = signing.load_signing_key(tmp_path / ".config/cis-auditor/signing.key")
    assert key.fingerprint in (tmp_path / "out" / "report.html").read_text()
