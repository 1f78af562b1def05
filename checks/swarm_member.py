"""What the rules about swarms share: an engine as a member of its swarm."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from auditor.model import Fact, Observation, Problem, Reason, problem_of
from checks.engines import EngineFacts

DAY = timedelta(days=1)
WORKER = "the engine is a worker of its swarm: a manager decides"


@dataclass(frozen=True, slots=True)
class Member:
    """An engine in an active swarm: ``data`` is its entry of the fact (see `auditor.facts.swarm`)."""

    engine: EngineFacts
    data: dict[str, Any]

    @property
    def subject(self) -> str:
        """The daemon."""
        return f"daemon/dockerd{self.engine.suffix}"

    @property
    def info(self) -> dict[str, Any]:
        """What the engine says about its swarm, in the API's words."""
        info: dict[str, Any] = self.data["info"]
        return info

    @property
    def manager(self) -> bool:
        """Whether it can tell about the swarm as a whole."""
        return bool(self.info.get("ControlAvailable"))

    @property
    def alone(self) -> bool:
        """Whether the swarm is known to have no other node."""
        return self.manager and self.info.get("Nodes") == 1

    def part(self, name: str) -> Any | Problem:
        """Return a part of what was collected."""
        part = self.data.get(name)
        if part is None:
            return Problem(Reason.ABSENT, f"the answer about the swarm has no {name.replace('_', ' ')}")
        return problem_of(part) if isinstance(part, dict) and "problem" in part else part

    def now(self) -> datetime | Problem:
        """Return the engine's own time."""
        return moment(self.data.get("time"), "the engine's time")


class Rule(Protocol):
    """A condition on a member of a swarm: a frozen dataclass whose fields are its parameters in a benchmark file."""

    @property
    def asks(self) -> Literal["manager", "member"]:
        """Whose business it is: a manager's, who knows the whole swarm, or every member's own."""
        ...

    def needs(self) -> frozenset[Fact]:
        """Return the facts it reads beside the swarm."""
        ...

    def judge(self, member: Member) -> list[Observation] | str:
        """Return the observations about a member, or why it doesn't apply."""
        ...


def moment(text: object, what: str) -> datetime | Problem:
    """Return a point in time as an engine writes it; ``what`` names it where it can't be read."""
    try:
        found = datetime.fromisoformat(str(text or ""))
    except ValueError:
        return Problem(Reason.ABSENT, f"{what} is not told")
    return found if found.tzinfo is not None else Problem(Reason.UNPARSABLE, f"{what} has no time zone")


def day(when: datetime) -> str:
    """Return a point in time as reports show it."""
    return when.strftime("%Y-%m-%d %H:%M UTC")
