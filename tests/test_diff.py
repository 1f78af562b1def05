"""What changed between two runs: no failure is called fixed that isn't, whatever differs between the runs."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor import score
from auditor.diff import Kind, diff
from auditor.difftext import lines, summary, to_json
from auditor.model import AuditRun, Finding, Observation, Severity, Status, TargetStatus
from auditor.recheck import Recheck, notices, of_run
from auditor.registers import AttestationMark, WaiverMark
from reports.as_diff import render
from tests.support import sample_run

FAIL, PASS, ERROR, MANUAL, NA = Status.FAIL, Status.PASS, Status.ERROR, Status.MANUAL, Status.NOT_APPLICABLE


def finding(
    status: Status = FAIL,
    subjects: str = "a",
    *,
    target: str = "web-1",
    control: str = "k",
    version: str = "1.6.0",
    actual: str = "x",
) -> Finding:
    observations = tuple(Observation(f"container/{s}", status, "set", actual) for s in subjects)
    return Finding(target, "cis-docker", version, f"5.{control}", control, f"Title {control}", 1, "automated", Severity.HIGH, status,
                   "", observations)  # fmt: skip


def run(*findings: Finding, name: str = "r1", targets: dict[str, TargetStatus] | None = None, **more) -> AuditRun:
    statuses = targets or {f.target: TargetStatus.AUDITED for f in findings} or {"web-1": TargetStatus.AUDITED}
    results = [sample_run.target(n, status=s, error=None if s is TargetStatus.AUDITED else "no route") for n, s in statuses.items()]
    made = sample_run.run_of_parts(results, list(findings), ())
    return dataclasses.replace(made, id=name, **more)


def restrict(again: AuditRun, asked: Recheck) -> AuditRun:
    """Return the run that a re-check makes of what is found again."""
    kept = tuple(f for f in again.findings if asked.asks(f))
    selection = {**again.selection, "only": [], "recheck": asked.run}
    return dataclasses.replace(again, findings=kept, scores=score.scores(kept), selection=selection, notices=notices(selection))


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (finding(PASS), finding(FAIL), Kind.NEW),
        (finding(ERROR), finding(FAIL), Kind.NEW),
        (finding(MANUAL), finding(FAIL), Kind.NEW),
        (None, finding(FAIL), Kind.NEW),
        (finding(FAIL, "a"), finding(FAIL, "ab"), Kind.WORSE),
        (finding(FAIL, "a"), finding(FAIL, "b"), Kind.WORSE),
        (finding(FAIL, "ab"), finding(FAIL, "a"), Kind.BETTER),
        (finding(FAIL, "ab"), finding(FAIL, "ba"), Kind.STILL),
        (finding(FAIL), finding(PASS), Kind.FIXED),
        (finding(FAIL), finding(NA), Kind.ENDED),
        (finding(FAIL), finding(MANUAL), Kind.ENDED),
        (finding(FAIL), finding(ERROR), Kind.LOST),
        (finding(PASS), finding(ERROR), Kind.LOST),
        (finding(FAIL), None, Kind.LOST),
        (finding(ERROR), finding(ERROR), Kind.MISSING),
        (finding(PASS, actual="1"), finding(PASS, actual="2"), Kind.EVIDENCE),
        (finding(PASS), finding(MANUAL), Kind.OTHER),
        (finding(PASS), finding(PASS), None),
        (None, finding(PASS), None),
    ],
)
def test_what_became_of_a_finding(before: Finding | None, after: Finding | None, kind: Kind | None) -> None:
    both = {"web-1": TargetStatus.AUDITED}
    found = diff(run(*filter(None, [before]), targets=both), run(*filter(None, [after]), name="r2", targets=both))
    assert [c.kind for c in found.changes] == ([kind] if kind else [])


def test_a_target_that_could_not_be_reached_fixed_nothing() -> None:
    for status in (TargetStatus.UNREACHABLE, TargetStatus.FAILED, TargetStatus.EXCLUDED):
        found = diff(run(finding()), run(name="r2", targets={"web-1": status}))
        assert [c.kind for c in found.changes] == [Kind.LOST]
    gone = diff(run(finding()), run(finding(target="other"), name="r2"))
    assert {c.kind for c in gone.changes} == {Kind.LOST, Kind.NEW}
    assert (gone.targets_gone, gone.targets_added) == (("web-1",), ("other",))


def test_versions_are_compared_by_key_and_said() -> None:
    before, after = (
        run(finding(version="1.6.0")),
        run(finding(version="1.8.0"), finding(PASS, control="new", version="1.8.0"), name="r2"),
    )
    info = sample_run.BENCHMARKS[0]
    before = dataclasses.replace(before, benchmarks=(dataclasses.replace(info, name="cis-docker", version="1.6.0"),))
    after = dataclasses.replace(
        after,
        benchmarks=(dataclasses.replace(info, name="cis-docker", version="1.8.0"),),
        selection={"tailoring": {"file": "t.yaml"}},
    )
    found = diff(before, after)
    assert [c.kind for c in found.changes] == [Kind.STILL]
    assert any("1.6.0 before, 1.8.0 after" in n for n in found.notes)
    assert any("tailoring differs" in n for n in found.notes)


def test_a_waived_failure_does_not_gate_and_one_waived_no_longer_does() -> None:
    waived = dataclasses.replace(finding(), waiver=WaiverMark(("w",), True))
    assert diff(run(finding(PASS)), run(waived, name="r2")).fresh() == []
    (change,) = diff(run(waived), run(finding(), name="r2")).fresh()
    assert (change.kind, change.note) == (Kind.WORSE, "it is waived no longer")
    assert diff(run(finding(PASS)), run(finding(), name="r2")).fresh(Severity.CRITICAL) == []


def test_the_two_ways_round_are_said() -> None:
    late, early = run(finding(), started="2026-02-01T00:00:00Z"), run(finding(), name="r2", started="2026-01-01T00:00:00Z")
    assert any("is the later one" in n for n in diff(late, early).notes)


def test_a_recheck_holds_what_failed_and_is_compared_with_that_alone() -> None:
    every = [finding(FAIL, control="f"), finding(ERROR, control="e"), finding(PASS, control="p"), finding(PASS, target="fine")]
    statuses = {"web-1": TargetStatus.AUDITED, "fine": TargetStatus.AUDITED, "lost": TargetStatus.UNREACHABLE}
    first = run(*every, targets=statuses)
    again = of_run(first)
    assert again.wanted == {"web-1": frozenset({"f", "e"}), "lost": None}
    now = [finding(PASS, control="f"), finding(FAIL, control="e"), finding(FAIL, control="p"), finding(FAIL, target="fine"),
           finding(FAIL, target="lost")]  # fmt: skip
    second = restrict(run(*now, name="r2", targets=dict.fromkeys(statuses, TargetStatus.AUDITED)), again)
    assert {(f.target, f.control) for f in second.findings} == {("web-1", "f"), ("web-1", "e"), ("lost", "k")}
    assert "re-check of run r1" in second.notices[0]
    assert not notices(first.selection)
    found = diff(first, second)
    assert found.restricted
    assert {(c.kind, c.finding.control) for c in found.changes} == {(Kind.FIXED, "f"), (Kind.NEW, "e"), (Kind.NEW, "k")}
    assert found.scores == ()
    assert of_run(run(finding(), selection={"only": ["f"], "level": 1, "benchmarks": ["b@1"]})).only == ("f",)
    assert not of_run(run(finding(PASS))).wanted


def test_a_recheck_that_reaches_no_target_says_so_once_and_of_what_failed_alone() -> None:
    """What passed was not to be looked at again, so that it isn't lost; a whole target is one line, not one a finding."""
    first = run(*(finding(s, control=f"{s.value}-{n}") for s in (FAIL, ERROR, PASS, NA) for n in range(60)))
    second = restrict(run(name="r2", targets={"web-1": TargetStatus.UNREACHABLE}), of_run(first))
    found = diff(first, second)
    assert {(c.kind, c.finding.status) for c in found.changes} == {(Kind.LOST, FAIL), (Kind.LOST, ERROR)}
    assert [s for s in lines(found) if "web-1" in s] == [
        "  web-1: 120 findings, 60 of them failed before: the target was not audited, no route"
    ]
    whole = diff(first, run(name="r2", targets={"web-1": TargetStatus.UNREACHABLE}))
    assert [s for s in lines(whole) if "web-1" in s] == [
        "  web-1: 240 findings, 60 of them failed before: the target was not audited, no route"
    ]


