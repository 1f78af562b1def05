"""Doing one audit: beside the history or in it, from the beginning or going on with one, whole or a shard of it."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor import session

if TYPE_CHECKING:
    from auditor.audit import Judge, Plan
    from auditor.databases import Lock
    from auditor.inventory import Spec
    from auditor.journal import Entry, Spool
    from auditor.model import AuditRun, Evidence, Target, TargetResult
    from auditor.store import Store
    from auditor.storedrun import StoredRun

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHARD = re.compile(r"([0-9]{1,5}|job)/([0-9]{1,5})")
_WORDS = ("latest", "baseline")


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of which run this process does. Without ``run`` it is a new one; ``join``: it may have been begun.

    ``recheck`` is the run, or its results, that a re-check which is gone on with looks at again.
    """

    run: str = ""
    index: int = 1
    count: int = 1
    join: bool = False
    recheck: str | None = None

    @property
    def name(self) -> str:
        """The part as ``I/N``."""
        return f"{self.index}/{self.count}"


def part_of(options: Mapping[str, Any], *, no_store: bool) -> Part:
    """Return the part that ``--run`` and ``--shard`` mean. Raises `click.UsageError`."""
    run, shard = options.get("run_id"), options.get("shard")
    if run is None and shard is None:
        return Part()
    if no_store:
        raise click.UsageError("--run and --shard need the history and a whole run: not with --no-store, --demo or --recheck")
    if run is None or not _ID.fullmatch(run) or run in _WORDS:
        raise click.UsageError("--shard needs --run ID: letters, digits, '.', '_' and '-', the same for all shards of the run")
    return Part(run, *shard_of(shard), join=True)


def shard_of(word: str | None) -> tuple[int, int]:
    """Return which shard of how many ``2/10`` means, or ``job/10`` in a pod of an indexed Job. Raises `click.BadParameter`."""
    match = _SHARD.fullmatch(word or "1/1")
    if match is None:
        raise click.BadParameter(f"{word!r} is not such as 2/10", param_hint="--shard")
    index = match[1]
    if index == "job":
        completed = os.environ.get("JOB_COMPLETION_INDEX", "")
        if not completed.isdecimal():
            raise click.BadParameter("'job' is for pods of an indexed Job: JOB_COMPLETION_INDEX is not set", param_hint="--shard")
        index = str(int(completed) + 1)
    if not 1 <= int(index) <= int(match[2]):
        raise click.BadParameter(f"{word!r}: shards are counted from 1 to their number", param_hint="--shard")
    return int(index), int(match[2])


def resumed(run: str, options: dict[str, Any], inventory: Path | None, store: Store) -> tuple[Part, Path | None]:
    """Return what is left to do of a run, and its inventory; fills ``options`` with what it was begun with.

    Raises `click.UsageError` and `StoreError`.
    """
    from auditor.storedrun import plan_of

    given = ("benchmarks", "only", "limit", "tailoring", "waivers", "run_id")
    if options["level"] != 2 or any(options[n] for n in given):
        options_ = "--benchmark, --level, --only, --limit, --tailoring, --waivers, --run"
        raise click.UsageError(f"--resume takes from the run what is selected: no {options_}")
    identity, selection, plan = plan_of(store, run)
    begun, parts = plan["options"], plan["parts"]
    count = next((int(name.partition("/")[2]) for name in parts), 1)
    if count > 1 and not options["shard"]:
        raise click.UsageError(f"run {identity} has {count} shards: say which one to go on with, such as --shard 1/{count}")
    index, asked = shard_of(options["shard"])
    if asked != count:
        raise click.UsageError(f"run {identity} has {count} shard{'s' if count > 1 else ''}, not {asked}")
    for name in ("benchmarks", "only", "limit"):
        options[name] = tuple(selection.get(name, ()))
    options["level"] = int(selection.get("level", 2))
    options["tailoring"] = _found(begun["tailoring"]) if begun.get("tailoring") else None
    options["waivers"] = tuple(map(_found, begun.get("waivers", ())))
    options["scans"] = options.get("scans") or tuple(map(_found, begun.get("scans", ())))
    folder = parts.get(f"{index}/{count}", {}).get("folder")
    options["output"] = options["output"] or (Path(folder) if folder else None)
    where = inventory or (_found(begun["inventory"]) if begun.get("inventory") else None)
    return Part(identity, index, count, join=True, recheck=begun.get("recheck")), where


def _kept(path: Path) -> list[str]:
    return [str(path), str(path.absolute())]


def _found(kept: Sequence[str]) -> Path:
    """Return a file by the name that it was given, which reports show, where that still means it."""
    given, absolute = map(Path, kept)
    return given if given.absolute() == absolute else absolute


