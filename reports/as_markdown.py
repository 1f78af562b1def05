"""summary.md: one short page for a merge request, a ticket or a job's summary. What is not shown is counted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from auditor.model import AuditRun, Counts, Status
from auditor.registers import AttestationEntry, WaiverEntry
from auditor.score import ADJUSTED_SCORE_FORMULA, COVERAGE_FORMULA, FLEET_FORMULA, SCORE_FORMULA
from reports import plain
from reports.build import build
from reports.text import percent, plural
from reports.view import STATUS_WORDS, View, count_of

#: How many lines a list or a table has at most.
MOST = 50

_MARKS = ("waived", "attested_pass", "attested_fail")


def render(run: AuditRun) -> Iterator[bytes]:
    """Yield the page."""
    view = build(run)
    parts = [
        f"# Audit {_words(run.id)}",
        *_head(view),
        *_dangerous(view),
        *_scores(view),
        *_targets(view),
        *_gaps(view),
        *_tailored(view),
        *_marks(view),
        "Not affiliated with, endorsed or certified by the Center for Internet Security (CIS). Severities are this program's own.",
    ]
    yield ("\n\n".join(parts) + "\n").encode("utf-8")


def _words(text: str) -> str:
    """Return a text as markup that shows just that text, on one line."""
    return re.sub(r"[\\`*_\[\]<>#&|~$:@!]|(?<=www)\.", r"\\\g<0>", plain.line(text, 500))


def _code(text: str) -> str:
    """Return a text as code, in which nothing is markup, not even a link or a mention. Bars are escaped for tables."""
    value = plain.line(text, 300) or "-"
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", value)), default=0))
    pad = " " if "`" in value else ""
    return f"{fence}{pad}{value}{pad}{fence}".replace("|", "\\|")


def _table(heading: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _more(count: int, noun: str, many: str = "") -> list[str]:
    return [f"And {plural(count - MOST, noun, many)} more: see results.json."] if count > MOST else []


def _head(view: View) -> list[str]:
    run = view.run
    reached = ", ".join(f"{len(ts):,} {status.value}" for status, ts in view.reached.items() if ts) or "none"
    benchmarks = ", ".join(_code(b.name) for b in view.benchmarks) or "none"
    lines = [
        f"- Run: {_code(run.id)}, {_code(run.started)} to {_code(run.finished)}, by {_code(run.operator)}",
        f"- Program: {plain.TOOL} {_words(run.auditor_version)}",
        f"- Benchmarks: {benchmarks}",
        f"- Targets: {reached}",
    ]
    if selected := {k: v for k, v in run.selection.items() if v}:
        lines.append("- Selected: " + ", ".join(f"{_words(str(k))} {_code(plain.value(v))}" for k, v in selected.items()))
    lines += [f"- **Note**: {_words(n)}" for n in run.notices]
    lost = plain.unreached(run.targets)
    lines += [f"- **Not audited**: {_code(t.name)}: {_code(t.error or t.status.value)}" for t in lost[:MOST]]
    return ["\n".join(lines), *_more(len(lost), "target")]


def _dangerous(view: View) -> list[str]:
    found = [(c, g) for c in view.dangerous for g in c.of(Status.FAIL)]
    heading = f"## {plural(view.dangerous_failures, 'failure')} of high or critical severity"
    if not found:
        return [heading, "None."]
    lines = []
    for control, group in found[:MOST]:
        failing = [o.subject for o in group.observations if o.status is Status.FAIL]
        subjects = ", ".join(_code(s) for s in failing[:3]) + (f" and {len(failing) - 3:,} more" if len(failing) > 3 else "")
        names = ", ".join(_code(n) for n in group.targets[:3])
        names += f" and {len(group.targets) - 3:,} more" if len(group.targets) > 3 else ""
        mark = f" ({group.mark})" if group.mark else ""
        lines.append(
            f"- **{control.info.severity.value}** {_words(control.info.id)} {_words(control.info.title)}{mark}: {names}"
            f"{': ' if subjects else ''}{subjects}"
        )
    return [heading, "\n".join(lines), *_more(len(found), "failure")]


_STATUSES = tuple(STATUS_WORDS)


def _counts(counts: Counts) -> list[str]:
    return [f"{count_of(counts, s):,}" for s in _STATUSES] + [f"{sum(getattr(counts, m) for m in _MARKS):,}"]


def _scores(view: View) -> list[str]:
    heading = [
        "Benchmark",
        "Score",
        "Coverage",
        "Score with waivers and attestations",
        *STATUS_WORDS.values(),
        "Waived or attested",
    ]
    body = [
        [
            _code(b.name),
            percent(b.score),
            percent(b.coverage),
            percent(b.adjusted_score) if b.adjusted else "the same",
            *_counts(b.counts),
        ]
        for b in view.benchmarks
    ]
    formulas = [SCORE_FORMULA, COVERAGE_FORMULA, FLEET_FORMULA, ADJUSTED_SCORE_FORMULA]
    partial = [f"- {_code(b.name)}: looked at {b.extent.brief}." for b in view.benchmarks if b.extent.heading]
    said = ["\n".join(partial)] if partial else []
    return ["## Scores", _table(heading, body), *said, "\n".join(f"    {f}" for f in formulas)]


def _targets(view: View) -> list[str]:
    body = [
        [_code(s.target), _code(f"{s.benchmark} {s.version}"), percent(s.score), percent(s.coverage), *_counts(s.counts)]
        for s in sorted(view.run.scores, key=lambda s: (s.score is None, s.score or 0.0))
    ]
    if not body:
        return []
    heading = ["Target", "Benchmark", "Score", "Coverage", *STATUS_WORDS.values(), "Waived or attested"]
    return ["## Targets, the lowest score first", _table(heading, body[:MOST]), *_more(len(body), "score")]


def _gaps(view: View) -> list[str]:
    if not view.gaps:
        return []
    lines = [
        f"- {plural(g.findings, 'finding')} on {plural(len(g.targets), 'target')}: {_code(g.message)}" for g in view.gaps[:MOST]
    ]
    return ["## Evidence that is missing", "\n".join(lines), *_more(len(view.gaps), "reason")]


def _tailored(view: View) -> list[str]:
    lines = [
        f"- {_words(c.what.capitalize())} {_code(c.subject)} ({_words(c.scope)}): {_code(c.after)}, default {_code(c.before)}: "
        f"{_words(c.reason or 'no reason given')}{f' ({_words(c.note)})' if c.note else ''}"
        for c in view.run.registers.tailoring
    ]
    return ["## Tailoring", "\n".join(lines[:MOST]), *_more(len(lines), "change")] if lines else []


def _scope(entry: WaiverEntry | AttestationEntry) -> str:
    named = [*entry.targets, *(f"group {g}" for g in entry.groups), *getattr(entry, "subjects", ())]
    return ", ".join(map(_code, named))


def _marks(view: View) -> list[str]:
    registers = view.run.registers
    lines = [
        f"- Waiver {_code(w.id)} of {_code(w.control)} for {_scope(w)}, {w.state.value}, until {_code(w.expires)}: "
        f"{_words(w.reason)}"
        for w in registers.waivers
    ]
    lines += [
        f"- Attestation {_code(a.id)} of {_code(a.control)} for {_scope(a)} as {_words(a.verdict)}, {a.state.value}, "
        f"by {_code(a.by)}: {_words(a.statement)}"
        for a in registers.attestations
    ]
    return ["## Waivers and attestations", "\n".join(lines[:MOST]), *_more(len(lines), "entry", "entries")] if lines else []
