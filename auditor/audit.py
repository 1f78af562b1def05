"""One audit: selection, collecting, judging, and the run that comes of it."""

from __future__ import annotations

import dataclasses
import getpass
import secrets
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor import __version__, catalogue, engine, evidence, score
from auditor.collect import Collector, now
from auditor.inventory import Inventory, target_of
from auditor.model import AuditRun, Benchmark, BenchmarkInfo, Evidence, Finding, Problem, Reason, Target, TargetStatus
from auditor.progress import Progress
from auditor.targets import result_of
from auditor.yamlfile import InputError, Mistake, did_you_mean

#: What is audited against when nothing is asked for.
DEFAULT_BENCHMARKS = ("cis-docker", "cis-kubernetes")


@dataclass(frozen=True, slots=True)
class Selection:
    """What of the benchmarks is judged: versions, the highest level, and single controls (number or key)."""

    benchmarks: tuple[str, ...] = ()
    level: int = 2
    only: tuple[str, ...] = ()

    def resolve(self, library: catalogue.Library) -> list[Benchmark]:
        """Return the benchmarks with the selected controls; raises `InputError`."""
        refs = self.benchmarks or DEFAULT_BENCHMARKS
        because = "asked for" if self.benchmarks else "newest version known (default)"
        loaded = [library.load(ref, because) for ref in dict.fromkeys(refs)]
        known = {word for b in loaded for c in b.controls for word in (c.id, c.key)}
        wrong = [Mistake("--only", 0, 0, f"there is no control {o!r}{_hint(o, known)}") for o in self.only if o not in known]
        if wrong:
            raise InputError(wrong)
        selected = []
        for benchmark in loaded:
            kept = tuple(
                c for c in benchmark.controls if c.level <= self.level and (not self.only or {c.id, c.key} & set(self.only))
            )
            selected.append(dataclasses.replace(benchmark, controls=kept))
        return selected


def _hint(word: str, known: set[str]) -> str:
    hint = did_you_mean(word, known)
    return hint if "did you mean" in hint else "; `auditor benchmarks show NAME` lists them"


@dataclass(frozen=True, slots=True)
class Plan:
    """What one audit does: the targets that are asked, those that a limit left out, and what they are judged by."""

    inventory: Inventory
    excluded: tuple[str, ...]
    benchmarks: tuple[Benchmark, ...]
    selection: dict[str, object]

    @property
    def order(self) -> list[str]:
        """The names of the targets that are asked, as the inventory orders them."""
        return [spec.name for spec in self.inventory.specs()]

    def collector(self, jobs: int) -> Collector:
        """Return what collects the facts that the benchmarks need."""
        return Collector(self.inventory, engine.needs(self.benchmarks, "host"), engine.needs(self.benchmarks, "cluster"), jobs)


def unfinished(inventory: Inventory, judge: Judge) -> list[Evidence]:
    """Return what stands for the targets that an interrupted run did not finish: listed, never silently missing."""
    problem = Problem(Reason.ABSENT, "the run was interrupted before this target was done")
    targets = [target_of(spec) for spec in inventory.specs()]
    return [Evidence(t, "", {}, TargetStatus.FAILED, problem) for t in targets if not judge.has(t.name)]


class Judge:
    """Judges evidence as it comes in and makes the run of it."""

    def __init__(self, benchmarks: Sequence[Benchmark], selection: dict[str, object]) -> None:
        self._benchmarks = benchmarks
        self._selection = selection
        self._started = now()
        self._evidence: dict[str, Evidence] = {}
        self._findings: dict[str, list[Finding]] = {}

    def has(self, name: str) -> bool:
        """Return whether a target has been judged."""
        return name in self._evidence

    def add(self, found: Evidence) -> list[Finding]:
        """Judge one target and return its findings; a target that was not audited has none."""
        name = found.target.name
        findings = engine.judge(self._benchmarks, found) if found.status is TargetStatus.AUDITED else []
        self._evidence[name] = found
        self._findings[name] = findings
        return findings

    def run(self, order: Iterable[str], excluded: Iterable[str] = (), identity: str = "") -> AuditRun:
        """Return the finished run with its targets in ``order`` (names), the excluded ones last."""
        names = [n for n in order if n in self._evidence]
        findings = [f for n in names for f in self._findings[n]]
        used = {(f.benchmark, f.version) for f in findings}
        infos: list[BenchmarkInfo] = [catalogue.info(b) for b in self._benchmarks if (b.name, b.version) in used]
        targets = [result_of(self._evidence[n]) for n in names]
        targets += [result_of(left_out(n)) for n in excluded]
        return AuditRun(identity or new_id(), self._started, now(), __version__, operator(), tuple(targets), tuple(infos),
                        tuple(findings),
                        score.scores(findings), self._selection)  # fmt: skip


def new_id() -> str:
    """Return a new run's id: its time in UTC and a random word, so that ids sort by time."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}"


def left_out(name: str) -> Evidence:
    """Return what stands for a target that a limit left out."""
    return Evidence(Target(name, ""), "", {}, TargetStatus.EXCLUDED)


def operator() -> str:
    """Return who runs the audit, as ``account@host``."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "unknown"
    return f"{name}@{socket.gethostname()}"


def consume(stream: Iterable[Evidence], judge: Judge, progress: Progress, folder: Path | None) -> None:
    """Judge each target as it comes, tell the progress, and keep its evidence as a bundle in ``folder``."""
    for found in stream:
        if folder is not None:
            evidence.save(found, folder)
        progress.target(found, judge.add(found))
