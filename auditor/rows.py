"""What a run is as rows of the history's tables: columns to filter by, and the whole document in JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from auditor.model import AuditRun, Finding, Score, Severity, TargetResult
from auditor.results import counts_document, info_document, score_document, target_document, text_of, to_document
from auditor.tables import kind_of

Row = dict[str, Any]


def column(text: str) -> str:
    """Return text as every database takes it."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "?")


def columns(document: Mapping[str, Any], names: Iterable[str]) -> Row:
    """Return the columns that a document is filtered by."""
    return {n: column(v) if isinstance(v := document[n], str) else v for n in names}


def run_row(head: Mapping[str, Any]) -> Row:
    """Return the row of a run whose head is a JSON object as the results document has it."""
    return {**columns(head, ("id", "started", "finished")), "kind": kind_of(head["selection"]), "document": text_of(head)}


def benchmark_rows(run: str, documents: Iterable[Mapping[str, Any]]) -> tuple[list[Row], list[Row]]:
    """Return the rows of benchmarks' words, which are the same in every run, and of what a run says of them."""
    texts: dict[str, str] = {}
    rows = []
    for position, b in enumerate(documents):
        words = text_of({k: v for k, v in b.items() if k != "selected_because"})
        digest = hashlib.sha256(words.encode()).hexdigest()
        texts[digest] = words
        rows.append({"run": run, "position": position, **columns(b, ("name", "version", "sha256")), "text": digest,
                     "document": text_of(b["selected_because"])})  # fmt: skip
    return [{"sha256": digest, "document": words} for digest, words in texts.items()], rows


def target_row(target: TargetResult) -> Row:
    """Return the row of a target without its place."""
    document = target_document(target)
    return {**columns(document, ("name", "kind", "status")), "document": text_of(document)}


#: The columns of a finding's row in the order of `finding_values`.
FINDING_COLUMNS = ("run", "position", "target", "benchmark", "version", "id", "control", "level", "severity", "status", "attested",
                   "document")  # fmt: skip


def finding_values(run: str, position: int, f: Finding) -> tuple[str | int | None, ...]:
    """Return the values of a finding's row; its document is elsewhere (`auditor.packs`)."""
    return (run, position, column(f.target), *_of_control(f.benchmark, f.version, f.id, f.control, f.level, f.severity),
            f.status.value, f.attestation.verdict if f.attestation else None, "")  # fmt: skip


@lru_cache(maxsize=8192)
def _of_control(benchmark: str, version: str, id_: str, control: str, level: int, severity: Severity) -> tuple[str | int, ...]:
    """Return what is the same in the rows of all findings of a control."""
    return (*map(column, (benchmark, version, id_, control)), level, severity.value)


def score_row(score: Score) -> Row:
    """Return the row of a score without its place; figures are as they are, not with the two digits of the results document."""
    document = {**score_document(score), "score": score.score, "coverage": score.coverage}
    figures = {"score": score.score, "coverage": score.coverage, **counts_document(score.counts)}
    return {**columns(document, ("target", "benchmark", "version")), **figures, "document": text_of(document)}


def placed(run: str, rows: Iterable[Row], first: int = 0) -> list[Row]:
    """Return rows with their places in a run."""
    return [{"run": run, "position": n, **row} for n, row in enumerate(rows, first)]


def rows_of(run: AuditRun) -> dict[str, list[Row]]:
    """Return the rows of every table but the findings', in the order in which they are to be written."""
    texts, benchmarks = benchmark_rows(run.id, map(info_document, run.benchmarks))
    head = to_document(AuditRun(run.id, run.started, run.finished, run.auditor_version, run.operator, (), (), (), (),
                                run.selection, run.notices, run.registers))["run"]  # fmt: skip
    return {
        "texts": texts,
        "runs": [run_row(head)],
        "benchmarks": benchmarks,
        "targets": placed(run.id, map(target_row, run.targets)),
        "scores": placed(run.id, map(score_row, run.scores)),
    }
