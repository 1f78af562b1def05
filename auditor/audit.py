"""One audit: selection, collecting, judging, and the run that comes of it."""

from __future__ import annotations

import dataclasses
import getpass
import secrets
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from auditor import __version__, catalogue, correlate, engine, evidence, score
from auditor.closing import Closing
from auditor.collect import Collector, now
from auditor.credentials import Credentials
from auditor.editions import Edition
from auditor.facts.kubernetes import Server
from auditor.facts.node import KubernetesVersion
from auditor.inventory import Inventory, Spec, target_of
from auditor.journal import Entry, Journal, Memory
from auditor.model import (
    AuditRun,
    Benchmark,
    BenchmarkInfo,
    Evidence,
    Fact,
    Finding,
    Problem,
    Reason,
    Score,
    Target,
    TargetResult,
    TargetStatus,
)
from auditor.progress import Progress
from auditor.recheck import Recheck
from auditor.results import target_document, text_of, text_of_finding
from auditor.spooled import spooled
from auditor.tailoring import NOTHING, Tailoring
from auditor.targets import result_of
from auditor.versions import Choice, Running, because_of, choose, fits, running_of
from auditor.yamlfile import InputError, Mistake, did_you_mean

#: What is audited against when nothing is asked for.
DEFAULT_BENCHMARKS = ("cis-docker", "cis-kubernetes")
#: What is judged beside a benchmark: whether the sides that its verdicts rest on agree.
COMPANIONS = {"cis-kubernetes": "cluster-consistency"}


@dataclass(frozen=True, slots=True)
class Selection:
    """What of the benchmarks is judged: versions, the highest level, and single controls (number or key); the site's tailoring."""

    benchmarks: tuple[str, ...] = ()
    level: int = 2
    only: tuple[str, ...] = ()
    tailoring: Tailoring = NOTHING

    def resolve(self, library: catalogue.Library) -> Benchmarks:
        """Return the benchmarks with the selected controls; raises `InputError`.

        Every version that may be chosen for a target is loaded, so that whatever is wrong with it is said before anything is done.
        """
        families = []
        asked_for = "asked for" if self.benchmarks else "newest version known (default)"
        wanted = dict.fromkeys(self.benchmarks or (*DEFAULT_BENCHMARKS, *self.tailoring.own), asked_for)
        names = [ref.partition("@")[0] for ref in wanted]
        wanted |= {c: f"goes with {n}" for n, c in COMPANIONS.items() if n in names and c not in names}
        for ref, because in wanted.items():
            name, _, asked = ref.partition("@")
            editions = library.editions(name)
            refs = [f"{name}@{e.version}" for e in editions] if editions and not asked else [ref]
            families.append(Family(name, editions, tuple(library.load(r, because) for r in refs), asked))
        known = {word for f in families for b in f.benchmarks for c in b.controls for word in (c.id, c.key)}
        wrong = [Mistake("--only", 0, 0, _unknown(o, known, library)) for o in self.only if o not in known]
        if wrong:
            raise InputError(wrong)
        kept = tuple(dataclasses.replace(f, benchmarks=tuple(map(self._kept, f.benchmarks))) for f in families)
        return Benchmarks(kept, self.tailoring)

    def _kept(self, benchmark: Benchmark) -> Benchmark:
        level = [c for c in benchmark.controls if c.level <= self.level]
        kept = [c for c in level if not self.only or {c.id, c.key} & set(self.only)]
        gone = {"--level": len(benchmark.controls) - len(level), "--only": len(level) - len(kept)}
        left_out = {**benchmark.left_out, **{what: n for what, n in gone.items() if n}}
        return dataclasses.replace(benchmark, controls=tuple(kept), left_out=left_out)


def _unknown(word: str, known: set[str], library: catalogue.Library) -> str:
    if word in library.definitions:
        return f"the control {word!r} is in none of the selected benchmarks, or the tailoring file leaves it out"
    return f"there is no control {word!r}{did_you_mean(word, known, catalogue.CONTROLS)}"


