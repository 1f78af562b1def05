"""The PDF report: laid out by WeasyPrint in a child process that can neither eat the machine nor read from it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from auditor.model import AuditRun, Finding, TargetStatus
from reports.environment import environment
from reports.error import ReportError
from reports.exposure import ORDER, exposure
from reports.text import LONGEST, WHOLE
from reports.view import Group, View, build

#: Above this many distinct observations, each control shows only its share of them (and says so).
BUDGET = 3_000

#: From this many targets on, lists of targets are cut (and say so): what is left out is in every other report.
FLEET = 100

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


def listed(groups: Iterable[Group]) -> list[str]:
    """Return the targets of some pieces of evidence."""
    return [t for g in groups for t in g.targets]


def page(run: AuditRun, mode: str = "by-control", part: str = "", signer: str = "") -> str:
    """Return the document that becomes the PDF, as HTML. ``part`` says what of the run it holds, where that is not all of it."""
    view = build(run)
    brief = len(view.targets) >= FLEET
    hits = 3 if mode == "summary" else 6 if brief else 25
    return environment().get_template("pdf.html.j2").render(
        view=view, pieces=pieces, allowance=allowance(view), danger_groups=hits, longest=LONGEST, mode=mode,
        part=part, signer=signer, brief=brief, named=20 if brief else 1_000_000, listed=listed, gaps=100 if brief else 300,
        exposure=exposure(run.targets), order=ORDER,
        elsewhere=f"The rest is in {WHOLE}, in the HTML report, and in each target's own document (--pdf per-target).",
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


def parts(run: AuditRun) -> Iterator[tuple[str, AuditRun]]:
    """Return what of a run is about each audited target, with a file name that is safe wherever it is written."""
    findings: dict[str, list[Finding]] = {}
    for finding in run.findings:
        findings.setdefault(finding.target, []).append(finding)
    taken: set[str] = set()
    for target in run.targets:
        if target.status is TargetStatus.AUDITED:
            own = tuple(findings.get(target.name, ()))
            used = {(f.benchmark, f.version) for f in own}
            scores = tuple(s for s in run.scores if s.target == target.name)
            benchmarks = tuple(b for b in run.benchmarks if (b.name, b.version) in used)
            part = dataclasses.replace(run, targets=(target,), findings=own, scores=scores, benchmarks=benchmarks)
            yield _file_name(target.name, taken), part


def _file_name(target: str, taken: set[str]) -> str:
    """Return a name of plain characters that no other target has, whether or not the file system tells letters' case apart."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", target)[:80].lstrip(".-") or "target"
    name = plain
    if plain != target or name.lower() in taken:
        name = f"{plain}-{hashlib.sha256(target.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"
    taken.add(name.lower())
    return f"{name}.pdf"


def documents(run: AuditRun, modes: Sequence[str], signer: str = "") -> Iterator[tuple[str, bytes | ReportError]]:
    """Lay out what each of `reports.PDF_MODES` stands for: yields file names (with ``/``) and contents, or why there is none."""
    for mode in modes:
        if mode != "per-target":
            yield "report.pdf" if mode == "by-control" else f"{mode}.pdf", _tried(run, mode, "", signer)
            continue
        said = f"one target of {len(run.targets):,} that this run asked" if len(run.targets) > 1 else ""
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # each waits for a process of its own
            ahead: deque[tuple[str, Future[bytes | ReportError]]] = deque()
            for name, part in parts(run):
                ahead.append((f"targets/{name}", pool.submit(_tried, part, mode, said, signer)))
                if len(ahead) > 8:
                    first = ahead.popleft()
                    yield first[0], first[1].result()
            for name_, done in ahead:
                yield name_, done.result()


def _tried(run: AuditRun, mode: str, part: str, signer: str) -> bytes | ReportError:
    try:
        return render(run, mode=mode, part=part, signer=signer)
    except ReportError as error:
        return error


def render(run: AuditRun, limits: Limits | None = None, mode: str = "by-control", part: str = "", signer: str = "") -> bytes:
    """Return the report as PDF; raises `ReportError` with one line where it can't be laid out."""
    limits = limits or Limits()
    html = page(run, mode, part, signer).encode("utf-8")
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
