"""What every report shows, computed once from an `AuditRun` (`reports.build`): the view model of HTML and PDF.

The view is complete: nothing is left out of it. What a page has no room for is the renderer's business, and is said there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from auditor.extent import Extent
from auditor.model import (
    SEVERITY_ORDER,
    AuditRun,
    BenchmarkInfo,
    ControlInfo,
    Counts,
    Observation,
    Score,
    Severity,
    Status,
    TargetResult,
    TargetStatus,
)
from auditor.registers import AttestationEntry, AttestationMark, WaiverEntry, WaiverMark
from auditor.score import adjusted_coverage_of, adjusted_score_of, is_adjusted, mean, total
from reports import marks

#: Statuses as words on a page.
STATUS_WORDS = {
    Status.FAIL: "Fail",
    Status.ERROR: "Error",
    Status.MANUAL: "Manual",
    Status.PASS: "Pass",
    Status.NOT_APPLICABLE: "N/A",
}

#: Severities that are listed one by one before any score.
DANGEROUS = (Severity.CRITICAL, Severity.HIGH)

_FIELDS = {Status.PASS: "pass_"}


def field_of(status: Status) -> str:
    """Return which field of counts a status is counted in."""
    return _FIELDS.get(status, status.value)


def count_of(counts: Counts, status: Status) -> int:
    """Return how many of ``counts`` have a status."""
    value = getattr(counts, field_of(status))
    assert isinstance(value, int)
    return value


@dataclass(frozen=True, slots=True)
class Group:
    """One verdict with its evidence, and every target that gave exactly this evidence."""

    status: Status
    reason: str
    observations: Sequence[Observation]
    targets: tuple[str, ...]
    waiver: WaiverMark | None = None
    attestation: AttestationMark | None = None

    @property
    def mark(self) -> str:
        """What people decided about it, in a word or two; empty for nothing."""
        return marks.word(self.waiver, self.attestation)

    @property
    def fails(self) -> bool:
        """Whether this is a failure: by evidence, waived or not, or by a person who attested it."""
        return self.status is Status.FAIL or (self.attestation is not None and self.attestation.verdict == Status.FAIL)


@dataclass(frozen=True)
class ControlView:
    """A control over all targets. ``counts`` counts findings: one for each target that it was judged on."""

    anchor: str
    benchmark: BenchmarkInfo
    info: ControlInfo
    counts: Counts
    groups: tuple[Group, ...]  # worst first
    policy: str = ""  # the policy inputs that its verdicts rest on
    failing_subjects: int = 0  # each counted once a target

    @property
    def dangerous(self) -> bool:
        """Whether this control fails somewhere and its severity is critical or high."""
        return self.info.severity in DANGEROUS and self.counts.fail > 0

    def of(self, status: Status) -> list[Group]:
        """Return the groups with one status."""
        return [g for g in self.groups if g.status is status]

    @property
    def failing(self) -> list[Group]:
        """The groups that fail, by evidence or because a person attested it."""
        return [g for g in self.groups if g.fails]


@dataclass(frozen=True)
class SectionView:
    """A chapter of a benchmark with its controls, in the order of their numbers."""

    number: str
    title: str
    controls: tuple[ControlView, ...]

    @property
    def counts(self) -> Counts:
        """The findings of this chapter."""
        return total(c.counts for c in self.controls)


@dataclass(frozen=True)
class BenchmarkView:
    """A benchmark in this run: what of it was judged, and the fleet's figures on it."""

    info: BenchmarkInfo
    sections: tuple[SectionView, ...]
    scores: tuple[Score, ...]
    extent: Extent

    @property
    def name(self) -> str:
        """Name and version, as a person reads them."""
        return f"{self.info.name} {self.info.version}"

    @property
    def counts(self) -> Counts:
        """The findings on its controls."""
        return self.extent.counts

    @property
    def controls(self) -> Iterator[ControlView]:
        """All controls, in the order of their numbers."""
        return (c for s in self.sections for c in s.controls)

    @property
    def scored(self) -> int:
        """How many targets have a score on it: those to which something of it applies."""
        return sum(s.score is not None for s in self.scores)

    @cached_property
    def score(self) -> float | None:
        """The mean of the targets' scores, in percent."""
        return mean(s.score for s in self.scores)

    @cached_property
    def coverage(self) -> float | None:
        """The mean of the targets' coverages, in percent."""
        return mean(s.coverage for s in self.scores)

    @property
    def adjusted(self) -> bool:
        """Whether people decided anything here, so that there are figures with and without it."""
        return is_adjusted(self.counts)

    @cached_property
    def adjusted_score(self) -> float | None:
        """The mean of the targets' scores with waivers and attestations, in percent."""
        return mean(adjusted_score_of(s.counts) if is_adjusted(s.counts) else s.score for s in self.scores)

    @cached_property
    def adjusted_coverage(self) -> float | None:
        """The mean of the targets' coverages with attestations, in percent."""
        return mean(adjusted_coverage_of(s.counts) if is_adjusted(s.counts) else s.coverage for s in self.scores)

    def bins(self, width: int = 10) -> list[int]:
        """Return how many targets score 0 to below 10, ..., 90 to 100 percent."""
        found = Counter(min(int(s.score // width), 100 // width - 1) for s in self.scores if s.score is not None)
        return [found[i] for i in range(100 // width)]


@dataclass(frozen=True)
class TargetView:
    """A target with its figures. ``failures`` are the controls that fail on it, the most severe first.

    What was seen there is left to the run.
    """

    anchor: str
    result: TargetResult
    scores: tuple[Score, ...]
    counts: Counts
    failures: tuple[ControlView, ...]
    errors: tuple[ControlView, ...]

    @property
    def dangerous(self) -> int:
        """How many critical and high controls fail here."""
        return sum(c.info.severity in DANGEROUS for c in self.failures)

    @property
    def why(self) -> str:
        """Why it was not audited; nothing but a limit excludes a target."""
        return self.result.error or ("left out by --limit" if self.result.status is TargetStatus.EXCLUDED else "no reason given")


@dataclass(frozen=True)
class Gap:
    """Evidence that could not be had: its reason, and the findings that lack it."""

    message: str
    findings: int
    targets: tuple[str, ...]
    controls: tuple[ControlView, ...]


@dataclass(frozen=True)
class View:
    """A run as reports show it."""

    run: AuditRun
    benchmarks: tuple[BenchmarkView, ...]
    targets: tuple[TargetView, ...]
    counts: Counts
    gaps: tuple[Gap, ...]

    @cached_property
    def reached(self) -> Mapping[TargetStatus, list[TargetView]]:
        """The targets by how far their audit came; every status has an entry, so the lengths add up to the targets asked."""
        return {s: [t for t in self.targets if t.result.status is s] for s in TargetStatus}

    @property
    def controls(self) -> Iterator[ControlView]:
        """Every control of every benchmark."""
        return (c for b in self.benchmarks for c in b.controls)

    @cached_property
    def dangerous(self) -> list[ControlView]:
        """Controls of critical and high severity that fail somewhere: the worst and most widespread first."""
        return sorted(
            (c for c in self.controls if c.dangerous), key=lambda c: (SEVERITY_ORDER.index(c.info.severity), -c.counts.fail)
        )

    @cached_property
    def attested_dangerous(self) -> list[ControlView]:
        """Controls of critical and high severity that the evidence leaves open and a person attested to fail."""
        return [c for c in self.controls if c.info.severity in DANGEROUS and c.counts.attested_fail]

    @cached_property
    def undecided(self) -> list[ControlView]:
        """Controls of critical and high severity that could not be judged somewhere."""
        return [c for c in self.controls if c.info.severity in DANGEROUS and c.counts.error]

    @property
    def dangerous_failures(self) -> int:
        """How many findings of critical or high severity fail."""
        return sum(c.counts.fail for c in self.dangerous)

    @cached_property
    def observations(self) -> int:
        """How many observations all distinct pieces of evidence hold together."""
        return sum(len(g.observations) for c in self.controls for g in c.groups)

    @cached_property
    def marked(self) -> Mapping[str, list[tuple[ControlView, Group]]]:
        """What waivers and attestations mark, by their ids: controls and the pieces of evidence that are marked."""
        found: dict[str, list[tuple[ControlView, Group]]] = {}
        for control in self.controls:
            for group in control.groups:
                for identity in marks.ids(group.waiver, group.attestation):
                    found.setdefault(identity, []).append((control, group))
        return found

    @cached_property
    def entries(self) -> Mapping[str, WaiverEntry | AttestationEntry]:
        """The entries of the registers of waivers and attestations by their ids."""
        return {e.id: e for register in (self.run.registers.waivers, self.run.registers.attestations) for e in register}

    def decided(self, group: Group) -> str:
        """Return in one sentence what people decided about a piece of evidence; empty for nothing."""
        return marks.sentence(group.waiver, group.attestation, self.entries)

    @property
    def seconds(self) -> float | None:
        """How long the run took, None where its times say nothing."""
        try:
            return (datetime.fromisoformat(self.run.finished) - datetime.fromisoformat(self.run.started)).total_seconds()
        except (ValueError, TypeError):
            return None
