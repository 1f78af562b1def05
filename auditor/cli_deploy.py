"""The commands that prepare an audit: files that schedule it, and whether every target lets it do its work."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor import __version__, session

if TYPE_CHECKING:
    from auditor.schedule import Job

Options = Callable[[Callable[..., Any]], Callable[..., Any]]

_OUTPUT = click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder to write to [standard output]."
)
_CRON = click.option("--cron", "when", default="17 3 * * *", show_default=True, metavar="TIME", help="When, as cron's five fields.")
_PROGRAM = click.option("--program", type=click.Path(path_type=Path), help="Where the auditor is installed [this one].")


def _inventory(help_: str) -> Options:
    return click.option("-i", "--inventory", type=click.Path(dir_okay=False, path_type=Path), help=help_)


def _job(inventory: Path | None, options: dict[str, Any]) -> Job:
    """Return what is scheduled, once everything that the audit would refuse has been refused here."""
    from auditor import schedule
    from auditor.inventory import limit, load

    library, selection, _ = session.prepare(options)
    selection.resolve(library)
    session.formats_of(options["formats"] or "json")
    chosen = load(inventory, elsewhere=True) if inventory is not None else None
    if chosen is not None:
        chosen, _ = limit(chosen, options["limit"])
    return schedule.job(chosen, options)


def _put(files: dict[str, str], output: Path | None, then: str) -> None:
    from auditor.schedule import put

    for path in put(files, output):
        click.echo(f"written: {path}")
    if output is not None:
        click.echo(then)


def _schedule(audit_options: Options) -> click.Group:
    @click.group()
    def schedule() -> None:
        """Print files that have an audit done again and again; nothing is installed."""

    @schedule.command()
    @_inventory("What to audit [this machine, as root].")
    @click.option("--on-calendar", default="daily", show_default=True, metavar="TIME", help="When, as a calendar event of systemd.")
    @_PROGRAM
    @audit_options
    @_OUTPUT
    def systemd(inventory: Path | None, on_calendar: str, output: Path | None, **options: Any) -> None:
        """A hardened service and its timer, and the account it runs as."""
        from auditor import schedule

        files = schedule.systemd(_job(inventory, options), on_calendar, schedule.program(options["program"]))
        _put(files, output, "The first line of each file says where it belongs; then: systemctl enable --now cis-auditor.timer")

    @schedule.command()
    @_inventory("What to audit [this machine].")
    @_CRON
    @click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Folder for reports [cis-audits in the home].")
    @click.option("--user", default="", metavar="NAME", help="A line for /etc/cron.d, with this account.")
    @_PROGRAM
    @audit_options
    @_OUTPUT
    def cron(inventory: Path | None, when: str, folder: Path | None, user: str, output: Path | None, **options: Any) -> None:
        """A line for cron, with a lock."""
        from auditor import schedule

        files = schedule.cron(_job(inventory, options), when, schedule.program(options["program"]), folder, user)
        _put(files, output, "The comment says where it belongs.")

    @schedule.command()
    @_inventory("What to audit [the cluster it runs in].")
    @_CRON
    @click.option("--namespace", default="cis-auditor", show_default=True, metavar="NAME", help="A namespace of the audit's own.")
    @click.option(
        "--shards", type=click.IntRange(1, 1000), default=1, show_default=True, help="Pods that split one run (PostgreSQL)."
    )
    @click.option("--image", default=f"cis-auditor:{__version__}", show_default=True, metavar="NAME", help="The image to run.")
    @audit_options
    @_OUTPUT
    def kubernetes(
        inventory: Path | None, when: str, namespace: str, image: str, output: Path | None, shards: int, **options: Any
    ) -> None:
        """A CronJob with everything it needs: account, least rights, network policy, storage (a Kustomize base)."""
        from auditor import schedule
        from auditor.privileges import selection_of

        wanted = _job(inventory, options)
        library, selection, _ = session.prepare(options)
        plan = session.plan(session.inventory_of(None), library, selection, {**options, "limit": ()})
        facts = plan.collector(1).cluster_facts
        said = selection_of(plan.benchmarks.all(), cluster=True)
        _put(
            schedule.kubernetes(wanted, when, namespace, image, facts, said, shards),
            output,
            f"Read them, then: kubectl apply -k {output}",
        )

    return schedule


def _preflight(selecting: Options) -> click.Command:
    @click.command()
    @_inventory("What will be audited [this machine].")
    @click.option("--limit", multiple=True, metavar="TARGET", help="Only this target or group, with * and ? (repeatable).")
    @click.option("--jobs", type=click.IntRange(1, 256), default=16, show_default=True, help="Targets asked at once.")
    @selecting
    @click.option(
        "--format", "format_", type=click.Choice(("text", "json")), default="text", show_default=True, help="How to say it."
    )
    def preflight(inventory: Path | None, jobs: int, format_: str, **options: Any) -> None:
        """Check logins, host keys, sudo and API rights of every target, and say which controls would be errors.

        Exit code 3 when a target can't be audited or a control would be an error for want of rights, else 0.
        """
        from auditor import preflight as checking

        library, selection, _ = session.prepare(options)
        plan = session.plan(session.inventory_of(inventory), library, selection, options)
        found = checking.check(plan, jobs)
        click.echo(checking.to_json(found) if format_ == "json" else checking.to_text(found))
        sys.exit(0 if all(f.ready for f in found) else 3)

    return preflight


def add_to(cli: click.Group, selecting: Options, gating: Options) -> None:
    """Make these commands part of the command line, with its options of selection and gates."""
    more = (
        click.option("--limit", multiple=True, metavar="TARGET", help="Only this target or group, with * and ? (repeatable)."),
        click.option("--store", metavar="URL", help="Run history: a database URL, without a password."),
        click.option("--format", "formats", metavar="LIST", help="Reports to write, with commas [those of an audit]."),
    )

    def audit_options(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed((selecting, gating, *more)):
            command = option(command)
        return command

    cli.add_command(_schedule(audit_options))
    cli.add_command(_preflight(selecting))
