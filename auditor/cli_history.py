"""The commands about earlier runs: history, baseline, pruning, and what changed from one run to another."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor import session

if TYPE_CHECKING:
    from auditor.diff import Difference
    from auditor.inventory import Inventory
    from auditor.model import AuditRun, Severity
    from auditor.runs import Part

_SEVERITIES = ("critical", "high", "medium", "low")
_STORE = session.storing()
_DAYS = re.compile(r"([0-9]{1,5})d")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:]{5,8}Z?)?")


def time_of(words: str, option: str) -> str:
    """Return the time in UTC (ISO 8601) that ``30d`` (days ago) or a date means; raises `click.BadParameter`."""
    from datetime import UTC, datetime, timedelta

    ago = _DAYS.fullmatch(words)
    try:
        if ago:
            return (datetime.now(UTC) - timedelta(days=int(ago[1]))).strftime("%Y-%m-%dT%H:%M:%SZ")
        if _DATE.fullmatch(words):
            return datetime.fromisoformat(words.removesuffix("Z")).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        pass
    raise click.BadParameter(f"{words!r} is neither days such as 90d nor a date such as 2026-01-31 (UTC)", param_hint=option)


def find_run(wanted: str, store: str | None) -> tuple[AuditRun, bool]:
    """Return a run and whether it is of the history: a results.json or its folder, else what the history calls so."""
    path = Path(wanted)
    if path.is_dir() and (path / "results.json").is_file():
        path /= "results.json"
    if path.is_file():
        return _read(path), False
    with session.open_store(store) as kept:
        found: AuditRun = kept.load(wanted)
        return found, True


def _read(path: Path) -> AuditRun:
    import json

    from auditor.results import SCHEMA, run_of
    from auditor.yamlfile import InputError, Mistake

    try:
        document = json.loads(path.read_bytes())
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise InputError([Mistake(str(path), 0, 0, f"is no results document: its schema is not {SCHEMA}")])
        return run_of(document)
    except OSError as error:
        raise InputError([Mistake(str(path), 0, 0, f"can't be read: {error.strerror}")]) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise InputError([Mistake(str(path), 0, 0, f"is no results document ({why})")]) from None


def compare(before: AuditRun, after: AuditRun, store: str | None, *, stored: bool) -> Difference:
    """Return the difference of two runs, with the ages of the later one's failures where the history holds it."""
    from auditor.diff import diff as difference
    from auditor.trends import past_of

    if not stored:
        return difference(before, after, {})
    with session.open_store(store) as kept:
        ages = past_of(kept, after.id).ages
    return difference(before, after, ages)


