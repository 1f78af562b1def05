"""findings.xlsx: findings, subjects, scores, targets and registers, each a table with filters and a frozen heading."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import IO, Any

from auditor.model import AuditRun
from reports import plain, rows

#: The most rows of one sheet, its heading left out. What is more goes on in a further sheet.
ROWS = 1_048_575

_PART = 1 << 20

_WIDTHS = {
    "target": 26,
    "title": 52,
    "reason": 40,
    "decision": 40,
    "subject": 40,
    "expected": 34,
    "actual": 44,
    "source": 36,
    "control": 30,
    "error": 44,
    "statement": 44,
    "evidence": 30,
    "what": 16,
    "value": 100,
    "address": 22,
}


def render(run: AuditRun) -> Iterator[bytes]:
    """Yield the workbook. The same run gives the same bytes."""
    # The sheets are in a folder of their own until the end, so that a full disk keeps nothing of them.
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile(dir=folder) as out:
        _write(run, out, folder)
        out.seek(0)
        yield from iter(lambda: out.read(_PART), b"")


def _write(run: AuditRun, out: IO[bytes], folder: str) -> None:
    from xlsxwriter import Workbook

    # Rows go to disk as they come, so that memory stays flat; every text is a text, whatever it looks like.
    plainly = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    book = Workbook(out, {"constant_memory": True, "tmpdir": folder, **plainly})
    try:
        _fill(book, run)
        book.close()
    except BaseException:
        book.fileclosed = True  # else its end would be tried again, and complained about
        for sheet in book.worksheets():
            sheet.row_data_fh.close()
        raise


def _fill(book: Any, run: AuditRun) -> None:
    whole, known = plain.complete(run), plain.entries(run)
    try:
        finished = datetime.fromisoformat(run.finished).astimezone(UTC).replace(tzinfo=None)
    except ValueError:
        finished = datetime(1980, 1, 1)  # noqa: DTZ001 - the format has no zone
    book.set_properties({"title": f"Audit {run.id}", "author": plain.TOOL, "created": finished})
    heading = book.add_format({"bold": True, "bg_color": "#DDE3EA", "bottom": 1})
    _sheet(book, heading, "About", ("what", "value"), rows.about(run))
    _sheet(
        book,
        heading,
        "Findings",
        (*rows.FINDING, "subjects"),
        ((*rows.finding_row(f, known), len(f.observations)) for f in whole.findings),
    )
    _sheet(
        book,
        heading,
        "Subjects",
        ("target", "benchmark", "version", "id", "severity", "finding_status", *rows.OBSERVATION),
        _subjects(whole),
    )
    _sheet(book, heading, "Scores", rows.SCORE, rows.scores(run))
    _sheet(book, heading, "Targets", rows.TARGET, rows.targets(run))
    _sheet(book, heading, "Tailoring", rows.CHANGE, rows.changes(run))
    _sheet(book, heading, "Waivers", rows.WAIVER, rows.waivers(run))
    _sheet(book, heading, "Attestations", rows.ATTESTATION, rows.attestations(run))


def _subjects(run: AuditRun) -> Iterator[rows.Row]:
    for f in run.findings:
        if f.observations:
            head = (
                rows.cell(f.target),
                rows.cell(f.benchmark),
                rows.cell(f.version),
                rows.cell(f.id),
                f.severity.value,
                f.status.value,
            )
            for row in rows.observation_rows(f):
                yield (*head, *row)


def _sheet(book: Any, heading: Any, name: str, columns: Sequence[str], content: Iterable[rows.Row]) -> None:
    """Write one table, on as many sheets as it takes."""
    pending, number = iter(content), 1
    row = next(pending, None)
    while number == 1 or row is not None:
        sheet = book.add_worksheet(name if number == 1 else f"{name} {number}")
        sheet.freeze_panes(1, 0)
        for n, column in enumerate(columns):
            sheet.set_column(n, n, _WIDTHS.get(column, 15))
            sheet.write_string(0, n, column, heading)
        written = 0
        while row is not None and written < ROWS:
            written += 1
            for n, value in enumerate(row):
                if isinstance(value, str):
                    if value:
                        sheet.write_string(written, n, value)
                elif value is not None:
                    sheet.write_number(written, n, value)
            row = next(pending, None)
        sheet.autofilter(0, 0, written, len(columns) - 1)
        number += 1
