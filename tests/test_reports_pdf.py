"""The PDF report: complete, navigable, always the same, and made by a process that can't eat or read the machine."""

import dataclasses
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pypdf
import pytest

from auditor.model import Observation, Status
from reports import FORMATS, ReportError, as_pdf, pdf_child, render, write
from reports.build import build
from reports.pdf_process import CAN_SERVE, Server
from reports.text import visible
from reports.view import Group
from tests.support import sample_run
from tests.support.pdf import pages, squeezed

pytestmark = pytest.mark.slow


def squeeze(text: str) -> str:
    """Text without white space: lines of a page break anywhere."""
    return "".join(text.split())


@pytest.fixture(scope="module")
def small() -> bytes:
    return as_pdf.render(sample_run.small())


@pytest.fixture(scope="module")
def hostile() -> bytes:
    return as_pdf.render(sample_run.hostile())


def test_says_what_it_must(small):
    run, text = sample_run.small(), squeezed(small)
    expected = [
        run.id, run.started, run.finished, run.operator, "6 targets asked = 3 audited + 1 unreachable + 1 failed + 1 excluded",
        "Of the 117 controls of cis-docker 1.6.0, 12 were looked at.", "score = 100 x pass / (pass + fail + error)", "Severity is ours",
        "4 pass of 10 (4 pass + 6 fail + 0 error), 2 manual", "mean of 2 targets", "Not affiliated with", "Connection refused",
    ]  # fmt: skip
    expected += [t.name for t in run.targets] + [t.evidence_sha256 for t in run.targets if t.evidence_sha256]
    expected += [b.sha256 for b in run.benchmarks] + [c.title for b in run.benchmarks for c in b.controls]
    expected += [c.rationale for b in run.benchmarks for c in b.controls]
    for f in run.findings:
        expected += [value for o in f.observations for value in (o.subject, o.expected, o.actual, o.source)]
    for words in expected:
        assert squeeze(words) in text, words
    assert text.index("Dangerousfailures", text.index("Contents") + 40) < text.index(squeeze("score = 100 x pass"))


def test_can_be_navigated(small):
    reader = pypdf.PdfReader(io.BytesIO(small))
    chapters = [o.title for o in reader.outline if not isinstance(o, list)]
    assert chapters[:4] == ["Contents", "Dangerous failures", "Scope and completeness", "Scores"]
    assert reader.trailer["/Root"]["/MarkInfo"]["/Marked"]
    assert reader.trailer["/Root"]["/Lang"] == "en"
    assert reader.metadata.title == "Configuration audit 20260314T050000Z-7f3c"
    assert reader.metadata.author == "audit@ops-1 (uid 1001)"
    assert "pdfuaid" in reader.xmp_metadata.stream.get_data().decode()
    contents = squeeze(pages(small)[1])
    assert ".." not in contents  # dots between a chapter and its page are read aloud, and drawn, one by one
    for chapter, page in ((o.title, reader.get_destination_page_number(o) + 1) for o in reader.outline if not isinstance(o, list)):
        if chapter != "Contents":
            assert f"{page}" in contents.split(squeeze(chapter), 1)[1][:400]


def structure(reader: pypdf.PdfReader) -> list[dict]:
    """Every element of a document's logical structure."""
    found, rest = [], [reader.trailer["/Root"]["/StructTreeRoot"]]
    while rest:
        element = rest.pop().get_object()
        if isinstance(element, list):
            rest.extend(element)
        elif isinstance(element, dict):
            found.append(element)
            rest.extend([element["/K"]] if "/K" in element else [])
    return found


