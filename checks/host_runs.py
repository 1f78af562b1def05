"""``host_runs``: which programs a host runs, as a guard for controls that only some hosts are about."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.facts.host import PROGRAMS, Processes
from auditor.model import Fact, Facts, Outcome, Problem
from checks import base


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRuns:
    """At least one of ``any_of`` runs, or none of ``none_of``; programs in containers count for neither."""

    any_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.any_of) == bool(self.none_of):
            raise ValueError("give one of any_of and none_of")
        for program in self.any_of + self.none_of:
            if program not in PROGRAMS:
                raise ValueError(f"{program!r} is not a program that is looked for; known: {', '.join(PROGRAMS)}")

    def needs(self) -> frozenset[Fact]:
        """The running programs."""
        return frozenset({Processes()})

    def evaluate(self, facts: Facts) -> Outcome:
        """Return a pass or a fail about the host as a whole."""
        words = " or ".join(self.any_of or self.none_of)
        expected = f"{words} runs" if self.any_of else f"no {words} runs"
        processes = facts.get(Processes())
        if isinstance(processes, Problem):
            return Outcome((base.error("host", processes, expected=expected, source="running processes"),))
        here = sorted(
            {
                p["name"]
                for p in processes
                if not p["contained"] and "elsewhere" not in p and p["name"] in self.any_of + self.none_of
            }
        )
        ok = bool(here) == bool(self.any_of)
        actual = f"{base.show(here)} runs" if here else f"no {words} runs here"
        return Outcome((base.verdict("host", ok, expected=expected, actual=actual, source="running processes"),))
