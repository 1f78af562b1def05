"""Host certificates of OpenSSH (its PROTOCOL.certkeys): what they hold, whom they are for, and whether a CA signed them."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from typing import Any

#: Types of host keys -> the signature algorithms that a connection may agree on for them, the best first. SHA-1 is not among them.
ALGORITHMS = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}
CERTIFICATE = "-cert-v01@openssh.com"
#: Signatures of a CA that count (CASignatureAlgorithms of ssh_config(5), without keys on security tokens, which can't be checked).
_CA_SIGNATURES = frozenset(a for algorithms in ALGORITHMS.values() for a in algorithms)


class Wire:
    """Reads the fields of a key (RFC 4251, section 5); raises ValueError at the end of damaged ones."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, size: int) -> int:
        """Return an unsigned number of some bytes."""
        end = self._at + size
        if end > len(self._data):
            raise ValueError("cut short")
        value, self._at = int.from_bytes(self._data[self._at : end], "big"), end
        return value

    def string(self) -> bytes:
        """Return a string, which stands behind its length."""
        size = self.number(4)
        if self._at + size > len(self._data):
            raise ValueError("cut short")
        self._at += size
        return self._data[self._at - size : self._at]

    def rest(self) -> bytes:
        """Return what was not read yet."""
        return self._data[self._at :]


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says of itself; nothing of it is believed before `fault` found nothing."""

    blob: bytes
    kind: str  # of the key in it, with the suffix of certificates
    use: int  # 1 user, 2 host
    key_id: str
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    critical: bytes
    ca: bytes
    signature: str  # the algorithm

    @classmethod
    def read(cls, blob: bytes) -> Certificate:
        """Take a certificate apart. Raises ValueError for what is none, or of a type that is not known here."""
        wire = Wire(blob)
        kind = wire.string().decode("ascii", "replace")
        plain = kind.removesuffix(CERTIFICATE)
        if plain not in ALGORITHMS or plain == kind:
            raise ValueError(f"of the type {kind[:50]!r}")
        wire.string()  # nonce
        for _ in range(1 if plain == "ssh-ed25519" else 2):
            wire.string()  # the key itself
        wire.number(8)  # serial
        use = wire.number(4)
        key_id = wire.string().decode("utf-8", "replace")
        names, principals = Wire(wire.string()), []
        while names.rest():
            principals.append(names.string().decode("utf-8", "replace"))
        after, before = wire.number(8), wire.number(8)
        critical = wire.string()
        wire.string()  # extensions: none matter for hosts
        wire.string()  # reserved
        ca = wire.string()
        signature = Wire(wire.string()).string().decode("ascii", "replace")
        if wire.rest():
            raise ValueError("with something behind it")
        return cls(blob, kind, use, key_id, tuple(principals), after, before, critical, ca, signature)

    def fault(self, name: str, when: float) -> str:
        """Return why the certificate does not show that a host is called ``name`` at a time (UNIX), or nothing.

        As OpenSSH, but for certificates without a principal: they are for any host of the CA, and refused here.
        """
        if self.use != 2:
            return "it is no certificate for a host"
        if not self.principals:
            return "it names no host"
        if name not in self.principals:
            return f"it is for {', '.join(self.principals[:5])[:200]}, not for {name}"
        if when < self.valid_after:
            return f"it is not valid before {_date(self.valid_after)}"
        if when >= self.valid_before:
            return f"it expired on {_date(self.valid_before)}"
        if self.critical:
            return "it has critical options, of which none are known for hosts"
        if self.signature not in _CA_SIGNATURES:
            return f"its CA signed with {self.signature[:50]!r}, which is not accepted"
        return "" if _is_signed(self.blob) else "its signature is wrong"


def _is_signed(blob: bytes) -> bool:
    """Return whether the CA's signature in a certificate is right."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

    kind = Wire(blob).string()
    try:
        found: Any = load_ssh_public_identity(kind + b" " + base64.b64encode(blob))
        if not isinstance(found, SSHCertificate):
            return False
        found.verify_cert_signature()
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError, AssertionError, KeyError, IndexError):
        return False
    return True


def _date(seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return str(seconds)
