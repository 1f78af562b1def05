"""The difference of two runs for a terminal and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from auditor.diff import Change, Difference, Kind
from auditor.model import AuditRun, Finding, TargetStatus
from auditor.score import fails, is_waived
from auditor.summary import percent
from auditor.terminal import clean

SCHEMA = "https://cis-auditor.dev/schema/diff-1.json"

#: How many changes of a kind, and how many subjects of one, a terminal shows.
SHOWN, SUBJECTS = 40, 6

_TITLES = {
    Kind.NEW: "New failures", Kind.WORSE: "Worse: other subjects fail too", Kind.LOST: "Not judged any more",
    Kind.STILL: "Still failing", Kind.MISSING: "Still not judged", Kind.BETTER: "Better: fewer subjects fail", Kind.FIXED: "Fixed",
    Kind.ENDED: "No longer failing, but not passed", Kind.OTHER: "Other verdict", Kind.EVIDENCE: "Same verdict on other evidence",
}  # fmt: skip


def title_of(kind: Kind) -> str:
    """Return the heading over the changes of a kind."""
    return _TITLES[kind]


def summary(difference: Difference) -> str:
    """Return the counts in one line."""
    counts = [f"{kind.value}: {len(changes)}" for kind, changes in difference.by_kind.items() if changes]
    alone = (("judged in the later run alone", difference.added), ("in the earlier run alone", difference.dropped))
    return ", ".join([*counts, f"the same: {difference.same}", *(f"{what}: {n}" for what, n in alone if n)]) + "."


def lines(difference: Difference) -> Iterator[str]:
    """Yield the text for a terminal."""
    d = difference
    yield f"{_named(d.before)}  ->  {_named(d.after)}"
    yield from (clean(f"note: {note}", 600) for note in d.notes)
    yield summary(d)
    for kind, changes in d.by_kind.items():
        if changes:
            yield ""
            yield f"{_TITLES[kind]} ({len(changes)})"
            targets, rest = whole_targets(d, changes)
            yield from (f"  {line}" for line in targets[:SHOWN])
            if len(targets) > SHOWN:
                yield f"  and {len(targets) - SHOWN} more targets; --format json has all of them"
            for change in rest[:SHOWN]:
                yield from _change(change)
            if len(rest) > SHOWN:
                yield f"  and {len(rest) - SHOWN} more; --format json has all of them"
    listed = (("Targets added", d.targets_added), ("Targets gone", d.targets_gone), ("Controls added", d.controls_added),
              ("Controls gone", d.controls_gone))  # fmt: skip
    for title, names in listed:
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            yield from ("", f"{title} ({len(names)}): {', '.join(clean(n, 100) for n in names[:SHOWN])}{more}")
    if d.scores:
        yield from ("", "Scores (mean over the targets that have one in both runs)")
        for name, before, after in d.mean_scores():
            yield f"  {clean(name, 60)}: {percent(before)} -> {percent(after)} {delta(before, after)}"
        moved = sorted((s for s in d.scores if s.before != s.after), key=lambda s: -abs((s.after or 0) - (s.before or 0)))
        for s in moved[:SHOWN] if len(d.scores) > 1 else ():
            yield f"    {clean(s.target, 60)}: {percent(s.before)} -> {percent(s.after)} {delta(s.before, s.after)}"
        if len(moved) > SHOWN:
            yield f"    and {len(moved) - SHOWN} more"


def delta(before: float | None, after: float | None) -> str:
    """Return the change of a percentage with its sign; empty where one of them is missing."""
    return "" if before is None or after is None else f"({after - before:+.1f})"


def _named(run: AuditRun) -> str:
    return f"{clean(run.id, 80)} ({clean(run.started, 30)})"


def whole_targets(difference: Difference, changes: list[Change]) -> tuple[list[str], list[Change]]:
    """Return a line for each target that the later run could not audit, instead of one for each of its findings; and the rest."""
    lost = {t.name: t for t in difference.after.targets if t.status in (TargetStatus.UNREACHABLE, TargetStatus.FAILED)}
    by_target: dict[str, list[Change]] = {}
    rest = []
    for change in changes:
        if change.after is None and change.finding.target in lost:
            by_target.setdefault(change.finding.target, []).append(change)
        else:
            rest.append(change)
    said = []
    for name, of_it in by_target.items():
        failed = sum(c.before is not None and fails(c.before) for c in of_it)
        why = lost[name].error or lost[name].status.value
        findings = f"{len(of_it)} finding{'s' if len(of_it) != 1 else ''}, {failed} of them failed"
        said.append(f"{clean(name, 50)}: {findings} before: the target was not audited, {clean(why, 400)}")
    return said, rest


def _change(change: Change) -> Iterator[str]:
    f = change.finding
    said = [change.note] if change.note else []
    if change.age is not None:
        said.append(f"since {change.age.since[:10]}, {change.age.runs} run{'s' if change.age.runs != 1 else ''}")
    note = f": {'; '.join(said)}" if said else ""
    yield f"  {f.severity.value:8} {clean(f.target, 50)}  {clean(f.id, 20)} {clean(f.title, 160)}{clean(note, 400)}"
    subjects = [f"+ {s}" for s in change.new_subjects] + [f"- {s} fails no longer" for s in change.fixed_subjects]
    if change.kind in (Kind.NEW, Kind.WORSE, Kind.BETTER) and subjects:
        yield from (f"      {clean(s, 200)}" for s in subjects[:SUBJECTS])
        if len(subjects) > SUBJECTS:
            yield f"      and {len(subjects) - SUBJECTS} more subjects"
    if change.kind in (Kind.EVIDENCE, Kind.STILL):
        for subject, before, after in change.facts[:2]:
            yield f"      {clean(subject, 100)}: {clean(before or 'not there', 80)} -> {clean(after or 'not there', 80)}"
        if len(change.facts) > 2:
            yield f"      and {len(change.facts) - 2} more subjects"


def to_json(difference: Difference) -> str:
    """Return the whole difference as JSON."""
    d = difference
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "before": _head(d.before),
        "after": _head(d.after),
        "restricted": d.restricted,
        "notes": list(d.notes),
        "summary": {kind.name.lower(): len(changes) for kind, changes in d.by_kind.items()}
            | {"same": d.same, "added": d.added, "dropped": d.dropped},
        "changes": [
            {
                "kind": c.kind.name.lower(), "target": c.finding.target, "control": c.finding.control,
                "severity": c.finding.severity.value, "title": c.finding.title, "before": _verdict(c.before),
                "after": _verdict(c.after), "note": c.note, "gates": c.counts, "new_subjects": list(c.new_subjects),
                "fixed_subjects": list(c.fixed_subjects),
                "facts": [{"subject": s, "before": a, "after": b} for s, a, b in c.facts],
                "since": c.age and {"run": c.age.run, "started": c.age.since, "runs": c.age.runs},
            }
            for c in d.changes
        ],
        "scores": [
            {"target": s.target, "benchmark": s.benchmark, "before": s.before, "after": s.after, "versions": list(s.versions)}
            for s in d.scores
        ],
        "targets": {"added": list(d.targets_added), "gone": list(d.targets_gone)},
        "controls": {"added": list(d.controls_added), "gone": list(d.controls_gone)},
    }  # fmt: skip
    return json.dumps(document, indent=1) + "\n"


def _head(run: AuditRun) -> dict[str, Any]:
    return {"id": run.id, "started": run.started, "finished": run.finished, "recheck_of": run.selection.get("recheck"),
            "benchmarks": [f"{b.name}@{b.version}" for b in run.benchmarks]}  # fmt: skip


def _verdict(finding: Finding | None) -> dict[str, Any] | None:
    if finding is None:
        return None
    return {"benchmark": finding.benchmark, "version": finding.version, "id": finding.id, "status": finding.status.value,
            "waived": is_waived(finding), "attested": finding.attestation and finding.attestation.verdict}  # fmt: skip
