"""What a run says as a whole, made of its targets' entries one by one: benchmarks and why, notices, registers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from auditor import catalogue, recheck
from auditor.journal import Entry
from auditor.model import BenchmarkInfo, Finding, TargetStatus
from auditor.registers import Registers
from auditor.versions import Choice, because_of, some
from auditor.waivers import Narrowed

if TYPE_CHECKING:
    from auditor.audit import Benchmarks


class Closing:
    """Takes the entries of a run in their order, then tells. It remembers a few words a target, no finding."""

    def __init__(self, benchmarks: Benchmarks, started: str, selection: Mapping[str, Any]) -> None:
        self._benchmarks = benchmarks
        self._selection = selection
        self._register = benchmarks.tailoring.register(started, _narrowed(selection))
        self._chosen: dict[str, dict[str, Choice]] = {}
        self._audited = False

    def add(self, entry: Entry, findings: Iterable[Finding] | None = None) -> list[Finding]:
        """Take a target in; return its findings (or those of ``findings``) with the marks of waivers and attestations."""
        for ref, choice in entry.chosen:
            self._chosen.setdefault(ref, {})[entry.name] = choice
        self._audited |= entry.target.status is TargetStatus.AUDITED
        self._register.targets[entry.name] = entry.target.groups
        if entry.target.status in (TargetStatus.UNREACHABLE, TargetStatus.FAILED):
            self._register.lost.add(entry.name)
        return self._register.mark(entry.findings if findings is None else findings, entry.target.groups)

    @property
    def controls(self) -> list[str]:
        """The controls that waivers and attestations are about."""
        return self._register.controls

    def judged(self, controls: Iterable[str]) -> None:
        """Take note of controls that were judged, where `mark` is shown only findings on `controls`."""
        self._register.judged(controls)

    def mark(self, finding: Finding) -> Finding:
        """Return a finding of a target that was taken in without it, with its marks."""
        return self._register.mark((finding,), self._register.targets[finding.target])[0]

    def infos(self) -> list[BenchmarkInfo]:
        """Return the benchmarks that judged, each with why it did."""
        return [
            dataclasses.replace(catalogue.info(b), selected_because=because_of(self._chosen[b.ref]))
            for b in self._benchmarks.all()
            if b.ref in self._chosen
        ]

    def notices(self) -> tuple[str, ...]:
        """Return what must be said loudly about the run as a whole and about the versions that judged."""
        said: dict[str, list[str]] = {}
        for benchmark in self._benchmarks.all():
            for name, choice in self._chosen.get(benchmark.ref, {}).items():
                if choice.warning:
                    said.setdefault(choice.warning, []).append(name)
        warned = (f"{some(named)}: {warning}" for warning, named in said.items())
        return (*recheck.notices(self._selection), *self._idle(), *warned)

    def _idle(self) -> Iterator[str]:
        """Say which benchmarks were asked for by name and judged nothing; of the default ones some are for other targets."""
        if not self._audited or self._selection.get("recheck"):
            return
        used = {ref.partition("@")[0] for ref in self._chosen}
        able = {b.name for b in self._benchmarks.all() if b.controls}
        for name in dict.fromkeys(ref.partition("@")[0] for ref in self._selection.get("benchmarks", ())):
            if name in able - used:
                yield f"{name} was asked for, and none of its controls is for a target that was audited: nothing was judged by it."

    def registers(self) -> Registers:
        """Return the registers of tailoring, waivers and attestations."""
        waivers, attestations = self._register.entries()
        return Registers(self._benchmarks.tailoring.changed(self._register.targets), waivers, attestations)


def _narrowed(selection: Mapping[str, Any]) -> Narrowed:
    """Return what of all that there is a run of this selection did not ask for."""
    again = bool(selection.get("recheck"))
    some_controls = any(selection.get(n) for n in ("benchmarks", "only")) or selection.get("level", 2) < 2
    return Narrowed(again or some_controls, again or bool(selection.get("limit")))