def test_what_got_better_stands_before_what_stayed_in_text_json_and_page() -> None:
    before = (
        finding(PASS, control="1"),
        finding(control="2"),
        finding(FAIL, "ab", control="3"),
        finding(control="4"),
        finding(ERROR, control="5"),
    )
    after = (
        finding(control="1"),
        finding(control="2", actual="y"),
        finding(control="3"),
        finding(PASS, control="4"),
        finding(ERROR, control="5"),
    )
    found = diff(run(*before), run(*after, name="r2"))
    titles = ["New failures", "Fixed", "Better: fewer", "Still failing", "Still not judged"]
    for text in ("\n".join(lines(found)), re.sub(r"^.*?<h2", "", render(found).decode(), flags=re.DOTALL)):
        places = [text.index(title) for title in titles]
        assert places == sorted(places)
    assert [c["kind"] for c in json.loads(to_json(found))["changes"]] == ["new", "fixed", "better", "still", "missing"]


def test_a_lost_target_is_a_line_in_the_page_too() -> None:
    first = run(
        *(finding(s, control=f"{s.value}-{n}") for s in (FAIL, PASS) for n in range(60)), finding(control="k", target="web-2")
    )
    lost = {"web-1": TargetStatus.UNREACHABLE, "web-2": TargetStatus.AUDITED}
    page = render(diff(first, run(finding(ERROR, control="k", target="web-2"), name="r2", targets=lost))).decode()
    assert page.count("<p>web-1: 120 findings, 60 of them failed before: the target was not audited, no route</p>") == 1
    assert page.count("web-1") == 2, "there, and among the scores"
    assert page.count("<tr><td") == 1, "web-2's, which was audited"


