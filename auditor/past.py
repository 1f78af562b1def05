"""What earlier runs say about a run, as reports show it: the trend of its scores and the age of its failures. Plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

Key = tuple[str, str, str]  # target, benchmark, control's key


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


class Ages(Mapping[Key, Age]):
    """Ages by target, benchmark and control's key; a large fleet's take a third of what a dictionary of such keys does."""

    def __init__(self) -> None:
        self._targets: dict[tuple[str, str], dict[str, Age]] = {}

    def add(self, key: Key, age: Age) -> None:
        """Note the age of a failure."""
        target, *control = key
        self._targets.setdefault((control[0], control[1]), {})[target] = age

    def __getitem__(self, key: Key) -> Age:
        target, benchmark, control = key
        return self._targets[benchmark, control][target]

    def __iter__(self) -> Iterator[Key]:
        return ((t, *control) for control, targets in self._targets.items() for t in targets)

    def __len__(self) -> int:
        return sum(map(len, self._targets.values()))


@dataclass(frozen=True, slots=True)
class Past:
    """The past of one run. ``trend`` is by the benchmark's name, oldest first, this run last; ``ages`` by target, benchmark and
    control's key."""  # noqa: D205, D209 - one sentence

    trend: Mapping[str, tuple[TrendPoint, ...]] = field(default_factory=dict)
    ages: Mapping[Key, Age] = field(default_factory=dict)

    def oldest(self, keys: list[Key]) -> Age | None:
        """Return the age of the oldest of some failures."""
        return min((self.ages[k] for k in keys if k in self.ages), key=lambda a: (a.since, -a.runs), default=None)


def days(since: str, until: str) -> int | None:
    """Return the whole days between two times (ISO 8601), None where one of them says nothing."""
    try:
        return max(0, (datetime.fromisoformat(until) - datetime.fromisoformat(since)).days)
    except (ValueError, TypeError):
        return None
