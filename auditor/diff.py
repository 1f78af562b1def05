"""What changed between two runs. Pure: two runs in, the difference out.

Findings are paired by target and control: by the same benchmark version and number first, then by the same benchmark, then by the
control's key alone, so that runs against different versions compare. A control that stands in one more benchmark than before is
compared with the verdict that it had. A failure that isn't judged any more is never called fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from auditor.model import SEVERITY_ORDER, AuditRun, Finding, Score, Severity, Status, TargetResult, TargetStatus
from auditor.past import Age
from auditor.score import fails, is_waived, mean, stands


class Kind(StrEnum):
    """What became of a finding. The order is that of reports: what got worse, what got better, what stayed."""

    NEW = "new failure"  # it fails, and did not before: it passed, was not judged, or was not there
    WORSE = "worse"  # it failed before; now other subjects fail too, or it is waived no longer
    LOST = "not judged any more"  # there was a verdict; now its evidence or its target is missing
    FIXED = "fixed"  # it failed and passes now
    BETTER = "better"  # it still fails, for fewer subjects
    ENDED = "no longer failing"  # it failed; now it doesn't apply, or a person has to decide
    STILL = "still failing"
    MISSING = "still not judged"  # an error in both
    OTHER = "other verdict"  # neither was a failure, and the verdicts differ
    EVIDENCE = "evidence changed"  # the same verdict, not a failure, on other facts


#: What a gate on new failures counts.
GRAVE = (Kind.NEW, Kind.WORSE)


@dataclass(frozen=True, slots=True)
class Change:
    """A finding in both runs; one of them is None where the run has none. ``note`` says why in words."""

    kind: Kind
    before: Finding | None
    after: Finding | None
    note: str = ""
    new_subjects: tuple[str, ...] = ()  # those that fail now and did not
    fixed_subjects: tuple[str, ...] = ()
    facts: tuple[tuple[str, str, str], ...] = ()  # subject, what was found before, what is found now, where it differs
    age: Age | None = None

    @property
    def finding(self) -> Finding:
        """The later of the two."""
        found = self.after or self.before
        assert found is not None
        return found

    @property
    def counts(self) -> bool:
        """Whether this is a new failure that nobody waived."""
        return self.kind in GRAVE and self.after is not None and stands(self.after)


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """A target's score on a benchmark in both runs, in percent; None where there is none."""

    target: str
    benchmark: str
    before: float | None
    after: float | None
    versions: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """Everything that differs. ``notes`` say what about the runs themselves differs, and so limits what the rest means."""

    before: AuditRun
    after: AuditRun
    notes: tuple[str, ...]
    changes: tuple[Change, ...]  # in the order of the kinds, then by severity
    scores: tuple[ScoreChange, ...]
    targets_added: tuple[str, ...] = ()
    targets_gone: tuple[str, ...] = ()
    controls_added: tuple[str, ...] = ()
    controls_gone: tuple[str, ...] = ()
    same: int = 0  # findings with the same verdict on the same facts
    added: int = 0  # findings of the later run alone; none is a failure
    dropped: int = 0  # those of the earlier run alone that did not fail, or whose control is judged there under another number
    restricted: bool = False  # one of the runs is a re-check: only what it judged is compared
    by_kind: Mapping[Kind, list[Change]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Sort the changes by kind once."""
        object.__setattr__(self, "by_kind", {k: [c for c in self.changes if c.kind is k] for k in Kind})

    def fresh(self, severity: Severity = Severity.LOW) -> list[Change]:
        """Return what a gate counts: new or worse failures of a severity or a worse one that nobody waived."""
        grave = SEVERITY_ORDER[: SEVERITY_ORDER.index(severity) + 1]
        return [c for c in self.changes if c.counts and c.finding.severity in grave]

    def mean_scores(self) -> list[tuple[str, float | None, float | None]]:
        """Return for each benchmark the mean scores before and after, over the targets that have one in both runs."""
        names = dict.fromkeys(s.benchmark for s in self.scores)
        both = {n: [s for s in self.scores if s.benchmark == n and s.before is not None and s.after is not None] for n in names}
        return [(n, mean(s.before for s in b), mean(s.after for s in b)) for n, b in both.items()]


def diff(before: AuditRun, after: AuditRun, ages: Mapping[tuple[str, str, str], Age] | None = None) -> Difference:
    """Return what changed from one run to a later one. ``ages`` are those of the later run's failures, where they are known."""
    partial = [bool(r.selection.get("recheck")) for r in (before, after)]
    changes: list[Change] = []
    same = alone = dropped = 0
    audited = {t.name: t for t in after.targets}
    earlier = {t.name for t in before.targets if t.status is TargetStatus.AUDITED}
    judged = {(f.target, f.control) for f in after.findings}
    for old, new in _pairs(before.findings, after.findings):
        if old is not None and new is None and (old.target, old.control) in judged:
            dropped += 1  # it stood in more than one benchmark or version; what became of it is said where it still stands
            continue
        if (partial[0] and old is None) or (partial[1] and new is None and not _asked_again(old, audited)):
            continue  # a re-check leaves out what it wasn't asked for
        change = _change(old, new, audited, earlier, ages or {})
        if change is not None:
            changes.append(change)
        elif old is None:
            alone += 1
        elif new is None:
            dropped += 1
        else:
            same += 1
    kinds = list(Kind)
    changes.sort(key=lambda c: (kinds.index(c.kind), SEVERITY_ORDER.index(c.finding.severity)))
    added: tuple[str, ...] = ()
    gone, new_controls, old_controls = added, added, added
    if not any(partial):
        added, gone = _without(_names(after), _names(before)), _without(_names(before), _names(after))
        new_controls, old_controls = _without(_controls(after), _controls(before)), _without(_controls(before), _controls(after))
    scores = () if any(partial) else tuple(_scores(before, after))
    return Difference(
        before,
        after,
        tuple(_notes(before, after)),
        tuple(changes),
        scores,
        added,
        gone,
        new_controls,
        old_controls,
        same,
        alone,
        dropped,
        any(partial),
    )


def _without(names: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    known = set(others)
    return tuple(n for n in dict.fromkeys(names) if n not in known)


def _names(run: AuditRun) -> list[str]:
    return [t.name for t in run.targets if t.status is not TargetStatus.EXCLUDED]


def _controls(run: AuditRun) -> list[str]:
    return [c.key for b in run.benchmarks for c in b.controls]


_KEYS: tuple[Callable[[Finding], tuple[str, ...]], ...] = (
    lambda f: (f.target, f.benchmark, f.version, f.id, f.control),
    lambda f: (f.target, f.benchmark, f.control),
    lambda f: (f.target, f.control),
)


def _pairs(before: Sequence[Finding], after: Sequence[Finding]) -> list[tuple[Finding | None, Finding | None]]:
    """Pair the findings of two runs, each with one or none of the other, by the closest key that both have.

    An earlier finding is paired twice where its control is judged once more in the later run, by another benchmark or version.
    """
    left, right = list(before), list(after)
    pairs: list[tuple[Finding | None, Finding | None]] = []
    for key in _KEYS:
        waiting: dict[tuple[str, ...], list[Finding]] = {}
        for f in reversed(left):
            waiting.setdefault(key(f), []).append(f)
        unmatched = []
        for f in right:
            if found := waiting.get(key(f)):
                pairs.append((found.pop(), f))
            else:
                unmatched.append(f)
        left, right = [f for found in waiting.values() for f in reversed(found)], unmatched
    known = {_KEYS[-1](f): f for f in reversed(before)} if right else {}
    return [*pairs, *((f, None) for f in left), *((known.get(_KEYS[-1](f)), f) for f in right)]


def _asked_again(old: Finding | None, targets: Mapping[str, TargetResult]) -> bool:
    """Whether a re-check was to look at a finding that it doesn't have: it failed or was an error, and the target was lost."""
    return old is not None and (fails(old) or old.status is Status.ERROR) and _lost(targets.get(old.target))


def _verdict(finding: Finding) -> str:
    attested = f", attested as {finding.attestation.verdict}" if finding.attestation else ""
    return finding.status.value.replace("_", " ") + attested


def _change(
    old: Finding | None,
    new: Finding | None,
    targets: Mapping[str, TargetResult],
    earlier: set[str],
    ages: Mapping[tuple[str, str, str], Age],
) -> Change | None:
    """Return what became of a finding, None where nothing did."""
    if new is None:
        assert old is not None
        return _gone(old, targets.get(old.target))
    age = ages.get((new.target, new.benchmark, new.control))
    attested = "attested as fail" if new.status is not Status.FAIL else ""
    if old is None:
        if fails(new):
            why = "this control was not judged" if new.target in earlier else "this target was not audited"
            return Change(Kind.NEW, None, new, "; ".join(filter(None, (attested, f"{why} before"))), _failing(new), age=age)
        return None
    facts, moved = _facts(old, new), f"was {_verdict(old)}"
    fresh = tuple(s for s in _failing(new) if s not in set(_failing(old)))
    fixed = tuple(s for s in _failing(old) if s not in set(_failing(new)))
    if fails(new):
        if not fails(old):
            return Change(Kind.NEW, old, new, moved + (attested and f", now {attested}"), fresh, fixed, facts, age)
        unwaived = is_waived(old) and not is_waived(new)
        kind = Kind.WORSE if fresh or unwaived else Kind.BETTER if fixed else Kind.STILL
        note = "it is waived no longer" if unwaived else "waived" if is_waived(new) else attested
        return Change(kind, old, new, note, fresh, fixed, facts, age)
    if new.status is Status.ERROR and old.status is not Status.ERROR:
        return Change(Kind.LOST, old, new, f"{moved}: {_missing(new)}", facts=facts)
    if new.status is Status.ERROR:
        return Change(Kind.MISSING, old, new, _missing(new), facts=facts)
    if fails(old):
        passes = new.status is Status.PASS or (new.attestation is not None and new.attestation.verdict == Status.PASS)
        note = "" if passes else f"now {_verdict(new)}" + (f": {new.reason}" if new.reason else "")
        return Change(Kind.FIXED if passes else Kind.ENDED, old, new, note, fixed_subjects=fixed, facts=facts)
    if _verdict(old) != _verdict(new):
        return Change(Kind.OTHER, old, new, f"{moved}, now {_verdict(new)}", facts=facts)
    return Change(Kind.EVIDENCE, old, new, facts=facts) if facts else None


def _lost(target: TargetResult | None) -> bool:
    return target is not None and target.status in (TargetStatus.UNREACHABLE, TargetStatus.FAILED)


def _gone(old: Finding, target: TargetResult | None) -> Change | None:
    """What became of a finding that the later run doesn't have."""
    if target is not None and _lost(target):
        why = f"the target was not audited, {target.error or target.status.value}"
        return Change(Kind.LOST, old, None, f"was {_verdict(old)}: {why}")
    if not fails(old):
        return None
    if target is None or target.status is TargetStatus.EXCLUDED:
        return Change(Kind.LOST, old, None, "was fail: the target was not part of the later run")
    return Change(Kind.LOST, old, None, "was fail: the control was not judged on this target in the later run")


def _missing(finding: Finding) -> str:
    said = [o.actual for o in finding.observations if o.status is Status.ERROR] or [finding.reason]
    return said[0] + (f" and {len(said) - 1} more" if len(said) > 1 else "")


def _failing(finding: Finding) -> tuple[str, ...]:
    return tuple(dict.fromkeys(o.subject for o in finding.observations if o.status is Status.FAIL))


def _facts(old: Finding, new: Finding) -> tuple[tuple[str, str, str], ...]:
    """What was found about each subject in either run, where it is not the same."""
    if old.observations == new.observations:
        return ()
    seen: list[dict[str, list[str]]] = [{}, {}]
    for by_subject, finding in zip(seen, (old, new), strict=True):
        for o in finding.observations:
            by_subject.setdefault(o.subject, []).append(o.actual or "nothing")
    before, after = ({s: "; ".join(sorted(v)) for s, v in by_subject.items()} for by_subject in seen)
    subjects = dict.fromkeys([*before, *after])
    return tuple((s, before.get(s, ""), after.get(s, "")) for s in subjects if before.get(s) != after.get(s))


def _scores(before: AuditRun, after: AuditRun) -> list[ScoreChange]:
    """Pair scores as findings are: by version where both runs have it, else by what each run has beside that."""
    left, right = list(before.scores), list(after.scores)
    pairs: list[tuple[Score | None, Score | None]] = []
    for key in _SCORE_KEYS:
        waiting = {key(s): s for s in reversed(right)}
        pairs += [(s, waiting.pop(key(s))) for s in left if key(s) in waiting]
        paired = {id(s) for pair in pairs for s in pair}
        left, right = [s for s in left if id(s) not in paired], [s for s in right if id(s) not in paired]
    pairs += [*((s, None) for s in left), *((None, s) for s in right)]
    return [
        ScoreChange(s.target, s.benchmark, a.score if a else None, b.score if b else None,
                    (a.version if a else "", b.version if b else ""))
        for a, b in pairs
        for s in (a or b,)
        if s is not None
    ]  # fmt: skip


_SCORE_KEYS: tuple[Callable[[Score], tuple[str, ...]], ...] = (
    lambda s: (s.target, s.benchmark, s.version),
    lambda s: (s.target, s.benchmark),
)


def _notes(before: AuditRun, after: AuditRun) -> list[str]:
    """What about the runs differs that isn't a change on the targets."""
    notes = []
    again = any(r.selection.get("recheck") for r in (before, after))
    for name, run in (("earlier", before), ("later", after)):
        if run.selection.get("recheck"):
            of = run.selection["recheck"]
            notes.append(f"The {name} run is a re-check of {of}: only what it judged is compared.")
    left, right = ({b.name: _versions(run, b.name) for b in run.benchmarks} for run in (before, after))
    for name in dict.fromkeys([*left, *right]):
        if left.get(name) == right.get(name):
            digests = [{(b.version, b.sha256) for b in run.benchmarks if b.name == name} for run in (before, after)]
            if digests[0] != digests[1]:
                notes.append(f"{name} has the same version in both runs, but its files differ: verdicts may for that alone.")
        elif not again or (left.get(name) and right.get(name)):  # a re-check needs no benchmark in which nothing failed
            words = [", ".join(v.get(name, ())) or "none" for v in (left, right)]
            notes.append(f"{name}: {words[0]} before, {words[1]} after; compared by the controls' keys.")
    for key, what in (("level", "level"), ("only", "selected controls"), ("limit", "limit on targets"), ("tailoring", "tailoring")):
        old, new = before.selection.get(key), after.selection.get(key)
        if (old or None) != (new or None) and (key == "tailoring" or not again):  # re-checks narrow the rest by themselves
            notes.append(f"The {what} differs: {_said(old)} before, {_said(new)} after.")
    if before.auditor_version != after.auditor_version:
        notes.append(f"Made by cis-auditor {before.auditor_version} before, {after.auditor_version} after.")
    if before.started > after.started:
        notes.append("The run that is taken for the earlier one is the later one: what is called new is old.")
    return notes


def _versions(run: AuditRun, name: str) -> tuple[str, ...]:
    return tuple(b.version for b in run.benchmarks if b.name == name)


def _said(value: Any) -> str:
    if not value:
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_said(v)}" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