@dataclass(frozen=True, slots=True)
class Family:
    """A benchmark in every version that may judge. ``editions`` are empty where no version is for a version of Kubernetes."""

    name: str
    editions: tuple[Edition, ...]
    benchmarks: tuple[Benchmark, ...]
    asked: str = ""  # the version that was asked for, which then is the only one

    def choose(self, running: Running | Problem | None) -> tuple[Benchmark, Choice]:
        """Return the version that judges a target which runs this, and why."""
        if not self.editions:
            (only,) = self.benchmarks
            return only, Choice(only.version, only.selected_because)
        choice = fits(self.name, self.editions, self.asked, running) if self.asked else choose(self.name, self.editions, running)
        return next(b for b in self.benchmarks if b.version == choice.version), choice


@dataclass(frozen=True, slots=True)
class Benchmarks:
    """The selected benchmarks, from which every target gets the versions that fit it."""

    families: tuple[Family, ...]
    tailoring: Tailoring = NOTHING

    def all(self) -> tuple[Benchmark, ...]:
        """Return every version that may judge some target."""
        return tuple(b for f in self.families for b in f.benchmarks)

    def infos(self) -> list[BenchmarkInfo]:
        """Return the words of every version that may judge some target."""
        return [catalogue.info(b) for b in self.all()]

    def of(self, evidence: Evidence, cluster: Evidence | None = None) -> list[tuple[Benchmark, Choice]]:
        """Return the benchmarks that judge this evidence, and why these versions.

        ``cluster`` is the evidence of the cluster that a node belongs to: both are judged by the version of its API server.
        """
        running = running_of(evidence, cluster)
        return [family.choose(running) for family in self.families]

    def needs(self, target: Literal["host", "cluster"]) -> frozenset[Fact]:
        """Return every fact that it takes to choose and to judge."""
        versions: set[Fact] = (
            {KubernetesVersion() if target == "host" else Server()} if any(f.editions for f in self.families) else set()
        )
        benchmarks = self.tailoring.every(self.all())
        nodes = correlate.needs(benchmarks) if target == "cluster" else frozenset()
        return engine.needs(benchmarks, target) | versions | nodes


@dataclass(frozen=True, slots=True)
class Plan:
    """What one audit does: the targets that are asked, those that a limit left out, and what they are judged by."""

    inventory: Inventory
    excluded: tuple[str, ...]
    benchmarks: Benchmarks
    selection: dict[str, object]
    credentials: Credentials | None = None
    recheck: Recheck | None = None

    @property
    def order(self) -> list[str]:
        """The names of the targets that are asked, as the inventory orders them."""
        return [spec.name for spec in self.inventory.specs()]

    def collector(self, jobs: int, deadline: float | None = None, rate: float | None = None) -> Collector:
        """Return what collects the facts that the benchmarks need, in at most ``deadline`` seconds, at ``rate`` logins a second."""
        needs = self.benchmarks.needs
        return Collector(self.inventory, needs("host"), needs("cluster"), jobs, deadline, self.credentials, rate)


#: What stands in the results for a target that a run did not come to: it is listed, never silently missing.
NOT_DONE = "before this target was done"


def unfinished(asked: Iterable[Spec], judge: Judge) -> list[Evidence]:
    """Return what stands for the targets that an interrupted run asked, or would have, and did not finish."""
    problem = Problem(Reason.ABSENT, f"the run was interrupted {NOT_DONE}")
    targets = map(target_of, asked)
    return [waiting_for(t, problem) for t in targets if not judge.has(t.name)]


def waiting_for(target: Target, problem: Problem) -> Evidence:
    """Return what stands for a target that the run has not come to."""
    return Evidence(target, "", {}, TargetStatus.FAILED, problem)


def is_done(found: Evidence) -> bool:
    """Return whether a target need not be asked when the run goes on: a host that can't be reached is done as well."""
    return found.status is not TargetStatus.FAILED or found.error is None or NOT_DONE not in found.error.detail


