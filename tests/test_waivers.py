"""Waivers and attestations on findings: what they cover, when, and what the registers say."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.dates import begin_of, end_of, written, zone_of
from auditor.model import Finding, Observation, Severity, Status
from auditor.registers import AttestationMark, State, WaiverMark
from auditor.score import ADJUSTED_COVERAGE_FORMULA, ADJUSTED_SCORE_FORMULA, adjusted_score_of, count, score_of, scores, stands
from auditor.waivers import Attestation, Narrowed, Register, Scope, Waiver, apply

NOW = "2026-06-15T12:00:00Z"
TARGETS = {"web-1": ("prod", "edge"), "web-2": ("prod",), "db-1": ()}
PASS, FAIL, ERROR, MANUAL = Status.PASS, Status.FAIL, Status.ERROR, Status.MANUAL


def finding(status: Status = FAIL, target: str = "web-1", key: str = "k", **subjects: Status) -> Finding:
    seen = tuple(Observation(f"container/{name}", s) for name, s in (subjects or {"a": status}).items())
    return Finding(target, "cis-docker", "1.8.0", "5.5", key, "K", 1, "automated", Severity.HIGH, status, "", seen)


def waiver(name: str = "W1", since: str = "", until: str = "2026-12-31", zone: str = "UTC", **keys: Any) -> Waiver:
    subjects = tuple(keys.pop("subjects", ()))
    scope = Scope(**{"control": "k", "targets": ("*",), **keys})
    begin = begin_of(since, zone_of(zone)) if since else None
    return Waiver(id=name, scope=scope, subjects=subjects, reason="r", owner="o", approver="p", ticket="", starts=since,
                  expires=until, since=begin, until=end_of(until, zone_of(zone)), place="w.yaml:3")  # fmt: skip


def attestation(
    name: str = "A1", verdict: str = "pass", at: str = "2026-01-01", until: str = "2026-12-31", **keys: Any
) -> Attestation:
    return Attestation(id=name, scope=Scope(**{"control": "k", "targets": ("*",), **keys}), verdict=verdict, by="b", at=at,
                       statement="s", evidence="e", expires=until, since=begin_of(at, UTC), until=end_of(until, UTC),
                       place="w.yaml:9")  # fmt: skip


def waived(found: Finding, *waivers: Waiver, at: str = NOW) -> WaiverMark | None:
    (marked,), _, _ = apply([found], TARGETS, waivers, (), at)
    assert (marked.status, marked.observations) == (found.status, found.observations), "a waiver changes no verdict"
    return marked.waiver


def state_of(entry: Waiver | Attestation, *findings: Finding, at: str = NOW) -> tuple[State, str]:
    waivers = [entry] if isinstance(entry, Waiver) else []
    attestations = [entry] if isinstance(entry, Attestation) else []
    _, w, a = apply(findings, TARGETS, waivers, attestations, at)
    return (*w, *a)[0].state, (*w, *a)[0].note


@pytest.mark.parametrize(
    ("at", "holds"),
    [
        ("2026-05-31T23:59:59Z", False),
        ("2026-06-01T00:00:00Z", True),
        ("2026-06-30T23:59:59Z", True),
        ("2026-07-01T00:00:00Z", False),
    ],
)
def test_a_waiver_holds_from_the_first_to_the_last_instant_of_its_days(at: str, holds: bool) -> None:
    entry = waiver(since="2026-06-01", until="2026-06-30")
    assert (waived(finding(), entry, at=at) is not None) is holds
    expected = State.IN_FORCE if holds else State.NOT_YET_VALID if at < "2026-06" else State.EXPIRED
    assert state_of(entry, finding(), at=at)[0] is expected


@pytest.mark.parametrize(("zone", "holds"), [("UTC", False), ("-05:00", True), ("America/New_York", True), ("+09:00", False)])
def test_the_end_of_a_day_is_that_of_its_zone(zone: str, holds: bool) -> None:
    entry = waiver(until="2028-02-29", zone=zone)
    assert (waived(finding(), entry, at="2028-03-01T03:00:00Z") is not None) is holds


INSTANTS = st.datetimes(datetime.fromisoformat("2001-01-01"), datetime.fromisoformat("2900-01-01")).map(
    lambda d: d.replace(microsecond=0, tzinfo=UTC)
)


@given(INSTANTS, st.integers(0, 5000), st.integers(-6000, 6000), st.sampled_from(["UTC", "+14:00", "-12:00", "Europe/Berlin"]))
def test_a_waiver_holds_exactly_between_its_instants(start: datetime, days: int, later: int, zone: str) -> None:
    since, until = start.date().isoformat(), (start + timedelta(days=days)).date().isoformat()
    entry = waiver(since=since, until=until, zone=zone)
    assert entry.since is not None
    at = start + timedelta(hours=later)
    inside = entry.since <= at < entry.until
    assert (waived(finding(), entry, at=written(at)) is not None) is inside
    assert (state_of(entry, finding(), at=written(at))[0] is State.IN_FORCE) is inside


@pytest.mark.parametrize(
    ("keys", "fits"),
    [
        ({"targets": ("web-*",)}, True),
        ({"targets": ("web-2", "db-?")}, False),
        ({"targets": ("web",)}, False),
        ({"targets": (), "groups": ("edge",)}, True),
        ({"targets": ("web-*",), "groups": ("data",)}, False),
        ({"targets": ("db-*",), "groups": ("prod",)}, False),
        ({"control": "other"}, False),
        ({"benchmark": "cis-docker"}, True),
        ({"benchmark": "cis-docker", "version": "1.8.0"}, True),
        ({"benchmark": "cis-docker", "version": "1.7.0"}, False),
        ({"benchmark": "cis-kubernetes"}, False),
        ({"subjects": ("container/a",)}, True),
        ({"subjects": ("container/*",)}, True),
        ({"subjects": ("image/*",)}, False),
        ({"subjects": ("a",)}, False),
    ],
)
def test_who_is_meant(keys: dict[str, Any], fits: bool) -> None:
    entry = waiver(**keys)
    assert (waived(finding(), entry) is not None) is fits
    state, note = state_of(entry, finding())
    assert state is (State.IN_FORCE if fits else State.MATCHES_NOTHING)
    assert bool(note) is not fits


def test_a_failure_is_waived_only_if_all_that_fails_is_covered() -> None:
    found = finding(FAIL, a=FAIL, b=FAIL, c=PASS)
    part = waiver(subjects=["container/a"])
    assert waived(found, part) == WaiverMark(("W1",), False, ("container/a",))
    assert "waived in part" in state_of(part, found)[1]
    assert waived(found, waiver(subjects=["container/[ab]"])) == WaiverMark(("W1",), True)
    assert waived(found, part, waiver("W2", subjects=["container/b"])) == WaiverMark(("W1", "W2"), True)
    assert waived(found, part, waiver("W2", subjects=["container/b"], until="2026-01-01")) == WaiverMark(
        ("W1",), False, ("container/a",)
    )
    assert waived(found, waiver()) == WaiverMark(("W1",), True)
    assert waived(found, waiver(subjects=["container/c"])) is None


def test_an_error_beside_a_failure_is_not_waived_away() -> None:
    found = finding(FAIL, a=FAIL, b=ERROR)
    assert waived(found, waiver(subjects=["container/a"])) == WaiverMark(("W1",), False, ("container/a",))
    assert waived(found, waiver(subjects=["container/b"])) is None
    assert waived(found, waiver(subjects=["container/*"])) == WaiverMark(("W1",), True)


@pytest.mark.parametrize("status", [PASS, ERROR, MANUAL, Status.NOT_APPLICABLE])
def test_only_failures_are_waived(status: Status) -> None:
    assert waived(finding(status), waiver()) is None
    state, note = state_of(waiver(), finding(status))
    assert state is State.NOT_NEEDED
    assert f"1 {status.value.replace('_', ' ')}" in note


def test_an_expired_waiver_says_what_it_would_cover() -> None:
    entry = waiver(until="2026-01-01")
    assert state_of(entry, finding(), finding(target="web-2")) == (State.EXPIRED, "it would cover 2 failures")
    assert state_of(entry, finding(PASS)) == (State.EXPIRED, "nothing that it covers fails")


def test_who_approves_the_own_waiver_is_pointed_out() -> None:
    import dataclasses

    assert "its owner approved it" in state_of(dataclasses.replace(waiver(), approver="O"), finding())[1]


def attested(found: Finding, *entries: Attestation) -> AttestationMark | None:
    (marked,), _, _ = apply([found], TARGETS, (), entries, NOW)
    assert marked.status is found.status
    return marked.attestation


def test_attestations() -> None:
    assert attested(finding(MANUAL), attestation()) == AttestationMark("A1", "pass")
    assert attested(finding(MANUAL), attestation(until="2026-06-14")) is None
    assert attested(finding(MANUAL), attestation(at="2026-06-16")) is None
    assert attested(finding(FAIL), attestation()) is None
    assert state_of(attestation(), finding(FAIL)) == (State.NOT_MANUAL, "evidence decides, not the attestation: 1 fail")
    state, note = state_of(attestation(), finding(MANUAL), finding(PASS, "web-2"))
    assert (state, note) == (State.IN_FORCE, "evidence decides, not the attestation: 1 pass")
    assert state_of(attestation(targets=("nobody",)), finding(MANUAL))[0] is State.MATCHES_NOTHING
    assert state_of(attestation(at="2026-06-16"), finding(MANUAL)) == (State.NOT_YET_VALID, "it would decide 1 finding")
    assert state_of(attestation(until="2026-06-14"), finding(MANUAL)) == (State.EXPIRED, "it would decide 1 finding")


def test_the_latest_attestation_counts_and_at_the_same_time_the_worse() -> None:
    old, new = attestation("A1", "fail"), attestation("A2", "pass", at="2026-02-01")
    assert attested(finding(MANUAL), old, new) == AttestationMark("A2", "pass")
    _, _, entries = apply([finding(MANUAL)], TARGETS, (), (old, new), NOW)
    assert [e.state for e in entries] == [State.SUPERSEDED, State.IN_FORCE]
    assert attested(finding(MANUAL), attestation("A1", "pass"), attestation("A2", "fail")) == AttestationMark("A2", "fail")
    assert attested(finding(MANUAL), attestation("A1", "fail"), attestation("A2", "pass")) == AttestationMark("A1", "fail")


STATUSES = st.sampled_from(list(Status))
SUBJECTS = st.dictionaries(st.sampled_from("abc"), STATUSES, min_size=1)


def made(parts: Sequence[tuple[dict[str, Status], str, str]]) -> list[Finding]:
    from auditor.model import worst

    return [finding(worst(s.values()), target, key, **s) for s, target, key in parts]


FINDINGS = st.lists(st.tuples(SUBJECTS, st.sampled_from(sorted(TARGETS)), st.sampled_from("kl")), max_size=12).map(made)
WAIVERS = st.lists(
    st.builds(
        lambda key, until, targets, subjects: (key, until, targets, subjects),
        st.sampled_from("kl"), st.sampled_from(["2026-01-01", "2026-12-31"]),
        st.sampled_from([("*",), ("web-*",), ("db-1",), ("nobody",)]),
        st.sampled_from([(), ("container/a",), ("container/[bc]",), ("image/*",)]),
    ), max_size=5,
).map(lambda rows: [waiver(f"W{n}", until=u, control=k, targets=t, subjects=s) for n, (k, u, t, s) in enumerate(rows)])  # fmt: skip
ATTESTED = st.lists(st.tuples(st.sampled_from("kl"), st.sampled_from(["pass", "fail"]), st.sampled_from(["2026-01-01", "2026-12-31"])),
                    max_size=3).map(
    lambda rows: [attestation(f"A{n}", v, until=u, control=k) for n, (k, v, u) in enumerate(rows)]
)  # fmt: skip


@given(FINDINGS, WAIVERS, ATTESTED)
def test_registers_and_counts_reconcile_with_the_marks(
    findings: list[Finding], waivers: list[Waiver], entries: list[Attestation]
) -> None:
    marked, w, a = apply(findings, TARGETS, waivers, entries, NOW)
    assert [(f.target, f.control, f.status, f.observations) for f in marked] == [
        (f.target, f.control, f.status, f.observations) for f in findings
    ]
    assert (len(w), len(a)) == (len(waivers), len(entries))
    for entry in w:
        marks = [f.waiver for f in marked if f.waiver and entry.id in f.waiver.waivers]
        assert (sum(m.complete for m in marks), sum(not m.complete for m in marks)) == (entry.waived, entry.partly)
        assert (entry.state is State.IN_FORCE) == bool(marks)
    for entry in a:
        decided = [f for f in marked if f.attestation and f.attestation.attestation == entry.id]
        assert len(decided) == entry.findings
    for f in marked:
        assert f.waiver is None or f.status is FAIL
        assert f.attestation is None or f.status is MANUAL
        if f.waiver and not f.waiver.complete:
            assert set(f.waiver.subjects) <= {o.subject for o in f.observations if o.status is FAIL}
    plain, counts = count(findings), count(marked)
    assert (plain.pass_, plain.fail, plain.manual, plain.error) == (counts.pass_, counts.fail, counts.manual, counts.error)
    assert counts.waived <= counts.fail
    assert counts.attested_pass + counts.attested_fail <= counts.manual
    assert sum(map(stands, marked)) == counts.fail - counts.waived + counts.attested_fail
    for s in scores(marked):
        assert s.score == score_of(s.counts), "the score of the evidence alone doesn't move"


@given(FINDINGS, WAIVERS)
def test_waivers_alone_never_lower_a_score_nor_hide_an_error(findings: list[Finding], waivers: list[Waiver]) -> None:
    marked, _, _ = apply(findings, TARGETS, waivers, (), NOW)
    counts = count(marked)
    if score_of(counts) is not None and adjusted_score_of(counts) is not None:
        assert adjusted_score_of(counts) >= score_of(counts)
        if counts.error:
            assert adjusted_score_of(counts) < 100


@given(FINDINGS, WAIVERS, ATTESTED)
def test_the_printed_formulas_are_the_ones_that_are_used(
    findings: list[Finding], waivers: list[Waiver], entries: list[Attestation]
) -> None:
    import re

    from auditor.score import adjusted_coverage_of

    marked, _, _ = apply(findings, TARGETS, waivers, entries, NOW)
    c = count(marked)
    numbers = {"pass": c.pass_, "fail": c.fail, "error": c.error, "manual": c.manual, "waived": c.waived,
               "attested_pass": c.attested_pass, "attested_fail": c.attested_fail}  # fmt: skip
    for formula, figure in ((ADJUSTED_SCORE_FORMULA, adjusted_score_of(c)), (ADJUSTED_COVERAGE_FORMULA, adjusted_coverage_of(c))):
        arithmetic = re.sub(r"[a-z_]+", lambda m: str(numbers[m[0]]), formula.partition("= ")[2].replace(" x ", " * "))
        try:
            assert figure == pytest.approx(eval(arithmetic))
        except ZeroDivisionError:
            assert figure is None


@given(FINDINGS, WAIVERS, ATTESTED)
def test_judging_the_same_again_gives_the_same(findings: list[Finding], waivers: list[Waiver], entries: list[Attestation]) -> None:
    assert apply(findings, TARGETS, waivers, entries, NOW) == apply(findings, TARGETS, waivers, entries, NOW)


ALL, SOME_CONTROLS, SOME_TARGETS = Narrowed(), Narrowed(controls=True), Narrowed(targets=True)
UNUSED, UNKNOWN = State.MATCHES_NOTHING, State.NOT_JUDGED
OTHER_CONTROL, OTHER_TARGET, OTHER_SUBJECT = {"control": "other"}, {"targets": ("gone",)}, {"subjects": ("container/z",)}
OTHER_VERSION = {"benchmark": "cis-docker", "version": "1.6.0"}


@pytest.mark.parametrize(
    ("narrowed", "keys", "state"),
    [
        (ALL, OTHER_CONTROL, UNUSED),
        (ALL, OTHER_TARGET, UNUSED),
        (ALL, OTHER_SUBJECT, UNUSED),
        (ALL, OTHER_VERSION, UNUSED),
        (SOME_CONTROLS, OTHER_CONTROL, UNKNOWN),
        (SOME_CONTROLS, OTHER_TARGET, UNUSED),  # every target was asked
        (SOME_CONTROLS, OTHER_SUBJECT, UNUSED),  # and every subject of this control seen
        (SOME_CONTROLS, OTHER_SUBJECT | OTHER_VERSION, UNKNOWN),
        (SOME_CONTROLS, OTHER_VERSION, UNKNOWN),
        (SOME_TARGETS, OTHER_CONTROL, UNKNOWN),  # it may be one of those that only other targets have
        (SOME_TARGETS, OTHER_TARGET, UNKNOWN),
        (SOME_TARGETS, OTHER_SUBJECT, UNKNOWN),
        (SOME_TARGETS, OTHER_VERSION, UNKNOWN),
    ],
)
def test_what_a_run_did_not_ask_for_is_not_called_unused(narrowed: Narrowed, keys: dict[str, Any], state: State) -> None:
    entries: list[Waiver | Attestation] = [waiver(**keys)]
    if "subjects" not in keys:
        entries.append(attestation(**keys))
    for entry in entries:
        register = Register(*(([entry], []) if isinstance(entry, Waiver) else ([], [entry])), NOW, narrowed)
        register.mark((finding(),), ("prod", "edge"))
        waivers, attestations = register.entries()
        ((became, note),) = [(e.state, e.note) for e in waivers] + [(e.state, e.note) for e in attestations]
        assert became is state
        assert note.endswith("the run did not ask for everything") == (state is UNKNOWN)


def test_what_a_lost_target_may_hold_is_not_called_unused() -> None:
    cases: tuple[tuple[dict[str, Any], State], ...] = (
        ({}, UNKNOWN), ({"targets": ("db-*",)}, UNUSED), ({"control": "other"}, UNKNOWN),
    )  # fmt: skip
    for keys, state in cases:
        register = Register([waiver(**keys, subjects=("container/z",))], [], NOW)
        register.targets.update(TARGETS)
        register.lost.update(("web-2", "gone"))
        register.mark((finding(),), TARGETS["web-1"])
        ((said,), _) = register.entries()
        assert said.state is state, keys
        assert (said.note == "1 target that it means could not be audited") == (state is UNKNOWN)


def test_an_expired_waiver_stays_expired_where_it_was_not_asked_for() -> None:
    register = Register([waiver(until="2026-01-31", control="other")], [], NOW, SOME_TARGETS)
    register.mark((finding(),), ())
    ((said,), _) = register.entries()
    assert (said.state, said.note) == (State.EXPIRED, "the control was not judged; the run did not ask for everything")
