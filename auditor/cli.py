"""The command line: where the rooms are put together.

Everything heavy is imported by the command that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import contextlib
import gc
import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from auditor import __version__, cli_deploy, cli_fix, cli_history, cli_hosts, cli_verify, session

if TYPE_CHECKING:
    from auditor.audit import Selection
    from auditor.catalogue import Library

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
    click.option("--tailoring", type=click.Path(dir_okay=False, path_type=Path), help="A file with the site's own choices."),
    click.option(
        "--waivers",
        multiple=True,
        type=click.Path(dir_okay=False, path_type=Path),
        help="A register of waivers and attestations (repeatable).",
    ),
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
    click.option(
        "--pdf",
        default="by-control",
        show_default=True,
        metavar="LIST",
        help="PDF documents, with commas: by-control, summary, per-target (one a target).",
    ),
    click.option(
        "--pdf-certificate", type=click.Path(dir_okay=False, path_type=Path),
        help="Sign the PDF (PAdES) with this certificate: PKCS #12, or PEM.",
    ),
    click.option(
        "--pdf-key", type=click.Path(dir_okay=False, path_type=Path), help="Its private key, if that is a PEM file of its own."
    ),
    click.option("--pdf-password-env", metavar="NAME", help="Environment variable with that key's password."),
    click.option(
        "--pdf-password-file", type=click.Path(dir_okay=False, path_type=Path),
        help="File with that key's password in its first line.",
    ),
)  # fmt: skip
signing = _options(
    click.option(
        "--signing-key", type=click.Path(dir_okay=False, path_type=Path),
        help="Sign with this Ed25519 key [~/.config/cis-auditor/signing.key, made on first use].",
    ),
    click.option("--no-sign", is_flag=True, help="Write no signed manifest."),
)  # fmt: skip
scanning = _options(
    click.option(
        "--scans",
        multiple=True,
        type=click.Path(exists=True, path_type=Path),
        help="Results of Trivy, Grype or Clair in JSON, a file or a folder of them (repeatable): they become evidence.",
    ),
)
storing = _options(
    session.storing(),
)
collecting = _options(
    click.option("-i", "--inventory", type=click.Path(dir_okay=False, path_type=Path), help="What to audit [this machine]."),
    click.option("--limit", multiple=True, metavar="TARGET", help="Only this target or group, with * and ? (repeatable)."),
    click.option("--jobs", type=click.IntRange(1, 256), default=16, show_default=True, help="Targets asked at once."),
    click.option("--rate", type=click.FloatRange(0.1), metavar="NUMBER", help="SSH connections begun in a second, at most."),
    click.option("--deadline", type=click.FloatRange(0.1), metavar="SECONDS", help="Give up what is not done after so long."),
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
@scanning
@gating
@reporting
@signing
@storing
@click.option("--no-store", is_flag=True, help="Keep no run history.")
@click.option("--recheck", metavar="RUN", help="Audit again just what failed or was an error in this run, and show what changed.")
@click.option("--resume", metavar="RUN", help="Go on with a run that was interrupted or killed: what is done is not asked again.")
@click.option("--run", "run_id", metavar="ID", help="The run's id; one that was begun already is gone on with.")
@click.option("--shard", metavar="I/N", help="Only this part of the targets; all shards of a run give the same --run and --store.")
@click.option("--demo", is_flag=True, help="Audit the evidence that ships with the program: a full report in seconds.")
def audit(inventory: Path | None, demo: bool, no_store: bool, store: str | None, **options: Any) -> None:  # noqa: FBT001
    """Collect, judge, score, store and report. Without an inventory, this machine."""
    from auditor import runs
    from auditor.summary import EXIT_OK, EXIT_TARGET

    recheck, resume = options.pop("recheck"), options.pop("resume")
    part, kept_in = runs.Part(), None
    if resume is None:
        part = runs.part_of(options, no_store=no_store or demo or recheck is not None)
    else:
        if demo or no_store or recheck is not None:
            raise click.UsageError("--resume goes by the history: not with --demo, --no-store or --recheck")
        kept_in = session.open_store(store)
        part, inventory = runs.resumed(resume, options, inventory, kept_in)
    wanted = recheck if recheck is not None else part.recheck
    if wanted is not None:
        if demo:
            raise click.UsageError("--demo can't be re-checked: its evidence never changes")
        sys.exit(cli_history.recheck(wanted, session.inventory_of(inventory), options, store, part, no_store=no_store))
    library, selection, gates = session.prepare(options)
    formats = session.formats_of(options["formats"])
    if demo and (inventory or options["limit"] or options["scans"]):
        raise click.UsageError("--demo audits its own evidence; it takes no inventory, no limit and no scans")
    if demo:
        kept_in = session.store_unless(store, no_store)
        sys.exit(session.finish(session.demo_run(library, selection), options, formats, gates, kept_in))
    plan = session.plan(session.inventory_of(inventory), library, selection, options)
    kept_in = kept_in or session.store_unless(store, no_store)
    run, folder = runs.audit(plan, options, kept_in, part)
    if run is None:
        sys.exit(session.say_problems(options["problems"]) or (EXIT_TARGET if options["lost"] else EXIT_OK))
    code = session.finish(run, {**options, "output": folder}, formats, gates, kept_in)
    if inventory is None and not any(t.roles for t in run.targets):
        _demo_beside(folder, formats, library, selection, options)
    sys.exit(code)


def _demo_beside(folder: Path, formats: list[str], library: Library, selection: Selection, options: dict[str, Any]) -> None:
    """Where there is nothing to judge, show what a report looks like."""
    import reports

    click.echo(
        "This machine runs neither a Docker engine nor Kubernetes: nothing here could be judged but what its files say.", err=True
    )
    run, key = session.demo_run(library, selection), session.signing_key({**options, "quiet": True})
    told = reports.Options(signer=key.fingerprint if key else "")
    written = reports.write(run, folder / "demo", formats, told)
    session.say_problems(session.seal(run, folder / "demo", written, key, None))
    if not options["quiet"]:
        click.echo(f"A demo report on evidence that ships with the program is in {folder / 'demo'} ({len(written)} files).")


@cli.command()
@collecting
@selecting
@scanning
@signing
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the evidence.")
def collect(inventory: Path | None, output: Path, **options: Any) -> None:
    """Write the evidence of every target, redacted, as one file each."""
    from auditor import runs
    from auditor.summary import exit_code

    library, selection, _ = session.prepare(options)
    plan = session.plan(session.inventory_of(inventory), library, selection, options)
    session.check_writable(output)
    run = runs.collected(plan, options, output)
    if not options["quiet"]:
        click.echo(f"written: {output} ({sum(t.status == 'audited' for t in run.targets)} of {len(run.targets)} targets)")
        session.say_lost(run)
    unkept = session.say_problems([*options["problems"], *session.seal(run, output, [], session.signing_key(options), None)])
    sys.exit(exit_code(run, []) or unkept)


@cli.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@selecting
@scanning
@gating
@reporting
@signing
@storing
@click.option("--save", is_flag=True, help="Keep the run in the history.")
@click.option("--quiet", is_flag=True, help="No summary.")
def evaluate(bundle: Path, save: bool, store: str | None, **options: Any) -> None:  # noqa: FBT001
    """Judge collected evidence (a file or a folder of them) without touching any target."""
    from auditor import evidence
    from auditor.audit import Judge, clusters_last, judged

    library, selection, gates = session.prepare(options)
    formats = session.formats_of(options["formats"])
    kept_in = session.store_unless(store, not save)
    judge = Judge(selection.resolve(library), session.selected(options))
    bundles = evidence.load_all(bundle)
    session.refuse_twins(bundles)
    bundles = session.with_scans(bundles, options)
    for found in clusters_last(bundles):
        judged(judge, found)
    run = judge.run([b.target.name for b in bundles])
    sys.exit(session.finish(run, options, formats, gates, kept_in))


@cli.command()
@click.argument("run", default="latest")
@reporting
@signing
@storing
def report(run: str, store: str | None, output: Path | None, pdf: str, **options: Any) -> None:
    """Write the reports of a run of the history again (its id, the beginning of it, or "latest")."""
    import reports

    wanted = session.formats_of(options["formats"])
    session.pdf_modes(pdf)
    session.check_signing(options)
    kept = session.open_store(store)
    identity = kept.identity(run)
    folder = output or Path(f"cis-audit-{identity}")
    session.check_writable(folder)
    found = kept.open(identity, folder)
    key = session.signing_key(options)
    told = replace(session.report_options(found.id, pdf, kept), signer=key.fingerprint if key else "", seal=options["seal"])
    written = reports.write(found, folder, wanted, told)
    problems = session.seal(found, folder, written, key, kept)
    for path in written:
        click.echo(f"written: {path}")
    sys.exit(session.say_problems(problems))


cli_history.add_to(cli)
cli_hosts.add_to(cli)
cli_deploy.add_to(cli, selecting, gating)
cli_verify.add_to(cli)
cli_fix.add_to(cli)


@cli.command()
@click.option("--ssh", is_flag=True, help="A sudoers file for hosts over SSH.")
@click.option("--kubernetes", is_flag=True, help="A ClusterRole and its bindings for clusters.")
@selecting
@click.option("--subject", metavar="WHO", help="user:NAME, group:NAME or serviceaccount:NAMESPACE/NAME.")
@click.option("--nodes-proxy", is_flag=True, help="Let kubelets be asked over the API: close to root on every node.")
@click.option("--script", type=click.Path(dir_okay=False, path_type=Path), help="Write the script that root runs, for review.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write [standard output].")
def privileges(**options: Any) -> None:
    """Print the least rights that an account needs to audit the selected controls: a sudoers file or a ClusterRole."""
    from auditor.privileges import write

    if options["ssh"] == options["kubernetes"]:
        raise click.UsageError("one of --ssh and --kubernetes")
    if options["script"] and not options["ssh"]:
        raise click.UsageError("--script goes with --ssh")
    if options["nodes_proxy"] and not options["kubernetes"]:
        raise click.UsageError("--nodes-proxy goes with --kubernetes")
    library, selection, _ = session.prepare(options)
    write(session.plan(session.inventory_of(None), library, selection, {**options, "limit": ()}), options)


@cli.group()
def benchmarks() -> None:
    """List, show and check benchmarks."""


@benchmarks.command("list")
def benchmarks_list() -> None:
    """List the benchmarks that come with the program."""
    from auditor.listing import show_benchmarks

    show_benchmarks(session.packaged_library())


@benchmarks.command("show")
@click.argument("name", metavar="NAME[@VERSION]")
def benchmarks_show(name: str) -> None:
    """List the controls of a benchmark."""
    from auditor.listing import show_benchmark

    show_benchmark(session.packaged_library().load(name))


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


@cli.group()
def tailoring() -> None:
    """Begin, check and show a tailoring file: what a site decides differently, its waivers and its attestations."""


@tailoring.command("init")
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
def tailoring_init(file: Path | None) -> None:
    """Write a tailoring file to start from, all commented out, with every parameter and its default [standard output]."""
    from auditor.tailoringtext import template

    session.write_new(file, template(session.packaged_library()))


@tailoring.command("lint")
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
def tailoring_lint(files: tuple[Path, ...]) -> None:
    """Check a tailoring file, registers of waivers, or both together; every mistake with its place."""
    session.tailoring_of(files)
    click.echo(f"{len(files)} file{'s' if len(files) != 1 else ''} without a mistake")


@tailoring.command("show")
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
def tailoring_show(files: tuple[Path, ...]) -> None:
    """Print what is in force and where it differs from the defaults."""
    from auditor.tailoringtext import show

    click.echo(show(session.tailoring_of(files)))


@cli.command()
@click.argument("control")
def explain(control: str) -> None:
    """Say what a control asks, of which facts, and how to meet it (key, or number with NAME@VERSION/ before it)."""
    from auditor.listing import show_control

    show_control(session.packaged_library(), control)


def main() -> NoReturn:
    """Run the command line; what a user can cause is one clear line each and exit code 2, never a traceback."""
    from auditor.yamlfile import InputError

    with contextlib.suppress(OSError, ValueError):  # should it crash, no file of its memory, in which keys and passwords are
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    gc.set_threshold(50_000)  # modules, controls and evidence stay to the end: looking through them again and again finds nothing
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
        if type(error).__name__ not in ("StoreError", "TakenOverError", "ReportError"):
            raise
        from auditor.terminal import clean

        click.echo(clean(str(error), 2000), err=True)  # a server's words may be in it
        sys.exit(2)
    sys.exit(0)
