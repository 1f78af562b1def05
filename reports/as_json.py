"""results.json: the whole run for other programs, after the schema in ``assets/results-1.schema.json``."""

from __future__ import annotations

from collections.abc import Iterator

from auditor.model import AuditRun
from auditor.results import json_parts


def render(run: AuditRun) -> Iterator[bytes]:
    """Yield the results document."""
    return json_parts(run)
