"""``unused_images`` and ``stopped_containers``: what lies about on an engine that nothing uses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from auditor.facts.docker import Engine
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason
from checks import base, engines
from checks.engines import EngineFacts

_DAY = 86400
_NEVER = "0001-01-01"


def _age(moments: list[Any], engine: EngineFacts) -> float | Problem:
    """Return how many days ago the latest of some moments was, by the engine's own clock.

    Moments are in the engine's form (ISO 8601, year 1 for never); those that are not given don't count.
    """
    info = engine.document("info")
    if isinstance(info, Problem):
        return Problem(info.reason, f"the engine's time is not known: {info.detail}")
    given = [str(m) for m in moments if m and not str(m).startswith(_NEVER)]
    try:
        now = datetime.fromisoformat(str(info.get("SystemTime")))
        return (now - max(datetime.fromisoformat(m) for m in given)).total_seconds() / _DAY
    except (ValueError, TypeError):
        return Problem(Reason.ABSENT, "how old it is can't be told: the engine gives no time for it, or none of its own")


def _old(items: list[dict[str, Any]], ages: list[float | Problem], days: int) -> list[dict[str, Any]] | Problem:
    """Return those that are at least some days old."""
    if days == 0:
        return items
    problem = next((a for a in ages if isinstance(a, Problem)), None)
    return problem or [item for item, age in zip(items, ages, strict=True) if not isinstance(age, Problem) and age >= days]


def _conclude(subject: str, most: int | None, what: str, total: int, names: list[str], where: str) -> Observation:
    """Return the verdict on a number, or the facts for a person when no bound is set and there is something to judge."""
    actual = f"{len(names)} of {total}" + (f": {base.show(sorted(names))}" if names else "")
    if most is None and names:
        question = f"few {what}: can these go? (set the control's parameter to decide by number)"
        return base.manual(subject, expected=question, actual=actual, source=where)
    expected = f"at most {most or 0} {what}"
    return base.verdict(subject, len(names) <= (most or 0), expected=expected, actual=actual, source=where)


def _check(days: int, most: int | None) -> None:
    if days < 0 or (most is not None and most < 0):
        raise ValueError("numbers must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedImages:
    """An engine holds at most ``most`` images that no container uses, running or stopped, and that are ``min_age_days`` old.

    An image's age counts from when it got its last name on the engine, else from when it was made. Without ``most`` a person
    judges, unless every image is in use.
    """

    most: int | None = None
    min_age_days: int = 0

    def __post_init__(self) -> None:
        _check(self.min_age_days, self.most)

    def needs(self) -> frozenset[Fact]:
        """Images, what uses them, and the engine's clock."""
        return frozenset({Engine("images"), Engine("containers"), Engine("info")})

    def evaluate(self, facts: Facts) -> Outcome:
        """Count distinct images; one observation an engine."""
        return engines.each(facts, "images", self._judge)

    def _judge(self, engine: EngineFacts, images: list[dict[str, Any]]) -> Observation | str:
        if not images:
            return "the engine has no images"
        subject = f"daemon/dockerd{engine.suffix}"
        where = engines.source("images") + "; " + engines.source("containers", "Image")
        containers = engine.document("containers")
        if isinstance(containers, Problem):
            return base.error(subject, containers, source=where)
        if any("problem" in c for c in containers) or any("problem" in i for i in images):
            problem = Problem(Reason.ABSENT, "not every image and container could be read, so which are unused is not known")
            return base.error(subject, problem, source=where)
        used = {c.get("Image") for c in containers}
        unused = [i for i in images if i["Id"] not in used]
        ages = [_age([i.get("Created"), (i.get("Metadata") or {}).get("LastTagTime")], engine) for i in unused]
        old = _old(unused, ages, self.min_age_days)
        if isinstance(old, Problem):
            return base.error(subject, old, source=where)
        what = "unused images" + (f" older than {self.min_age_days} days" if self.min_age_days else "")
        return _conclude(subject, self.most, what, len(images), [engines.name_of_image(i) for i in old], where)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedContainers:
    """An engine holds at most ``most`` containers that don't run and ended, or were made, ``min_age_days`` ago.

    Without ``most`` a person judges, unless every container runs.
    """

    most: int | None = None
    min_age_days: int = 0

    def __post_init__(self) -> None:
        _check(self.min_age_days, self.most)

    def needs(self) -> frozenset[Fact]:
        """Containers, and the engine's clock."""
        return frozenset({Engine("containers"), Engine("info")})

    def evaluate(self, facts: Facts) -> Outcome:
        """Count; one observation an engine."""
        return engines.each(facts, "containers", self._judge)

    def _judge(self, engine: EngineFacts, containers: list[dict[str, Any]]) -> Observation | str:
        if not containers:
            return "the engine has no containers"
        subject = f"daemon/dockerd{engine.suffix}"
        where = engines.source("containers", "State.Running, State.FinishedAt, Created")
        if any("problem" in c or not isinstance(c["State"].get("Running"), bool) for c in containers):
            problem = Problem(Reason.ABSENT, "not every container could be read, so how many are stopped is not known")
            return base.error(subject, problem, source=where)
        stopped = [c for c in containers if not c["State"]["Running"]]
        ages = [_age([c.get("Created"), c["State"].get("FinishedAt")], engine) for c in stopped]
        old = _old(stopped, ages, self.min_age_days)
        if isinstance(old, Problem):
            return base.error(subject, old, source=where)
        what = "stopped containers" + (f" since {self.min_age_days} days or longer" if self.min_age_days else "")
        return _conclude(subject, self.most, what, len(containers), [engines.name_of_container(c) for c in old], where)
