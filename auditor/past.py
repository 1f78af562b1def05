"""What earlier runs say about a run, as reports show it: the trend of its scores and the age of its failures. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """A benchmark's figures in one run, over those of its targets that the run in question has too.

    ``score`` is the mean over ``targets``, those that have one, in percent.
    """

    run: str
    started: str
    version: str
    targets: int
    score: float | None
    fail: int
    error: int


@dataclass(frozen=True, slots=True)
class Age:
    """Since when a control fails on a target without a break, as far as runs are kept, and in how many runs it was seen to.

    It fails by evidence, or by the attestation of a person where evidence leaves it open. A run that found it passing, not
    applicable or manual is a break; one that could not judge it or left it out is none. What judged it, another version of the
    benchmark or another benchmark with the same control, makes no difference.
    """

    run: str
    since: str
    runs: int


@dataclass(frozen=True, slots=True)
class Past:
    """The past of one run. ``trend`` is by the benchmark's name, oldest first, this run last; ``ages`` by target, benchmark and
    control's key."""  # noqa: D205, D209 - one sentence

    trend: Mapping[str, tuple[TrendPoint, ...]] = field(default_factory=dict)
    ages: Mapping[tuple[str, str, str], Age] = field(default_factory=dict)

    def oldest(self, keys: list[tuple[str, str, str]]) -> Age | None:
        """Return the age of the oldest of some failures."""
        return min((self.ages[k] for k in keys if k in self.ages), key=lambda a: (a.since, -a.runs), default=None)


def days(since: str, until: str) -> int | None:
    """Return the whole days between two times (ISO 8601), None where one of them says nothing."""
    try:
        return max(0, (datetime.fromisoformat(until) - datetime.fromisoformat(since)).days)
    except (ValueError, TypeError):
        return None
