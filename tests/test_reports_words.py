"""What HTML and PDF say about what was left out, what people decided, and what a document is about."""

import dataclasses
import io
import re
from html import unescape

import pypdf
import pytest

from auditor.model import Severity, Status
from auditor.registers import AttestationMark, WaiverMark
from auditor.score import adjusted_score_of, is_adjusted, scores
from reports import as_html, as_pdf
from reports.build import build
from reports.text import percent
from tests.support import sample_run


def words_of(html: str) -> str:
    """The words of a page before it is laid out."""
    return " ".join(unescape(re.sub("<[^>]+>", " ", html.partition("<body>")[2])).split())


def decided(run):
    """A run whose first dangerous failure is waived and whose first manual finding is attested."""
    waived = next(f for f in run.findings if f.status is Status.FAIL and f.severity in (Severity.CRITICAL, Severity.HIGH))
    attested = next(f for f in run.findings if f.status is Status.MANUAL)
    marks = {
        id(waived): {"waiver": WaiverMark(("W1",), complete=True)},
        id(attested): {"attestation": AttestationMark("A1", "pass")},
    }
    findings = tuple(dataclasses.replace(f, **marks.get(id(f), {})) for f in run.findings)
    return dataclasses.replace(run, findings=findings, scores=scores(findings))


@pytest.mark.parametrize("run", [sample_run.single(), sample_run.small(), sample_run.large(100, 10)], ids=["one", "some", "fleet"])
def test_what_people_decided_is_marked_wherever_failures_and_scores_stand(run):
    run = decided(run)
    html = as_pdf.page(run)
    cover, rest = html.split('id="contents"')
    assert "of which 1 is waived" in words_of("<body>" + cover)
    assert "1 waived, 1 attested pass" in words_of("<body>" + cover)
    glance = words_of("<body>" + rest.split('id="summary"')[1].split("</section>")[0])
    if len(run.targets) == 1:
        assert ", critical, waived" in glance
        assert ", high, attested pass" in glance
    else:
        assert "(1 waived)" in glance
        assert "(1 attested pass)" in glance
    view = build(run)
    b = view.benchmarks[0]
    both = f"Evidence alone {percent(b.score)} {percent(b.coverage)} With waivers and attestations {percent(b.adjusted_score)}"
    assert both in words_of(html)
    targets = words_of("<body>" + rest.split('id="targets"')[1].split("</section>")[0])
    marked = next(s for s in run.scores if is_adjusted(s.counts))
    assert f"with waivers and attestations {percent(adjusted_score_of(marked.counts))} score" in targets


def test_says_what_left_controls_out():
    run = sample_run.single()
    narrowed = dataclasses.replace(
        run, benchmarks=(dataclasses.replace(run.benchmarks[0], left_out={"tailoring": 36, "--level": 2}),)
    )
    said = "Of the 117 controls of cis-docker 1.6.0, 12 were looked at; 36 left out by tailoring, 2 left out by --level, 67 not known to this program."
    for html in (as_pdf.page(narrowed), as_html.render(narrowed).decode()):
        assert said in words_of(html)


def test_files_of_a_tailoring_stand_with_their_digests_where_there_is_room():
    digest = "ab" * 32
    run = dataclasses.replace(
        sample_run.single(), selection={"tailoring": [f"site.yaml (SHA-256 {digest})", "w.yaml (SHA-256 00)"]}
    )
    for html in (as_pdf.page(run), as_html.render(run).decode()):
        before, after = html.split('id="registers"')
        assert "tailoring: site.yaml, w.yaml" in words_of(before)
        assert digest not in before
        assert digest in after


def test_a_document_of_one_target_is_named_after_it():
    pdf = pypdf.PdfReader(io.BytesIO(as_pdf.render(sample_run.single(), mode="per-target")))
    assert pdf.metadata.title == "Configuration audit 20260314T050000Z-7f3c: web-1"
    pages = ["".join(p.extract_text().split()) for p in pdf.pages]
    assert "Targetweb-1docker-host,10.0.0.11" in pages[0]
    assert all("Configurationauditofweb-1" in p for p in pages[1:])


def test_a_benchmark_of_which_nothing_applies_takes_lines_not_pages():
    found = [sample_run.found("web-1", sample_run.KUBERNETES, c.id, reason=f"no part of {c.id} runs here") for c in
             sample_run.KUBERNETES_CONTROLS[:-1]]  # fmt: skip
    run = sample_run.run_of_parts([sample_run.target("web-1")], found, sample_run.BENCHMARKS[1:])
    text = words_of(as_pdf.page(run))
    for c in sample_run.KUBERNETES_CONTROLS[:-1]:
        assert f"{c.id} {c.title}: no part of {c.id} runs here" in text
        assert c.rationale not in text
    last = sample_run.KUBERNETES_CONTROLS[-1]
    assert f"{last.id} {last.title}: about another kind of target" in text
    assert "What they are about is in results.json" in text


def test_a_mean_counts_targets_that_have_a_score():
    run = sample_run.small()
    nothing = sample_run.found("prod", sample_run.DOCKER, "2.2", reason="no engine runs here")
    findings = (*run.findings, nothing)
    run = dataclasses.replace(run, findings=findings, scores=scores(findings))
    for html in (as_pdf.page(run), as_html.render(run).decode()):
        assert "; of the one target that it applies to." in words_of(html)  # two have counts on that benchmark
