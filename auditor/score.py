"""Scores from findings. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from auditor.model import Counts, Finding, Score, Status

#: The formulas, in words, as every report prints them.
SCORE_FORMULA = "score = 100 x pass / (pass + fail + error)"
COVERAGE_FORMULA = "coverage = 100 x (pass + fail) / (pass + fail + error + manual)"
FLEET_FORMULA = "fleet score = mean of the targets' scores"


def count(findings: Iterable[Finding]) -> Counts:
    """Count findings by status."""
    by = Counter(f.status for f in findings)
    return Counts(by[Status.PASS], by[Status.FAIL], by[Status.MANUAL], by[Status.NOT_APPLICABLE], by[Status.ERROR])


def score_of(counts: Counts) -> float | None:
    """Return the score in percent; None when nothing was decided or missing."""
    asked = counts.pass_ + counts.fail + counts.error
    return 100 * counts.pass_ / asked if asked else None


def coverage_of(counts: Counts) -> float | None:
    """Return the share of applicable controls that got a verdict, in percent; None when none applies."""
    asked = counts.pass_ + counts.fail + counts.error + counts.manual
    return 100 * (counts.pass_ + counts.fail) / asked if asked else None


def scores(findings: Sequence[Finding]) -> tuple[Score, ...]:
    """Return a score for every (target, benchmark) pair, in the order of the findings."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.target, finding.benchmark, finding.version), []).append(finding)
    result = []
    for (target, benchmark, version), group in groups.items():
        counts = count(group)
        result.append(Score(target, benchmark, version, score_of(counts), coverage_of(counts), counts))
    return tuple(result)


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are there, None for none."""
    present = [v for v in values if v is not None]
    return sum(present) / len(present) if present else None
