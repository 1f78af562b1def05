"""What all check types share: observations from facts, and missing facts turned into errors."""

from __future__ import annotations

from typing import Any

from auditor.model import Observation, Outcome, Problem, Status


def error(subject: str, problem: Problem, *, expected: str = "", source: str = "") -> Observation:
    """Return the observation that stands for missing evidence."""
    return Observation(subject, Status.ERROR, expected, str(problem), source)


def verdict(subject: str, ok: bool, *, expected: str, actual: str, source: str) -> Observation:
    """Return a pass or a fail about one subject."""
    return Observation(subject, Status.PASS if ok else Status.FAIL, expected, actual, source)


def outcome(observations: list[Observation], reason: str) -> Outcome:
    """Return an outcome; ``reason`` says why the control doesn't apply when there are no observations."""
    return Outcome(tuple(observations), "" if observations else reason)


def show(value: Any) -> str:
    """Return a value as a report shows it: JSON's words for booleans and null, lists with commas."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(show(v) for v in value) or "(empty)"
    return str(value) if value != "" else '""'
