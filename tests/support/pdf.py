"""What a reader finds in a PDF: its text as Poppler extracts it, in the order in which it was set."""

from __future__ import annotations

import io
import shutil
import subprocess


def pages(pdf: bytes) -> list[str]:
    """Return each page's text. Where there is no Poppler, pypdf finds the same, in twenty times the time."""
    if shutil.which("pdftotext"):
        done = subprocess.run(["pdftotext", "-raw", "-", "-"], input=pdf, capture_output=True, check=True, timeout=60)
        return done.stdout.decode().split("\f")[:-1]
    import pypdf

    return [p.extract_text() for p in pypdf.PdfReader(io.BytesIO(pdf)).pages]


def squeezed(pdf: bytes) -> str:
    """Return the whole text without white space: lines of a page break anywhere."""
    return "".join("".join(pages(pdf)).split())
