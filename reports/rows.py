"""The tables of CSV and XLSX. No cell begins with what a spreadsheet takes for a formula."""

from __future__ import annotations

from collections.abc import Iterator

from auditor.model import AuditRun, Finding
from auditor.results import score_document
from reports import marks, plain

#: A spreadsheet's longest cell is 32,767 characters; the note that says what was cut has room beside this.
CELL = 32_000

_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")

Cell = str | int | float | None
Row = tuple[Cell, ...]

FINDING = (
    "target",
    "benchmark",
    "version",
    "id",
    "control",
    "title",
    "level",
    "assessment",
    "severity",
    "finding_status",
    "mark",
    "decision",
    "reason",
)
OBSERVATION = ("subject", "subject_status", "expected", "actual", "source")


def cell(text: str) -> str:
    """Return a text for one cell: harmless, finite, and with an apostrophe before what would make it a formula."""
    made = plain.shown(text, CELL)
    return f"'{made}" if made.startswith(_FORMULA) or made.lstrip().startswith(_FORMULA) else made


def finding_row(f: Finding, known: plain.Entries) -> Row:
    """Return the cells of `FINDING`."""
    return (
        cell(f.target),
        cell(f.benchmark),
        cell(f.version),
        cell(f.id),
        cell(f.control),
        cell(f.title),
        f.level,
        cell(f.assessment),
        f.severity.value,
        f.status.value,
        marks.word(f.waiver, f.attestation),
        cell(plain.decided(f, known)),
        cell(f.reason),
    )


def observation_rows(f: Finding) -> list[Row]:
    """Return the cells of `OBSERVATION` for each subject; one empty row where a finding has none."""
    return [(cell(o.subject), o.status.value, cell(o.expected), cell(o.actual), cell(o.source)) for o in f.observations] or [
        ("",) * len(OBSERVATION)
    ]


def joined(run: AuditRun) -> Iterator[Row]:
    """Yield a row for each subject of each finding, the finding's cells first."""
    known = plain.entries(run)
    for f in plain.complete(run).findings:
        head = finding_row(f, known)
        for row in observation_rows(f):
            yield (*head, *row)


SCORE = (
    "target",
    "benchmark",
    "version",
    "score_percent",
    "coverage_percent",
    "pass",
    "fail",
    "error",
    "manual",
    "not_applicable",
    "waived",
    "attested_pass",
    "attested_fail",
    "score_with_waivers_and_attestations",
    "coverage_with_attestations",
)


def scores(run: AuditRun) -> Iterator[Row]:
    """Yield the cells of `SCORE`."""
    for s in run.scores:
        d = score_document(s)
        counts, attested, adjusted = d["counts"], d["attested"], d["adjusted"]
        yield (
            cell(s.target),
            cell(s.benchmark),
            cell(s.version),
            d["score"],
            d["coverage"],
            *(counts[n] for n in ("pass", "fail", "error", "manual", "not_applicable", "waived")),
            attested["pass"],
            attested["fail"],
            adjusted["score"],
            adjusted["coverage"],
        )


TARGET = ("target", "kind", "address", "transport", "status", "error", "collected_at", "evidence_sha256", "roles", "groups")


def targets(run: AuditRun) -> Iterator[Row]:
    """Yield the cells of `TARGET`: every target that was asked for, audited or not."""
    for t in run.targets:
        yield (
            cell(t.name),
            t.kind.value,
            cell(t.address),
            cell(t.transport),
            t.status.value,
            cell(t.error or ""),
            cell(t.collected_at),
            cell(t.evidence_sha256 or ""),
            cell(", ".join(t.roles)),
            cell(", ".join(t.groups)),
        )


WAIVER = (
    "id",
    "control",
    "benchmark",
    "targets",
    "groups",
    "subjects",
    "reason",
    "owner",
    "approver",
    "ticket",
    "starts",
    "expires",
    "state",
    "waived",
    "waived_in_part",
    "note",
)
ATTESTATION = ("id", "control", "benchmark", "targets", "groups", "verdict", "by", "at", "statement", "evidence", "expires",
               "state", "findings", "note")  # fmt: skip


def waivers(run: AuditRun) -> Iterator[Row]:
    """Yield the cells of `WAIVER`."""
    for w in run.registers.waivers:
        yield (
            *map(cell, (w.id, w.control, w.benchmark)),
            *(cell(", ".join(names)) for names in (w.targets, w.groups, w.subjects)),
            *map(cell, (w.reason, w.owner, w.approver, w.ticket, w.starts, w.expires)),
            w.state.value,
            w.waived,
            w.partly,
            cell(w.note),
        )


def attestations(run: AuditRun) -> Iterator[Row]:
    """Yield the cells of `ATTESTATION`."""
    for a in run.registers.attestations:
        yield (
            *map(cell, (a.id, a.control, a.benchmark)),
            *(cell(", ".join(names)) for names in (a.targets, a.groups)),
            *map(cell, (a.verdict, a.by, a.at, a.statement, a.evidence, a.expires)),
            a.state.value,
            a.findings,
            cell(a.note),
        )


CHANGE = ("what", "subject", "scope", "before", "after", "reason", "place", "note")


def changes(run: AuditRun) -> Iterator[Row]:
    """Yield the cells of `CHANGE`: what the site tailored."""
    for c in run.registers.tailoring:
        yield tuple(map(cell, (c.what, c.subject, c.scope, c.before, c.after, c.reason, c.place, c.note)))


def about(run: AuditRun) -> Iterator[Row]:
    """Yield what a reader must know first: names and values."""
    yield from (
        ("run", cell(run.id)),
        ("started", cell(run.started)),
        ("finished", cell(run.finished)),
        ("auditor", f"{plain.TOOL} {run.auditor_version}"),
        ("operator", cell(run.operator)),
    )
    for b in run.benchmarks:
        yield "benchmark", cell(f"{b.name} {b.version}, sha256 {b.sha256}, {b.selected_because}")
    for name, value in run.selection.items():
        if value:
            yield cell(str(name)), cell(plain.value(value))
    for notice in run.notices:
        yield "notice", cell(notice)