def audit(plan: Plan, options: dict[str, Any], store: Store | None, part: Part) -> tuple[AuditRun | None, Path]:
    """Audit what is to be done of a run; return the run and the folder of its output, which holds the evidence already.

    The run is None when other shards of it are not in yet. ``options["kept"]`` says afterwards whether the history holds it.
    """
    from auditor.audit import new_id
    from auditor.journal import Spool

    identity = part.run or new_id()
    folder = options["output"] or Path(f"cis-audit-{identity}")
    session.check_writable(folder)
    if store is None:
        return _beside(plan, options, identity, folder, Spool(folder)), folder
    from auditor.databases import lock_of
    from auditor.store import StoreError
    from auditor.storedrun import which

    with store.held(lock_of(identity, part.name)) as lock:
        if not lock.alone:
            raise StoreError(f"{which(identity, part.name)} is being done by another process: wait for its end, or end that first")
        run = _audited(plan, options, store, part, identity, folder, Spool(folder), lock)
    return run, folder


def _beside(plan: Plan, options: dict[str, Any], identity: str, folder: Path, spool: Spool) -> AuditRun:
    """Do an audit that the history knows nothing of."""
    from auditor.audit import Judge, nodes_of
    from auditor.inventory import target_of

    targets = [target_of(spec) for spec in plan.inventory.specs()]
    judge = Judge(plan.benchmarks, plan.selection, spool, nodes_of(targets), recheck=plan.recheck)
    gather(plan, options, judge, folder / "evidence", _asked(plan, targets), ())
    return judge.run(plan.order, plan.excluded, identity, folder)


def _audited(
    plan: Plan, options: dict[str, Any], store: Store, part: Part, identity: str, folder: Path, spool: Spool, lock: Lock
) -> AuditRun | None:
    from auditor.audit import Judge, nodes_of
    from auditor.inventory import target_of
    from auditor.journal import Following
    from auditor.model import TargetStatus
    from auditor.shards import shards_of
    from auditor.store import StoreError

    targets = [target_of(spec) for spec in plan.inventory.specs()]
    shards = shards_of(targets, part.count)
    mine = [t for t in targets if shards[t.name] == part.index]
    together = nodes_of(mine)
    stored = _begin(store, plan, options, part, identity, folder, targets, shards, lock)
    journal = Following(spool, stored, StoreError)
    judge = Judge(plan.benchmarks, plan.selection, journal, together, stored.started, plan.recheck)
    done = stored.done() if part.join else {}
    # What is judged together is judged again when one of it is missing; that takes its evidence, or asking it again.
    half = [n for c, nodes in together.items() if not {c, *nodes} <= done.keys() for n in (c, *nodes)]
    again = list(_again({n: done[n] for n in half if n in done}, folder / "evidence"))
    settled = (done.keys() - set(half)) | {e.target.name for e in again}
    asked = [spec for spec in _asked(plan, mine) if spec.name not in settled]
    if (before := len(mine) - len(asked)) and not options["quiet"]:
        click.echo(f"run {identity} goes on: {before} of {len(mine)} targets were done before", err=True)
    stopped = gather(plan, options, judge, folder / "evidence", asked, again, journal.check)
    try:
        journal.settle()
        missing = stored.close(plan.benchmarks, interrupted=stopped)
        options["kept"] = True
        if not missing or part.count == 1:
            return store.open(identity, folder)
        done = stored.done()
        options["lost"] = any(t.name not in done or done[t.name].status is not TargetStatus.AUDITED for t in mine)
    except StoreError as error:
        options["kept"] = False
        options["problems"].append(f"the run history was not kept: {error}")
        spool.keep([_elsewhere(t) for t in targets if not judge.has(t.name)])
        return judge.run(plan.order, plan.excluded, identity, folder)
    here = _here(plan, identity, part, stored.started, [done[t.name] for t in mine if t.name in done])
    options["problems"] += session.seal(here, folder, [], session.signing_key(options), store, whole=False)
    click.echo(f"shard {part.name} of run {identity} is done; {missing} targets of the run are not in yet. "
               f"Once all are: auditor report {identity}", err=True)  # fmt: skip
    return None


def _here(plan: Plan, identity: str, part: Part, started: str, done: Iterable[TargetResult]) -> AuditRun:
    """Return what a shard vouches for that is not the last of its run: the evidence of its targets."""
    from auditor import __version__
    from auditor.audit import operator
    from auditor.collect import now
    from auditor.model import AuditRun

    infos, narrowed = tuple(plan.benchmarks.infos()), {**plan.selection, "shard": part.name}
    return AuditRun(identity, started, now(), __version__, operator(), tuple(done), infos, (), (), narrowed)


def _elsewhere(target: Target) -> Entry:
    """Return what stands in a report for a target whose results are in the history alone, which can't be read."""
    from auditor.audit import waiting_for
    from auditor.journal import Entry
    from auditor.model import Problem, Reason
    from auditor.targets import result_of

    problem = Problem(Reason.ABSENT, "its results, if there are any, are in the run history, which could not be reached")
    return Entry(result_of(waiting_for(target, problem)), done=False)


