"""Questions to the run history about change over time. Each is a few queries, whatever the number of findings."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from auditor.model import STATUS_RANK
from auditor.packs import documents
from auditor.past import Age, Ages, Past, TrendPoint
from auditor.results import registers_of
from auditor.rows import column
from auditor.score import mean
from auditor.store import RUNNING, Store

if TYPE_CHECKING:
    import sqlalchemy as sa

#: How many runs a trend shows.
POINTS = 12

#: Worst first.
_RANK = {status.value: rank for status, rank in STATUS_RANK.items()}


def past_of(store: Store, run: str, points: int = POINTS) -> Past:
    """Return what the history says about one of its runs (id); raises `StoreError`."""
    with store.plainly(), store.reading() as connection:
        return Past(_trend(store, connection, run, points), _ages(store, connection, _until(store, connection, run)))


def trend(store: Store, run: str, points: int = POINTS, target: str | None = None) -> Mapping[str, tuple[TrendPoint, ...]]:
    """Return the figures of a run and of the comparable ones before it, by benchmark; raises `StoreError`.

    Comparable is what was neither a re-check nor a demo, and asked for the same levels and controls. Of each only the targets
    count that the run has too, so that a fleet that grows doesn't look like one that changes; with ``target`` that one alone.
    Of several versions that judged a target in one run the latest counts.
    """
    with store.plainly(), store.reading() as connection:
        return _trend(store, connection, run, points, target)


def failures(store: Store, run: str) -> list[tuple[dict[str, Any], Age]]:
    """Return the failures of a run as the results document has them, each with its age, oldest first; raises `StoreError`.

    What evidence leaves open and a person attested to fail is among them.
    """
    import sqlalchemy as sa

    with store.plainly(), store.reading() as connection:
        f = store.tables.findings.c
        rows = _until(store, connection, run)
        keys = sa.select(f.position, f.target, f.benchmark, f.control).where(f.run == run, _fails(store))
        failed = {place: tuple(key) for place, *key in connection.execute(keys)}
        every = documents(connection, store.tables, run) if failed else ()
        found = [(failed[place], json.loads(text)) for place, text in every if place in failed]
        ages = _ages(store, connection, rows)
    return sorted(((d, ages[key]) for key, d in found), key=lambda pair: pair[1].since)


def _fails(store: Store) -> sa.ColumnElement[bool]:
    """A condition on findings: they fail by evidence, or what evidence left open was attested to fail."""
    import sqlalchemy as sa

    f = store.tables.findings.c
    return sa.or_(f.status == "fail", f.attested == "fail")


def _scope(document: str) -> tuple[Any, ...] | None:
    """What a run asked for, as far as it decides which findings there are; None for one that says nothing of the whole."""
    selection = json.loads(document).get("selection", {})
    if selection.get("recheck"):
        return None
    return (bool(selection.get("demo")), selection.get("level", 2), tuple(sorted(selection.get("only", ()))))


def _tailoring(document: str) -> Any:
    """What a run was tailored by, so that a score that changed with it is not taken for a change of what was audited."""
    return registers_of(json.loads(document).get("registers", {})).tailored


def _until(store: Store, connection: sa.Connection, run: str) -> list[Any]:
    """The runs up to one, newest first."""
    import sqlalchemy as sa

    runs = store.tables.runs
    started = sa.select(runs.c.started).where(runs.c.id == run).scalar_subquery()
    over = sa.or_(runs.c.id == run, sa.func.coalesce(runs.c.status, "") != RUNNING)
    rows = connection.execute(sa.select(runs).where(runs.c.started <= started, over).order_by(*store.newest())).all()
    at = next((n for n, r in enumerate(rows) if r.id == run), len(rows))
    return list(rows[at:])


def _trend(
    store: Store, connection: sa.Connection, run: str, points: int, target: str | None = None
) -> dict[str, tuple[TrendPoint, ...]]:
    import sqlalchemy as sa

    rows = _until(store, connection, run)
    if not rows:
        return {}
    scope = _scope(rows[0].document)
    same = [r for r in rows if _scope(r.document) == scope][:points] if scope is not None else []
    s = store.tables.scores.alias("s")
    own = store.tables.scores.alias("own")
    wanted = () if target is None else (own.c.target == column(target),)
    shared = sa.select(own.c.target, own.c.benchmark).where(own.c.run == run, *wanted).distinct().subquery()
    query = sa.select(s.c.run, s.c.benchmark, s.c.version, s.c.target, s.c.score, s.c.fail, s.c.error).join(
        shared, sa.and_(shared.c.target == s.c.target, shared.c.benchmark == s.c.benchmark)
    )
    tailoring = {r.id: _tailoring(r.document) for r in same}

    def versions(r: Any, scores: list[Any]) -> str:
        other = " (other tailoring)" if tailoring[r.id] != tailoring[same[0].id] else ""
        return ", ".join(sorted({x.version for x in scores})) + other

    found: dict[tuple[str, str], list[Any]] = {}
    for row in connection.execute(query.where(s.c.run.in_([r.id for r in same]))):
        found.setdefault((row.benchmark, row.run), []).append(row)
    result: dict[str, list[TrendPoint]] = {}
    for r in reversed(same):
        for benchmark in sorted({b for b, _ in found}):
            if scores := _once(found.get((benchmark, r.id), [])):
                result.setdefault(benchmark, []).append(
                    TrendPoint(r.id, r.started, versions(r, scores), sum(x.score is not None for x in scores),
                               mean(x.score for x in scores), sum(x.fail for x in scores), sum(x.error for x in scores))
                )  # fmt: skip
    return {b: tuple(p) for b, p in result.items()}


def _once(scores: list[Any]) -> list[Any]:
    """Return one score a target that has one: where several versions of the benchmark judged it, that of the latest one."""
    latest: dict[str, Any] = {}
    for s in sorted(scores, key=lambda s: [int(n) for n in re.findall("[0-9]+", s.version)]):
        latest[s.target] = s
    scored = [s for s in latest.values() if s.score is not None]  # the others neither failed nor could not be judged
    return scored or list(latest.values())


def _ages(store: Store, connection: sa.Connection, rows: list[Any]) -> Ages:
    """The ages of the failures of the first of some runs, which are newest first."""
    import sqlalchemy as sa

    if not rows:
        return Ages()
    demo = rows[0].kind == "demo"
    order = {r.id: n for n, r in enumerate(r for r in rows if (r.kind == "demo") == demo)}  # 0 is the run itself
    kept = [r for r in rows if r.id in order]
    f = store.tables.findings
    mine = sa.select(f.c.target, f.c.control).where(f.c.run == rows[0].id, _fails(store)).distinct().cte("mine")
    joined = mine.join(f, sa.and_(f.c.target == mine.c.target, f.c.control == mine.c.control))
    attested = _attestations(store, connection, joined, kept)
    query = sa.select(f.c.target, f.c.benchmark, f.c.control, f.c.run, f.c.status).select_from(joined)
    texts: dict[str, str] = {}  # the same few names and ages stand for thousands of failures
    ages: dict[Age, Age] = {}
    found = Ages()
    query = query.order_by(f.c.target, f.c.control, f.c.benchmark).execution_options(yield_per=1000)  # as the index has them
    with connection.execute(query) as some:
        for (target, control), verdicts in itertools.groupby(some, key=lambda r: (r.target, r.control)):
            by_benchmark: dict[str, dict[int, str]] = {}
            for _, benchmark, _, of, status in verdicts:
                n = order.get(of)
                if n is not None:
                    verdict = "fail" if status == "manual" and (target, benchmark, control, of) in attested else status
                    by_run = by_benchmark.setdefault(benchmark, {})
                    by_run[n] = _worse(by_run.get(n), verdict)  # of two versions
            for benchmark, by_run in by_benchmark.items():
                if by_run.get(0) == "fail":
                    age = _age(_whole(by_run, by_benchmark.values()), kept)
                    t, b, c = (texts.setdefault(text, text) for text in (target, benchmark, control))
                    found.add((t, b, c), ages.setdefault(age, age))
    return found


def _attestations(store: Store, connection: sa.Connection, joined: sa.FromClause, runs: list[Any]) -> set[tuple[str, ...]]:
    """What of some findings a person attested to fail in some runs: target, benchmark, control and run."""
    import sqlalchemy as sa

    registers = ((r.id, registers_of(json.loads(r.document).get("registers", {}))) for r in runs)
    ids = [id_ for id_, register in registers if register.attestations]
    if not ids:  # most have none, and the index doesn't hold them
        return set()
    f = store.tables.findings.c
    wanted = (f.status == "manual", f.attested == "fail", f.run.in_(ids))
    query = sa.select(f.target, f.benchmark, f.control, f.run).select_from(joined).where(*wanted)
    return {tuple(row) for row in connection.execute(query)}


def _worse(one: str | None, other: str) -> str:
    return other if one is None or _RANK[other] < _RANK[one] else one


def _whole(own: Mapping[int, str], every: Collection[Mapping[int, str]]) -> Mapping[int, str]:
    """Verdicts on a control by run: a benchmark's own, and where it has none, those that others had on the same control."""
    if len(every) == 1:
        return own
    whole: dict[int, str] = {}
    for by_run in every:
        for n, verdict in by_run.items():
            whole[n] = _worse(whole.get(n), verdict)
    return {**whole, **own}


def _age(by_run: Mapping[int, str], runs: list[Any]) -> Age:
    first, count = 0, 0
    for n in sorted(by_run):
        if by_run[n] == "fail":
            first, count = n, count + 1
        elif by_run[n] != "error":
            break
    return Age(str(runs[first].id), str(runs[first].started), count)
