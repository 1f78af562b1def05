"""How much of each benchmark a run looked at, in words that are true of what was audited: in terminal, HTML, PDF and Markdown alike."""

import dataclasses
from pathlib import Path

import pytest

from auditor import evidence
from auditor.audit import Judge, Selection
from auditor.catalogue import packaged
from auditor.extent import Extent
from auditor.model import AuditRun, Counts, Evidence, Target, TargetStatus
from auditor.summary import show
from auditor.tailoring import load
from auditor.transports.docker import collect_engine
from checks import check_types
from reports import as_html, as_markdown, as_pdf
from tests.support import sample_run
from tests.support.engine_api import Spec, serving
from tests.test_reports_words import words_of

ROOT = Path(__file__).parent.parent
SITE = """\
tailoring: 1
benchmarks:
  - {benchmark: cis-docker, level: 1, sections: ["1", "2", "5"], reason: The baseline}
  - {benchmark: cis-kubernetes, level: 1, sections: ["1", "4", "5"], reason: The baseline}
"""
KUBE, OTHER = "cis-kubernetes 2.0.1", "for other kinds of targets than were audited here"
HALF = "of 131 controls (34 for other kinds of targets than were audited here)"
#: What was audited -> (what stands over a benchmark in reports, ...), in the benchmarks' order; what a terminal says.
SAID = {
    "docker host": (
        [f"Nothing applies. Of the 131 controls of {KUBE}, 97 were looked at; 34 {OTHER}. None of the 97 applies here, so there is no score."],
        f"cis-docker 1.8.0: 118 of 118 controls; {KUBE}: 97 {HALF}, none of which applies.",
    ),
    "node": (
        ["Nothing applies. All 118 controls of cis-docker 1.8.0 were looked at. None of the 118 applies here, so there is no score.",
         f"Partial benchmark. Of the 131 controls of {KUBE}, 97 were looked at; 34 {OTHER}. A score here says nothing about the other 34."],
        f"cis-docker 1.8.0: 118 of 118 controls, none of which applies; {KUBE}: 97 {HALF}.",
    ),
    "cluster": (
        ["Nothing applies. All 4 controls of cluster-consistency 1 were looked at. None of the 4 applies here, so there is no score."],
        f"{KUBE}: 131 of 131 controls; cluster-consistency 1: 4 of 4 controls, none of which applies.",
    ),
    "engine": (
        [],
        "cis-docker 1.8.0: 118 of 118 controls.",
    ),
    "docker host, tailored": (
        [("Partial benchmark. Of the 118 controls of cis-docker 1.8.0, 49 were looked at; 69 left out by tailoring. "
         "A score here says nothing about the other 69."),
         (f"Nothing applies. Of the 131 controls of {KUBE}, 81 were looked at; 25 left out by tailoring, 25 {OTHER}. "
         "None of the 81 applies here, so there is no score.")],
        ("cis-docker 1.8.0: 49 of 118 controls (69 left out by tailoring); "
        f"{KUBE}: 81 of 131 controls (25 left out by tailoring, 25 {OTHER}), none of which applies."),
    ),
    "node, tailored": (
        [("Nothing applies. Of the 118 controls of cis-docker 1.8.0, 49 were looked at; 69 left out by tailoring. "
         "None of the 49 applies here, so there is no score."),
         (f"Partial benchmark. Of the 131 controls of {KUBE}, 81 were looked at; 25 left out by tailoring, 25 {OTHER}. "
         "A score here says nothing about the other 50.")],
        ("cis-docker 1.8.0: 49 of 118 controls (69 left out by tailoring), none of which applies; "
        f"{KUBE}: 81 of 131 controls (25 left out by tailoring, 25 {OTHER})."),
    ),
    "cluster, tailored": (
        [f"Partial benchmark. Of the 131 controls of {KUBE}, 106 were looked at; 25 left out by tailoring. A score here says nothing about the other 25.",
         "Nothing applies. All 4 controls of cluster-consistency 1 were looked at. None of the 4 applies here, so there is no score."],
        f"{KUBE}: 106 of 131 controls (25 left out by tailoring); cluster-consistency 1: 4 of 4 controls, none of which applies.",
    ),
    "engine, tailored": (
        [("Partial benchmark. Of the 118 controls of cis-docker 1.8.0, 49 were looked at; 69 left out by tailoring. "
         "A score here says nothing about the other 69.")],
        "cis-docker 1.8.0: 49 of 118 controls (69 left out by tailoring).",
    ),
}  # fmt: skip