def _begin(
    store: Store, plan: Plan, options: Mapping[str, Any], part: Part, identity: str, folder: Path, targets: Sequence[Target],
    shards: Mapping[str, int], lock: Lock,
) -> StoredRun:  # fmt: skip
    from auditor.audit import NOT_DONE, left_out, operator, waiting_for
    from auditor.model import Problem, Reason
    from auditor.storedrun import Beginning, StoredRun
    from auditor.targets import result_of

    def why(target: Target) -> Problem:
        who = f"shard {shards[target.name]}/{part.count}" if part.count > 1 else "the run"
        return Problem(Reason.ABSENT, f"{who} was interrupted, or is still going on, {NOT_DONE}")

    roster = [*(result_of(waiting_for(t, why(t))) for t in targets), *(result_of(left_out(n)) for n in plan.excluded)]
    path = plan.inventory.path
    given = {
        "inventory": _kept(path) if path else None,
        "tailoring": _kept(options["tailoring"]) if options.get("tailoring") else None,
        "waivers": [_kept(w) for w in options.get("waivers") or ()],
        "scans": [_kept(s) for s in options.get("scans") or ()],
        "recheck": options.get("recheck_of"),
    }
    beginning = Beginning(
        id=identity,
        operator=operator(),
        selection=plan.selection,
        targets=roster,
        benchmarks=plan.benchmarks.infos(),
        done=frozenset(plan.excluded),
        options=given,
        part=part.name,
        folder=folder,
    )
    return StoredRun(store, beginning, lock, join=part.join)


def _asked(plan: Plan, mine: Iterable[Target]) -> list[Spec]:
    """Return the targets in the order in which they are asked: clusters with their nodes first, each ready to be judged early."""
    names = {t.name for t in mine}
    specs = {s.name: s for s in plan.inventory.specs() if s.name in names}
    clusters = [c for c in plan.inventory.clusters if c.name in names and c.nodes]
    first = dict.fromkeys(n for c in clusters for n in (c.name, *c.nodes) if n in specs)
    return [*(specs[n] for n in first), *(s for n, s in specs.items() if n not in first)]


def _again(wanted: Mapping[str, TargetResult], folder: Path) -> Iterator[Evidence]:
    """Return the evidence of targets, as far as it is there and is what their results were made of."""
    from auditor.evidence import file_name, load
    from auditor.targets import result_of
    from auditor.yamlfile import InputError

    for name, before in wanted.items():
        try:
            found = load(folder / f"{file_name(name)}.evidence.json")
        except InputError:
            continue
        result = result_of(found)
        if (found.target.name, result.status, result.evidence_sha256) == (name, before.status, before.evidence_sha256):
            yield found


def gather(
    plan: Plan, options: dict[str, Any], judge: Judge, folder: Path, asked: Sequence[Spec], again: Sequence[Evidence],
    check: Callable[[], None] = lambda: None,
) -> bool:  # fmt: skip
    """Collect from targets, keep their evidence and judge it; return whether it ended, or its time did, before all were done.

    ``check`` is done for each before anything of it is kept; what it raises ends the audit.
    """
    from auditor import audit as auditing
    from auditor import progress

    shown = progress.make(quiet=options["quiet"], log_json=options["log_json"])
    shown.begin(len(asked) + len(again))
    collector = plan.collector(options["jobs"], options.get("deadline"), options.get("rate"))
    problems: list[str] = options.setdefault("problems", [])
    answers = collector.run(list(asked))
    stream = _checked(answers if asked else (), check)
    if options.get("scan_results"):
        from auditor.scans import attach

        stream = (attach(found, options["scan_results"]) for found in stream)
    try:
        with session.stopping(collector.stop):
            unkept = auditing.consume(itertools.chain(again, stream), judge, shown, folder)
        problems += unkept[:3] + ([f"nor was that of {len(unkept) - 3} more targets"] if unkept[3:] else [])
    except KeyboardInterrupt:
        collector.stopped = True
    finally:
        shown.end()
        answers.close()  # whatever ended it: nothing that was begun goes on
    if collector.stopped:
        click.echo("interrupted: what was collected so far is reported", err=True)
        for missing in auditing.unfinished(asked, judge):
            judge.add(missing)
    return collector.stopped or collector.overdue


def _checked(answers: Iterable[Evidence], check: Callable[[], None]) -> Iterator[Evidence]:
    for found in answers:
        check()
        yield found


def collected(plan: Plan, options: dict[str, Any], folder: Path) -> AuditRun:
    """Collect evidence from every target; what is judged by the way is shown and not kept."""
    from auditor.audit import Judge, nodes_of
    from auditor.inventory import target_of
    from auditor.journal import Headlines

    targets = [target_of(spec) for spec in plan.inventory.specs()]
    judge = Judge(plan.benchmarks, plan.selection, Headlines(), nodes_of(targets))
    gather(plan, options, judge, folder, _asked(plan, targets), ())
    return judge.run(plan.order, plan.excluded)
