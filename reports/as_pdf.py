"""The PDF report: laid out by WeasyPrint in a child process that can neither eat the machine nor read from it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from queue import SimpleQueue

from auditor.model import AuditRun, Score, Status, TargetResult, TargetStatus
from auditor.queries import positions
from reports.build import build
from reports.environment import environment
from reports.error import ReportError
from reports.exposure import ORDER, exposure
from reports.pdf_process import CAN_SERVE, Limits, Server, alone
from reports.text import LONGEST, WHOLE
from reports.view import BenchmarkView, ControlView, Group, View

#: Above this many distinct observations, each control shows only its share of them (and says so).
BUDGET = 3_000

#: From this many targets on, lists of targets are cut (and say so): what is left out is in every other report.
FLEET = 100


def pieces(text: str, size: int = 1500) -> list[str]:
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


def shared(groups: Iterable[Group]) -> str:
    """Return what is expected of most of the subjects of a control, to be said once; empty where they have nothing in common.

    Something that was judged without a word of what is expected must not seem to be held to the others' words.
    """
    named: Counter[str] = Counter()
    for group in groups:
        for seen in group.observations:
            if seen.expected:
                named[seen.expected] += 1
            elif seen.status not in (Status.ERROR, Status.NOT_APPLICABLE):
                return ""
    (words, times), *_ = named.most_common(1) or [("", 0)]
    return words if times > 1 else ""


def mixed(groups: Iterable[Group], told: str) -> bool:
    """Tell whether something else than ``told`` is expected of a subject."""
    return any(seen.expected != told for group in groups for seen in group.observations)


def small(control: ControlView) -> bool:
    """Tell whether a control takes so few lines that it is kept on one page."""
    words = len(control.info.rationale) + len(control.info.remediation) + len(control.policy)
    for group in control.groups:
        words += 60 + len(group.reason) + sum(map(len, group.targets))
        words += sum(80 + len(o.subject) + len(o.expected) + len(o.actual) + len(o.source) for o in group.observations)
    return words < 1200


def sorted_out(benchmark: BenchmarkView) -> tuple[list[ControlView], ...]:
    """Return a benchmark's controls that fail or lack evidence, are left to a person, pass, or apply to no target."""
    found: tuple[list[ControlView], ...] = ([], [], [], [])
    for control in benchmark.controls:
        n = control.counts
        found[0 if n.fail or n.error else 1 if n.manual else 2 if n.pass_ else 3].append(control)
    return found


def accounts(view: View) -> list[tuple[str, list[str]]]:
    """Return the accounts and privileges that targets were read with and those targets, the most frequent account first."""
    found: dict[str, list[str]] = {}
    for result in (t.result for t in view.targets):
        if result.status is TargetStatus.AUDITED:
            found.setdefault(result.facts.get("account", "an account that was not recorded"), []).append(result.name)
    return sorted(found.items(), key=lambda item: -len(item[1]))


def page(run: AuditRun, mode: str = "by-control", part: str = "", signer: str = "", seal: str = "") -> str:
    """Return the document that becomes the PDF, as HTML. ``part`` says what of the run it holds, where that is not all of it.

    ``signer`` is the fingerprint of the key that signs the run's files, ``seal`` says whose certificate signs the PDF itself.
    """
    view = build(run)
    brief = len(view.targets) >= FLEET
    summary = mode == "summary"
    return environment().get_template("pdf.html.j2").render(
        view=view, mode=mode, part=part, signer=signer, seal=seal,
        brief=brief, pieces=pieces, longest=LONGEST, allowance=allowance(view),
        danger_groups=3 if summary else 6 if brief else 25, condensed=40, named=20 if brief else 1_000_000, listed=listed,
        shown=200 if brief or summary else 600, gaps=12 if summary else 100 if brief else 300,
        shared=shared, mixed=mixed, sorted_out=sorted_out, small=small, accounts=accounts(view),
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
    """Yield what of a run is about each audited target, with a file name that is safe wherever it is written."""
    places = positions(run.findings, "target")
    scores: dict[str, list[Score]] = {}
    for score in run.scores:
        scores.setdefault(score.target, []).append(score)
    for name, target in files(t for t in run.targets if t.status is TargetStatus.AUDITED):
        own = tuple(run.findings[n] for n in places.get((target.name,), ()))
        used = {(f.benchmark, f.version) for f in own}
        benchmarks = tuple(b for b in run.benchmarks if (b.name, b.version) in used)
        part = dataclasses.replace(
            run, targets=(target,), findings=own, scores=tuple(scores.get(target.name, ())), benchmarks=benchmarks
        )
        yield name, part


def files(targets: Iterable[TargetResult]) -> Iterator[tuple[str, TargetResult]]:
    """Yield targets, each with the name of its own file."""
    taken: set[str] = set()
    for target in targets:
        yield _file_name(target.name, taken), target


def _file_name(target: str, taken: set[str]) -> str:
    """Return a name of plain characters that no other target has, whether or not the file system tells letters' case apart."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", target)[:80].lstrip(".-") or "target"
    name = plain
    if plain != target or name.lower() in taken:
        name = f"{plain}-{hashlib.sha256(target.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"
    taken.add(name.lower())
    return f"{name}.pdf"


def documents(run: AuditRun, modes: Sequence[str], signer: str = "", seal: str = "") -> Iterator[tuple[str, bytes | ReportError]]:
    """Lay out what each of `reports.PDF_MODES` stands for: yields file names (with ``/``) and contents, or why there is none."""
    for mode in modes:
        if mode != "per-target":
            yield "report.pdf" if mode == "by-control" else f"{mode}.pdf", _tried(run, mode, "", signer, seal)
            continue
        said = f"one target of {len(run.targets):,} that this run asked" if len(run.targets) > 1 else ""
        workers = min(4, os.cpu_count() or 1)
        with ExitStack() as stack:
            servers: SimpleQueue[Server | None] = SimpleQueue()  # as many as threads: each thread waits for a process of its own
            for _ in range(workers):
                servers.put(stack.enter_context(Server(_epoch(run), Limits())) if CAN_SERVE else None)
            pool = stack.enter_context(ThreadPoolExecutor(workers))
            ahead: deque[tuple[str, Future[bytes | ReportError]]] = deque()
            for name, part in parts(run):
                ahead.append((f"targets/{name}", pool.submit(_served, servers, part, mode, said, signer, seal)))
                if len(ahead) > 8:
                    first = ahead.popleft()
                    yield first[0], first[1].result()
            for name_, done in ahead:
                yield name_, done.result()


def _served(
    servers: SimpleQueue[Server | None], run: AuditRun, mode: str, part: str, signer: str, seal: str
) -> bytes | ReportError:
    server = servers.get()
    try:
        return _tried(run, mode, part, signer, seal, server)
    finally:
        servers.put(server)


def _tried(run: AuditRun, mode: str, part: str, signer: str, seal: str, server: Server | None = None) -> bytes | ReportError:
    try:
        return render(run, mode=mode, part=part, signer=signer, seal=seal, server=server)
    except ReportError as error:
        return error


def render(run: AuditRun, limits: Limits | None = None, mode: str = "by-control", part: str = "", signer: str = "",
           seal: str = "", server: Server | None = None) -> bytes:  # fmt: skip
    """Return the report as PDF; raises `ReportError` with one line where it can't be laid out. A ``server`` has its own limits."""
    html = page(run, mode, part, signer, seal).encode("utf-8")
    identifier = hashlib.sha256(html).hexdigest()[:32]
    if server is not None:
        return server.lay_out(html, identifier)
    return alone(html, identifier, _epoch(run), limits or Limits())
