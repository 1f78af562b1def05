"""findings.csv (RFC 4180, UTF-8): a row for each subject of each finding."""

from __future__ import annotations

import csv
import io

from auditor.model import AuditRun
from reports import rows


def render(run: AuditRun) -> bytes:
    """Return the table; no cell begins with what a spreadsheet takes for a formula."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow((*rows.FINDING, *rows.OBSERVATION))
    writer.writerows(rows.joined(run))
    return out.getvalue().encode("utf-8")
