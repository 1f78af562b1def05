"""The PDF report: laid out by WeasyPrint in a child process that can neither eat the machine nor read from it."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from auditor.model import AuditRun
from reports.environment import environment
from reports.error import ReportError
from reports.text import LONGEST
from reports.view import View, build

#: Above this many distinct observations, each control shows only its share of them (and says so): some 200 pages.
BUDGET = 6_000

#: How many pieces of evidence of one dangerous control stand in the chapter of dangerous failures.
DANGER_GROUPS = 25

_CHILD = Path(__file__).with_name("pdf_child.py")


@dataclass(frozen=True)
class Limits:
    """What laying out one document may take: bytes of address space, seconds of CPU, seconds on the clock."""

    memory: int = 4 << 30
    cpu: int = 600
    clock: int = 900


def pieces(text: str, size: int = 600) -> list[str]:
    """Split a text for layout: one long block costs the square of its length. Splits between words where it can."""
    if len(text) <= size:
        return [text]
    parts = []
    while len(text) > size:
        at = text.rfind(" ", size // 2, size) + 1 or size
        parts.append(text[:at])
        text = text[at:]
    return [*parts, text]


def allowance(view: View) -> int:
    """Return how many observations a control may show, so that the document stays within its budget."""
    controls = sum(1 for c in view.controls if c.groups)
    return BUDGET if view.observations <= BUDGET else max(20, BUDGET // max(1, controls))


def page(run: AuditRun) -> str:
    """Return the document that becomes the PDF, as HTML."""
    view = build(run)
    return environment().get_template("pdf.html.j2").render(
        view=view, pieces=pieces, allowance=allowance(view), danger_groups=DANGER_GROUPS, longest=LONGEST,
    )  # fmt: skip


def _epoch(run: AuditRun) -> str:
    """The time that the file carries: SOURCE_DATE_EPOCH, else the end of the run, so that a run's PDF is always the same."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given.isdecimal():
        return given
    try:
        return str(max(0, int(datetime.fromisoformat(run.finished).astimezone(UTC).timestamp())))
    except (ValueError, OverflowError):
        return "0"


def render(run: AuditRun, limits: Limits | None = None) -> bytes:
    """Return the report as PDF; raises `ReportError` with one line where it can't be laid out."""
    limits = limits or Limits()
    html = page(run).encode("utf-8")
    identifier = hashlib.sha256(html).hexdigest()[:32]
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_CACHE_HOME", "FONTCONFIG_FILE", "FONTCONFIG_PATH", "LD_LIBRARY_PATH",
            "DYLD_FALLBACK_LIBRARY_PATH", "WEASYPRINT_DLL_DIRECTORIES", "PYTHONPATH", "VIRTUAL_ENV")  # fmt: skip
    environ = {**{k: os.environ[k] for k in kept if k in os.environ}, "SOURCE_DATE_EPOCH": _epoch(run), "PYTHONHASHSEED": "0"}
    # -P keeps the working folder out of the child's import path: whatever lies there is not ours.
    command = [sys.executable, "-P", str(_CHILD), str(limits.memory), str(limits.cpu), identifier]
    try:
        done = subprocess.run(command, input=html, capture_output=True, timeout=limits.clock, env=environ, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise ReportError(f"the PDF was not laid out within {limits.clock} s; the other formats hold the same findings") from None
    except OSError as error:
        raise ReportError(f"the PDF's process could not be started: {error.strerror}") from None
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise ReportError(f"the PDF was not laid out within {limits.cpu} s of CPU; the other formats hold the same findings")
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    if done.returncode < 0 or any("allocate" in line or line.startswith("MemoryError") for line in lines):
        raise ReportError(
            f"the PDF could not be made within {limits.memory >> 20} MiB of memory; the other formats hold the same findings"
        )
    if done.returncode or not done.stdout.startswith(b"%PDF-"):
        raise ReportError(f"the PDF could not be made: {lines[-1] if lines else f'its process ended with {done.returncode}'}")
    return done.stdout
