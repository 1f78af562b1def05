"""Tables for people and their spreadsheets: no cell becomes a formula, what is cut is said, and texts stay texts."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import re
import tempfile
from pathlib import Path

import openpyxl
import pytest
import yaml

from auditor.model import Finding, Observation, Severity
from auditor.registers import Change, Registers
from auditor.score import scores
from reports import as_openreports, as_xlsx, plain, rows
from tests.support import sample_run
from tests.test_formats import BY_ID, FAIL, FORMATS, HOSTILE, PASS, RUN, only, rendered, seen, sheet, table


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "\uff1d1", "\x00=1", '=HYPERLINK("http://x")']
)
def test_no_cell_begins_a_formula(text: str) -> None:
    made = rows.cell(text)
    assert made.lstrip()[0] not in "=+-@\uff1d\uff0b\uff0d\uff20"
    assert text.strip("\x00\r\t\n ") in made


def test_no_cell_of_a_table_begins_a_formula() -> None:
    evil = "=cmd|' /C calc'!A0"
    finding = dataclasses.replace(
        RUN.findings[7], target=evil, benchmark=evil, version=evil, id=evil, control=evil, title=evil, reason=evil, assessment=evil,
        observations=(Observation(evil, FAIL, evil, evil, evil),))  # fmt: skip
    run = dataclasses.replace(RUN, id=evil, operator=evil, notices=(evil,), findings=(finding,), scores=scores([finding]),
                              targets=(dataclasses.replace(RUN.targets[0], name=evil, address=evil, groups=(evil,), roles=(evil,)),),
                              registers=Registers((), (dataclasses.replace(RUN.registers.waivers[0], reason=evil, id=evil),)))  # fmt: skip
    (row,) = table(only("csv", run))
    assert sum(v == f"'{evil}" for v in row.values()) == 12
    assert not [v for v in row.values() if v.startswith(("=", "+", "-", "@"))]
    book = openpyxl.load_workbook(io.BytesIO(only("xlsx", run)))
    cells = [c for s in book for r in s.iter_rows() for c in r if c.value is not None]
    assert {c.data_type for c in cells} <= {"s", "n", "inlineStr"}
    assert not [c.value for c in cells if isinstance(c.value, str) and c.value.startswith(("=", "+", "-", "@"))]
    assert sum(c.value == f"'{evil}" for c in cells) > 20


def test_the_workbook_has_headings_filters_and_frozen_panes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(as_xlsx, "ROWS", 8)
    book = openpyxl.load_workbook(io.BytesIO(only("xlsx")))
    assert book.sheetnames == ["About", "Findings", "Findings 2", "Subjects", "Subjects 2", "Subjects 3", "Scores", "Targets", "Tailoring", "Waivers", "Attestations"]  # fmt: skip
    for s in book:
        assert s.freeze_panes == "A2"
        assert s.auto_filter.ref
        assert all(c.value and c.font.bold for c in s[1])
    assert sum(s.max_row - 1 for s in book if s.title.startswith("Findings")) == len(RUN.findings)
    assert sum(s.max_row - 1 for s in book if s.title.startswith("Subjects")) == sum(len(f.observations) for f in RUN.findings)


def test_workbook_and_summary_say_what_was_tailored_and_what_waivers_are_for() -> None:
    change = Change(
        "parameter", "docker-x", "groups prod", "allowed: []", "allowed: [`=A`]", "<b>routers</b>", "t.yaml:3", "no target is meant"
    )
    waiver = dataclasses.replace(
        RUN.registers.waivers[0], targets=("web-*",), groups=("prod",), subjects=("container/=1",), note="why"
    )
    run = dataclasses.replace(RUN, registers=Registers((change,), (waiver,)))
    (told,) = sheet(run, "Tailoring")
    assert [told[k] for k in ("subject", "scope", "before", "after", "note")] == [
        "docker-x", "groups prod", "allowed: []", "allowed: [`=A`]", "no target is meant",
    ]  # fmt: skip
    (told,) = sheet(run, "Waivers")
    assert [told[k] for k in ("targets", "groups", "subjects", "note")] == ["web-*", "prod", "container/=1", "why"]
    page = only("markdown", run).decode()
    assert "- Parameter `docker-x` (groups prod): `` allowed: [`=A`] ``, default `allowed: []`: \\<b\\>routers" in page
    assert f"- Waiver `{waiver.id}` of `{waiver.control}` for `web-*`, `group prod`, `container/=1`," in page


@pytest.mark.parametrize("format_", FORMATS)
def test_what_is_cut_is_said_and_never_what_decides(format_: str) -> None:
    """One failing subject behind a thousand passing ones, and one text of 100,000 characters."""
    many = tuple(seen(PASS, f"ok-{n}") for n in range(1000))
    last = Observation("container/the-one-that-fails", FAIL, "set", "y" * 100_000, "s")
    finding = dataclasses.replace(BY_ID["2.7"], status=FAIL, observations=(*many, last))
    run = dataclasses.replace(RUN, findings=(finding,), scores=scores([finding]), registers=Registers())
    content = only(format_, run)
    if format_ == "xlsx":
        content = json.dumps(sheet(run, "Subjects")).encode()
    if format_ != "openmetrics":
        assert b"the-one-that-fails" in content
    if format_ not in ("openmetrics", "markdown"):
        assert b"cut here" in content.lower().replace(b"\\\\[", b"[")
    assert b"y" * 33_000 not in content


def test_openreports_fit_into_etcd_and_name_their_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(as_openreports, "SIZE", 2_000)
    documents = list(yaml.safe_load_all(only("openreports", sample_run.small())))
    names = [d["metadata"]["name"] for d in documents]
    assert len(set(names)) == len(names) > 5
    for d in documents:
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,200}[a-z0-9])?", d["metadata"]["name"])
        assert all(re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", v) for v in d["metadata"]["labels"].values())
        assert d["summary"] == {r: sum(x["result"] == r for x in d["results"]) for r in ("pass", "fail", "warn", "error", "skip")}
    assert sum(len(d["results"]) for d in documents) == len(plain.complete(sample_run.small()).findings)
    kinds = {(r["kind"], r.get("namespace")) for d in documents for x in d["results"] for r in x.get("resources", ())}
    assert any(namespace for _, namespace in kinds)


def test_markdown_shows_evidence_as_text_alone() -> None:
    from markdown_it import MarkdownIt

    page = only("markdown", HOSTILE).decode()
    made = MarkdownIt("gfm-like", {"linkify": False}).render(page)
    assert not re.search("<(?!/?(?:h1|h2|p|ul|li|strong|code|table|thead|tbody|tr|th|td|pre)[ >])", made)
    assert len(page) < 200_000


def test_long_lists_of_the_summary_are_counted() -> None:
    page = only("markdown", sample_run.large(80, 30)).decode()
    assert "more: see results.json." in page
    assert len(page.splitlines()) < 350


def test_names_stand_for_one_thing_alone() -> None:
    names = ["a b", "a_b", "a-b", "a/b", "ab", "a.b", "x" * 90, "x" * 91]
    assert len({plain.plain_name(n) for n in names}) == len(names)


def test_findings_of_unknown_benchmarks_and_controls_are_kept() -> None:
    stranger = Finding("web-1", "other", "9", "1.1", "k", "A stranger", 1, "manual", Severity.HIGH, FAIL)
    unknown = dataclasses.replace(RUN.findings[0], id="99.9")
    run = dataclasses.replace(RUN, findings=(stranger, unknown), scores=scores([stranger, unknown]))
    for format_ in ("csv", "junit", "sarif", "xccdf", "oscal", "hdf", "openreports"):
        text = b"".join(rendered(format_, run).values()).decode().replace("\\", "")
        assert "A stranger" in text, format_
        assert "99.9" in text, format_


def test_a_workbook_that_a_full_disk_stops_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sheet's rows are in a file until the end; that they stay would keep the disk full, with findings."""

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(rows, "targets", full)
    with pytest.raises(OSError, match="No space left"):
        only("xlsx")
    assert list(tmp_path.iterdir()) == []
