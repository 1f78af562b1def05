"""The commands about hosts themselves: which keys they show, for a person to check."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from auditor.inventory import HostSpec, Inventory
    from auditor.transports.hostkeys import HostKey


@click.group()
def hosts() -> None:
    """Look at the hosts of an inventory without auditing them."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What one host showed: its keys each with a verdict, what that comes to, and why there is none."""

    name: str
    at: str
    names: tuple[str, ...]  # for known_hosts
    keys: tuple[tuple[HostKey, str], ...] = ()
    verdict: str = ""  # known, unknown, changed, revoked; empty: it could not be asked
    why: str = ""


@hosts.command()
@click.option("-i", "--inventory", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The hosts to ask.")
@click.option("--limit", multiple=True, metavar="TARGET", help="Only this target or group, with * and ? (repeatable).")
@click.option("--jobs", type=click.IntRange(1, 256), default=16, show_default=True, help="Hosts asked at once.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write [standard output].")
def scan(inventory: Path, limit: tuple[str, ...], jobs: int, output: Path | None) -> None:
    """Ask hosts for their keys, without logging in to them, and print them as lines for a known_hosts file.

    Each comes with its SHA256 fingerprint and whether known_hosts or a pin knows it. Nothing becomes known by this: check the
    fingerprints where nobody can be in between (on the host's console: ssh-keygen -l), then add the lines yourself. Hosts behind
    a jump host are asked through it, which needs a login there.

    Exit codes: 0 every host is known; 1 a key is unknown, changed or revoked; 3 a host could not be asked, all others are known.
    """
    from auditor import inventory as inventories

    kept, _ = inventories.limit(inventories.load(inventory), limit)
    asked = [h for h in kept.hosts if h.transport == "ssh"]
    if not asked:
        raise click.UsageError("the inventory names no host that is reached over SSH")
    found = ask(kept, asked, jobs)
    text = "".join(f"{line}\n" for line in lines(found))
    if output is None:
        click.echo(text, nl=False)
    else:
        _write(output, text)
    summary(found)
    sys.exit(exit_code(found))


def ask(inventory: Inventory, asked: list[HostSpec], jobs: int) -> list[Shown]:
    """Ask hosts for their keys, several at once; in the order of the inventory. Raises `InputError`."""
    from auditor.credentials import resolve
    from auditor.transports.base import TargetError
    from auditor.transports.logins import Hops
    from auditor.transports.ssh import Connections
    from auditor.yamlfile import InputError, Mistake

    try:
        hops = Hops(inventory, secrets=resolve(inventory).of)
    except TargetError as error:
        raise InputError([Mistake("ssh_config", 0, 0, error.problem.detail)]) from None
    connections = Connections()
    with ThreadPoolExecutor(max(1, min(jobs, len(asked)))) as pool:
        try:
            return list(pool.map(lambda spec: _one(spec, hops, connections), asked))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            connections.close()


def _one(spec: HostSpec, hops: Any, connections: Any) -> Shown:
    from auditor.transports.base import TargetError
    from auditor.transports.hostkeys import Verdict

    try:
        login = hops.login(spec)
        trust = login.trust
        keys = connections.show_keys(login)
    except TargetError as error:
        return Shown(spec.name, spec.address, (), why=str(error.problem))
    judged = [(key, *trust.judge(key)) for key in keys]
    verdicts = [verdict for _, verdict, _ in judged]
    # A host that shows one known key is known by it; keys of other types that nobody wrote down are no change.
    order = (Verdict.REVOKED, Verdict.CHANGED, Verdict.KNOWN, Verdict.UNKNOWN)
    if trust.pin and Verdict.KNOWN in verdicts:
        order = (Verdict.REVOKED, Verdict.KNOWN, Verdict.CHANGED, Verdict.UNKNOWN)
    verdict = next((v for v in order if v in verdicts), None)
    marked = []
    for key, own, _ in judged:
        more = verdict is Verdict.KNOWN and own is not Verdict.KNOWN
        marked.append((key, "not known, another key is" if more else str(own)))
    why = next((why for _, own, why in judged if own is verdict), "")
    address = login.host if login.port == 22 else f"[{login.host}]:{login.port}"
    names = tuple(n for n in trust.names[:1] if n) or (address,)
    return Shown(spec.name, f"{login.host}:{login.port}", names, tuple(marked), str(verdict or ""), why)


def lines(found: Iterable[Shown]) -> list[str]:
    """Return the keys as a known_hosts file: each host's verdict and fingerprints as comments, then its lines."""
    from auditor.terminal import clean

    told = [
        "# Host keys as the hosts showed them just now. Anybody may have been in between: check the fingerprints, then use this."
    ]
    for host in found:
        told.append(f"# {clean(host.name)} ({clean(host.at)}): {host.verdict or 'not asked: ' + clean(host.why)}")
        for key, verdict in host.keys:
            told.append(f"#   {key}: {verdict}{', with a certificate' if key.certificate else ''}")
            told.append(f"{','.join(map(clean, host.names))} {key.line}")
    return told


def summary(found: list[Shown]) -> None:
    """Say on standard error how many hosts there are of each kind, and what is wrong with which."""
    from auditor.terminal import clean

    for host in found:
        if host.verdict != "known":
            click.echo(f"{clean(host.name)}: {clean(host.why, 600)}", err=True)
    counts = {kind: sum(h.verdict == kind for h in found) for kind in ("known", "unknown", "changed", "revoked", "")}
    click.echo(", ".join(f"{n} {kind or 'not asked'}" for kind, n in counts.items() if n or kind == "known"), err=True)


def exit_code(found: list[Shown]) -> int:
    """Return 1 when a key needs somebody to look at it, else 3 when a host could not be asked, else 0."""
    from auditor.summary import EXIT_GATE, EXIT_OK, EXIT_TARGET

    verdicts = {host.verdict for host in found}
    if verdicts & {"unknown", "changed", "revoked"}:
        return EXIT_GATE
    return EXIT_TARGET if "" in verdicts else EXIT_OK


def _write(path: Path, text: str) -> None:
    """Write a file that isn't there yet: known_hosts itself is never touched."""
    from auditor.files import write_private
    from auditor.yamlfile import InputError, Mistake

    try:
        write_private(path, text.encode("utf-8", "surrogateescape"), new=True)
    except OSError as error:
        raise InputError([Mistake(str(path), 0, 0, f"can't be written: {error.strerror}")]) from None
    click.echo(f"written: {path}", err=True)


def add_to(cli: click.Group) -> None:
    """Make these commands part of the command line."""
    cli.add_command(hosts)
