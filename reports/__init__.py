"""Reports: one renderer a file over one view model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from auditor.files import write_private
from auditor.model import AuditRun
from auditor.past import Past
from reports.error import ReportError

#: Each format's renderer, ``module:function``: it takes a run and yields the file's content in parts, so that no file need be held
#: in memory. Loaded only when it is asked for. Those of `SEVERAL` yield a name and the content of each file.
FORMATS: dict[str, str] = {
    "html": "reports.as_html:parts",
    "pdf": "reports.as_pdf:render",
    "json": "reports.as_json:render",
    "csv": "reports.as_csv:render",
    "xlsx": "reports.as_xlsx:render",
    "junit": "reports.as_junit:render",
    "sarif": "reports.as_sarif:render",
    "xccdf": "reports.as_xccdf:documents",
    "oscal": "reports.as_oscal:render",
    "hdf": "reports.as_hdf:documents",
    "openreports": "reports.as_openreports:render",
    "openmetrics": "reports.as_openmetrics:render",
    "markdown": "reports.as_markdown:render",
}

#: Each format's file name; of those of several files, the pattern that their names follow.
FILES: dict[str, str] = {
    "html": "report.html",
    "pdf": "report.pdf",
    "json": "results.json",
    "csv": "findings.csv",
    "xlsx": "findings.xlsx",
    "junit": "junit.xml",
    "sarif": "report.sarif",
    "xccdf": "xccdf-*.xml",
    "oscal": "oscal-assessment-results.json",
    "hdf": "targets/*.hdf.json",
    "openreports": "openreports.yaml",
    "openmetrics": "cis_auditor.prom",
    "markdown": "summary.md",
}

#: Formats of several files: what there is a file for.
SEVERAL: dict[str, str] = {"xccdf": "benchmark", "hdf": "target"}

#: What the PDF can hold: everything once, grouped by control; only the summary; one document a target with its full detail.
PDF_MODES = ("by-control", "summary", "per-target")

__all__ = ["FILES", "FORMATS", "PDF_MODES", "SEVERAL", "Options", "ReportError", "Seal", "render", "write"]


class Seal(Protocol):
    """A certificate that signs PDFs: ``told`` says in words whose it is."""

    @property
    def told(self) -> str: ...  # noqa: D102

    def sign(self, pdf: bytes) -> bytes:
        """Return a PDF with its signature. Raises `ReportError`."""


@dataclass(frozen=True, slots=True)
class Options:
    """What renderers are told beside the run: which of the `PDF_MODES`, what earlier runs found, and who signs.

    ``signer`` is the fingerprint of the key that signs the output, empty when nothing is signed; ``seal`` signs each PDF itself.
    """

    pdf: tuple[str, ...] = ("by-control",)
    past: Past = field(default_factory=Past)
    signer: str = ""
    seal: Seal | None = None


Content = bytes | Iterable[bytes]


def render(run: AuditRun, format_: str, options: Options | None = None) -> bytes:
    """Return a run's report in one of the `FORMATS`; raises `ReportError`, also where it would be several files."""
    if format_ not in FORMATS:
        raise ReportError(f"there is no report format {format_!r}; known: {', '.join(FORMATS)}")
    if format_ in SEVERAL:
        files = [c if isinstance(c, bytes) else b"".join(c) for _, c in _function(FORMATS[format_])(run)]
        if len(files) != 1:
            raise ReportError(f"{format_.upper()} has one document for each {SEVERAL[format_]}, and this run has {len(files)}")
        return files[0]
    made = _rendered(run, format_, options)
    return made if isinstance(made, bytes) else b"".join(made)


def _rendered(run: AuditRun, format_: str, options: Options | None) -> Content:
    renderer = _function(FORMATS[format_])
    made: Content = (
        renderer(run, past=options.past, signer=options.signer) if format_ == "html" and options is not None else renderer(run)
    )
    return made


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


def _documents(run: AuditRun, format_: str, options: Options | None) -> Iterator[tuple[str, Content | ReportError]]:
    """Yield the names and contents of a format's files; most have one."""
    if format_ not in FORMATS:
        raise ReportError(f"there is no report format {format_!r}; known: {', '.join(FORMATS)}")
    if format_ == "pdf" and options is not None:
        told = options.seal.told if options.seal else ""
        for name, content in import_module("reports.as_pdf").documents(run, options.pdf, options.signer, told):
            yield name, _sealed(content, options.seal)
        return
    if format_ in SEVERAL:
        yield from _function(FORMATS[format_])(run)
        return
    try:
        yield FILES[format_], _rendered(run, format_, options)
    except ReportError as error:
        yield FILES[format_], error


def _sealed(pdf: bytes | ReportError, seal: Seal | None) -> bytes | ReportError:
    if seal is None or isinstance(pdf, ReportError):
        return pdf
    try:
        return seal.sign(pdf)
    except ReportError as error:
        return error


def write(run: AuditRun, folder: Path, formats: Sequence[str], options: Options | None = None) -> list[Path]:
    """Write a run's reports into a folder (files with mode 0600) and return their paths in the order of ``formats``.

    A file that fails doesn't keep the others from being written: `ReportError` is raised at the end, one line a failure.
    """
    paths, failures = [], []
    for format_ in formats:
        for name, content in _documents(run, format_, options):
            try:
                if isinstance(content, ReportError):
                    raise content
                write_private(folder / name, content)
                paths.append(folder / name)
            except ReportError as error:
                failures.append(str(error))
            except OSError as error:
                failures.append(f"{folder / name}: can't be written: {error.strerror}")
    if failures:
        raise ReportError("\n".join(dict.fromkeys(failures)))
    return paths
