"""What a run says while it goes: a bar on a terminal, plain lines elsewhere, JSON lines for machines."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Protocol, TextIO

from auditor.model import SEVERITY_ORDER, Evidence, Finding, Severity, Status, TargetStatus
from auditor.terminal import clean

#: How many failures stand above the bar at once.
LATEST = 5


class Progress(Protocol):
    """Is told what happens, from the thread that consumes the evidence."""

    def begin(self, total: int) -> None:
        """The audit of ``total`` targets begins."""
        ...

    def target(self, evidence: Evidence, findings: list[Finding]) -> None:
        """A target is done."""
        ...

    def end(self) -> None:
        """All targets are done, or the run was interrupted."""
        ...


def make(*, quiet: bool, log_json: bool) -> Progress:
    """Return what suits the options and where standard error goes."""
    if log_json:
        return JsonLog(sys.stderr)
    if quiet:
        return Quiet()
    return Bar() if sys.stderr.isatty() else Lines(sys.stderr)


class Quiet:
    """Says nothing."""

    def begin(self, total: int) -> None:
        """Say nothing."""

    def target(self, evidence: Evidence, findings: list[Finding]) -> None:
        """Say nothing."""

    def end(self) -> None:
        """Say nothing."""


def _tally(findings: list[Finding]) -> dict[str, int]:
    return {s.value: n for s in Status if (n := sum(f.status is s for f in findings))}


def line_of(evidence: Evidence, findings: list[Finding]) -> str:
    """Return a target's result in one line, safe for a terminal."""
    name = clean(evidence.target.name, 80)
    if evidence.status is not TargetStatus.AUDITED:
        said = clean(str(evidence.error))
        return f"{name}: {said}" if said.startswith(f"{evidence.status}: ") else f"{name}: {evidence.status}: {said}"
    tally = ", ".join(f"{n} {s.replace('_', ' ')}" for s, n in _tally(findings).items())
    return f"{name}: {tally or 'no control was judged'}"


class Lines:
    """One plain line a target."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._total = self._done = 0

    def begin(self, total: int) -> None:
        """Say how many targets there are."""
        self._total = total
        print(f"auditing {total} target{'s' if total != 1 else ''}", file=self._out, flush=True)

    def target(self, evidence: Evidence, findings: list[Finding]) -> None:
        """Say what became of a target."""
        self._done += 1
        print(f"[{self._done}/{self._total}] {line_of(evidence, findings)}", file=self._out, flush=True)

    def end(self) -> None:
        """Say nothing: the summary follows."""


class JsonLog:
    """One JSON object a line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def _say(self, event: str, **fields: Any) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        print(json.dumps({"time": stamp, "event": event, **fields}), file=self._out, flush=True)

    def begin(self, total: int) -> None:
        """Log the start."""
        self._say("begin", targets=total)

    def target(self, evidence: Evidence, findings: list[Finding]) -> None:
        """Log a target's result."""
        error = str(evidence.error) if evidence.error else None
        self._say("target", target=evidence.target.name, status=evidence.status.value, error=error, counts=_tally(findings))

    def end(self) -> None:
        """Log the end."""
        self._say("end")


class Bar:
    """One total bar with the latest serious failures above it."""

    def __init__(self) -> None:
        self._live: Any = None
        self._bar: Any = None
        self._task: Any = None
        self._latest: list[Any] = []

    def begin(self, total: int) -> None:
        """Show the bar."""
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        self._bar = Progress(TextColumn("auditing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console)
        self._task = self._bar.add_task("", total=total)
        self._live = Live(self._view(), console=console, refresh_per_second=8, transient=True)
        self._live.start()

    def _view(self) -> Any:
        from rich.console import Group

        return Group(*self._latest, self._bar)

    def target(self, evidence: Evidence, findings: list[Finding]) -> None:
        """Move the bar; show what failed."""
        from rich.text import Text

        if evidence.status is not TargetStatus.AUDITED:
            self._latest.append(Text(line_of(evidence, findings), style="yellow", overflow="ellipsis", no_wrap=True))
        serious = [f for f in findings if f.status is Status.FAIL and f.severity in (Severity.CRITICAL, Severity.HIGH)]
        for finding in sorted(serious, key=lambda f: SEVERITY_ORDER.index(f.severity), reverse=True)[-LATEST:]:
            text = f"{finding.severity}: {clean(finding.target, 40)}: {finding.id} {finding.title}"
            self._latest.append(Text(text, style="red", overflow="ellipsis", no_wrap=True))
        del self._latest[:-LATEST]
        self._bar.advance(self._task)
        self._live.update(self._view())

    def end(self) -> None:
        """Take the bar away."""
        if self._live is not None:
            self._live.stop()
