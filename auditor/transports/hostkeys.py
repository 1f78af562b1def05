"""Which host keys are trusted: known_hosts files as OpenSSH reads them, host certificates, pins and revocations.

sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT", says what the lines mean, PROTOCOL.certkeys of OpenSSH what a certificate holds. Where
OpenSSH has a choice, the strict one is taken: nothing unknown is ever accepted, and a revocation counts wherever it stands.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import functools
import hashlib
import hmac
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from auditor.model import Problem, Reason
from auditor.transports.base import TargetError
from auditor.transports.certificates import ALGORITHMS, CERTIFICATE, Certificate, Wire

CA = "@cert-authority"
REVOKED = "@revoked"


def fingerprint(blob: bytes) -> str:
    """Return what ``ssh-keygen -l`` prints for a public key: ``SHA256:...``."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class HostKey:
    """The key that a host proved to have; ``certificate`` is the whole certificate where it showed one. Both as on the wire."""

    kind: str
    blob: bytes
    certificate: bytes = b""

    def __str__(self) -> str:
        return f"{self.kind} {fingerprint(self.blob)}"

    @property
    def line(self) -> str:
        """The key as known_hosts has it, without the host's names."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a known_hosts file. ``blob`` is None where the key can't be read."""

    marker: str
    hosts: str
    kind: str
    blob: bytes | None
    place: str  # file:line

    def is_for(self, name: str) -> bool:
        """Return whether the line is about a host: one of its patterns fits and none with ``!``, or its hash does."""
        if self.hosts.startswith("|"):
            return _is_hash_of(self.hosts, name)
        found = False
        for pattern in self.hosts.split(","):
            if pattern.startswith("!"):
                if _pattern(pattern[1:]).fullmatch(name):
                    return False
            elif pattern and _pattern(pattern).fullmatch(name):
                found = True
        return found


@functools.lru_cache(4096)
def _pattern(text: str) -> re.Pattern[str]:
    """Only ``*`` and ``?`` mean something: brackets stand around the address before a port."""
    return re.compile("".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in text.lower()), re.DOTALL)


def _is_hash_of(hashed: str, name: str) -> bool:
    parts = hashed.split("|")
    if len(parts) != 4 or parts[1] != "1":
        return False
    try:
        salt, digest = (base64.b64decode(p, validate=True) for p in parts[2:])
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(errors="surrogateescape"), "sha1"), digest)


class KnownHosts:
    """The lines of some known_hosts files, found by name."""

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self._exact: dict[str, list[Line]] = {}
        self._others: list[Line] = []
        for line in lines:
            if line.hosts.startswith("|") or any(c in line.hosts for c in "*?!"):
                self._others.append(line)
            else:
                for name in set(line.hosts.lower().split(",")):
                    self._exact.setdefault(name, []).append(line)

    def about(self, name: str, marker: str = "", *, patterns: bool = True) -> list[Line]:
        """Return the lines with a marker about a host (``[address]:port`` for another port than 22), by patterns too or by name."""
        name = name.lower()
        found = list(self._exact.get(name, ()))
        found += [line for line in self._others if (patterns or line.hosts.startswith("|")) and line.is_for(name)]
        return [line for line in found if line.marker == marker]


def load(files: Iterable[str]) -> KnownHosts:
    """Read known_hosts files; those that aren't there are empty. Raises `TargetError` for one that can't be read."""
    lines: list[Line] = []
    for file in files:
        try:
            with open(file, "rb") as opened:  # noqa: PTH123 - the name may be anything that a configuration says
                lines += parse(opened.read(), file)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise TargetError(Problem(Reason.DENIED, f"{file} can't be read: {getattr(error, 'strerror', error)}")) from None
    return KnownHosts(lines)


def parse(content: bytes, file: str = "known_hosts") -> Iterator[Line]:
    """Return the lines of a known_hosts file. Those that OpenSSH doesn't understand say nothing, but for revocations."""
    for number, raw in enumerate(content.decode("utf-8", "surrogateescape").split("\n"), 1):
        words = raw.split()
        if not words or words[0].startswith("#"):
            continue
        marker = words.pop(0) if words[0].startswith("@") else ""
        if marker not in ("", CA, REVOKED) or not words:
            continue
        kind, text = (words[1], words[2]) if len(words) > 2 else ("", "")
        blob = _blob(kind, text)
        if blob is not None or marker == REVOKED:
            yield Line(marker, words[0], kind, blob, f"{file}:{number}")


def _blob(kind: str, text: str) -> bytes | None:
    try:
        blob = base64.b64decode(text, validate=True)
        return blob if kind and Wire(blob).string() == kind.encode() else None
    except (binascii.Error, ValueError):
        return None


def load_revoked(file: str) -> frozenset[bytes]:
    """Read the keys of a ``RevokedHostKeys`` file. Raises `TargetError`: as with OpenSSH, without the list no host is trusted."""
    try:
        with open(file, "rb") as opened:  # noqa: PTH123
            content = opened.read()
    except (OSError, ValueError) as error:
        detail = f"RevokedHostKeys {file} can't be read: {getattr(error, 'strerror', error)}"
        raise TargetError(Problem(Reason.DENIED, detail)) from None
    if content.startswith(b"SSHKRL\n"):
        raise TargetError(Problem(Reason.DENIED, f"RevokedHostKeys {file} is a KRL, which can't be checked; list the keys as text"))
    keys = set()
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        words = line.split()
        if words and not words[0].startswith("#"):
            blob = _blob(*words[:2]) if len(words) > 1 else None
            if blob is None:
                raise TargetError(Problem(Reason.DENIED, f"{file}:{number} is no public key: what it revokes can't be known"))
            keys.add(blob)
    return frozenset(keys)


