"""What earlier runs add to a report: how old its failures are, by severity, and since when each control fails."""

from __future__ import annotations

from auditor.model import SEVERITY_ORDER
from auditor.past import Age, Past, days
from reports.view import ControlView, View

#: Up to how many days; the last has no end.
_STEPS = (7, 30, 90)
BUCKETS = ("new in this run", "up to 7 days", "8 to 30 days", "31 to 90 days", "more than 90 days")


def oldest(past: Past, control: ControlView) -> Age | None:
    """Return the age of a control's oldest failure, None where it fails nowhere or earlier runs say nothing."""
    if not past.ages:
        return None
    failing = [(t, control.benchmark.name, control.info.key) for g in control.failing for t in g.targets]
    return past.oldest(failing)


def by_age(view: View, past: Past) -> list[tuple[str, list[int]]]:
    """Return for each of `BUCKETS` how many failures are so old, by severity, the worst first; empty where nothing is known."""
    if not any(age.runs > 1 for age in past.ages.values()):
        return []
    table = [[0] * len(SEVERITY_ORDER) for _ in BUCKETS]
    for control in view.controls:
        for group in control.failing:
            for target in group.targets:
                age = past.ages.get((target, control.benchmark.name, control.info.key))
                if age is not None:
                    table[_bucket(age, view.run.started)][SEVERITY_ORDER.index(control.info.severity)] += 1
    return list(zip(BUCKETS, table, strict=True))


def _bucket(age: Age, started: str) -> int:
    if age.runs == 1:
        return 0
    old = days(age.since, started) or 0
    return 1 + sum(old > step for step in _STEPS)
