"""The numbers of a run are the same wherever they are printed: summary, by control, by target, by severity, JSON, HTML and PDF."""

import dataclasses
import html
import json
import re
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.model import STATUS_ORDER, AuditRun, Observation, Severity, Status, TargetKind, TargetStatus
from auditor.registers import AttestationMark, WaiverMark
from auditor.results import run_of, to_json
from auditor.score import scores
from reports import as_html, as_pdf
from reports.build import build
from reports.seen import listings
from reports.subjects import by_subject, severities
from reports.text import percent
from reports.view import STATUS_WORDS, count_of
from tests.support import sample_run
from tests.support.pdf import squeezed

SUBJECTS = ["container/a", "container/b", "file//x", "node/n1/file//x", "node/n1", "node/n2/process/kubelet", "target"]
BOTH = [(sample_run.DOCKER, i) for i in sample_run.DOCKER_CONTROLS[:6]] + [
    (sample_run.KUBERNETES, i) for i in sample_run.KUBERNETES_CONTROLS[:6]
]
observations = st.lists(
    st.builds(Observation, st.sampled_from(SUBJECTS), st.sampled_from([s for s in Status if s is not Status.NOT_APPLICABLE]),
              st.just("1"), st.sampled_from(["0", "2"]), st.just("s")), max_size=4).map(tuple)  # fmt: skip


def marked(finding, draw):
    """People decide about some findings: a waiver stands on failures alone, an attestation on manual ones."""
    if finding.status is Status.FAIL and draw(st.booleans()):
        return dataclasses.replace(finding, waiver=WaiverMark(("w-1",), draw(st.booleans()), ("container/a",)))
    if finding.status is Status.MANUAL and draw(st.booleans()):
        return dataclasses.replace(finding, attestation=AttestationMark("a-1", draw(st.sampled_from(["pass", "fail"]))))
    return finding


@st.composite
def runs(draw) -> AuditRun:
    targets = [sample_run.target(f"t{n}", draw(st.sampled_from(TargetKind)), draw(st.sampled_from(TargetStatus)))
               for n in range(draw(st.integers(0, 7)))]  # fmt: skip
    findings = [
        marked(sample_run.finding(t.name, benchmark, info, draw(observations)), draw)
        for t in targets if t.status is TargetStatus.AUDITED for benchmark, info in BOTH if draw(st.booleans())
    ]  # fmt: skip
    run = sample_run.run_of_parts(targets, findings)
    return dataclasses.replace(run, scores=scores(run.findings))


def counted(run: AuditRun) -> dict[Status, int]:
    by = Counter(f.status for f in run.findings)
    return {s: by[s] for s in Status}


