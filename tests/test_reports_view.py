"""The view model: its numbers add up, it drops nothing, and it puts danger first."""

import dataclasses
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

import reports
from auditor.model import Counts, Finding, Observation, Severity, Status, TargetKind, TargetStatus
from auditor.score import count
from reports.build import build
from reports.text import cut_note, percent, visible
from reports.view import count_of
from tests.support import sample_run

INFOS = sample_run.DOCKER_CONTROLS
observations = st.lists(
    st.builds(Observation, st.sampled_from(["container/a", "container/b", "file//x"]), st.sampled_from(list(Status)[:4]),
              st.just("1"), st.sampled_from(["0", "1"]), st.just("s")), max_size=3).map(tuple)  # fmt: skip


@st.composite
def runs(draw):
    targets = [sample_run.target(f"t{n}", draw(st.sampled_from(TargetKind)), draw(st.sampled_from(TargetStatus)))
               for n in range(draw(st.integers(0, 6)))]  # fmt: skip
    findings = [
        sample_run.finding(t.name, sample_run.DOCKER, info, draw(observations))
        for t in targets if t.status is TargetStatus.AUDITED for info in INFOS if draw(st.booleans())
    ]  # fmt: skip
    return sample_run.run_of_parts(targets, findings, sample_run.BENCHMARKS[:1])


@settings(deadline=None, max_examples=60)
@given(runs())
def test_numbers_reconcile(run):
    """Summary, by control and by target count the same findings, and the targets asked are those reached and those not."""
    view = build(run)
    for status in Status:
        expected = sum(f.status is status for f in run.findings)
        assert count_of(view.counts, status) == expected
        assert sum(count_of(c.counts, status) for c in view.controls) == expected
        assert sum(count_of(b.counts, status) for b in view.benchmarks) == expected
        assert sum(count_of(t.counts, status) for t in view.targets) == expected
    assert sum(len(ts) for ts in view.reached.values()) == len(run.targets)
    assert sum(len(t.failures) for t in view.targets) == view.counts.fail
    assert all(sum(b.bins()) == sum(s.score is not None for s in b.scores) for b in view.benchmarks)


@settings(deadline=None, max_examples=60)
@given(runs())
def test_nothing_is_dropped_or_added(run):
    view = build(run)
    listed = Counter(
        (t, c.info.id, g.status, g.reason, g.observations) for c in view.controls for g in c.groups for t in g.targets
    )  # fmt: skip
    assert listed == Counter((f.target, f.id, f.status, f.reason, f.observations) for f in run.findings)


def test_findings_of_unknown_controls_are_kept():
    stranger = Finding("web-1", "other", "9", "1.1", "k", "A stranger", 1, "manual", Severity.HIGH, Status.FAIL)
    late = Finding("web-1", *sample_run.DOCKER, "99.1", "k2", "Late", 1, "manual", Severity.LOW, Status.PASS)
    view = build(sample_run.run_of_parts([sample_run.target("web-1")], [stranger, late]))
    assert {c.info.title for c in view.controls if c.groups} == {"A stranger", "Late"}
    assert view.counts == count([stranger, late])


def test_dangerous_failures_are_the_worst_first_and_complete():
    run = sample_run.small()
    view = build(run)
    expected = {f.id for f in run.findings if f.status is Status.FAIL and f.severity in (Severity.CRITICAL, Severity.HIGH)}
    assert {c.info.id for c in view.dangerous} == expected
    severities = [c.info.severity for c in view.dangerous]
    assert severities == sorted(severities, key=list(Severity).index)
    assert view.dangerous_failures == 6
    assert {c.info.id for c in view.undecided} == {"4.2.1", "5.1.2"}


def test_the_same_evidence_stands_once():
    run = sample_run.large(40, 20)
    view = build(run)
    for control in view.controls:
        evidence = [(g.status, g.reason, g.observations) for g in control.groups]
        assert len(evidence) == len(set(evidence))
    assert sum(len(c.groups) for c in view.controls) < len(run.findings)


def test_anchors_are_unique_and_plain():
    view = build(sample_run.hostile(1000))
    anchors = [c.anchor for c in view.controls] + [t.anchor for t in view.targets]
    assert len(anchors) == len(set(anchors))
    assert all(a.isascii() and a.replace("-", "").replace(".", "").replace("_", "").isalnum() for a in anchors)


def test_partial_benchmarks_are_known_as_such():
    docker, kubernetes = build(sample_run.small()).benchmarks
    assert (docker.extent.partial, docker.extent.looked, docker.info.controls_total) == (True, 12, 117)
    assert (kubernetes.extent.partial, kubernetes.extent.looked) == (True, 10)
    assert not build(sample_run.large(1)).benchmarks[0].extent.partial


def test_missing_evidence_is_listed_by_its_reason():
    gaps = build(sample_run.small()).gaps
    assert [(g.findings, g.targets, [c.info.id for c in g.controls]) for g in gaps] == [
        (2, ("cp-1",), ["4.2.1", "4.2.10"]),
        (1, ("prod",), ["5.1.2"]),
    ]


def test_an_empty_run_has_a_view():
    view = build(sample_run.run_of_parts([], [], ()))
    assert view.counts == Counts()
    assert not view.dangerous


@given(st.text(st.characters(), max_size=80))
def test_visible_text_hides_nothing(text):
    shown = visible(text)
    shown.encode("utf-8")
    assert not any(
        (ord(c) < 32 and c not in "\t\n") or 0x7F <= ord(c) < 0xA0 or 0x202A <= ord(c) <= 0x202E or ord(c) in (0xFFFE, 0xFFFF)
        for c in shown
    )
    assert visible(shown) == shown


def test_visible_text_shows_codes():
    assert visible("a\x1b[31m\u202eb\udc80\x00") == "a\\x1b[31m\\u202eb\\udc80\\x00"
    assert visible("Grüße, κόσμε\n\tпривет") == "Grüße, κόσμε\n\tпривет"
    assert visible("a" + "\u0301" * 50) == "a" + "\u0301" * 4 + "…"


def test_a_percentage_is_never_rounded_up_to_all():
    assert percent(99.99) == "99.9 %"
    assert percent(100.0) == "100.0 %"
    assert percent(None) == "none"


def test_a_cut_says_how_much_and_where_the_rest_is():
    assert cut_note(4000) == ""
    assert "4,000 of 5,000 characters" in cut_note(5000)
    assert "results.json" in cut_note(5000)


def test_policy_inputs_stand_beside_the_verdicts_that_used_them() -> None:
    run = sample_run.small()
    used = dataclasses.replace(
        run.findings[0], parameters={"allowed_ports": [80, 443], "strict": True, "newest": ""}, tailored=True
    )
    run = dataclasses.replace(run, findings=(used, *run.findings[1:]))
    text = "allowed ports: 80, 443; strict: yes; newest: not set (set by this site)"
    view = build(run)
    (control,) = [c for b in view.benchmarks for c in b.controls if c.policy]
    assert (control.info.id, control.policy) == (used.id, text)
    assert text in reports.render(run, "html").decode()
