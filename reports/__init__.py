"""Reports: one renderer a file over one view model."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from auditor.files import write_private
from auditor.model import AuditRun
from reports.error import ReportError

#: Each format's renderer, ``module:function``: it takes a run and returns the file's content. Loaded only when it is asked for.
FORMATS: dict[str, str] = {"html": "reports.as_html:render", "pdf": "reports.as_pdf:render", "json": "reports.as_json:render"}

#: Each format's file name.
FILES: dict[str, str] = {"html": "report.html", "pdf": "report.pdf", "json": "results.json"}

__all__ = ["FILES", "FORMATS", "ReportError", "render", "write"]


def render(run: AuditRun, format_: str) -> bytes:
    """Return a run's report in one of the `FORMATS`; raises `ReportError`."""
    if format_ not in FORMATS:
        raise ReportError(f"there is no report format {format_!r}; known: {', '.join(FORMATS)}")
    module, _, function = FORMATS[format_].partition(":")
    content = getattr(import_module(module), function)(run)
    assert isinstance(content, bytes)
    return content


def write(run: AuditRun, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write a run's reports into a folder (files with mode 0600) and return their paths in the order of ``formats``.

    A format that fails doesn't keep the others from being written: `ReportError` is raised at the end, one line a failure.
    """
    paths, failures = [], []
    for format_ in formats:
        try:
            content = render(run, format_)
            path = folder / FILES[format_]
            write_private(path, content)
            paths.append(path)
        except ReportError as error:
            failures.append(str(error))
        except OSError as error:
            failures.append(f"{folder / FILES[format_]}: can't be written: {error.strerror}")
    if failures:
        raise ReportError("\n".join(failures))
    return paths