@click.command()
@click.argument("before")
@click.argument("after", default="latest")
@_STORE
@click.option(
    "--format", "format_", type=click.Choice(("text", "json", "html")), default="text", show_default=True, help="How to say it."
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write [standard output].")
@click.option(
    "--fail-on-new",
    is_flag=False,
    flag_value="low",
    type=click.Choice(_SEVERITIES),
    metavar="[SEVERITY]",
    help="Exit 1 on a new or worse failure [of this severity or worse] that is not waived; give it after the runs.",
)
def diff(before: str, after: str, store: str | None, format_: str, output: Path | None, fail_on_new: str | None) -> None:
    """Say what changed between two runs: new failures, fixed ones, what got worse or better, scores.

    A run is (the beginning of) its id, "latest", "latest~1", "baseline", or a results.json or its folder.
    """
    from auditor.difftext import lines, to_json

    old, _ = find_run(before, store)
    new, stored = find_run(after, store)
    found = compare(old, new, store, stored=stored)
    if format_ == "html":
        from reports.as_diff import render

        content = render(found)
    else:
        content = (to_json(found) if format_ == "json" else "\n".join(lines(found)) + "\n").encode()
    if output is None:
        click.echo(content.decode(), nl=False)
    else:
        from auditor.files import write_private
        from auditor.yamlfile import InputError, Mistake

        try:
            write_private(output, content)
        except OSError as error:
            raise InputError([Mistake(str(output), 0, 0, f"can't be written: {error.strerror}")]) from None
    sys.exit(_gate(found, fail_on_new))


def _gate(found: Difference, severity: str | None) -> int:
    if severity is None:
        return 0
    from auditor.model import Severity
    from auditor.summary import EXIT_GATE

    asked: Severity = Severity(severity)
    fresh = found.fresh(asked)
    if fresh:
        click.echo(f"gate failed: --fail-on-new {asked}: {len(fresh)} new or worse and not waived, of that severity up", err=True)
    return EXIT_GATE if fresh else 0


@click.group(invoke_without_command=True)
@_STORE
@click.option("--limit", "count", type=click.IntRange(1), default=20, show_default=True, help="How many runs, or failures.")
@click.option("--target", help="Only runs that audited this target.")
@click.option("--benchmark", metavar="NAME[@VERSION]", help="Only runs against this benchmark.")
@click.option("--since", metavar="WHEN", help="Only runs since a date (2026-01-31) or so many days ago (30d).")
@click.option("--failures", is_flag=True, help="The failures of the latest run instead, the oldest first, each with its age.")
@click.pass_context
def history(context: click.Context, /, **options: Any) -> None:
    """List earlier runs, the latest first, and where scores and open failures are going."""
    context.obj = options["store"]
    if context.invoked_subcommand is not None:
        return
    from auditor import listing, trends

    since = time_of(options["since"], "--since") if options["since"] else ""
    with session.open_store(options["store"]) as store:
        asked = {"target": options["target"], "benchmark": options["benchmark"], "since": since}
        runs = store.history(options["count"] if not options["failures"] else 1_000_000, **asked)
        full = next((r for r in runs if r.kind == "full" and r.status != "running"), None)
        name, _, version = (options["benchmark"] or "").partition("@")
        if options["failures"]:
            if full is None:
                click.echo("no full run yet")
                return
            found = [
                (d, a)
                for d, a in trends.failures(store, full.id)
                if options["target"] in (None, d["target"]) and name in ("", d["benchmark"]) and version in ("", d["version"])
            ]
            listing.show_failures(full, found, options["count"])
            return
        listing.show_history(runs)
        if full is not None:
            trend = trends.trend(store, full.id, options["count"], options["target"])
            listing.show_trend({b: points for b, points in trend.items() if name in ("", b)})


@history.command()
@click.argument("run", required=False)
@click.option("--clear", is_flag=True, help="Have no baseline any more.")
@_STORE
@click.pass_obj
def baseline(above: str | None, run: str | None, store: str | None, clear: bool) -> None:  # noqa: FBT001
    """Make a run the one that "baseline" means; without RUN, say which it is."""
    if clear and run:
        raise click.UsageError("--clear takes no run")
    with session.open_store(store or above) as kept:
        if clear:
            kept.unmark()
            click.echo("there is no baseline now")
        elif run:
            click.echo(f"baseline: {kept.mark(run)}")
        else:
            with kept.plainly(), kept.reading() as connection:
                click.echo(f"baseline: {kept.find(connection, 'baseline')}")


@history.command()
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Keep the newest N runs.")
@click.option("--older-than", metavar="WHEN", help="Delete runs from before a date, or so many days ago (90d).")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted; delete nothing.")
@_STORE
@click.pass_obj
def prune(above: str | None, keep: int | None, older_than: str | None, dry_run: bool, store: str | None) -> None:  # noqa: FBT001
    """Delete old runs, never the baseline. Ages of failures are counted from the runs that are left."""
    if (keep is None) == (older_than is None):
        raise click.UsageError("one of --keep and --older-than")
    before = time_of(older_than, "--older-than") if older_than else None
    with session.open_store(store or above) as kept:
        gone = kept.prune(keep=keep, before=before, dry=dry_run)
    for run in gone:
        click.echo(f"{'would delete' if dry_run else 'deleted'}: {run}")
    click.echo(f"{len(gone)} run{'s' if len(gone) != 1 else ''} {'would be ' if dry_run else ''}deleted")


def recheck(wanted: str, chosen: Inventory, options: dict[str, Any], store: str | None, part: Part, *, no_store: bool) -> int:
    """Audit again what failed or was an error in a run, show what changed, and return the exit code. Raises `InputError`."""
    import dataclasses

    from auditor import inventory, runs
    from auditor import recheck as again

    if part.recheck is None and (options["benchmarks"] or options["only"] or options["level"] != 2):
        raise click.UsageError("--recheck takes benchmarks, level and controls from the run: no --benchmark, --level, --only")
    old, kept = find_run(wanted, store)
    asked = again.of_run(old)
    if not asked.wanted:
        click.echo(f"nothing failed and nothing was an error in run {old.id}: there is nothing to check again")
        return 0
    within, _ = inventory.limit(chosen, options["limit"])
    names = [spec.name for spec in within.specs() if spec.name in asked.wanted]
    _say_absent(asked.wanted, {spec.name for spec in chosen.specs()})
    if not names:
        raise click.UsageError(f"none of the targets that run {old.id} found something on is in the inventory, or within --limit")
    nodes = [n for c in within.clusters if c.name in names for n in c.nodes]  # a cluster is judged with what its nodes show
    given = {
        **options,
        "benchmarks": asked.benchmarks,
        "level": asked.level,
        "only": asked.only,
        "limit": tuple(dict.fromkeys([*names, *nodes])),
        "recheck_of": old.id if kept else str(Path(wanted).absolute()),
    }
    library, selection, gates = session.prepare(given)
    plan = session.plan(chosen, library, selection, given)
    narrowed = {**plan.selection, "only": [], "limit": list(options["limit"]), "recheck": old.id}
    plan = dataclasses.replace(plan, selection=narrowed, recheck=asked)
    formats = session.formats_of(options["formats"])
    kept_in = session.store_unless(store, no_store)
    run, folder = runs.audit(plan, given, kept_in, part)
    assert run is not None, "nobody else does a part of it"
    code = session.finish(run, {**given, "output": folder}, formats, gates, kept_in)
    if not options["quiet"]:
        from auditor.difftext import lines

        click.echo("\nWhat changed since the run that was checked again")
        click.echo("\n".join(lines(compare(old, run, store, stored=kept_in is not None))))
    return code


def _say_absent(wanted: Iterable[str], known: set[str]) -> None:
    from auditor.terminal import clean

    absent = [name for name in wanted if name not in known]
    if absent:
        more = f" and {len(absent) - 10} more" if len(absent) > 10 else ""
        click.echo(f"not checked again, for they are not in the inventory: {clean(', '.join(absent[:10]))}{more}", err=True)


def add_to(cli: click.Group) -> None:
    """Make these commands part of the command line."""
    cli.add_command(history)
    cli.add_command(diff)