def test_a_recheck_without_the_tailoring_of_the_run_says_so() -> None:
    """Its verdicts may differ for that alone."""
    first = run(finding(), selection={"tailoring": ["t.yaml (SHA-256 1)"]})
    assert any("The tailoring differs: t.yaml" in n for n in diff(first, restrict(run(finding(), name="r2"), of_run(first))).notes)


def test_a_failure_that_a_person_attested_is_called_that() -> None:
    attested = dataclasses.replace(finding(MANUAL), attestation=AttestationMark("a", "fail"))
    for before, note in ((run(finding(MANUAL)), "was manual, now attested as fail"), (run(attested), "attested as fail")):
        (change,) = diff(before, run(attested, name="r2")).changes
        assert change.note == note
    (told,) = json.loads(to_json(diff(before, run(attested, name="r2"))))["changes"]
    assert (told["after"]["status"], told["after"]["attested"], told["gates"]) == ("manual", "fail", False)


runs = st.lists(
    st.builds(
        finding, st.sampled_from(list(Status)), st.sampled_from(["", "a", "b", "ab"]), target=st.sampled_from(["t", "u"]),
        control=st.sampled_from("jkl"), version=st.sampled_from(["1", "2"]),
    ),
    max_size=8, unique_by=lambda f: (f.target, f.control, f.version),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(runs, runs)
def test_every_finding_is_accounted_for(before: list[Finding], after: list[Finding]) -> None:
    both = dict.fromkeys("tu", TargetStatus.AUDITED)
    found = diff(run(*before, targets=both), run(*after, name="r2", targets=both))
    listed = [c.after for c in found.changes if c.after]
    assert len({id(f) for f in listed}) == len(listed), "no finding of the later run is in two changes"
    assert len(listed) + found.same + found.added == len(after)
    gone = [c for c in found.changes if c.after is None]
    paired = len(listed) + found.same - sum(c.before is None for c in found.changes if c.after)
    once_more = paired + len(gone) + found.dropped - len(before)  # earlier findings that the later run judges once more
    assert 0 <= once_more <= len(after)
    if {(f.target, f.control, f.version) for f in before} >= {(f.target, f.control, f.version) for f in after}:
        assert not once_more
    failed = [f for f in after if f.status is FAIL]
    now = [c for c in found.changes if c.kind in (Kind.NEW, Kind.WORSE, Kind.STILL, Kind.BETTER)]
    assert len(now) == len(failed)
    assert all(c.after.status is PASS for c in found.by_kind[Kind.FIXED] if c.after)
    assert not diff(run(*after, targets=both), run(*after, targets=both)).fresh()


def test_what_only_one_run_judged_is_not_called_the_same() -> None:
    both = dict.fromkeys(("web-1", "web-2"), TargetStatus.AUDITED)
    before = run(finding(PASS), finding(PASS, control="old"), targets=both)
    after = run(finding(PASS), finding(PASS, target="web-2"), finding(NA, target="web-2", control="z"), name="r2", targets=both)
    found = diff(before, after)
    assert (found.same, found.added, found.dropped, found.changes) == (1, 2, 1, ())
    said = "the same: 1, judged in the later run alone: 2, in the earlier run alone: 1."
    assert summary(found) == said
    assert json.loads(to_json(found))["summary"]["added"] == 2


def test_a_control_in_one_more_benchmark_is_compared_with_the_verdict_that_it_had() -> None:
    own = dataclasses.replace(finding(), benchmark="shop", version="1", id="1.1")
    found = diff(run(finding()), run(finding(), own, name="r2"))
    assert [c.kind for c in found.changes] == [Kind.STILL, Kind.STILL]
    assert not found.fresh(), "nothing became worse on the target"
    back = diff(run(finding(), own), run(finding(PASS), name="r2"))
    assert [c.kind for c in back.changes] == [Kind.FIXED]
    assert back.dropped == 1, "what became of the control is said once"


def test_scores_are_compared_with_those_of_the_same_version() -> None:
    old, new = (finding(FAIL, version="1.7.0"), finding(PASS, version="1.8.0"))
    before, after = (dataclasses.replace(r, scores=score.scores(r.findings)) for r in (run(old), run(old, new, name="r2")))
    assert [(s.before, s.after, s.versions) for s in diff(before, after).scores] == [
        (0, 0, ("1.7.0", "1.7.0")),
        (None, 100, ("", "1.8.0")),
    ]


def test_text_json_and_page_hold_the_same_and_obey_nobody() -> None:
    evil = "\x1b[31m<script>alert(1)</script>\u202e"
    before = run(finding(PASS), finding(PASS, control=evil), finding(control="z"))
    after = run(finding(), finding(FAIL, evil[:3], control=evil, actual=evil), finding(PASS, control="z"), name="r2")
    found = diff(before, after)
    text = "\n".join(lines(found))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "New failures (2)" in text
    document = json.loads(to_json(found))
    assert document["summary"]["new"] == 2 == len(found.fresh())
    assert document["summary"]["fixed"] == 1
    page = render(found).decode()
    assert "<script" not in page
    assert "Content-Security-Policy" in page
    assert "New failures (2)" in page
    assert "new failure: 2" in summary(found)


def test_a_fleet_is_compared_in_a_moment(tmp_path: Path) -> None:
    whole = sample_run.large(100)
    changed = tuple(dataclasses.replace(f, status=PASS) if f.status is FAIL else f for f in whole.findings)
    found = diff(whole, dataclasses.replace(whole, id="r2", findings=changed))
    assert len(found.by_kind[Kind.FIXED]) == sum(f.status is FAIL for f in whole.findings)
    assert len(list(lines(found))) < 200
