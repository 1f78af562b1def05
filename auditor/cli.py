"""The command line: where the rooms are put together.

Everything heavy is imported by the command that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from auditor import __version__

if TYPE_CHECKING:
    from auditor.audit import Judge, Plan, Selection
    from auditor.catalogue import Library
    from auditor.inventory import Inventory
    from auditor.model import AuditRun, Evidence
    from auditor.summary import Gates

_SEVERITIES = ("critical", "high", "medium", "low")
_FORMATS = "html,pdf,json"

Command = Callable[..., Any]


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


selecting = _options(
    click.option(
        "--benchmark", "benchmarks", multiple=True, metavar="NAME[@VERSION]", help="Audit against this benchmark (repeatable)."
    ),
    click.option("--level", type=click.IntRange(1, 2), default=2, show_default=True, help="Judge controls up to this level."),
    click.option("--only", multiple=True, metavar="CONTROL", help="Judge only this control, by number or key (repeatable)."),
    click.option("--tailoring", type=click.Path(dir_okay=False, path_type=Path), help="A file with the site's own policy inputs."),
)
gating = _options(
    click.option("--fail-on", type=click.Choice(_SEVERITIES), help="Exit 1 on a failure of this severity or worse."),
    click.option("--min-score", type=click.FloatRange(0, 100), help="Exit 1 when a target's score is below this percentage."),
    click.option("--min-coverage", type=click.FloatRange(0, 100), help="Exit 1 when a target's coverage is below this percentage."),
)
reporting = _options(
    click.option(
        "-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for the reports [cis-audit-RUN]."
    ),
    click.option("--format", "formats", default=_FORMATS, show_default=True, metavar="LIST", help="Reports to write, with commas."),
)
storing = _options(
    click.option("--store", metavar="URL", help="Run history: a database URL [an SQLite file below ~/.local/state]."),
)
collecting = _options(
    click.option("-i", "--inventory", type=click.Path(dir_okay=False, path_type=Path), help="What to audit [this machine]."),
    click.option("--limit", multiple=True, metavar="TARGET", help="Only this target or group, with * and ? (repeatable)."),
    click.option("--jobs", type=click.IntRange(1, 256), default=16, show_default=True, help="Targets asked at once."),
    click.option("--quiet", is_flag=True, help="No progress, no summary."),
    click.option("--log-json", is_flag=True, help="Progress as JSON lines on standard error."),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="auditor")
def cli() -> None:
    """Audit Docker hosts, Kubernetes nodes and clusters against CIS benchmark controls.

    Agentless and read only. Not affiliated with CIS.

    Exit codes: 0 every target audited and every gate held; 1 a gate failed; 2 bad usage or input; 3 a target could not be audited.
    """


@cli.command()
@collecting
@selecting
@gating
@reporting
@storing
@click.option("--no-store", is_flag=True, help="Keep no run history.")
@click.option("--demo", is_flag=True, help="Audit the evidence that ships with the program: a full report in seconds.")
def audit(inventory: Path | None, demo: bool, no_store: bool, store: str | None, **options: Any) -> None:  # noqa: FBT001
    """Collect, judge, score, store and report. Without an inventory, this machine."""
    from auditor.summary import exit_code

    library, selection, gates = _prepared(options)
    formats = _formats(options["formats"])
    if demo and (inventory or options["limit"]):
        raise click.UsageError("--demo audits its own evidence; it takes no inventory and no limit")
    if demo:
        kept_in = _store(store, no_store)
        run = _demo_run(library, selection)
        failures = gates.failures(run)
        _finish(run, options, formats, failures, kept_in)
        sys.exit(exit_code(run, failures))
    plan = _plan(_inventory(inventory), library, selection, options)
    kept_in = _store(store, no_store)
    run, folder = _audited(plan, options)
    failures = gates.failures(run)
    _finish(run, {**options, "output": folder}, formats, failures, kept_in)
    if inventory is None and not any(t.roles for t in run.targets):
        _demo_beside(folder, formats, library, selection, quiet=options["quiet"])
    sys.exit(exit_code(run, failures))


def _demo_beside(folder: Path, formats: list[str], library: Library, selection: Selection, *, quiet: bool) -> None:
    """Where there is nothing to judge, show what a report looks like."""
    import reports

    click.echo(
        "This machine runs neither a Docker engine nor Kubernetes: nothing here could be judged but what its files say.", err=True
    )
    written = reports.write(_demo_run(library, selection), folder / "demo", formats)
    if not quiet:
        click.echo(f"A demo report on evidence that ships with the program is in {folder / 'demo'} ({len(written)} files).")


@cli.command()
@collecting
@selecting
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the evidence.")
def collect(inventory: Path | None, output: Path, **options: Any) -> None:
    """Write the evidence of every target, redacted, as one file each."""
    from auditor.summary import exit_code

    library, selection, _ = _prepared(options)
    plan = _plan(_inventory(inventory), library, selection, options)
    _check_writable(output)
    run = _gather(plan, options, output).run(plan.order, plan.excluded)
    if not options["quiet"]:
        click.echo(f"written: {output} ({sum(t.status == 'audited' for t in run.targets)} of {len(run.targets)} targets)")
        _lost(run)
    sys.exit(exit_code(run, []))


@cli.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@selecting
@gating
@reporting
@storing
@click.option("--save", is_flag=True, help="Keep the run in the history.")
@click.option("--quiet", is_flag=True, help="No summary.")
def evaluate(bundle: Path, save: bool, store: str | None, **options: Any) -> None:  # noqa: FBT001
    """Judge collected evidence (a file or a folder of them) without touching any target."""
    from auditor import evidence
    from auditor.audit import Judge
    from auditor.summary import exit_code

    library, selection, gates = _prepared(options)
    formats = _formats(options["formats"])
    kept_in = _store(store, not save)
    judge = Judge(selection.resolve(library), _selected(options))
    bundles = evidence.load_all(bundle)
    _refuse_twins(bundles)
    for found in bundles:
        judge.add(found)
    run = judge.run([b.target.name for b in bundles])
    failures = gates.failures(run)
    _finish(run, options, formats, failures, kept_in)
    sys.exit(exit_code(run, failures))


@cli.command()
@click.argument("run", default="latest")
@reporting
@storing
def report(run: str, store: str | None, output: Path | None, formats: str) -> None:
    """Write the reports of a run of the history again (its id, the beginning of it, or "latest")."""
    import reports

    wanted = _formats(formats)
    found = _open_store(store).load(run)
    for path in reports.write(found, output or Path(f"cis-audit-{found.id}"), wanted):
        click.echo(f"written: {path}")


@cli.command()
@storing
@click.option("--limit", "count", type=click.IntRange(1), default=20, show_default=True, help="How many runs.")
@click.option("--target", help="Only runs that audited this target.")
@click.option("--benchmark", help="Only runs against this benchmark.")
def history(store: str | None, count: int, target: str | None, benchmark: str | None) -> None:
    """List earlier runs, the latest first."""
    from auditor.listing import show_history

    show_history(_open_store(store).history(count, target=target, benchmark=benchmark))


@cli.group()
def benchmarks() -> None:
    """List, show and check benchmarks."""


@benchmarks.command("list")
def benchmarks_list() -> None:
    """List the benchmarks that come with the program."""
    from auditor.listing import show_benchmarks

    show_benchmarks(_library())


@benchmarks.command("show")
@click.argument("name", metavar="NAME[@VERSION]")
def benchmarks_show(name: str) -> None:
    """List the controls of a benchmark."""
    from auditor.listing import show_benchmark

    show_benchmark(_library().load(name))


@benchmarks.command("lint")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def benchmarks_lint(files: tuple[Path, ...]) -> None:
    """Check files of controls or tables of contents; every mistake with its place."""
    from auditor.catalogue import lint
    from auditor.terminal import clean
    from checks import check_types

    mistakes = [m for path in files for m in lint(path, check_types())]
    for mistake in mistakes:
        click.echo(clean(str(mistake), 2000), err=True)
    if mistakes:
        sys.exit(2)
    click.echo(f"{len(files)} file{'s' if len(files) != 1 else ''} without a mistake")


@cli.command()
@click.argument("control")
def explain(control: str) -> None:
    """Say what a control asks, of which facts, and how to meet it (key, or number with NAME@VERSION/ before it)."""
    from auditor.listing import show_control

    show_control(_library(), control)


def _library() -> Library:
    from auditor.catalogue import packaged
    from checks import check_types

    return packaged(check_types())


def _prepared(options: dict[str, Any]) -> tuple[Library, Selection, Gates]:
    from auditor.audit import Selection
    from auditor.model import Severity
    from auditor.summary import Gates

    selection = Selection(options["benchmarks"], options["level"], options["only"])
    fail_on = Severity(options["fail_on"]) if options.get("fail_on") else None
    library = _library()
    if options["tailoring"] is not None:
        from auditor import tailoring

        tailored = tailoring.load(options["tailoring"])
        library = tailored.apply(library)
        options["tailored"] = {"file": tailored.name, "sha256": tailored.sha256}
    return library, selection, Gates(fail_on, options.get("min_score"), options.get("min_coverage"))


def _selected(options: dict[str, Any]) -> dict[str, object]:
    """Return what narrowed the run, as the results document has it."""
    narrowed = {"benchmarks": list(options["benchmarks"]), "level": options["level"], "only": list(options["only"]),
                "limit": list(options.get("limit") or ())}  # fmt: skip
    return narrowed | ({"tailoring": options["tailored"]} if "tailored" in options else {})


def _inventory(path: Path | None) -> Inventory:
    from auditor import inventory

    return inventory.load(path) if path is not None else inventory.local_inventory()


def _formats(words: str) -> list[str]:
    import reports

    wanted = [w.strip() for w in words.split(",") if w.strip()]
    for word in wanted:
        if word not in reports.FORMATS:
            raise click.BadParameter(f"there is no format {word!r}; known: {', '.join(reports.FORMATS)}", param_hint="--format")
    return list(dict.fromkeys(wanted))


def _plan(chosen: Inventory, library: Library, selection: Selection, options: dict[str, Any]) -> Plan:
    """Settle what is audited against what, so that whatever is wrong with it is said before anything is done."""
    from auditor import inventory
    from auditor.audit import Plan

    kept, excluded = inventory.limit(chosen, options["limit"])
    if not kept.specs():
        raise click.UsageError("the inventory names no target")
    return Plan(kept, excluded, tuple(selection.resolve(library)), _selected(options))


def _gather(plan: Plan, options: dict[str, Any], evidence_folder: Path) -> Judge:
    """Collect from every target, keep its evidence and judge it. An interrupt ends it early, with what is done."""
    from auditor import audit as auditing
    from auditor import progress

    judge = auditing.Judge(plan.benchmarks, plan.selection)
    shown = progress.make(quiet=options["quiet"], log_json=options["log_json"])
    shown.begin(len(plan.order))
    try:
        auditing.consume(plan.collector(options["jobs"]).run(list(plan.inventory.specs())), judge, shown, evidence_folder)
    except KeyboardInterrupt:
        click.echo("interrupted: what was collected so far is reported", err=True)
        for missing in auditing.unfinished(plan.inventory, judge):
            judge.add(missing)
    finally:
        shown.end()
    return judge


def _audited(plan: Plan, options: dict[str, Any]) -> tuple[AuditRun, Path]:
    """Audit; return the run and the folder of its output, which holds the evidence already."""
    from auditor.audit import new_id

    identity = new_id()
    folder = options["output"] or Path(f"cis-audit-{identity}")
    _check_writable(folder)
    return _gather(plan, options, folder / "evidence").run(plan.order, plan.excluded, identity), folder


def _check_writable(folder: Path) -> None:
    """Find out before the audit, not after it, that nothing can be written."""
    from auditor.yamlfile import InputError, Mistake

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / ".write-test"
        probe.touch(mode=0o600)
        probe.unlink()
    except OSError as error:
        raise InputError([Mistake(str(folder), 0, 0, f"can't be written: {error.strerror}")]) from None


def _demo_run(library: Library, selection: Selection) -> AuditRun:
    from importlib.resources import as_file, files

    from auditor import evidence
    from auditor.audit import Judge

    judge = Judge(selection.resolve(library), {"demo": True})
    with as_file(files("auditor") / "demo") as folder:
        bundles = evidence.load_all(folder)
    for found in bundles:
        judge.add(found)
    return judge.run([b.target.name for b in bundles])


def _refuse_twins(bundles: list[Evidence]) -> None:
    from auditor.yamlfile import InputError, Mistake

    names = [b.target.name for b in bundles]
    twins = sorted({n for n in names if names.count(n) > 1})
    if twins:
        raise InputError([Mistake("evidence", 0, 0, f"two bundles are of the target {n!r}") for n in twins])


def _store(url: str | None, off: bool) -> Any:  # noqa: FBT001
    return None if off else _open_store(url)


def _open_store(url: str | None) -> Any:
    from auditor.store import Store

    return Store(url)


def _finish(run: AuditRun, options: dict[str, Any], formats: list[str], failures: list[str], store: Any) -> None:
    """Store, write and show a run. What can't be written is said; everything else is written all the same."""
    import reports
    from auditor.summary import show

    folder = options["output"] or Path(f"cis-audit-{run.id}")
    _check_writable(folder)
    written: list[Path] = []
    problems: list[str] = []
    if store is not None:
        try:
            store.save(run)
        except Exception as error:  # noqa: BLE001 - the reports must be written though the history can't be kept
            problems.append(f"the run history was not kept: {error}")
    for name in formats:
        try:
            written += reports.write(run, folder, [name])
        except (reports.ReportError, OSError) as error:
            problems.append(f"the {name} report was not written: {error}")
    if not options["quiet"]:
        show(run, written, failures)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        sys.exit(2)


def _lost(run: AuditRun) -> None:
    from auditor.terminal import clean

    for target in run.targets:
        if target.error:
            click.echo(f"not audited: {clean(target.name)}: {clean(target.error)}", err=True)


def main() -> NoReturn:
    """Run the command line; what a user can cause is one clear line each and exit code 2, never a traceback."""
    from auditor.yamlfile import InputError

    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except InputError as error:
        from auditor.terminal import clean

        for mistake in error.mistakes:
            click.echo(clean(str(mistake), 2000), err=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if type(error).__name__ not in ("StoreError", "ReportError"):
            raise
        click.echo(str(error), err=True)
        sys.exit(2)
    sys.exit(0)
