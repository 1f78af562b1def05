"""The summary that a run ends with on standard output, and the gates that decide its exit code."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.extent import Extent
from auditor.model import SEVERITY_ORDER, AuditRun, Finding, Score, Severity, Status, TargetStatus
from auditor.queries import having, positions
from auditor.score import (
    ADJUSTED_COVERAGE_FORMULA,
    ADJUSTED_SCORE_FORMULA,
    COVERAGE_FORMULA,
    SCORE_FORMULA,
    adjusted_coverage_of,
    adjusted_score_of,
    is_adjusted,
    is_waived,
    mean,
    stands,
    total,
)
from auditor.terminal import clean

#: Exit codes of the command line (a contract).
EXIT_OK, EXIT_GATE, EXIT_USAGE, EXIT_TARGET = 0, 1, 2, 3

_SHOWN = 20
#: Columns that the table of scores may take: one that is cut says less than one whose lines a narrow terminal breaks.
_WIDE = 200
Figure = Callable[[Score], float | None]


@dataclass(frozen=True, slots=True)
class Gates:
    """Conditions that a run must meet; None is no condition. Percentages are held against every target's score.

    Gates count what people decided: waived failures not, attested ones as attested. Without either that is the evidence alone.
    """

    fail_on: Severity | None = None
    min_score: float | None = None
    min_coverage: float | None = None

    def failures(self, run: AuditRun) -> list[str]:
        """Return a line for every gate that does not hold."""
        lines = []
        if self.fail_on is not None:
            grave = SEVERITY_ORDER[: SEVERITY_ORDER.index(self.fail_on) + 1]
            failed = waived = 0
            for f in having(run.findings, (Status.FAIL, Status.MANUAL), grave):  # nothing else fails, or can be attested to
                failed += stands(f)
                waived += is_waived(f)
            if failed:
                more = f" ({waived} waived not counted)" if waived else ""
                lines.append(
                    f"--fail-on {self.fail_on}: {failed} failure{'s' if failed != 1 else ''} of that severity or worse{more}"
                )
        lines += self._below("--min-score", self.min_score, "score", _adjusted_score, run.scores)
        lines += self._below("--min-coverage", self.min_coverage, "coverage", _adjusted_coverage, run.scores)
        return lines

    def _below(self, option: str, bound: float | None, what: str, figure: Figure, scores: Iterable[Score]) -> list[str]:
        if bound is None:
            return []
        values = [(s, figure(s)) for s in scores]
        low = [(s, v) for s, v in values if v is not None and v < bound]
        lines = [
            f"{option} {bound:g}: {clean(s.target, 60)} has a {what} of {percent(v)} on {s.benchmark}" for s, v in low[:_SHOWN]
        ]
        if len(low) > _SHOWN:
            lines.append(f"{option} {bound:g}: and {len(low) - _SHOWN} more")
        if all(v is None for _, v in values):
            lines.append(f"{option} {bound:g}: there is no {what} to hold against it")
        return lines


def exit_code(run: AuditRun, gate_failures: list[str]) -> int:
    """Return 1 when a gate failed, else 3 when a target could not be audited, else 0."""
    if gate_failures:
        return EXIT_GATE
    lost = any(t.status in (TargetStatus.UNREACHABLE, TargetStatus.FAILED) for t in run.targets)
    return EXIT_TARGET if lost else EXIT_OK


def _adjusted_score(s: Score) -> float | None:
    """The score with waivers and attestations; without any it is taken as it was stored, which is the same figure."""
    return adjusted_score_of(s.counts) if is_adjusted(s.counts) else s.score


def _adjusted_coverage(s: Score) -> float | None:
    return adjusted_coverage_of(s.counts) if is_adjusted(s.counts) else s.coverage


def percent(value: float | None) -> str:
    """Return a percentage with one digit, never rounded up to 100; a dash for none."""
    return "-" if value is None else f"{min(value, 99.9) if value < 100 else value:.1f}"


def show(run: AuditRun, written: list[Path], gate_failures: list[str]) -> None:
    """Print the summary of a run."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    lost = [t for t in run.targets if t.status in (TargetStatus.UNREACHABLE, TargetStatus.FAILED)]
    _dangers(console, run)
    if run.scores:
        console.print(_table(run), width=_WIDE, overflow="ignore", crop=False)
        console.print(Text(f"{SCORE_FORMULA}; {COVERAGE_FORMULA}. {_extent(run)}.", style="dim"))
        decided = [s for s in run.scores if is_adjusted(s.counts)]
        for s in decided[:_SHOWN]:
            c = s.counts
            marks = f"{c.waived} waived, {c.attested_pass} attested pass, {c.attested_fail} attested fail"
            figures = f"{percent(adjusted_score_of(c))} % score, {percent(adjusted_coverage_of(c))} % coverage"
            console.print(
                f"{clean(s.target, 40)} {s.benchmark} {s.version} with waivers and attestations: {figures} ({marks})", markup=False
            )
        if len(decided) > _SHOWN:
            console.print(f"and {len(decided) - _SHOWN} more scores with waivers and attestations, in the reports")
        for ref, scores in _by_benchmark(run).items():
            if len(scores) > 1 and any(is_adjusted(s.counts) for s in scores):
                score, coverage = (percent(mean(map(figure, scores))) for figure in (_adjusted_score, _adjusted_coverage))
                means = f"{score} % score, {coverage} % coverage"
                console.print(f"mean of {len(scores)} targets {ref} with waivers and attestations: {means}", markup=False)
        if decided:
            console.print(Text(f"{ADJUSTED_SCORE_FORMULA}; {ADJUSTED_COVERAGE_FORMULA}.", style="dim"))
    _registers(console, run)
    for notice in run.notices[:_SHOWN]:
        console.print(Text(f"ATTENTION: {clean(notice, 1000)}", style="bold yellow"))
    if len(run.notices) > _SHOWN:
        console.print(f"and {len(run.notices) - _SHOWN} more such notices, in the report")
    for target in lost:
        console.print(Text(f"not audited: {clean(target.name, 80)}: {clean(target.error or '')}", style="yellow"))
    for line in gate_failures:
        console.print(Text(f"gate failed: {line}", style="bold red"))
    for path in written:
        console.print(Text(f"written: {path}"))