class Judge:
    """Judges evidence as it comes in, gives the results to a journal, and makes the run of them.

    A cluster and the hosts that it names as its nodes are judged by the same versions, and the cluster by what its nodes show too,
    whichever of them comes first; it costs least when clusters come last. ``together`` are the names of the nodes of each such
    cluster, as far as they are audited: evidence of whatever is in none of these is not kept, that of the others until all of
    theirs is there. Without it nobody knows who is still to come, and all is kept. ``started`` is when the run began (ISO 8601).
    Of a ``recheck`` only the findings count that it asks for.
    """

    def __init__(
        self,
        benchmarks: Benchmarks,
        selection: Mapping[str, object],
        journal: Journal | None = None,
        together: Mapping[str, Sequence[str]] | None = None,
        started: str = "",
        recheck: Recheck | None = None,
    ) -> None:
        self._recheck = recheck
        self._benchmarks = benchmarks
        self._selection = selection
        self._started = started or now()
        self._journal = Memory() if journal is None else journal
        self._together = together
        self._incomplete = {c: {c, *nodes} for c, nodes in (together or {}).items()}
        self._judged: set[str] = set()
        self._evidence: dict[str, Evidence] = {}  # of what may be judged again, or be judged with
        self._chosen: dict[str, list[tuple[Benchmark, Choice]]] = {}  # of the same
        self._clusters: dict[str, Evidence] = {}  # by the names of their nodes

    def has(self, name: str) -> bool:
        """Return whether a target has been judged."""
        return name in self._judged

    def expect(self, cluster: Evidence) -> None:
        """Take note of a cluster that is to be judged later, so that its nodes are judged as they will be with it."""
        for node in cluster.target.nodes:
            self._clusters.setdefault(node, cluster)

    def ready(self, cluster: str) -> bool:
        """Return whether all nodes of a cluster have been judged."""
        return self._together is not None and self._incomplete.get(cluster, set()) <= {cluster}

    def add(self, found: Evidence) -> list[Finding]:
        """Judge one target and return its findings; a target that was not audited has none."""
        name = found.target.name
        self._evidence[name] = found
        self._chosen.pop(name, None)
        self.expect(found)
        entries = []
        for node in found.target.nodes:
            if node in self._evidence and node in self._judged:
                entries += self._judge(self._evidence[node])
        cluster = self._clusters.get(name)
        if cluster is not None and cluster.target.name in self._judged:
            self._chosen.pop(cluster.target.name, None)
            entries += self._judge(cluster)
        entries += self._judge(found)
        self._judged.add(name)
        self._journal.keep(entries)
        self._forget(name)
        return list(entries[-1].findings)

    def _judge(self, found: Evidence) -> list[Entry]:
        """Return the entry of a target; none when it has one already that is no other."""
        name = found.target.name
        chosen = self._benchmarks.of(found, self._clusters.get(name)) if found.status is TargetStatus.AUDITED else []
        if self._chosen.get(name) == chosen:
            return []
        self._chosen[name] = chosen
        benchmarks = self._benchmarks.tailoring.benchmarks([b for b, _ in chosen], found.target)
        if found.target.transport == "kubernetes":
            findings = correlate.judge(benchmarks, found, [self._node(n) for n in found.target.nodes])
        else:
            findings = engine.judge(benchmarks, found)
        if self._recheck is not None:
            findings = [f for f in findings if self._recheck.asks(f)]
        marked = self._benchmarks.tailoring.register(self._started).mark(findings, found.target.groups)
        met = {(f.benchmark, f.version) for f in findings}
        used = tuple((b.ref, choice) for b, choice in chosen if (b.name, b.version) in met)
        return [Entry(_result(found, chosen), used, tuple(marked), is_done(found))]

    def _node(self, name: str) -> Evidence:
        problem = Problem(Reason.ABSENT, "it was not audited in this run")
        return self._evidence.get(name) or Evidence(Target(name, ""), "", {}, TargetStatus.EXCLUDED, problem)

    def _forget(self, name: str) -> None:
        """Let go of the evidence that nothing else will be judged with."""
        if self._together is None:
            return
        for cluster, missing in list(self._incomplete.items()):
            missing.discard(name)
            if not missing:
                del self._incomplete[cluster]
        needed = {n for c in self._incomplete for n in (c, *self._together[c])}
        for gone in [n for n in self._evidence if n not in needed]:
            del self._evidence[gone]
            self._chosen.pop(gone, None)
        self._clusters = {n: c for n, c in self._clusters.items() if c.target.name in needed}

    def run(self, order: Iterable[str], excluded: Iterable[str] = (), identity: str = "", folder: Path | None = None) -> AuditRun:
        """Return the finished run with its targets in ``order`` (names), the excluded ones last.

        With ``folder``, what was found is in a file there that has no name, and no longer in memory.
        """
        closing = Closing(self._benchmarks, self._started, self._selection)
        kept = spooled(folder) if folder is not None else None
        targets: list[TargetResult] = []
        findings: list[Finding] = []
        scores: list[Score] = []

        def add(entry: Entry) -> None:
            marked = closing.add(entry)
            scores.extend(score.scores(marked))
            if kept is not None:
                kept[0].add(text_of(target_document(entry.target)))
                kept[1].add(map(text_of_finding, marked))
            else:
                targets.append(entry.target)
                findings.extend(marked)

        for entry in self._journal.entries(order):
            add(entry)
        for name in excluded:
            add(Entry(result_of(left_out(name))))
        found: tuple[Sequence[TargetResult], Sequence[Finding]] = kept or (tuple(targets), tuple(findings))
        return AuditRun(identity or new_id(), self._started, now(), __version__, operator(), found[0], tuple(closing.infos()),
                        found[1], tuple(scores), self._selection, closing.notices(), closing.registers())  # fmt: skip


