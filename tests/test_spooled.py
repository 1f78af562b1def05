"""A run that is read from a file on disk is the run: the same targets and findings, found by the same questions."""

import dataclasses
import itertools
import json
import tracemalloc
from pathlib import Path

import pytest

import reports
from auditor import spooled
from auditor.model import AuditRun, Finding, Status
from auditor.queries import Joined, positions
from auditor.registers import AttestationMark, WaiverMark
from auditor.results import to_json
from auditor.scratch import Scratch
from auditor.store import Store, StoreError
from reports import as_pdf
from tests.support import sample_run, stores


def marked() -> AuditRun:
    run = sample_run.small()
    waived, attested = (next(n for n, f in enumerate(run.findings) if f.status is s) for s in (Status.FAIL, Status.MANUAL))
    findings = list(run.findings)
    findings[waived] = dataclasses.replace(findings[waived], waiver=WaiverMark(("W1", "W2"), False, ("container/web-1",)))
    findings[attested] = dataclasses.replace(findings[attested], attestation=AttestationMark("A1", "fail"), tailored=True,
                                             parameters={"allowed": ["NET_ADMIN"], "deep": {"a": 1.5}})  # fmt: skip
    return dataclasses.replace(run, findings=tuple(findings))


def apart() -> AuditRun:
    """Findings of one target stand apart from each other, as a run from elsewhere may have them."""
    run = sample_run.small()
    return dataclasses.replace(run, findings=(*run.findings[::2], *run.findings[1::2]))


RUNS = {"small": sample_run.small(), "marked": marked(), "apart": apart(), "hostile": sample_run.hostile(5_000),
        "fleet": sample_run.large(12, 40, 3), "nothing": sample_run.run_of_parts([], [], ())}  # fmt: skip
FIELDS = (("target",), ("status",), ("benchmark", "version", "id"), ("benchmark", "version", "target"), ("severity", "control"))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return stores.new("sqlite", tmp_path)


@pytest.fixture(params=RUNS)
def both(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> tuple[AuditRun, AuditRun]:
    run = RUNS[request.param]
    with Store(url) as store:
        store.save(run)
        opened = store.open(run.id, tmp_path)
    return run, opened  # the history is closed: nothing of it is needed any more


def test_it_holds_what_the_run_held(both: tuple[AuditRun, AuditRun]) -> None:
    run, opened = both
    assert dataclasses.replace(opened, targets=tuple(opened.targets), findings=tuple(opened.findings)) == run
    backwards = range(len(run.findings) - 1, -1, -1)
    assert [opened.findings[n] for n in backwards] == list(reversed(run.findings)), "in any order"
    assert list(opened.findings[-3:1]) == list(run.findings[-3:1])
    assert list(opened.findings) == list(run.findings), "again and again"
    with pytest.raises(IndexError):
        opened.findings[len(run.findings)]


def test_questions_have_the_same_answers(both: tuple[AuditRun, AuditRun]) -> None:
    run, opened = both
    for fields in FIELDS:
        found = {k: list(v) for k, v in positions(opened.findings, *fields).items()}
        expected = positions(run.findings, *fields)
        assert found == expected
        assert list(found) == list(expected), "in the order of the first"
    for key, places in positions(opened.findings, "target", "status").items():
        assert all((f.target, f.status) == key for f in (opened.findings[n] for n in places))


def test_findings_after_the_others_are_found_too() -> None:
    run = sample_run.small()
    more: list[Finding] = [dataclasses.replace(run.findings[0], target="late"), run.findings[3]]
    joined, whole = Joined(run.findings, more), (*run.findings, *more)
    assert tuple(joined) == whole
    assert joined[-1] == more[-1]
    assert list(joined[5:]) == list(whole[5:])
    assert {k: list(v) for k, v in positions(joined, "target").items()} == positions(whole, "target")


def test_every_report_is_the_same(both: tuple[AuditRun, AuditRun], tmp_path: Path) -> None:
    run, opened = both
    formats = [f for f in reports.FORMATS if f not in ("pdf", "xlsx")]
    here, there = (reports.write(r, tmp_path / name, formats) for r, name in ((run, "here"), (opened, "there")))
    assert [p.relative_to(tmp_path / "here") for p in here] == [p.relative_to(tmp_path / "there") for p in there]
    assert [a for a, b in zip(here, there, strict=True) if a.read_bytes() != b.read_bytes()] == []
    assert [m for m in reports.PDF_MODES if as_pdf.page(run, m) != as_pdf.page(opened, m)] == []


def test_what_a_full_disk_does_not_take_is_kept(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    before = scratch.put(b"before")
    own = scratch._fd
    with Path("/dev/full").open("r+b", buffering=0) as full:
        scratch._fd = full.fileno()
        refused = [scratch.put(b"first of many"), scratch.put(b"second")]
        scratch._fd = own
    after = scratch.put(b"after")
    assert [scratch.get(p, n) for p, n in ((before, 6), (refused[0], 13), (refused[1], 6), (after, 5))] == [
        b"before", b"first of many", b"second", b"after"]  # fmt: skip
    assert scratch.get(refused[0] + 6, 2) == b"of"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", ["{}", "[]", "nonsense", '{"target":"web-1","reason":7}'])
def test_rows_that_hold_something_else_are_refused_in_one_line(url: str, tmp_path: Path, wrong: str) -> None:
    run = sample_run.small()
    with Store(url) as store:
        store.save(run)
        places = itertools.count()
        stores.rewrite(url, lambda text: wrong if next(places) == 1 else text)
        with pytest.raises(StoreError, match="can't be read"):
            list(store.open(run.id, tmp_path).findings)


def test_a_document_in_another_order_is_read(url: str, tmp_path: Path) -> None:
    run = sample_run.small()
    with Store(url) as store:
        store.save(run)
        stores.rewrite(url, lambda text: json.dumps(dict(reversed(json.loads(text).items()))))
        assert to_json(store.open(run.id, tmp_path)) == to_json(store.load(run.id))


def test_memory_does_not_grow_with_the_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of four times the targets, and its files, take a few names and numbers a finding more."""
    monkeypatch.setattr(spooled, "_LATELY", 20_000)
    held = []
    for n, hosts in enumerate((5, 10, 40)):  # the first one loads what it takes
        with Store(stores.new("sqlite", tmp_path / f"{n}")) as store:
            store.save(sample_run.large(hosts, 40, 8))
            tracemalloc.start()
            run = store.open("latest", tmp_path)
            reports.write(run, tmp_path / f"of-{hosts}", ["json", "xccdf"])
            held.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert (tmp_path / "of-40" / "results.json").stat().st_size > 1_000_000, "so that a run or a file that is held would be seen"
    assert held[2] - held[1] < 300_000