def _extent(run: AuditRun) -> str:
    """How much of each benchmark the scores speak about."""
    again = bool(run.selection.get("recheck"))
    looked = Counter((name, version) for name, version, _ in positions(run.findings, "benchmark", "version", "control"))
    parts = []
    for b in run.benchmarks:
        counts = total(s.counts for s in run.scores if (s.benchmark, s.version) == (b.name, b.version))
        parts.append(f"{b.name} {b.version}: {Extent(b, looked[b.name, b.version], counts, again).brief}")
    return f"{'Checked again' if again else 'Looked at'}: {'; '.join(parts)}"


def _registers(console: Any, run: AuditRun) -> None:
    from rich.text import Text

    from auditor.tailoringtext import register_lines

    lines = list(register_lines(run))
    for line in lines[: 2 * _SHOWN]:
        console.print(Text(clean(line, 1000), style="yellow" if line.startswith(" ") else ""))
    if len(lines) > 2 * _SHOWN:
        console.print(f"  and {len(lines) - 2 * _SHOWN} more, in the reports' registers")


def _dangers(console: Any, run: AuditRun) -> None:
    from rich.text import Text

    serious = (Severity.CRITICAL, Severity.HIGH)
    by_control: dict[tuple[str, str], list[int]] = {}
    found = positions(run.findings, "status", "severity", "benchmark", "control")
    for (status, severity, *control), places in sorted(found.items(), key=lambda i: (SEVERITY_ORDER.index(i[0][1]), i[1][0])):
        if status is Status.FAIL and severity in serious:
            by_control.setdefault((control[0], control[1]), []).extend(places)
    if grave := sum(map(len, by_control.values())):
        console.print(Text(f"{grave} failure{'s' if grave != 1 else ''} of high or critical severity:", style="bold"))
    for places in list(by_control.values())[:_SHOWN]:
        findings = [run.findings[n] for n in places[:3]]
        shown = "; ".join(map(_where, findings)) + (f"; and {len(places) - 3} more targets" if len(places) > 3 else "")
        console.print(Text(f"  {findings[0].severity:8} {findings[0].id} {findings[0].title}: {shown}"))
    if len(by_control) > _SHOWN:
        console.print(f"  and {len(by_control) - _SHOWN} more controls, in the report")
    manual = having(run.findings, (Status.MANUAL,), serious)
    attested = (f for f in manual if f.attestation is not None and f.attestation.verdict == Status.FAIL)
    for finding in itertools.islice(attested, _SHOWN):
        where = clean(finding.target, 40)
        console.print(Text(f"  {finding.severity:8} {finding.id} {finding.title}: {where} (a person attested that it fails)"))
    if more := sum(1 for _ in attested):
        console.print(f"  and {more} more that a person attested to fail, in the report")


def _where(finding: Finding) -> str:
    """Say on what of its target a control failed."""
    failed = [clean(o.subject, 60) for o in finding.observations if o.status is Status.FAIL]
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    return f"{clean(finding.target, 40)} ({', '.join(failed[:3])}{more}){_mark(finding)}"


def _mark(finding: Finding) -> str:
    """Say by what a failure is waived."""
    if finding.waiver is None:
        return ""
    by = ", ".join(clean(w, 40) for w in finding.waiver.waivers[:3])
    return f" [waived: {by}]" if finding.waiver.complete else f" [waived in part: {by}]"


def _table(run: AuditRun) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold")
    for name in ("target", "benchmark"):
        table.add_column(name, no_wrap=True)
    for name in ("score %", "coverage %", "pass", "fail", "error", "manual", "n/a"):
        table.add_column(name, justify="right")
    shown = (
        run.scores if len(run.scores) <= 2 * _SHOWN else sorted(run.scores, key=lambda s: (s.score is None, s.score))[: 2 * _SHOWN]
    )
    for s in shown:
        counts = s.counts
        numbers = (counts.pass_, counts.fail, counts.error, counts.manual, counts.not_applicable)
        table.add_row(
            Text(clean(s.target, 40)), f"{s.benchmark} {s.version}", percent(s.score), percent(s.coverage), *map(str, numbers)
        )
    if len(shown) < len(run.scores):
        table.add_row(f"(the {len(shown)} lowest of {len(run.scores)})", "")
    for ref, scores in _by_benchmark(run).items():
        if len(scores) > 1:
            figures = mean(s.score for s in scores), mean(s.coverage for s in scores)
            table.add_row(f"mean of {len(scores)}", ref, *map(percent, figures))
    return table


def _by_benchmark(run: AuditRun) -> dict[str, list[Score]]:
    """Return the scores by benchmark and version: a fleet's score is the mean over its targets, of each benchmark alone."""
    found: dict[str, list[Score]] = {}
    for s in (s for s in run.scores if s.coverage is not None):  # where nothing applies there is no figure
        found.setdefault(f"{s.benchmark} {s.version}", []).append(s)
    return found
