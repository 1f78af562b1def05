"""``unit_ip_filter``: systemd lets a unit talk to chosen addresses only."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.facts.host import Processes
from auditor.facts.node import UNITS, AddressFilter
from auditor.model import Fact, Facts, Outcome, Problem
from checks import base

_EXPECTED = "every address denied, some allowed"
_ALL = {"0.0.0.0/0", "::/0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitIpFilter:
    """The ``unit`` denies every address of both protocols and allows some; without such a unit it doesn't apply."""

    unit: str

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"unit must be one of {', '.join(UNITS)}, not {self.unit!r}")

    def needs(self) -> frozenset[Fact]:
        """The unit's filter and the running programs."""
        return frozenset({AddressFilter(unit=self.unit), Processes()})

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge the unit."""
        answer, processes = facts.get(AddressFilter(unit=self.unit)), facts.get(Processes())
        program = self.unit.removesuffix(".service")
        if not isinstance(processes, Problem) and not any(p["name"] == program and not p["contained"] for p in processes):
            return Outcome((), f"no {program} runs here")
        subject, source = f"unit/{self.unit}", f"systemctl show {self.unit}"
        if isinstance(answer, Problem):
            return Outcome((base.error(subject, answer, expected=_EXPECTED, source=source),))
        if not answer["loaded"]:
            return Outcome((), f"{program} is not run by a unit {self.unit}")
        denied, allowed = set(answer["deny"]), answer["allow"]
        actual = f"IPAddressDeny: {' '.join(sorted(denied)) or 'unset'}; IPAddressAllow: {' '.join(allowed) or 'unset'}"
        ok = (denied >= _ALL or "any" in denied) and bool(allowed)
        return Outcome((base.verdict(subject, ok, expected=_EXPECTED, actual=base.short(actual), source=source),))
