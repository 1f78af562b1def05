"""Scores from findings. Pure."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence

from auditor.model import Counts, Finding, Score, Status

#: The formulas, in words, as every report prints them.
SCORE_FORMULA = "score = 100 x pass / (pass + fail + error)"
COVERAGE_FORMULA = "coverage = 100 x (pass + fail) / (pass + fail + error + manual)"
FLEET_FORMULA = "fleet score = mean of the targets' scores"
#: The same with what people decided: waived failures are left out, attested manual findings are taken as what they were attested.
ADJUSTED_SCORE_FORMULA = (
    "score with waivers and attestations = "
    "100 x (pass + attested_pass) / (pass + attested_pass + fail - waived + attested_fail + error)"
)
ADJUSTED_COVERAGE_FORMULA = (
    "coverage with attestations = 100 x (pass + fail + attested_pass + attested_fail) / (pass + fail + error + manual)"
)

_COUNTED = tuple(f.name for f in dataclasses.fields(Counts))


def count(findings: Iterable[Finding]) -> Counts:
    """Count findings by status, and the marks on them."""
    by: Counter[Status] = Counter()
    waived = 0
    attested: Counter[str] = Counter()
    for f in findings:
        by[f.status] += 1
        waived += is_waived(f)
        if f.attestation is not None:
            attested[f.attestation.verdict] += 1
    return Counts(by[Status.PASS], by[Status.FAIL], by[Status.MANUAL], by[Status.NOT_APPLICABLE], by[Status.ERROR], waived,
                  attested[Status.PASS], attested[Status.FAIL])  # fmt: skip


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum of counts."""
    summed: Counter[str] = Counter()
    for c in counts:
        for name in _COUNTED:
            summed[name] += getattr(c, name)
    return Counts(**summed)


def is_waived(finding: Finding) -> bool:
    """Return whether a failure is waived as a whole; one that is waived in part is not."""
    return finding.waiver is not None and finding.waiver.complete


def fails(finding: Finding) -> bool:
    """Return whether a finding is a failure: by evidence, waived or not, or by a person who attested it."""
    return finding.status is Status.FAIL or (finding.attestation is not None and finding.attestation.verdict == Status.FAIL)


def stands(finding: Finding) -> bool:
    """Return whether a finding is a failure that gates count: one that is not waived, or a manual one attested as failing."""
    return fails(finding) and not is_waived(finding)


def score_of(counts: Counts) -> float | None:
    """Return the score in percent; None when nothing was decided or missing."""
    asked = counts.pass_ + counts.fail + counts.error
    return 100 * counts.pass_ / asked if asked else None


def coverage_of(counts: Counts) -> float | None:
    """Return the share of applicable controls that got a verdict, in percent; None when none applies."""
    asked = counts.pass_ + counts.fail + counts.error + counts.manual
    return 100 * (counts.pass_ + counts.fail) / asked if asked else None


def adjusted_score_of(counts: Counts) -> float | None:
    """Return the score with waivers and attestations in percent; None when nothing is left to score."""
    good = counts.pass_ + counts.attested_pass
    asked = good + counts.fail - counts.waived + counts.attested_fail + counts.error
    return 100 * good / asked if asked > 0 else None


def adjusted_coverage_of(counts: Counts) -> float | None:
    """Return the coverage with attestations in percent; None when no control applies."""
    asked = counts.pass_ + counts.fail + counts.error + counts.manual
    return 100 * (counts.pass_ + counts.fail + counts.attested_pass + counts.attested_fail) / asked if asked else None


def is_adjusted(counts: Counts) -> bool:
    """Return whether people decided anything among these, so that there are two scores to show."""
    return bool(counts.waived or counts.attested_pass or counts.attested_fail)


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
