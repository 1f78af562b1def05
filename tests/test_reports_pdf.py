"""The PDF report: complete, navigable, always the same, and made by a process that can't eat or read the machine."""

import io
import subprocess
import sys
from pathlib import Path

import pypdf
import pytest

from reports import FORMATS, ReportError, as_pdf, pdf_child, render, write
from reports.text import visible
from tests.support import sample_run


def squeeze(text: str) -> str:
    """Text without white space: lines of a page break anywhere."""
    return "".join(text.split())


def text_of(pdf: bytes) -> str:
    return squeeze("".join(p.extract_text() for p in pypdf.PdfReader(io.BytesIO(pdf)).pages))


@pytest.fixture(scope="module")
def small() -> bytes:
    return as_pdf.render(sample_run.small())


@pytest.fixture(scope="module")
def hostile() -> bytes:
    return as_pdf.render(sample_run.hostile())


def test_says_what_it_must(small):
    run, text = sample_run.small(), text_of(small)
    expected = [
        run.id, run.started, run.finished, run.operator, "6 targets asked = 3 audited + 1 unreachable + 1 failed + 1 excluded",
        "covers 12 of the 117 controls of the document", "score = 100 x pass / (pass + fail + error)", "Severity is ours",
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
    contents = squeeze(reader.pages[1].extract_text())
    for chapter, page in ((o.title, reader.get_destination_page_number(o) + 1) for o in reader.outline if not isinstance(o, list)):
        if chapter != "Contents":
            assert f"{page}" in contents.split(squeeze(chapter), 1)[1][:400]


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
    text = text_of(hostile)
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
        (as_pdf.Limits(memory=350 << 20), "within 350 MiB of memory"),
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
    assert max(map(len, parts)) <= 600
