"""Judging: ``(controls, evidence) -> findings``. Pure: no I/O, no clock, no randomness."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from auditor.model import STATUS_RANK, Benchmark, Control, Evidence, Fact, Facts, Finding, Observation, Outcome, Problem, Status

#: What controls may be for, by the transport of a target: a cluster or an engine is reached by its API, any other is a whole host.
_MEANT = {"kubernetes": ("cluster",), "docker": ("docker-host",)}
_HOST = ("docker-host", "node")


def needs(benchmarks: Iterable[Benchmark], target: str) -> frozenset[Fact]:
    """Return every fact that the controls for one kind of target need.

    ``target`` is ``host`` (the controls for Docker hosts and nodes) or ``cluster``.
    """
    found: set[Fact] = set()
    for benchmark in benchmarks:
        for control in benchmark.controls:
            if (control.target == "cluster") == (target == "cluster"):
                found |= control.check.needs()
                if control.applies_when is not None:
                    found |= control.applies_when.needs()
    return frozenset(found)


def judge(benchmarks: Iterable[Benchmark], evidence: Evidence) -> list[Finding]:
    """Return a finding for every control that is meant for this kind of target, in the benchmarks' order."""
    meant = _MEANT.get(evidence.target.transport, _HOST)
    facts = Remembered(evidence)
    return [
        finding(benchmark, control, evidence.target.name, outcome(control, facts))
        for benchmark in benchmarks
        for control in benchmark.controls
        if control.target in meant
    ]


class Remembered:
    """The facts of one target for as long as its controls are judged, and what checks made of these facts alone.

    ``made`` is theirs (see `checks.base.once`): what several controls go by, such as which programs run, is found out once.
    """

    __slots__ = ("_evidence", "_facts", "made")

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._facts: Mapping[str, Any] = evidence.facts
        self.made: dict[Any, Any] = {}

    def get(self, fact: Fact) -> Any | Problem:
        """Return the answer to ``fact`` as `Evidence.get` does."""
        answer = self._facts.get(fact.key)
        return answer if answer is not None else self._evidence.get(fact)


def finding(benchmark: Benchmark, control: Control, target: str, outcome: Outcome) -> Finding:
    """Return the finding that an outcome makes on the target of this name, its worst observations first."""
    observations = outcome.observations
    if len(observations) > 1:
        observations = tuple(sorted(observations, key=_rank))
    status = observations[0].status if observations else Status.NOT_APPLICABLE
    return Finding(target, benchmark.name, benchmark.version, control.id, control.key, control.title, control.level,
                   control.assessment, control.severity, status, outcome.reason, observations, control.parameters,
                   control.tailored)  # fmt: skip


def _rank(observation: Observation) -> tuple[int, str]:
    return STATUS_RANK[observation.status], observation.subject


def outcome(control: Control, facts: Facts) -> Outcome:
    """Judge one control: does it apply, then what holds. A crash is an error of this one control, with its reason."""
    try:
        if control.applies_when is not None:
            return _guarded(control.applies_when.evaluate(facts), control, facts)
        return control.check.evaluate(facts)
    except Exception as error:  # noqa: BLE001 - a defect in one check must not lose the others; it is reported as an error
        detail = f"the check failed on this evidence: {type(error).__name__}: {error}"
        return Outcome((Observation("target", Status.ERROR, "", detail, f"check of {control.key}"),))


def _guarded(guard: Outcome, control: Control, facts: Facts) -> Outcome:
    """Judge what the guard lets through.

    Where guard and check speak of the same subjects (two engines on a host), each subject is let through or not by itself.
    """
    if guard.status is Status.PASS:
        return control.check.evaluate(facts)
    if guard.status is Status.NOT_APPLICABLE:
        return Outcome((), guard.reason or _why_not(guard))
    verdicts = {o.subject: o.status for o in reversed(guard.observations)}
    if Status.PASS in verdicts.values():
        judged = control.check.evaluate(facts)
        if any(verdicts.get(o.subject) is Status.PASS for o in judged.observations):
            undecided = tuple(o for o in guard.observations if o.status in (Status.ERROR, Status.MANUAL))
            let_through = tuple(o for o in judged.observations if verdicts.get(o.subject, Status.PASS) is Status.PASS)
            return Outcome(let_through + undecided)
    return Outcome((), guard.reason or _why_not(guard)) if guard.status is Status.FAIL else guard


def _why_not(guard: Outcome) -> str:
    failed = [o for o in guard.observations if o.status is Status.FAIL]
    parts = [f"{o.subject}: {o.actual} (applies when {o.expected})" for o in failed[:3]]
    return "does not apply: " + "; ".join(parts)
