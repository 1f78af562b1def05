"""What a tailoring file and a register of waivers and attestations may say: their keys, as they are decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NewType

import yaml

#: Text of at least one visible character.
Text = NewType("Text", str)
#: The level of a benchmark, 1 or 2, and the version of both formats.
Level = NewType("Level", int)
Version = NewType("Version", str)


@dataclass(frozen=True, slots=True)
class Word:
    """A text and where it stands."""

    text: str
    node: yaml.Node


@dataclass(frozen=True, slots=True)
class ControlName:
    """A control as a file names it (``KEY``, ``KEY@BENCHMARK``, ``NUMBER@BENCHMARK``; a benchmark may be ``NAME@VERSION``).

    ``key`` is empty where there is no such control, which is a mistake that was noted.
    """

    key: str
    benchmark: str
    version: str
    node: yaml.Node


@dataclass(frozen=True, slots=True)
class BenchmarkName:
    """A benchmark as a file names it; ``version`` is empty for all of them."""

    name: str
    version: str
    node: yaml.Node

    @property
    def ref(self) -> str:
        """``name`` or ``name@version``."""
        return f"{self.name}@{self.version}" if self.version else self.name


@dataclass(frozen=True, slots=True)
class Values:
    """Parameter values of one control, still as nodes that know their place."""

    node: yaml.Node


@dataclass(frozen=True, slots=True)
class Begin:
    """When something begins: as it is written, and the instant."""

    text: str
    instant: datetime


@dataclass(frozen=True, slots=True)
class End:
    """When something ends: as it is written, and the first instant at which it has ended."""

    text: str
    instant: datetime


@dataclass(frozen=True, kw_only=True)
class OverrideKeys:
    """Parameter values for some targets: those that fit ``targets`` and ``groups`` (patterns), all without either."""

    control: ControlName
    parameters: Values
    reason: Text
    targets: tuple[Text, ...] = ()
    groups: tuple[Text, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LeaveOut:
    """A control or a section that is not judged."""

    reason: Text
    control: ControlName | None = None
    section: Word | None = None


@dataclass(frozen=True, kw_only=True)
class TakeIn:
    """A control that is judged in spite of its level or section."""

    control: ControlName
    reason: Text


@dataclass(frozen=True, kw_only=True)
class BenchmarkKeys:
    """What of a benchmark is judged."""

    benchmark: BenchmarkName
    level: Level | None = None
    sections: tuple[Word, ...] = ()
    reason: Text | None = None
    exclude: tuple[LeaveOut, ...] = ()
    include: tuple[TakeIn, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WaiverKeys:
    """A waiver."""

    control: ControlName
    reason: Text
    owner: Text
    approver: Text
    expires: End
    starts: Begin | None = None
    ticket: str = ""
    targets: tuple[Text, ...] = ()
    groups: tuple[Text, ...] = ()
    subjects: tuple[Text, ...] = ()
    id: Word | None = None


@dataclass(frozen=True, kw_only=True)
class AttestationKeys:
    """An attestation."""

    control: ControlName
    verdict: Literal["pass", "fail"]
    by: Text
    at: Begin
    statement: Text
    evidence: Text
    expires: End
    targets: tuple[Text, ...] = ()
    groups: tuple[Text, ...] = ()
    id: Word | None = None


@dataclass(frozen=True, kw_only=True)
class RegisterKeys:
    """A register of waivers and attestations."""

    register: Version
    zone: str = ""
    waivers: tuple[WaiverKeys, ...] = ()
    attestations: tuple[AttestationKeys, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TailoringKeys:
    """What a site decides differently from the benchmarks' defaults, and why."""

    tailoring: Version
    zone: str = ""
    files: tuple[str, ...] = ()
    benchmarks: tuple[BenchmarkKeys, ...] = ()
    parameters: Mapping[str, Values] = field(default_factory=dict)
    overrides: tuple[OverrideKeys, ...] = ()
    waivers: tuple[WaiverKeys, ...] = ()
    attestations: tuple[AttestationKeys, ...] = ()