class Verdict(StrEnum):
    """What the files and pins say of a key. Only ``KNOWN`` is trusted."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Trust:
    """What is expected of one host. The first of ``names`` that known_hosts has lines about decides, last the inventory's name.

    That one is no address: only lines that say it whole count for it, since a pattern was meant for names that ssh would look up.
    ``revoking`` is where revocations are looked for: they count also where a pin or a file of the inventory's own decides.
    """

    names: tuple[str, ...]
    known: KnownHosts
    revoking: KnownHosts
    revoked: frozenset[bytes] = frozenset()
    pin: str = ""  # SHA256:... or "ssh-ed25519 AAAA..."
    name: str = ""  # what the inventory calls it

    def _lines(self, marker: str = "") -> Iterator[tuple[str, list[Line]]]:
        for name in self.names:
            yield name, self.known.about(name, marker)
        if self.name:
            yield self.name, self.known.about(self.name, marker, patterns=False)

    def algorithms(self) -> tuple[str, ...]:
        """Return the algorithms to agree on: certificates where a CA is known, then the types that are known, then the others."""
        if self.pin:
            kinds = [self.pin.split(" ")[0]]
            certificates: list[str] = []
        else:
            kinds = [line.kind for _, lines in self._lines() for line in lines]
            some_ca = any(lines for _, lines in self._lines(CA))
            certificates = [a + CERTIFICATE for algorithms in ALGORITHMS.values() for a in algorithms] if some_ca else []
        ordered = dict.fromkeys([k for k in kinds if k in ALGORITHMS] + list(ALGORITHMS))
        return (*certificates, *(a for kind in ordered for a in ALGORITHMS[kind]))

    def judge(self, key: HostKey, when: float | None = None) -> tuple[Verdict, str]:
        """Return the verdict on a key and why, in words; certificates must hold at the time ``when`` (UNIX; now)."""
        if place := self._revocation(key):
            return Verdict.REVOKED, f"host key revoked: {key} of {self.names[0]} is revoked by {place}"
        if self.pin:
            same = fingerprint(key.blob) == self.pin.rstrip("=") if self.pin.startswith("SHA256:") else key.line == _two(self.pin)
            changed = f"host key changed: the host shows {key}, pinned is {_two(self.pin)[:60]}"
            return (Verdict.KNOWN, "pinned") if same else (Verdict.CHANGED, changed)
        refused = ""
        if key.certificate:
            refused = self._certificate(key.certificate, time.time() if when is None else when)
            if not refused:
                return Verdict.KNOWN, "signed by a known CA"
        verdict, why = self._plain(key)
        return verdict, why if verdict is Verdict.KNOWN or not refused else f"host certificate refused: {refused}; {why}"

    def _plain(self, key: HostKey) -> tuple[Verdict, str]:
        for _, lines in self._lines():
            if any(line.blob == key.blob for line in lines):
                return Verdict.KNOWN, "in known_hosts"
            same = [line for line in lines if line.kind == key.kind and line.blob is not None]
            if same:
                known = ", ".join(f"{fingerprint(line.blob or b'')} ({line.place})" for line in same[:3])
                return Verdict.CHANGED, f"host key changed: the host shows {key}, known is {known}; somebody may be in between"
            if lines:
                kinds = ", ".join(sorted({line.kind for line in lines}))
                return Verdict.UNKNOWN, f"unknown host key: {key} of {self.names[0]}; known_hosts has other types only ({kinds})"
        detail = f"unknown host key: {key} of {self.names[0]} is in no known_hosts; check it and add it, or pin it with host_key:"
        return Verdict.UNKNOWN, detail

    def _revocation(self, key: HostKey) -> str:
        shown = {key.blob}
        if key.certificate:
            with contextlib.suppress(ValueError):  # then it is refused for what it is
                shown.add(Certificate.read(key.certificate).ca)
        if shown & self.revoked:
            return "RevokedHostKeys"
        for line in (line for name in (*self.names, self.name) for line in self.revoking.about(name, REVOKED)):
            if line.blob is None:
                return f"{line.place}, a line that can't be read"
            if line.blob in shown:
                return line.place
        return ""

    def _certificate(self, blob: bytes, when: float) -> str:
        """Return why a certificate doesn't count, or nothing."""
        try:
            certificate = Certificate.read(blob)
        except ValueError as error:
            return f"it can't be read ({error})"
        why = "its CA is not known for this host"
        for name, lines in self._lines(CA):
            if any(line.blob == certificate.ca for line in lines):
                why = certificate.fault(_without_port(name), when)
                if not why:
                    return ""
        return f"{why} (CA {fingerprint(certificate.ca)})"


def _two(pin: str) -> str:
    """Return a pinned key without the comment that may follow it."""
    return " ".join(pin.split(" ")[:2])


def _without_port(name: str) -> str:
    match = re.fullmatch(r"\[(.*)\]:[0-9]+", name)
    return (match[1] if match else name).lower()
