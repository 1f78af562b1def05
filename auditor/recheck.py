"""Looking again at what failed: of an earlier run, the targets and controls that failed or could not be judged. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auditor.model import AuditRun, Finding, Status, TargetStatus
from auditor.score import fails


@dataclass(frozen=True, slots=True)
class Recheck:
    """What is looked at again. ``wanted`` holds the controls' keys by target; None stands for all: it was not audited then.

    ``benchmarks``, ``level`` and ``only`` are what the run asked for. Hosts are asked the same questions again, since an account's
    rights may be for exactly that script.
    """

    run: str
    wanted: Mapping[str, frozenset[str] | None]
    benchmarks: tuple[str, ...]
    level: int
    only: tuple[str, ...]

    def asks(self, finding: Finding) -> bool:
        """Return whether a finding is one that is looked at again; the others are neither shown nor kept."""
        keys = self.wanted.get(finding.target, frozenset())
        return keys is None or finding.control in keys


def of_run(run: AuditRun) -> Recheck:
    """Return what of a run is worth looking at again: failures, waived or not, errors, and targets that could not be audited."""
    wanted: dict[str, set[str]] = {}
    for f in run.findings:
        if fails(f) or f.status is Status.ERROR:
            wanted.setdefault(f.target, set()).add(f.control)
    lost = [t.name for t in run.targets if t.status in (TargetStatus.UNREACHABLE, TargetStatus.FAILED)]
    every: dict[str, frozenset[str] | None] = {name: frozenset(keys) for name, keys in wanted.items()}
    every |= dict.fromkeys(lost)
    asked = run.selection
    return Recheck(run.id, every, tuple(asked.get("benchmarks", ())), int(asked.get("level", 2)), tuple(asked.get("only", ())))


def notices(selection: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what must be said of a run of this selection if it is a re-check: nothing may take it for a measure of the whole."""
    if not selection.get("recheck"):
        return ()
    said = (
        f"This is a re-check of run {selection['recheck']}: only what failed or could not be judged there was audited again. "
        "Scores are over those controls alone and say nothing of the whole."
    )
    return (said,)
