"""Passwords and passphrases that the inventory says where to find: read once, before anything is audited.

They come from an environment variable, from a file that nobody else can read, or from a prompt on the terminal; never from the
inventory itself or the command line, which others can see. sudo is never given one.
"""

from __future__ import annotations

import getpass
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from auditor.inventory import HostSpec, Inventory, SshOptions
from auditor.transports.logins import Secret
from auditor.yamlfile import InputError, Mistake

KINDS = ("password", "passphrase")
_LIMIT = 4096

#: kind, how (env, file, prompt), and the variable, the file or whom it is asked for.
Place = tuple[str, str, str]


def place_of(options: SshOptions, kind: str) -> Place | None:
    """Return where a login's password or passphrase is found, or None."""
    if variable := getattr(options, f"{kind}_env"):
        return kind, "env", variable
    if file := getattr(options, f"{kind}_file"):
        return kind, "file", str(file)
    if getattr(options, f"{kind}_prompt"):
        whose = (
            options.user or "the account of ~/.ssh/config" if kind == "password" else str(options.identity_file or "the SSH key")
        )
        return kind, "prompt", whose
    return None


@dataclass(slots=True)
class Credentials:
    """The secrets of an audit by their places."""

    _found: dict[Place, Secret] = field(default_factory=dict, repr=False)

    def of(self, options: SshOptions) -> tuple[Secret | None, Secret | None]:
        """Return the password and the passphrase of a login."""
        password, passphrase = (self._found.get(p) if (p := place_of(options, kind)) else None for kind in KINDS)
        return password, passphrase


def resolve(inventory: Inventory) -> Credentials:
    """Read every secret that the hosts of an inventory and the way to them need. Raises `InputError` with all that are missing."""
    hosts = [h for h in inventory.hosts if h.transport == "ssh"]
    used: dict[Place, int] = {}
    for host in dict.fromkeys(hop for h in hosts for hop in (*inventory.jumps(h), h)):
        _count(host, used)
    found: dict[Place, Secret] = {}
    mistakes = []
    for place, count in used.items():
        try:
            found[place] = Secret(_read(place, count))
        except ValueError as error:
            mistakes.append(Mistake(str(inventory.path or "inventory"), 0, 0, str(error)))
    for _, how, name in found:
        if how == "env":
            os.environ.pop(name, None)  # what the audit starts has no use for it
    if mistakes:
        raise InputError(mistakes)
    return Credentials(found)


def _count(host: HostSpec, used: dict[Place, int]) -> None:
    for kind in KINDS:
        if place := place_of(host.ssh, kind):
            used[place] = used.get(place, 0) + 1


def _read(place: Place, count: int) -> str:
    kind, how, name = place
    if how == "env":
        secret = os.environ.get(name, "")
        if not secret:
            shown = name if name.isupper() else "that it names (hidden: it might be the secret itself)"
            raise ValueError(f"{kind}_env: the environment variable {shown} is not set")
        return secret
    if how == "file":
        try:
            return of_file(Path(name), kind)
        except ValueError as error:
            raise ValueError(f"{kind}_file: {error}") from None
    return _asked(f"SSH {kind} for {name} ({count} host{'s' if count != 1 else ''}): ", kind)


def of_file(path: Path, kind: str) -> str:
    """Return the first line of a file that is its owner's alone (ours or root's), a ``kind`` of secret. Raises ValueError."""
    try:
        with path.open("rb") as opened:
            seen = os.fstat(opened.fileno())
            if not stat.S_ISREG(seen.st_mode):
                raise ValueError(f"{path} is no file")
            # As ssh has it: a file of root's (a mounted secret) may be our group's to read.
            if seen.st_mode & (0o077 if seen.st_uid == os.geteuid() else 0o037):
                raise ValueError(f"{path} has the mode {seen.st_mode & 0o7777:04o}: others may use it; make it 0600")
            if seen.st_uid not in (0, os.geteuid()):
                raise ValueError(f"{path} belongs to another account (uid {seen.st_uid})")
            content = opened.read(_LIMIT + 1)
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from None
    line = content.split(b"\n", 1)[0].removesuffix(b"\r")
    if not line or len(line) > _LIMIT:
        raise ValueError(f"{path} holds no {kind} in its first line")
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no UTF-8 text") from None


def _asked(question: str, kind: str) -> str:
    """Ask on the terminal, without showing what is typed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise ValueError(f"{kind}_prompt: there is no terminal to ask on; use {kind}_env or {kind}_file") from None
    secret = getpass.getpass(question)
    if not secret:
        raise ValueError(f"{kind}_prompt: no {kind} was typed")
    return secret
