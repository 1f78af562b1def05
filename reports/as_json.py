"""results.json: the whole run for other programs, after the schema in ``assets/results-1.schema.json``."""

from __future__ import annotations

from auditor.model import AuditRun
from auditor.results import to_json


def render(run: AuditRun) -> bytes:
    """Return the results document."""
    return to_json(run)
