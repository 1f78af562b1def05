"""``manual``: a person decides; the question is put to them."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.model import Fact, Facts, Observation, Outcome, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Manual:
    """A question that no collected fact answers; ``question`` says what a person has to find out."""

    question: str
    subject: str = "target"

    def needs(self) -> frozenset[Fact]:
        """Nothing."""
        return frozenset()

    def evaluate(self, facts: Facts) -> Outcome:  # noqa: ARG002 - no fact answers this
        """Return the question as the one observation."""
        return Outcome((Observation(self.subject, Status.MANUAL, self.question),))
