"""Scores: the formulas, and figures that add up."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.model import Counts, Finding, Severity, Status
from auditor.score import COVERAGE_FORMULA, SCORE_FORMULA, count, coverage_of, mean, score_of, scores

SMALL = st.integers(0, 500)
COUNTS = st.builds(Counts, SMALL, SMALL, SMALL, SMALL, SMALL, SMALL)


def finding(status: Status, target: str = "t", version: str = "1") -> Finding:
    return Finding(target, "b", version, "1", "k", "K", 1, "automated", Severity.LOW, status)


@pytest.mark.parametrize(
    ("counts", "score", "coverage"),
    [
        (Counts(), None, None),
        (Counts(not_applicable=5), None, None),
        (Counts(manual=3), None, 0.0),
        (Counts(pass_=3, fail=1), 75.0, 100.0),
        (Counts(pass_=3, error=1), 75.0, 75.0),
        (Counts(pass_=1, fail=1, manual=2), 50.0, 50.0),
        (Counts(error=4), 0.0, 0.0),
        (Counts(pass_=4, not_applicable=96), 100.0, 100.0),
    ],
)
def test_formulas(counts: Counts, score: float | None, coverage: float | None) -> None:
    assert score_of(counts) == score
    assert coverage_of(counts) == coverage


@given(COUNTS)
def test_printed_formulas_are_the_ones_that_are_used(counts: Counts) -> None:
    """The words in the reports, read as arithmetic, give the figures in the reports."""
    numbers = {"pass": counts.pass_, "fail": counts.fail, "error": counts.error, "manual": counts.manual}
    for formula, figure in ((SCORE_FORMULA, score_of(counts)), (COVERAGE_FORMULA, coverage_of(counts))):
        arithmetic = re.sub(r"[a-z]+", lambda m: str(numbers[m[0]]), formula.partition("= ")[2].replace(" x ", " * "))
        try:
            assert figure == pytest.approx(eval(arithmetic))
        except ZeroDivisionError:
            assert figure is None


@given(COUNTS)
def test_figures_stay_in_bounds(counts: Counts) -> None:
    for figure in (score_of(counts), coverage_of(counts)):
        assert figure is None or 0 <= figure <= 100
    if score_of(counts) == 100:
        assert counts.fail == counts.error == 0


@given(COUNTS)
def test_missing_evidence_never_helps(counts: Counts) -> None:
    worse = Counts(counts.pass_, counts.fail, counts.manual, counts.not_applicable, counts.error + 1)
    for of in (score_of, coverage_of):
        assert (of(worse) or 0) <= (of(counts) or 0)
    if counts.pass_:
        lost = Counts(counts.pass_ - 1, counts.fail, counts.manual, counts.not_applicable, counts.error + 1)
        assert (score_of(lost) or 0) < (score_of(counts) or 0)


FINDINGS = st.lists(st.builds(finding, st.sampled_from(list(Status)), st.sampled_from("abc"), st.sampled_from("12")), max_size=40)


@given(FINDINGS)
def test_counts_reconcile_with_the_findings(findings: list[Finding]) -> None:
    assert count(findings).total == len(findings)
    found = scores(findings)
    assert sum(s.counts.total for s in found) == len(findings)
    assert [(s.target, s.version) for s in found] == list(dict.fromkeys((f.target, f.version) for f in findings))
    for s in found:
        own = Counter(f.status for f in findings if (f.target, f.version) == (s.target, s.version))
        c = s.counts
        assert (c.pass_, c.fail, c.manual, c.not_applicable, c.error) == (
            own[Status.PASS],
            own[Status.FAIL],
            own[Status.MANUAL],
            own[Status.NOT_APPLICABLE],
            own[Status.ERROR],
        )
        assert (s.score, s.coverage) == (score_of(c), coverage_of(c))


@given(st.lists(st.none() | st.floats(0, 100), max_size=8))
def test_mean_leaves_out_what_is_not_there(values: list[float | None]) -> None:
    present = [v for v in values if v is not None]
    assert (mean(values) is None) == (not present)
    if present:
        assert mean(values) == pytest.approx(sum(present) / len(present))
