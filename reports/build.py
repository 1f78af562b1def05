"""From an `AuditRun` to the view that reports show of it, in time that is linear in the findings."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from auditor.extent import Extent
from auditor.model import (
    SEVERITY_ORDER,
    STATUS_ORDER,
    AuditRun,
    BenchmarkInfo,
    ControlInfo,
    Counts,
    Finding,
    Observation,
    Score,
    Status,
    TargetResult,
)
from auditor.queries import Positions, evidence, positions
from auditor.registers import AttestationMark, WaiverMark
from auditor.score import count, total
from reports import plain
from reports.view import BenchmarkView, ControlView, Gap, Group, SectionView, TargetView, View, field_of


def build(run: AuditRun) -> View:
    """Return the view of a run."""
    by_control = positions(run.findings, "benchmark", "version", "id")
    benchmarks = []
    anchors: set[str] = set()
    for info in _benchmarks(run, by_control):
        controls = []
        for control in info.controls:
            anchor = _anchor(f"c-{info.name}-{info.version}-{control.id}", anchors)
            controls.append(_control(run, anchor, info, control, by_control.get((info.name, info.version, control.id), ())))
        scores = tuple(s for s in run.scores if (s.benchmark, s.version) == (info.name, info.version))
        counts = total(c.counts for c in controls)
        extent = Extent(info, sum(c.counts.total > 0 for c in controls), counts, bool(run.selection.get("recheck")))
        benchmarks.append(BenchmarkView(info, tuple(_sections(info, controls)), scores, extent))
    every = [c for b in benchmarks for c in b.controls]
    targets = _targets(run, every)
    return View(run, tuple(benchmarks), targets, total(t.counts for t in targets), tuple(_gaps(every)))


def _benchmarks(run: AuditRun, by_control: Positions) -> list[BenchmarkInfo]:
    """The run's benchmarks, and an entry for findings whose benchmark or control isn't among them: no finding is ever dropped."""
    known = {(b.name, b.version): {c.id for c in b.controls} for b in run.benchmarks}
    extra: dict[tuple[str, str], list[ControlInfo]] = {}
    for (name, version, id_), places in by_control.items():
        if id_ not in known.get((name, version), ()):
            extra.setdefault((name, version), []).append(plain.worded(run.findings[places[0]]))
    result = [dataclasses.replace(b, controls=(*b.controls, *extra.pop((b.name, b.version), ()))) for b in run.benchmarks]
    result.extend(BenchmarkInfo(*ref, ref[0], "", "", len(controls), tuple(controls)) for ref, controls in extra.items())
    return result


def _anchor(name: str, taken: set[str]) -> str:
    """Return a short, plain and unique name for a place in a document, the same in every run where nothing clashes."""
    plain = re.sub(r"[^A-Za-z0-9.-]", "_", name)[:80]
    anchor, n = plain, 1
    while anchor in taken:
        n += 1
        anchor = f"{plain}_{n}" if n < 10 else f"{plain}_{len(taken)}_{n}"
    taken.add(anchor)
    return anchor


_Evidence = tuple[Status, str, tuple[Observation, ...], WaiverMark | None, AttestationMark | None]


def _control(run: AuditRun, anchor: str, benchmark: BenchmarkInfo, info: ControlInfo, places: Sequence[int]) -> ControlView:
    groups: dict[_Evidence, tuple[int, list[str]]] = {}
    policies: dict[str, None] = {}

    def grouped() -> Iterator[Finding]:
        for n in places:
            f = run.findings[n]
            groups.setdefault((f.status, f.reason, f.observations, f.waiver, f.attestation), (n, []))[1].append(f.target)
            if f.parameters:
                policies[plain.policy(f)] = None
            yield f

    counts = count(grouped())
    failing = sum(len(names) * sum(o.status is Status.FAIL for o in seen) for (_, _, seen, *_), (_, names) in groups.items())
    listed = [Group(status, reason, evidence(run.findings, n, seen), tuple(names), waiver, attestation)
              for (status, reason, seen, waiver, attestation), (n, names) in groups.items()]  # fmt: skip
    listed.sort(key=lambda g: (STATUS_ORDER.index(g.status), -len(g.targets)))
    return ControlView(anchor, benchmark, info, counts, tuple(listed), "; or ".join(policies), failing)


def _sections(info: BenchmarkInfo, controls: Iterable[ControlView]) -> list[SectionView]:
    found: dict[str, list[ControlView]] = {}
    for control in controls:
        number = control.info.section
        while number and number not in info.sections and "." in number:
            number = number.rpartition(".")[0]
        found.setdefault(number, []).append(control)
    return [SectionView(number, info.sections.get(number, ""), tuple(c)) for number, c in found.items()]


def _targets(run: AuditRun, controls: Sequence[ControlView]) -> tuple[TargetView, ...]:
    failures: dict[str, list[ControlView]] = {}
    errors: dict[str, list[ControlView]] = {}
    counts: dict[str, Counter[str]] = {}
    for control in sorted(controls, key=lambda c: SEVERITY_ORDER.index(c.info.severity)):
        for group in control.groups:
            into = {Status.FAIL: failures, Status.ERROR: errors}.get(group.status)
            fields = _fields(group)
            for name in group.targets:
                counts.setdefault(name, Counter()).update(fields)
                if into is not None:
                    into.setdefault(name, []).append(control)
    scores: dict[str, list[Score]] = {}
    for score in run.scores:
        scores.setdefault(score.target, []).append(score)
    anchors: set[str] = set()

    def made(t: TargetResult) -> TargetView:
        of = (tuple(x.get(t.name, ())) for x in (failures, errors))
        found, result = Counts(**counts.get(t.name, Counter())), dataclasses.replace(t, seen=(), scanned=())
        return TargetView(_anchor(f"t-{t.name}", anchors), result, tuple(scores.get(t.name, ())), found, *of)

    return tuple(map(made, run.targets))


def _gaps(controls: Sequence[ControlView]) -> list[Gap]:
    """Missing evidence by its reason: what lacks most findings first."""
    findings: Counter[str] = Counter()
    targets: dict[str, dict[str, None]] = {}
    where: dict[str, dict[str, ControlView]] = {}
    for control in controls:
        for group in control.of(Status.ERROR):
            messages = {o.actual: None for o in group.observations if o.status is Status.ERROR} or {group.reason: None}
            for message in messages:
                findings[message] += len(group.targets)
                targets.setdefault(message, {}).update(dict.fromkeys(group.targets))
                where.setdefault(message, {})[control.anchor] = control
    return [Gap(message, n, tuple(targets[message]), tuple(where[message].values())) for message, n in findings.most_common()]


def _fields(group: Group) -> list[str]:
    """Return which fields of counts a finding with this evidence is counted in."""
    fields = [field_of(group.status)]
    if group.waiver is not None and group.waiver.complete:
        fields.append("waived")
    if group.attestation is not None:
        fields.append(f"attested_{group.attestation.verdict}")
    return fields