def texts(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def section(page: str, name: str) -> str:
    return page.split(f'<section id="{name}"')[1].split("</section>", maxsplit=1)[0]


def table_of(markup: str) -> list[list[str]]:
    return [
        [texts(c) for c in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", r, re.DOTALL)]
        for r in re.findall(r"<tr.*?</tr>", markup, re.DOTALL)
    ]


def whole(text: str) -> int:
    return int(text.replace(",", ""))


def badges(markup: str) -> dict[str, int]:
    """Sum the tallies of a part of a page; a badge without a number is one finding."""
    found: Counter[str] = Counter()
    for status, number in re.findall(r'<span class="badge (\w+)">(?:([\d,]+) )?[\w/]+</span>', markup):
        found[status] += whole(number or "1")
    return found


def asked(run: AuditRun) -> str:
    by = Counter(t.status for t in run.targets)
    parts = " + ".join(f"{by[s]} {s.value}" for s in TargetStatus)
    return f"{len(run.targets)} target{'' if len(run.targets) == 1 else 's'} asked = {parts}"


def sums(run: AuditRun) -> list[str]:
    """The sentence about each benchmark's counts, worked out from the findings alone."""
    said = []
    for b in run.benchmarks:
        n = Counter(f.status.value for f in run.findings if (f.benchmark, f.version) == (b.name, b.version))
        said.append(f"{n['pass']} pass of {n['pass'] + n['fail'] + n['error']} ({n['pass']} pass + {n['fail']} fail + {n['error']} error), "
                    f"{n['manual']} manual, {n['not_applicable']} not applicable")  # fmt: skip
    return said


@settings(deadline=None, max_examples=60)
@given(runs())
def test_the_view_and_the_document_count_alike(run):
    """Summary, by severity, by control, by chapter, by target, scores and results.json; and what is asked is reached or not."""
    view, expected = build(run), counted(run)
    document = json.loads(to_json(run))
    for status in Status:
        n = expected[status]
        assert count_of(view.counts, status) == n
        assert sum(count_of(c, status) for _, c in severities(view)) == n
        assert sum(count_of(c.counts, status) for c in view.controls) == n
        assert sum(count_of(s.counts, status) for b in view.benchmarks for s in b.sections) == n
        assert sum(count_of(t.counts, status) for t in view.targets) == n
        assert sum(f["status"] == status for f in document["findings"]) == n
        assert sum(s["counts"][status] for s in document["scores"]) == n
    assert run_of(document).findings == run.findings
    assert sum(f.waiver is not None and f.waiver.complete for f in run.findings) == view.counts.waived
    assert len(run.targets) == sum(len(targets) for targets in view.reached.values())
    assert {t["name"]: t["status"] for t in document["targets"]} == {t.name: t.status for t in run.targets}


@settings(deadline=None, max_examples=60)
@given(runs())
def test_subjects_count_every_observation_once(run):
    view = build(run)
    expected = Counter((o.subject, o.status) for f in run.findings for o in f.observations)
    found: Counter[tuple[str, Status]] = Counter()
    for kind in by_subject(view):
        for part in kind.parts:
            for s in part.subjects:
                found.update({(s.name, status): n for status, n in s.seen.items() if n})
                failing = {f.id for f in run.findings if f.target in s.targets for o in f.observations
                           if o.subject == s.name and o.status is Status.FAIL}  # fmt: skip
                assert {c.info.id for c in s.failing.values()} == failing
        assert kind.count == sum(len(p.subjects) for p in kind.parts)
    assert found == expected


@settings(deadline=None, max_examples=25)
@given(runs())
def test_the_page_prints_what_the_findings_say(run):
    page, expected = as_html.render(run).decode(), counted(run)
    text = texts(page.split('<script type="application/json"')[0])
    assert asked(run) in text
    for said in sums(run):
        assert said in text
    header, *levels, last = table_of(section(page, "scores").split('id="distribution"')[1].split("</table>")[0])
    assert header == ["Severity", *(STATUS_WORDS[s] for s in STATUS_ORDER), "All", "Share"]
    for severity, row in zip(Severity, levels, strict=True):
        of = [f for f in run.findings if f.severity is severity]
        assert [whole(c) for c in row[1:-1]] == [*(sum(f.status is s for f in of) for s in STATUS_ORDER), len(of)]
    assert [whole(c) for c in last[1:-1]] == [*(expected[s] for s in STATUS_ORDER), len(run.findings)]
    results = re.findall(r'<td class="res">(.*?)</td></tr>\s*(?:<tr id|</tbody>)', section(page, "controls"), re.DOTALL)
    assert badges("".join(results)) == {s.value: n for s, n in expected.items() if n}
    assert badges(section(page, "targets")) == {s.value: n for s, n in expected.items() if n}
    for score in run.scores:
        assert f"{percent(score.score)} coverage {percent(score.coverage)} · {score.benchmark} {score.version}" in text
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert Counter(data["statuses"][data["evidence"]["status"][e]] for e in data["findings"]["evidence"]) == {
        s.value: n for s, n in expected.items() if n
    }


@settings(deadline=None, max_examples=25)
@given(runs())
def test_the_pages_of_the_pdf_print_the_same(run):
    for mode in ("by-control", "summary"):
        text = texts(as_pdf.page(run, mode))
        assert asked(run) in text
        for said, b in zip(sums(run), run.benchmarks, strict=True):
            assert said in text, (mode, b.name)


def test_the_pdf_itself_prints_the_same():
    run = sample_run.small()
    text = squeezed(as_pdf.render(run, mode="summary"))
    for said in (asked(run), *sums(run)):
        assert "".join(said.split()) in text


def test_the_inventory_counts_what_was_seen():
    run = sample_run.large(40, 10, 5)
    audited = [t for t in run.targets if t.status is TargetStatus.AUDITED]
    found = {x.kind: x for x in listings(build(run))}
    assert {k: x.count for k, x in found.items()} == {
        "host": len(audited), "engine": len(audited), "container": 5 * len(audited), "image": 5 * len(audited)
    }  # fmt: skip
    for x in found.values():
        assert sum(len(t.targets) for t in x.things) == x.recorded == x.count
    assert len(found["engine"].things) == 4
