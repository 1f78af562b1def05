"""``runs``: a program runs on the host. A guard for controls about what may be there for another program's sake."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.facts.host import PROGRAMS, Processes
from auditor.model import Fact, Facts, Outcome
from checks import base, running


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """The program ``process`` runs, not in a container. Where it doesn't, the control does not apply."""

    process: str

    def __post_init__(self) -> None:
        if self.process not in PROGRAMS:
            raise ValueError(f"process must be one of {', '.join(PROGRAMS)}, not {self.process!r}")

    def needs(self) -> frozenset[Fact]:
        """The running programs."""
        return frozenset({Processes()})

    def evaluate(self, facts: Facts) -> Outcome:
        """Return one observation a running instance."""
        found = running.instances(facts, self.process)
        if isinstance(found, Outcome):
            return found
        return Outcome(tuple(base.verdict(i.subject, ok=True, expected="runs", actual=str(i), source="processes") for i in found))
