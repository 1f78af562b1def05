"""Failures of one target and its evidence -> a plan: what is to be done there, in an order that disturbs least. Pure.

A planner knows what one kind of fix means on a host: which file decides there, which unit restarts. It makes steps for the
*failing* observations of a finding alone. Where it can't know enough for a safe step it yields a `ByHand`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auditor.fixes.steps import ByHand, Effect, KeepBits, Own, Plan, Run, SetFlag, SetKey, Step
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

    def by_hand(
        self, subject: str, words: str, lines: tuple[str, ...] = (), *, controls: tuple[str, ...] = (),
        effect: Effect = Effect.NONE, caution: str = "",
    ) -> Step:  # fmt: skip
        """Return a step that a person does, for this control unless others are named."""
        return Step(action=ByHand(words, lines), controls=controls or (self.label,), subject=subject, words=words, effect=effect,
                    caution=caution)  # fmt: skip

    def unsafe(self, observation: Observation) -> Step:
        """Return the step for a subject with a name that no script should handle."""
        words = f"Look at {observation.subject!a}: a script is not to handle such a name. {self.control.remediation.text}"
        return self.by_hand(observation.subject, words)


Planner = Callable[[Any, Case], Iterable[Step]]


@dataclass(frozen=True, slots=True)
class Together:
    """A planner that is given all fixes of a kind on a target at once, so that several controls' wishes become one step."""

    plan: Callable[[Sequence[tuple[Any, Case]]], Iterable[Step]]


def _nothing(_fix: Any, _case: Case) -> Iterable[Step]:
    return ()


def plan(run: str, target: TargetResult, cases: Iterable[Case], planners: Mapping[type, Planner | Together]) -> Plan:
    """Return what is to be done about some failed controls of one target.

    Steps with the same action become one that carries all their controls; of steps that contradict each other a person chooses.
    They are ordered by what they disturb, folders before what is in them, then as the cases are.
    """
    cases = list(cases)
    wanted: dict[type, list[tuple[Any, Case]]] = {}
    made: list[Step] = []
    for case in cases:
        for fix in case.control.remediation.fix:
            planner = planners.get(type(fix), _nothing)
            if isinstance(planner, Together):
                wanted.setdefault(type(fix), []).append((fix, case))
            else:
                made.extend(planner(fix, case))
    for kind, fixes in wanted.items():
        planner = planners[kind]
        assert isinstance(planner, Together)
        made.extend(planner.plan(fixes))
    place = {case.label: index for index, case in reversed(list(enumerate(cases)))}
    steps = _settled(_merged(made))
    ordered = sorted(steps, key=lambda s: (s.effect, _depth(s), min(place[label] for label in s.controls)))
    fixed = {label for step in ordered for label in step.controls}
    left = [(c.label, c.control.title, c.control.remediation.text) for c in cases if c.label not in fixed]
    return Plan(run=run, target=target.name, kind=target.kind.value, address=target.address, steps=tuple(ordered), open=tuple(left))


def _depth(step: Step) -> int:
    """A folder comes before what is in it: as long as others may write to it, nothing in it is safe to touch."""
    return step.action.path.count("/") if isinstance(step.action, KeepBits | Own) else 0


def _merged(made: Iterable[Step]) -> list[Step]:
    """Make one step of those with the same action."""
    steps: dict[str, Step] = {}
    for step in made:
        known = steps.get(repr(step.action))
        controls = tuple(dict.fromkeys((*(known.controls if known else ()), *step.controls)))
        effect = max(step.effect, known.effect) if known else step.effect
        steps[repr(step.action)] = dataclasses.replace(known or step, controls=controls, effect=effect)
    return list(steps.values())


def _settled(steps: list[Step]) -> list[Step]:
    """Put a `ByHand` in the place of steps that would give one place different values, each undoing what the other did."""
    places: dict[tuple[str, ...], list[Step]] = {}
    for step in steps:
        places.setdefault(_place(step), []).append(step)
    found: list[Step] = []
    for same in places.values():
        if len(same) == 1 or not _place(same[0]):
            found.extend(same)
            continue
        words = "Choose one, since controls ask for different values: " + "; ".join(
            f"{s.words} ({', '.join(s.controls)})" for s in same
        )
        controls = tuple(dict.fromkeys(label for s in same for label in s.controls))
        found.append(dataclasses.replace(same[0], action=ByHand(words), controls=controls, words=words, after=None,
                                         effect=max(s.effect for s in same)))  # fmt: skip
    return found


def _place(step: Step) -> tuple[str, ...]:
    """Return what an action gives a value to; nothing for actions that can't undo each other."""
    match step.action:
        case SetKey(path=path, key=key):
            return ("key", path, *key)
        case SetFlag(path=path, program=program, flag=flag):
            return ("flag", path, program, flag)
        case Run(shows=shows):
            return ("command", *shows)
    return ()
