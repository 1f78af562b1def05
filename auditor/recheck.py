"""Looking again at what failed: of an earlier run, the targets and controls that failed or could not be judged. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from auditor import score
from auditor.model import AuditRun, Status, TargetStatus


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


def of_run(run: AuditRun) -> Recheck:
    """Return what of a run is worth looking at again: failures, waived or not, errors, and targets that could not be audited."""
    wanted: dict[str, set[str]] = {}
    for f in run.findings:
        attested = f.attestation is not None and f.attestation.verdict == Status.FAIL
        if f.status in (Status.FAIL, Status.ERROR) or attested:
            wanted.setdefault(f.target, set()).add(f.control)
    lost = [t.name for t in run.targets if t.status in (TargetStatus.UNREACHABLE, TargetStatus.FAILED)]
    every: dict[str, frozenset[str] | None] = {name: frozenset(keys) for name, keys in wanted.items()}
    every |= dict.fromkeys(lost)
    asked = run.selection
    return Recheck(run.id, every, tuple(asked.get("benchmarks", ())), int(asked.get("level", 2)), tuple(asked.get("only", ())))


def restrict(run: AuditRun, recheck: Recheck) -> AuditRun:
    """Return the new run with nothing but what was to be looked at again, marked as a re-check of the old one.

    Its scores are over those controls alone, which is why nothing takes it for a measure of the whole.
    """

    def asked(target: str, control: str) -> bool:
        keys = recheck.wanted.get(target, frozenset())
        return keys is None or control in keys

    said = (
        f"This is a re-check of run {recheck.run}: only what failed or could not be judged there was audited again. "
        "Scores are over those controls alone and say nothing of the whole."
    )
    findings = tuple(f for f in run.findings if asked(f.target, f.control))
    used = {(f.benchmark, f.version) for f in findings}
    return dataclasses.replace(
        run,
        findings=findings,
        scores=score.scores(findings),
        benchmarks=tuple(b for b in run.benchmarks if (b.name, b.version) in used),
        selection={**run.selection, "only": [], "recheck": recheck.run},
        notices=(said, *run.notices),
    )
