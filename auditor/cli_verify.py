"""The command that checks signed runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from auditor import session

if TYPE_CHECKING:
    from auditor.signing import PublicKey
    from auditor.verification import Checked

_SHOWN = 200


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--key", "keys", multiple=True, metavar="PUBLICKEY", type=click.Path(dir_okay=False, path_type=Path),
              help="A public key to trust, PEM or OpenSSH (repeatable) [your own].")  # fmt: skip
@session.storing("Hold the runs against this run history too.")
@click.option("--history", is_flag=True, help="The same with your own run history.")
def verify(folders: tuple[Path, ...], keys: tuple[Path, ...], store: str | None, history: bool) -> None:  # noqa: FBT001
    """Check signed runs: say what was altered, is missing, was added or re-ordered.

    DIR is the folder of a run, or one that holds such folders; of several runs the chain is checked too.
    Exit codes: 0 fine, 1 not fine, 2 bad usage.
    """
    from auditor.verification import verify as check

    trusted = _trusted(keys)
    kept = session.open_store(store) if store is not None or history else None
    checked = check(folders, trusted, kept)
    _show(checked)
    sys.exit(1 if checked.problems else 0)


def _trusted(keys: tuple[Path, ...]) -> list[PublicKey]:
    """Return the keys to trust: those that were given, else the user's own. Raises `InputError` and `click.UsageError`."""
    from auditor import signing

    if keys:
        return [signing.load_public_key(k) for k in keys]
    path = signing.default_path()
    if path.exists():
        return [signing.load_signing_key(path).public]
    raise click.UsageError(f"there is no key to check with: neither --key nor {path}")


def _show(checked: Checked) -> None:
    from auditor.terminal import clean

    for m in sorted(checked.runs, key=lambda m: (m.link.chain, m.link.position)):
        if not m.problem:
            click.echo(
                clean(f"run {m.run} in {m.home}: signed {m.made} by key {m.signer}, place {m.link.position} of its chain", 1000)
            )
    for note in checked.notes[:_SHOWN]:
        click.echo(f"note: {clean(note, 1000)}")
    for problem in checked.problems[:_SHOWN]:
        click.echo(clean(problem, 1000))
    for what, lines in (("notes", checked.notes), ("problems", checked.problems)):
        if len(lines) > _SHOWN:
            click.echo(f"and {len(lines) - _SHOWN} more {what}")
    runs = f"{len(checked.runs)} run{'s' if len(checked.runs) != 1 else ''}"
    seen = f"{runs}, {checked.files} files, {checked.bundles} of them evidence"
    count = len(checked.problems)
    click.echo(f"NOT FINE: {count} problem{'s' if count != 1 else ''} in {seen}" if count else f"fine: {seen}")


def add_to(cli: click.Group) -> None:
    """Make this command part of the command line."""
    cli.add_command(verify)
