"""findings.csv (RFC 4180, UTF-8): a row for each subject of each finding."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from auditor.model import AuditRun
from reports import rows

#: How many characters are put together before they are written.
_PART = 1 << 18


def render(run: AuditRun) -> Iterator[bytes]:
    """Yield the table; no cell begins with what a spreadsheet takes for a formula."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow((*rows.FINDING, *rows.OBSERVATION))
    for row in rows.joined(run):
        writer.writerow(row)
        if out.tell() > _PART:
            yield out.getvalue().encode("utf-8")
            out.seek(0)
            out.truncate()
    yield out.getvalue().encode("utf-8")
