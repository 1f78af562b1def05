"""``all``, ``any`` and ``first``: several checks as one."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.model import Check, Fact, Facts, Outcome, Status, worst


@dataclass(frozen=True, slots=True, kw_only=True)
class All:
    """Every one of ``checks`` must hold; their observations are put together."""

    checks: tuple[Check, ...]

    def needs(self) -> frozenset[Fact]:
        """Return what any of the checks needs."""
        return frozenset().union(*(c.needs() for c in self.checks))

    def evaluate(self, facts: Facts) -> Outcome:
        """Return all observations; not applicable only when that is true of every check."""
        outcomes = [c.evaluate(facts) for c in self.checks]
        observations = tuple(o for outcome in outcomes for o in outcome.observations)
        reasons = dict.fromkeys(o.reason for o in outcomes if o.reason)
        return Outcome(observations, "" if observations else "; ".join(reasons))


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyOf:
    """One of ``checks`` must hold for the target as a whole: the first that passes decides.

    When none passes, what could not be decided (error, then manual) outranks failure, since it might have passed.
    """

    checks: tuple[Check, ...]

    def needs(self) -> frozenset[Fact]:
        """Return what any of the checks needs."""
        return frozenset().union(*(c.needs() for c in self.checks))

    def evaluate(self, facts: Facts) -> Outcome:
        """Return the observations of the check that decides."""
        outcomes = [c.evaluate(facts) for c in self.checks]
        for wanted in (Status.PASS, Status.ERROR, Status.MANUAL):
            for outcome in outcomes:
                if outcome.status is wanted:
                    return outcome
        observations = tuple(o for outcome in outcomes for o in outcome.observations)
        reasons = dict.fromkeys(o.reason for o in outcomes if o.reason)
        assert worst(o.status for o in observations) in (Status.FAIL, Status.NOT_APPLICABLE)
        return Outcome(observations, "" if observations else "; ".join(reasons))


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """The first of ``checks`` that can be decided (pass or fail) is the answer: put the best evidence first.

    When none decides, what could not be decided (error, then manual) is the answer; not applicable only when all are.
    """

    checks: tuple[Check, ...]

    def needs(self) -> frozenset[Fact]:
        """Return what any of the checks needs."""
        return frozenset().union(*(c.needs() for c in self.checks))

    def evaluate(self, facts: Facts) -> Outcome:
        """Return the outcome of the check that decides."""
        outcomes = [c.evaluate(facts) for c in self.checks]
        for wanted in ((Status.PASS, Status.FAIL), (Status.ERROR,), (Status.MANUAL,)):
            for outcome in outcomes:
                if outcome.status in wanted:
                    return outcome
        return Outcome((), "; ".join(dict.fromkeys(o.reason for o in outcomes if o.reason)))