def test_is_tagged(small):
    reader = pypdf.PdfReader(io.BytesIO(small))
    elements = structure(reader)
    kinds = {str(e.get("/S")) for e in elements}
    assert kinds >= {"/Document", "/H1", "/H2", "/H3", "/H4", "/P", "/Table", "/TR", "/TH", "/TD", "/Link", "/Figure"}
    figures = [e for e in elements if e.get("/S") == "/Figure"]
    assert len(figures) >= 7
    assert all(e.get("/Alt") for e in figures), [e.get("/Alt") for e in figures]
    assert any("4 pass, 6 fail" in e["/Alt"] or "6 fail, 2 manual, 4 pass" in e["/Alt"] for e in figures)
    assert all(e.get("/Contents") or e.get("/Alt") for p in reader.pages for e in (a.get_object() for a in p.get("/Annots", [])))
    for page in reader.pages:
        assert page["/Tabs"] == "/S"
        content = page.get_contents().get_data()
        assert content.count(b"BDC\n") + content.count(b"BMC\n") == content.count(b"EMC\n") > 0


def test_metadata_says_what_it_is(small):
    reader = pypdf.PdfReader(io.BytesIO(small))
    assert reader.metadata.subject == "Audit of 6 targets against cis-docker 1.6.0, cis-kubernetes 1.12.0"
    assert reader.metadata["/Keywords"] == "audit, CIS, Docker, Kubernetes"
    assert reader.trailer["/Root"]["/ViewerPreferences"]["/DisplayDocTitle"]


def test_no_page_is_empty_and_every_page_says_where_it_is(small, hostile):
    for pdf in (small, hostile):
        texts = pages(pdf)
        for n, text in enumerate(texts[1:], 2):
            assert len(text) > 250, (n, text)
            assert f"Page {n} of {len(texts)}" in text
            assert "Run 20260314T050000Z-7f3c" in text


def test_says_who_read_what_and_can_be_signed(small):
    text = squeezed(small)
    for words in (
        "audit (uid 1001), sudo as root: web-1", "audit (uid 1001), without sudo: cp-1", "an account that was not recorded: prod",
        "Read as audit (uid 1001), sudo as root, 2026-03-14T05:00:07Z", "Digests and how to check them", "auditor verify DIR",
        "Sign-off", "Auditor Answerable for the targets", "Name Role Date Signature SHA-256 of this file",
    ):  # fmt: skip
        assert squeeze(words) in text, words


def test_notices_stand_on_the_first_page():
    notices = ("cis-docker 1.6.0 is not for this engine.", "Long. " * 120, "Third.", "Fourth.")
    pdf = as_pdf.render(dataclasses.replace(sample_run.single(), notices=notices))
    first, *rest = map(squeeze, pages(pdf))
    assert squeeze(notices[0]) in first
    assert squeeze("All 4 notices stand in full under Scope and completeness, page 3") in first
    assert all(squeeze(n) in "".join(rest) for n in notices)
    assert rest[0].startswith("ContentsDangerousfailures")  # the cover is one page still


def test_a_summary_is_short_and_says_where_the_rest_is():
    run = sample_run.large(60)
    pdf = as_pdf.render(run, mode="summary")
    assert len(pypdf.PdfReader(io.BytesIO(pdf)).pages) <= 12
    text = squeezed(pdf)
    assert squeeze("what was found there is in results.json") in text
    view = build(run)
    assert squeeze(f"{len(view.dangerous) - 40} more controls of critical or high severity fail somewhere") in text
    listed = text[text.rindex("Controlsataglance", 0, text.index("Severityisthisproject")) :]
    assert all(squeeze(c.info.id) in listed for c in view.controls)


def test_what_all_are_expected_to_be_is_said_once():
    def group(*seen):
        return Group(Status.FAIL, "", tuple(Observation("s", status, expected) for status, expected in seen), ("t",))

    assert as_pdf.shared([group((Status.FAIL, "a")), group((Status.PASS, "a"), (Status.PASS, "b"))]) == "a"
    assert as_pdf.shared([group((Status.FAIL, "a"), (Status.ERROR, ""), (Status.NOT_APPLICABLE, "a"))]) == "a"
    assert as_pdf.shared([group((Status.FAIL, "a"), (Status.PASS, "a"), (Status.PASS, ""))]) == ""  # it would seem to be held to a
    assert as_pdf.shared([group((Status.FAIL, "a"), (Status.PASS, "b"))]) == ""
    assert as_pdf.shared([]) == ""
    assert as_pdf.mixed([group((Status.FAIL, "a"), (Status.PASS, "b"))], "a")
    assert not as_pdf.mixed([group((Status.FAIL, "a"))], "a")


