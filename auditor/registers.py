"""What people decided beside the evidence, as a run records it: changes by tailoring, waivers and attestations.

The nouns of the registers that every report carries. Times ``since`` and ``until`` are UTC in ISO 8601 with a trailing Z;
``starts``, ``expires`` and ``at`` are as somebody wrote them. ``until`` is the first instant at which an entry holds no longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What became of a waiver or an attestation in a run."""

    IN_FORCE = "in force"  # it is valid and marks at least one finding
    NOT_NEEDED = "not needed"  # a waiver that is valid, but nothing that it covers fails
    NOT_MANUAL = "not manual"  # an attestation that is valid, but evidence decides what it attests
    SUPERSEDED = "superseded"  # an attestation that is valid, but a later one speaks about the same findings
    EXPIRED = "expired"
    NOT_YET_VALID = "not yet valid"
    MATCHES_NOTHING = "matches nothing"  # no finding of this run is one that it speaks about
    NOT_JUDGED = "not judged"  # the same, but what it speaks about may be where this run did not look, or could not


@dataclass(frozen=True, slots=True)
class WaiverMark:
    """The mark on a failure that waivers cover. The failure stays one.

    ``waivers`` are ids in the run's register. ``complete``: everything that fails or is an error is covered, so that the failure
    is waived; else ``subjects`` are the failing ones that are covered.
    """

    waivers: tuple[str, ...]
    complete: bool
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AttestationMark:
    """The mark on a manual finding that a person decided: the register's id and the verdict, ``pass`` or ``fail``."""

    attestation: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a site's tailoring changed. ``scope`` says where it holds; ``note`` what is odd about it in this run."""

    what: str  # "parameter", "level", "sections", "excluded", "included" or "own benchmark"
    subject: str  # a control's key or a benchmark
    scope: str
    before: str
    after: str
    reason: str
    place: str  # file:line
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What waivers and attestations have in common, and what became of one. ``benchmark`` is empty, a name or name@version."""

    id: str
    control: str
    benchmark: str
    targets: tuple[str, ...]
    groups: tuple[str, ...]
    expires: str
    since: str
    until: str
    place: str
    state: State
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverEntry(Entry):
    """A waiver and what became of it. ``waived`` and ``partly`` count the failures that it waives wholly and in part."""

    subjects: tuple[str, ...]
    reason: str
    owner: str
    approver: str
    ticket: str
    starts: str
    waived: int = 0
    partly: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationEntry(Entry):
    """An attestation and what became of it. ``findings`` counts the manual findings that it decides."""

    verdict: str
    by: str
    at: str
    statement: str
    evidence: str
    findings: int = 0


@dataclass(frozen=True, slots=True)
class Registers:
    """The registers of a run."""

    tailoring: tuple[Change, ...] = ()
    waivers: tuple[WaiverEntry, ...] = ()
    attestations: tuple[AttestationEntry, ...] = ()

    @property
    def tailored(self) -> frozenset[tuple[str, ...]]:
        """What the tailoring changed, wherever it says so and why: what tells apart runs whose scores can't be compared."""
        return frozenset((c.what, c.subject, c.scope, c.after) for c in self.tailoring)

    def __bool__(self) -> bool:
        """Whether there is anything in them."""
        return bool(self.tailoring or self.waivers or self.attestations)