def found(what: str) -> Evidence:
    """The demo's host or node, its cluster as its API alone shows it, or a recorded engine over TCP."""
    if what == "engine":
        keys = frozenset(fact.key for fact in Selection().resolve(packaged(check_types())).needs("host"))
        with serving(("127.0.0.1", 0)) as server:
            facts = collect_engine(Spec(f"tcp://127.0.0.1:{server.server_address[1]}"), keys)
        return Evidence(Target("ci", "docker", "tcp://10.0.0.9:2376"), "2026-01-01T00:00:00Z", facts)
    name = {"docker host": "web-1", "node": "cp-1", "cluster": "shop"}[what]
    kept = evidence.load(ROOT / "auditor" / "demo" / f"{name}.evidence.json")
    return dataclasses.replace(kept, target=dataclasses.replace(kept.target, nodes=()))


def audited(what: str, folder: Path) -> AuditRun:
    what, _, tailored = what.partition(", ")
    selection, library = Selection(), packaged(check_types())
    if tailored:
        (folder / "site.yaml").write_text(SITE)
        site = load(library, folder / "site.yaml")
        selection, library = Selection(tailoring=site), site.library
    one = found(what)
    judge = Judge(selection.resolve(library), {"level": 2})
    judge.add(one)
    return judge.run([one.target.name])


@pytest.mark.parametrize("what", SAID)
def test_says_how_much_was_looked_at(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = audited(what, tmp_path)
    over, line = SAID[what]
    for page in (as_html.render(run).decode(), as_pdf.page(run)):
        text = words_of(page)
        cover = text.partition("Dangerous failures")[0] if "<noscript" not in page else text.partition("Scope and completeness")[0]
        for heading in ("Nothing applies.", "No evidence.", "Partial benchmark."):
            assert cover.count(heading) == sum(s.startswith(heading) for s in over), heading
        assert all(s in cover for s in over)
        assert ("Nothing to score: none of its controls applies here." in text) == any("None of the" in s for s in over)
        assert "none score" not in text
    show(run, [], [])
    assert f"Looked at: {line}" in " ".join(capsys.readouterr().out.split())
    markdown = b"".join(as_markdown.render(run)).decode().replace("`", "")
    for part in line.rstrip(".").split("; "):
        name, _, brief = part.partition(": ")
        assert (f"- {name}: looked at {brief}." in markdown) == any(f" {name}" in s for s in over)


def test_words_for_what_is_rare() -> None:
    benchmark = sample_run.BENCHMARKS[0]
    counts = Counts(pass_=1, not_applicable=2, error=3)
    assert Extent(dataclasses.replace(benchmark, controls_total=12), 12, counts).sentence == ""
    assert Extent(benchmark, 12, counts).sentence == (
        "Of the 117 controls of cis-docker 1.6.0, 12 were looked at. A score here says nothing about the other 105."
    )
    blind = Extent(dataclasses.replace(benchmark, controls_total=97), 97, Counts(error=97))
    assert blind.heading == "No evidence"
    assert blind.sentence.endswith("Evidence is missing for all of the 97: whether they are met, or apply at all, is not known.")
    assert blind.brief == "97 of 97 controls, evidence missing for all of them"
    known = dataclasses.replace(benchmark, left_out={"tailoring": 36, "--level": 2})
    assert Extent(known, 1, counts, again=True).sentence == (
        "Of the 117 controls of cis-docker 1.6.0, 1 was looked at again; 36 left out by tailoring, 2 left out by --level, "
        "67 not known to this program, 11 not asked for. A score here says nothing about the other 116."
    )
    assert Extent(known, 0, Counts()).heading == "Nothing looked at"
    assert Extent(known, 0, Counts()).sentence.startswith(
        "Of the 117 controls of cis-docker 1.6.0, none were looked at; 36 left out"
    )
    blind = Extent(dataclasses.replace(benchmark, controls_total=12), 12, Counts(error=1, not_applicable=1))
    assert blind.brief == "12 of 12 controls, evidence missing for all that may apply"
    assert blind.sentence.endswith(
        "Evidence is missing for all of the 12 that may apply: whether they are met, or apply at all, is not known."
    )


def test_a_target_that_a_limit_left_out_says_so() -> None:
    run = sample_run.small()
    targets = tuple(dataclasses.replace(t, error=None) if t.status is TargetStatus.EXCLUDED else t for t in run.targets)
    run = dataclasses.replace(run, targets=targets)
    for page in (as_html.render(run).decode(), as_pdf.page(run)):
        text = words_of(page)
        assert "left out by --limit" in text
        assert "no reason given" not in text