@pytest.mark.skipif(not CAN_SERVE, reason="one process a document here")
def test_many_documents_of_one_process_are_those_of_many():
    run = sample_run.large(3, 10)
    made = dict(as_pdf.documents(run, ["per-target"]))
    assert len(made) == 3
    name, part = next(as_pdf.parts(run))
    alone = as_pdf.render(part, mode="per-target", part="one target of 3 that this run asked")
    assert made[f"targets/{name}"] == alone


@pytest.mark.skipif(not CAN_SERVE, reason="one process a document here")
def test_a_document_that_fails_takes_no_other_with_it():
    small_page = b"<html lang=en><title>t</title><p>x"
    with Server("0", as_pdf.Limits(cpu=1)) as server:
        with pytest.raises(ReportError, match="within 1 s of CPU"):
            server.lay_out(as_pdf.page(sample_run.large(30)).encode(), "a" * 32)
        with pytest.raises(ReportError, match="is no packaged asset"):
            server.lay_out(small_page + b"<img src=file:///etc/passwd>", "b" * 32)
        assert server.lay_out(small_page, "c" * 32).startswith(b"%PDF-")
        os.kill(server._process.pid, signal.SIGKILL)
        with pytest.raises(ReportError, match="process ended before"):
            server.lay_out(small_page, "d" * 32)
        assert server.lay_out(small_page, "e" * 32).startswith(b"%PDF-")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process can't ask for that")
