"""What lost evidence may do to verdicts: nothing that was no pass may become one, and nothing may go silently.

The rule: take evidence of a real target and lose a part of it as it can be lost in reality (an answer is a problem, the stream ends
early, a frame is gone). Then no control that didn't pass before passes, no control that applied no longer does, no subject that
didn't pass before passes, and no check breaks. A frame with a whole program (`p`, `a` and `e` together) is left out of this: without
it there is no such program, which is another host and not a loss; each one of the three is part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from auditor.engine import judge
from auditor.model import STATUS_RANK, Benchmark, Evidence, Finding, Observation, Problem, Reason, Status, Target
from tests.support.streams import every_version

_GOOD = (Status.PASS, Status.NOT_APPLICABLE)


@cache
def all_controls() -> Benchmark:
    """Return one benchmark with every control of every version once, in each form in which its versions have it."""
    found = {(c.key, repr(c.check), repr(c.applies_when)): c for b in every_version() for c in b.controls}
    return Benchmark("all", "1", "", tuple(found.values()), len(found), "")


def verdicts(facts: Mapping[str, Any], transport: str = "ssh") -> list[Finding]:
    """Return the findings of every control on these facts."""
    return judge([all_controls()], Evidence(Target("target", transport), "2026-11-21T09:00:00Z", facts))


def kinder(before: Sequence[Finding], after: Sequence[Finding]) -> Iterator[str]:
    """Yield what is judged more kindly after than before, or by a check that broke."""
    for old, new in zip(before, after, strict=True):
        if new.status is not old.status and new.status in _GOOD:
            yield f"{new.control}: {old.status} -> {new.status} ({new.reason or [o.actual for o in new.observations]})"
        if new.observations == old.observations:
            continue
        was = _by_subject(old.observations)
        for subject, status in _by_subject(new.observations).items():
            if status is Status.PASS and was.get(subject, Status.PASS) is not Status.PASS:
                yield f"{new.control}, {subject}: {was[subject]} -> {status}"
        yield from broken([new])


def broken(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the checks that raised an error of their own on their evidence."""
    for finding in findings:
        for observation in finding.observations:
            if observation.actual.startswith("the check failed on this evidence"):
                yield f"{finding.control}: {observation.actual}"


def _by_subject(observations: Sequence[Observation]) -> dict[str, Status]:
    found: dict[str, Status] = {}
    for o in observations:
        if o.subject not in found or STATUS_RANK[o.status] < STATUS_RANK[found[o.subject]]:
            found[o.subject] = o.status
    return found


def losses(facts: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield facts with one answer lost, by every reason and altogether."""
    for key in facts:
        for reason in Reason:
            yield f"{key} is {reason}", {**facts, key: Problem(reason, "lost")}
        yield f"{key} is not there", {k: v for k, v in facts.items() if k != key}


def partial_losses(facts: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield facts of which one part is lost as readers of answers say it: the data of one engine, document, node or element."""
    for key, answer in facts.items():
        for path in _parts(answer):
            yield f"{key} {path}", {**facts, key: _lost(answer, path)}


def _parts(answer: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(answer, list):
        for index, inner in enumerate(answer):
            yield from _parts(inner, (*at, index))
    elif isinstance(answer, dict) and "problem" not in answer:
        if at and ({"engine", "data"} <= answer.keys() or {"node", "data"} <= answer.keys() or {"path", "data"} <= answer.keys()
                   or {"path", "mode"} <= answer.keys() or {"Id", "Config"} <= answer.keys() or {"Id", "steps"} <= answer.keys()):  # fmt: skip
            yield at
        for name in ("data", "documents", "files"):
            if name in answer:
                yield from _parts(answer[name], (*at, name))


def _lost(answer: Any, path: Sequence[Any]) -> Any:
    from tests.fuzz.mutations import replaced

    part = answer
    for step in path:
        part = part[step]
    kept = {k: part[k] for k in ("engine", "pid", "node", "path", "Id") if k in part}
    return replaced(answer, path, {**kept, "problem": {"reason": "denied", "detail": "lost"}})