def _result(found: Evidence, chosen: Sequence[tuple[Benchmark, Choice]]) -> TargetResult:
    """Return a target with a line for each of its benchmarks whose version follows from its Kubernetes."""
    result = result_of(found)
    lines = {}
    for benchmark, choice in chosen:
        if choice.because != benchmark.selected_because or choice.warning:
            lines[benchmark.name] = f"{benchmark.version}: {because_of({found.target.name: choice})}"
    return dataclasses.replace(result, facts={**result.facts, **lines}) if lines else result


def new_id() -> str:
    """Return a new run's id: its time in UTC, and a word of which the first half is the 4096th part of the second and the rest
    random. So ids sort by time, within a second too, which is what tells the latest of the runs that began in it."""  # noqa: D205, D209 - one thought
    at = time.time()
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(at))}-{int(at % 1 * 4096):03x}{secrets.randbelow(4096):03x}"


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


def clusters_last(found: Iterable[Evidence]) -> list[Evidence]:
    """Return evidence with the clusters that name nodes at the end: their nodes are judged with them."""
    return sorted(found, key=lambda e: bool(e.target.nodes))


def nodes_of(targets: Iterable[Target]) -> dict[str, tuple[str, ...]]:
    """Return the names of the nodes of each cluster that names any, as far as they are among these targets."""
    known = {t.name: t for t in targets}
    return {t.name: tuple(n for n in t.nodes if n in known) for t in known.values() if t.nodes}


def consume(stream: Iterable[Evidence], judge: Judge, progress: Progress, folder: Path | None) -> list[str]:
    """Judge each target as it comes, tell the progress, and keep its evidence as a bundle in ``folder``.

    Clusters that name nodes wait for these, at most to the end, also when the stream is interrupted. Returns what could not be
    kept, and why.
    """
    held: dict[str, Evidence] = {}
    unkept: list[str] = []
    try:
        for found in stream:
            found = _kept(found, folder, unkept) if folder is not None else found  # noqa: PLW2901 - what it comes to
            if found.target.nodes:
                judge.expect(found)
                held[found.target.name] = found
            else:
                progress.target(*judged(judge, found))
            for name in [n for n in held if judge.ready(n)]:
                progress.target(*judged(judge, held.pop(name)))
    finally:
        for cluster in held.values():
            progress.target(*judged(judge, cluster))
    return unkept


#: What Python raises where an answer is of a form that nobody thought of.
_ODD = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def _kept(found: Evidence, folder: Path, unkept: list[str]) -> Evidence:
    """Keep evidence as a bundle; return it, or what is left of it where it can't be written at all."""
    try:
        evidence.save(found, folder)
    except OSError as error:  # a full disk; the verdicts must not be lost with the bundle
        unkept.append(f"the evidence of {found.target.name} was not kept: {error.strerror}")
    except _ODD as error:
        return _kept(_useless(found, error), folder, unkept)
    return found


def judged(judge: Judge, found: Evidence) -> tuple[Evidence, list[Finding]]:
    """Judge a target; one whose answers can't be worked with has failed, and the others must not be lost with it."""
    try:
        return found, judge.add(found)
    except _ODD as error:
        useless = _useless(found, error)
        return useless, judge.add(useless)


def _useless(found: Evidence, error: Exception) -> Evidence:
    detail = f"its answers can't be worked with ({type(error).__name__}: {error})"[:500]
    return Evidence(found.target, found.collected_at, {}, TargetStatus.FAILED, Problem(Reason.UNPARSABLE, detail))