@pytest.mark.parametrize("mode", ["by-control", "per-target"])
def test_no_layout_outlives_the_program(mode):
    """A PDF that nobody waits for any more is not laid out to its end: not by a process of its own, not by a fork of the server."""

    def below(pid: int) -> list[int]:
        found = [int(p) for file in Path(f"/proc/{pid}/task").glob("*/children") for p in file.read_text().split()]
        return found + [p for child in found for p in below(child)]

    code = "from reports import as_pdf; from tests.support import sample_run; print(flush=True); "
    code += f"list(as_pdf.documents(sample_run.large(60), ['{mode}']))"
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert program.stdout is not None
        program.stdout.readline()
        wanted, end = 3 if mode == "per-target" and CAN_SERVE else 1, time.monotonic() + 30
        while len(children := below(program.pid)) < wanted and time.monotonic() < end:
            time.sleep(0.02)
        assert len(children) >= wanted
        time.sleep(0.3)  # until they have begun
    finally:
        program.kill()
        program.communicate()
    end = time.monotonic() + 5
    while (left := [p for p in children if _runs(p)]) and time.monotonic() < end:
        time.sleep(0.02)
    assert left == []


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere libraries are searched for")
def test_loading_the_library_runs_no_compiler_and_loads_no_more_than_it_needs():
    code = """if True:
    import sys
    started = []
    sys.addaudithook(lambda event, args: started.append(args[0]) if event == "subprocess.Popen" else None)
    import pdf_child
    fonts = pdf_child.load().pdf.fonts
    assert not started, started
    assert not [m for m in sys.modules if m.startswith("fontTools.subset.")]
    assert fonts.subset.Options(layout_features=["kern"]).layout_features == ["kern"]  # what is called is the real thing
    import fontTools.subset
    assert isinstance(fonts.subset.Options(), fontTools.subset.Options)
    import ctypes.util
    assert ctypes.util.find_library("c")
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(pdf_child.__file__).parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_fonts_are_its_own(small):
    reader = pypdf.PdfReader(io.BytesIO(small))
    fonts = {str(f.get_object()["/BaseFont"]) for p in reader.pages for f in p["/Resources"]["/Font"].values()}
    assert fonts
    assert all("Plex" in f for f in fonts), fonts


def test_is_always_the_same(small, monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert as_pdf.render(sample_run.small()) == small
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert as_pdf.render(sample_run.small()) == as_pdf.render(sample_run.small())


def test_hostile_evidence_is_text(hostile):
    text = squeezed(hostile)
    for words in sample_run.HOSTILE[:-4]:
        assert squeeze(visible(words)) in text, words
    longest = max(len(o.actual) for f in sample_run.hostile().findings for o in f.observations)
    assert squeeze(f"4,000 of {longest:,} characters are shown; all of them are in results.json") in text
    reader = pypdf.PdfReader(io.BytesIO(hostile))
    assert len(reader.pages) < 60
    assert "/JavaScript" not in str(reader.trailer["/Root"])
    for page in reader.pages:
        for link in page.get("/Annots", []):
            assert "/URI" not in str(link.get_object().get("/A", ""))


def test_an_empty_run_has_a_document():
    assert as_pdf.render(sample_run.run_of_parts([], [], ())).startswith(b"%PDF-")


def test_what_a_large_run_leaves_out_is_said(monkeypatch):
    monkeypatch.setattr(as_pdf, "BUDGET", 100)
    html = as_pdf.page(sample_run.large(60, 10))
    assert "more observations of this control, none of them worse than those above, are in results.json" in html


@pytest.mark.parametrize("markup", [
    '<img src="http://192.0.2.1/x.png">', '<img src="file:///etc/passwd">', '<link rel="stylesheet" href="asset:../as_pdf.py">',
    '<style>@import "file:///etc/passwd";</style>', '<link rel="attachment" href="file:///etc/passwd">',
    '<img src="data:image/png;base64,AAAA">',
])  # fmt: skip
def test_a_page_can_load_nothing_but_packaged_assets(markup):
    with pytest.raises(BaseException, match="is no packaged asset"):
        pdf_child.render(f"<html lang=en><title>t</title>{markup}<p>x", b"x")


@pytest.mark.parametrize(("limits", "words"), [
    (as_pdf.Limits(memory=60 << 20), "within 60 MiB of memory"),
        (as_pdf.Limits(memory=250 << 20), "within 250 MiB of memory"),  # while it is laid out: that takes some 350
    (as_pdf.Limits(cpu=1), "within 1 s of CPU"),
    (as_pdf.Limits(clock=1), "within 1 s"),
])  # fmt: skip
def test_limits_end_it_with_one_clear_line(limits, words):
    with pytest.raises(ReportError) as error:
        as_pdf.render(sample_run.large(30), limits)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert "Traceback" not in str(error.value)


def test_without_pango_the_other_formats_are_written(tmp_path, monkeypatch):
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "weasyprint.py").write_text("raise OSError(\"cannot load library 'libpango-1.0-0'\")")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    with pytest.raises(
        ReportError, match=r"^the PDF could not be made: WeasyPrint can't be loaded .*libpango.* needs the system library Pango$"
    ):
        write(sample_run.single(), tmp_path / "out", ["pdf", "html", "json"])
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["report.html", "results.json"]


def test_the_working_folder_is_not_trusted(tmp_path, monkeypatch):
    marker = tmp_path / "ran"
    for name in ("weasyprint", "reports", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(marker)!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert as_pdf.render(sample_run.single()).startswith(b"%PDF-")
    assert not marker.exists()


def test_files_are_private_and_in_order(tmp_path):
    paths = write(sample_run.small(), tmp_path / "new", ["json", "html", "pdf"])
    assert [p.name for p in paths] == ["results.json", "report.html", "report.pdf"]
    assert {p.stat().st_mode & 0o777 for p in paths} == {0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_an_unknown_format_and_a_folder_that_is_a_file_are_one_line(tmp_path):
    with pytest.raises(ReportError, match="there is no report format 'doc'; known: html, pdf, json"):
        render(sample_run.single(), "doc")
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="can't be written"):
        write(sample_run.single(), tmp_path / "file", ["json"])


def test_renderers_are_loaded_when_they_are_needed():
    code = "import sys, reports; print([m for m in ('jinja2', 'weasyprint', 'reports.as_html') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert set(FORMATS) >= {"html", "pdf", "json"}


def test_long_texts_are_split_for_layout():
    text = "word " * 1000 + "x" * 3000
    parts = as_pdf.pieces(text)
    assert "".join(parts) == text
    assert max(map(len, parts)) <= 1500
