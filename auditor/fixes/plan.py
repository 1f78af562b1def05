"""Failures of one target and its evidence -> a plan: what is to be done there, in an order that disturbs least. Pure.

A planner knows what one kind of fix means on a host: which file decides there, which unit restarts. It makes steps for the
*failing* observations of a finding alone. Where it can't know enough for a safe step it yields a `ByHand`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from auditor.fixes.steps import Plan, Step
from auditor.model import Control, Facts, Finding, Observation, Status, TargetResult


@dataclass(frozen=True, slots=True)
class Case:
    """A failed control on a target, with the evidence that it was judged by."""

    control: Control
    finding: Finding
    target: TargetResult
    facts: Facts

    @property
    def label(self) -> str:
        """The control's benchmark and number, as steps carry it."""
        return f"{self.finding.benchmark} {self.finding.id}"

    def failing(self, kind: str = "") -> list[Observation]:
        """Return the failed observations, of subjects of one kind if one is given."""
        return [
            o for o in self.finding.observations if o.status is Status.FAIL and (not kind or o.subject.partition("/")[0] == kind)
        ]


Planner = Callable[[Any, Case], Iterable[Step]]


def _nothing(_fix: Any, _case: Case) -> Iterable[Step]:
    return ()


def plan(run: str, target: TargetResult, cases: Iterable[Case], planners: Mapping[type, Planner]) -> Plan:
    """Return what is to be done about some failed controls of one target.

    Steps with the same action become one that carries all their controls. They are ordered by what they disturb, then as the cases
    are.
    """
    steps: dict[str, Step] = {}
    left: list[tuple[str, str, str]] = []
    for case in cases:
        made = [step for fix in case.control.remediation.fix for step in planners.get(type(fix), _nothing)(fix, case)]
        if not made:
            left.append((case.label, case.control.title, case.control.remediation.text))
        for step in made:
            known = steps.get(repr(step.action))
            controls = tuple(dict.fromkeys((*(known.controls if known else ()), *step.controls)))
            effect = max(step.effect, known.effect) if known else step.effect
            steps[repr(step.action)] = dataclasses.replace(known or step, controls=controls, effect=effect)
    ordered = sorted(steps.values(), key=lambda s: s.effect)
    return Plan(run=run, target=target.name, kind=target.kind.value, address=target.address, steps=tuple(ordered), open=tuple(left))
