"""What all check types share: observations from facts, and missing facts turned into errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from auditor.model import Facts, Observation, Outcome, Problem, Status

#: How many characters of one value an observation shows.
SHOWN = 300


T = TypeVar("T")


def once(facts: Facts, name: tuple[str, ...], make: Callable[[], T]) -> T:
    """Return what ``make`` makes of these facts and of nothing else, made once while a target is judged.

    ``name`` says what it is, with all that it depends on beside the facts. Nobody may change what is returned.
    """
    made: dict[tuple[str, ...], Any] | None = getattr(facts, "made", None)
    if made is None:
        return make()
    if name not in made:
        made[name] = make()
    return made[name]  # type: ignore[no-any-return]


def error(subject: str, problem: Problem, *, expected: str = "", source: str = "") -> Observation:
    """Return the observation that stands for missing evidence."""
    return Observation(subject, Status.ERROR, expected, str(problem), source)


def verdict(subject: str, ok: bool, *, expected: str, actual: str, source: str) -> Observation:  # noqa: FBT001 - the verdict itself
    """Return a pass or a fail about one subject."""
    return Observation(subject, Status.PASS if ok else Status.FAIL, expected, actual, source)


def manual(subject: str, *, expected: str, actual: str, source: str = "") -> Observation:
    """Return what a person has to judge about one subject: the question, and the facts that were collected for it."""
    return Observation(subject, Status.MANUAL, expected, actual, source)


def not_applicable(subject: str, *, expected: str, actual: str, source: str = "") -> Observation:
    """Return that there is nothing to judge about one subject; ``actual`` says why."""
    return Observation(subject, Status.NOT_APPLICABLE, expected, actual, source)


def outcome(observations: list[Observation], reason: str) -> Outcome:
    """Return an outcome; ``reason`` says why the control doesn't apply when there are no observations."""
    return Outcome(tuple(observations), "" if observations else reason)


def show(value: Any) -> str:
    """Return a value as a report shows it: JSON's words for booleans and null, lists with commas, at most `SHOWN` characters."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return short(", ".join(show(v) for v in value)) or "(empty)"
    return short(str(value)) if value != "" else '""'


def short(text: str) -> str:
    """Return a text cut to `SHOWN` characters, saying how long it was."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"
