"""Waivers and attestations applied to findings. Pure: the time that counts is an argument.

A waiver marks failures that somebody answers for during a time; they stay failures. It waives a failure as a whole only if
everything that fails there, and every error beside it, is covered: by itself or together with other valid waivers. An
attestation marks manual findings with a person's verdict; of several valid ones the latest counts, and at the same time the worse.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from auditor.dates import instant_of, written
from auditor.model import Finding, Status
from auditor.registers import AttestationEntry, AttestationMark, State, WaiverEntry, WaiverMark


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What an entry speaks about: a control (by key), in any benchmark or one, on targets that fit every condition given.

    ``targets`` and ``groups`` are patterns (``*``, ``?``, ``[...]``) of names; empty is no condition.
    """

    control: str
    benchmark: str = ""
    version: str = ""
    targets: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    @property
    def ref(self) -> str:
        """The benchmark as it is written: empty, a name, or name@version."""
        return f"{self.benchmark}@{self.version}" if self.version else self.benchmark

    def fits_target(self, name: str, groups: Iterable[str]) -> bool:
        """Return whether a target is one of those meant."""
        return fits(self.targets, (name,)) and fits(self.groups, groups)

    def fits_control(self, finding: Finding) -> bool:
        """Return whether a finding is of the control that is meant, in a benchmark that is meant."""
        return (
            finding.control == self.control and self.benchmark in ("", finding.benchmark) and self.version in ("", finding.version)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What waivers and attestations have in common. ``expires`` is as it is written, ``until`` the instant, which is exclusive."""

    id: str
    scope: Scope
    expires: str
    until: datetime
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver(Decision):
    """A decision to live with failures for a time. ``subjects`` are patterns; empty is every subject."""

    subjects: tuple[str, ...]
    reason: str
    owner: str
    approver: str
    ticket: str
    starts: str
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation(Decision):
    """A person's verdict (``pass`` or ``fail``) on a manual control."""

    verdict: str
    by: str
    at: str
    statement: str
    evidence: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Whether a run asked for some of the controls alone, or for some of the targets: what an entry means may be elsewhere."""

    controls: bool = False
    targets: bool = False


#: Of a run that asked for all controls and targets that it knew.
EVERYTHING = Narrowed()


@dataclass(slots=True)
class _Tally:
    """What one entry met: findings by status, and what it did to them."""

    met: Counter[Status] = field(default_factory=Counter)
    covered: int = 0  # failures of which it covers something (or, out of its time, would)
    complete: int = 0
    partly: int = 0
    superseded: int = 0


def fits(patterns: Sequence[str], words: Iterable[str]) -> bool:
    """Return whether one of the words is meant by one of the patterns; without patterns everything is."""
    return not patterns or any(p == w or fnmatch.fnmatchcase(w, p) for w in words for p in patterns)


def apply(
    findings: Sequence[Finding],
    targets: Mapping[str, tuple[str, ...]],
    waivers: Sequence[Waiver],
    attestations: Sequence[Attestation],
    at: str,
) -> tuple[list[Finding], tuple[WaiverEntry, ...], tuple[AttestationEntry, ...]]:
    """Return the findings with their marks, and the registers.

    ``targets`` maps the names of the run's targets to their groups; ``at`` is the run's start (ISO 8601). Findings keep their
    order, statuses and observations.
    """
    register = Register(waivers, attestations, at)
    register.targets.update(targets)
    marked = [m for f in findings for m in register.mark((f,), targets.get(f.target, ()))]
    return marked, *register.entries()


class Register:
    """Marks the findings of a run target by target, and then tells what became of each waiver and each attestation.

    ``targets`` maps the names of the run's targets to their groups; ``lost`` are those that could not be audited.
    """

    def __init__(
        self,
        waivers: Sequence[Waiver],
        attestations: Sequence[Attestation],
        at: str,
        narrowed: Narrowed = EVERYTHING,
    ) -> None:
        self.targets: dict[str, tuple[str, ...]] = {}
        self.lost: set[str] = set()
        self._waivers, self._attestations = waivers, attestations
        self._marker = _Marker(self.targets, self.lost, instant_of(at), narrowed)
        self._by_control: dict[str, list[Waiver | Attestation]] = {}
        every: list[Waiver | Attestation] = [*waivers, *attestations]
        for entry in every:
            self._by_control.setdefault(entry.scope.control, []).append(entry)
        self._judged: set[str] = set()

    @property
    def controls(self) -> list[str]:
        """The controls that waivers and attestations are about; no other finding needs to be shown to `mark`."""
        return list(self._by_control)

    def judged(self, controls: Iterable[str]) -> None:
        """Take note of controls that were judged in the run, where not all findings are shown to `mark`."""
        self._judged.update(controls)

    def mark(self, findings: Iterable[Finding], groups: tuple[str, ...]) -> list[Finding]:
        """Return findings of one target, which is in these groups, with their marks."""
        marked = []
        for finding in findings:
            self.targets.setdefault(finding.target, groups)
            self._judged.add(finding.control)
            entries = self._by_control.get(finding.control)
            marked.append(self._marker.mark(finding, entries) if entries else finding)
        return marked

    def entries(self) -> tuple[tuple[WaiverEntry, ...], tuple[AttestationEntry, ...]]:
        """Return the registers."""
        return (
            tuple(_waiver_entry(w, self._marker, self._judged) for w in self._waivers),
            tuple(_attestation_entry(a, self._marker, self._judged) for a in self._attestations),
        )


class _Marker:
    def __init__(self, targets: Mapping[str, tuple[str, ...]], lost: set[str], now: datetime, narrowed: Narrowed) -> None:
        self.targets = targets
        self.lost = lost
        self.now = now
        self.narrowed = narrowed
        self.tallies: dict[str, _Tally] = {}

    def tally(self, entry: Waiver | Attestation) -> _Tally:
        return self.tallies.setdefault(entry.id, _Tally())

    def hosts(self, entry: Waiver | Attestation) -> frozenset[str]:
        """The targets of this run that an entry means."""
        return frozenset(n for n, groups in self.targets.items() if entry.scope.fits_target(n, groups))

    def out_of_time(self, entry: Waiver | Attestation) -> State | None:
        if entry.since is not None and self.now < entry.since:
            return State.NOT_YET_VALID
        return State.EXPIRED if self.now >= entry.until else None

    def mark(self, finding: Finding, entries: Iterable[Waiver | Attestation]) -> Finding:
        groups = self.targets[finding.target]
        meant = [e for e in entries if e.scope.fits_control(finding) and e.scope.fits_target(finding.target, groups)]
        waivers = [e for e in meant if isinstance(e, Waiver)]
        if waivers:
            finding = dataclasses.replace(finding, waiver=self._waive(finding, waivers))
        attestations = [e for e in meant if isinstance(e, Attestation)]
        return dataclasses.replace(finding, attestation=self._attest(finding, attestations)) if attestations else finding

    def _waive(self, finding: Finding, waivers: Sequence[Waiver]) -> WaiverMark | None:
        left = {o.subject for o in finding.observations if o.status in (Status.FAIL, Status.ERROR)}
        failing = {o.subject for o in finding.observations if o.status is Status.FAIL}
        covered: set[str] = set()
        used = []
        for waiver in waivers:
            mine = {o.subject for o in finding.observations if fits(waiver.subjects, (o.subject,))}
            if mine or not waiver.subjects:
                self.tally(waiver).met[finding.status] += 1
            if finding.status is Status.FAIL and (mine & failing):
                self.tally(waiver).covered += 1
                if self.out_of_time(waiver) is None:
                    used.append(waiver)
                    covered |= mine
        if not used:
            return None
        complete = left <= covered
        for waiver in used:
            tally = self.tally(waiver)
            tally.complete += complete
            tally.partly += not complete
        return WaiverMark(tuple(w.id for w in used), complete, () if complete else tuple(sorted(covered & failing)))

    def _attest(self, finding: Finding, attestations: Sequence[Attestation]) -> AttestationMark | None:
        for entry in attestations:
            self.tally(entry).met[finding.status] += 1
        valid = [a for a in attestations if self.out_of_time(a) is None]
        if finding.status is not Status.MANUAL or not valid:
            return None
        best = max(valid, key=lambda a: (a.since, a.verdict == Status.FAIL))
        for entry in valid:
            tally = self.tally(entry)
            tally.complete += entry is best
            tally.superseded += entry is not best
        return AttestationMark(best.id, best.verdict)


def _waiver_entry(waiver: Waiver, marker: _Marker, judged: set[str]) -> WaiverEntry:
    tally = marker.tally(waiver)
    notes = []
    state = marker.out_of_time(waiver)
    if state is not None:
        notes.append(f"it would cover {_findings(tally.covered, 'failure')}" if tally.covered else "nothing that it covers fails")
    elif tally.complete or tally.partly:
        state = State.IN_FORCE
        if tally.partly:
            notes.append(f"{_findings(tally.partly, 'failure')} waived in part: more fails there, or an error is beside it")
    else:
        state = State.NOT_NEEDED
    if not tally.met:
        unmet, why = _nothing(waiver, marker, judged)
        state, notes = (unmet if state is State.NOT_NEEDED else state), [why]
    elif state is State.NOT_NEEDED:
        where = " on the targets that were asked" if marker.narrowed.targets else ""
        notes.append(f"nothing that it covers fails{where} ({_statuses(tally.met)})")
    if waiver.owner.casefold() == waiver.approver.casefold():
        notes.append("its owner approved it")
    return WaiverEntry(
        **_common(waiver), subjects=waiver.subjects, reason=waiver.reason, owner=waiver.owner, approver=waiver.approver,
        ticket=waiver.ticket, starts=waiver.starts, state=state, note="; ".join(notes), waived=tally.complete, partly=tally.partly,
    )  # fmt: skip


def _attestation_entry(entry: Attestation, marker: _Marker, judged: set[str]) -> AttestationEntry:
    tally = marker.tally(entry)
    notes = []
    state = marker.out_of_time(entry)
    decided: dict[Status, int] = {s: n for s, n in tally.met.items() if s is not Status.MANUAL}
    if state is None:
        if tally.complete:
            state = State.IN_FORCE
        elif tally.superseded:
            state = State.SUPERSEDED
        else:
            state = State.NOT_MANUAL
    if not tally.met:
        unmet, why = _nothing(entry, marker, judged)
        state, notes = (unmet if state is State.NOT_MANUAL else state), [why]
    elif decided:
        notes.append(f"evidence decides, not the attestation: {_statuses(decided)}")
    if state in (State.EXPIRED, State.NOT_YET_VALID) and tally.met[Status.MANUAL]:
        notes.insert(0, f"it would decide {_findings(tally.met[Status.MANUAL], 'finding')}")
    if tally.superseded:
        notes.append(f"another attestation, later or as late and worse, counts for {_findings(tally.superseded, 'finding')}")
    return AttestationEntry(
        **_common(entry), verdict=entry.verdict, by=entry.by, at=entry.at, statement=entry.statement, evidence=entry.evidence,
        state=state, note="; ".join(notes), findings=tally.complete,
    )  # fmt: skip


def _common(entry: Waiver | Attestation) -> dict[str, Any]:
    scope = entry.scope
    return {
        "id": entry.id, "control": scope.control, "benchmark": scope.ref, "targets": scope.targets, "groups": scope.groups,
        "expires": entry.expires, "since": written(entry.since) if entry.since else "", "until": written(entry.until),
        "place": entry.place,
    }  # fmt: skip


def _nothing(entry: Waiver | Attestation, marker: _Marker, judged: set[str]) -> tuple[State, str]:
    """Say what becomes of an entry that met no finding, and why: unused it is only where all that it may mean was looked at."""
    narrowed, scope, hosts = marker.narrowed, entry.scope, marker.hosts(entry)
    if lost := len(hosts & marker.lost):
        return State.NOT_JUDGED, f"{_findings(lost, 'target')} that it means could not be audited"
    elsewhere = narrowed.targets
    if scope.control not in judged:
        why, elsewhere = "the control was not judged", elsewhere or narrowed.controls
    elif not hosts:
        why = "no target of this run is one that it means"
    elif isinstance(entry, Waiver) and entry.subjects:
        why, elsewhere = "nothing was seen that its subjects mean", elsewhere or (narrowed.controls and bool(scope.benchmark))
    else:
        why, elsewhere = "the control was not judged there, or not in that benchmark", elsewhere or narrowed.controls
    return (State.NOT_JUDGED, f"{why}; the run did not ask for everything") if elsewhere else (State.MATCHES_NOTHING, why)


def _statuses(met: Mapping[Status, int]) -> str:
    return ", ".join(f"{n} {s.value.replace('_', ' ')}" for s, n in sorted(met.items()))


def _findings(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
