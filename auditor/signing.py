"""Ed25519 keys, and DSSE envelopes signed and checked with them.

The envelope is https://github.com/secure-systems-lab/dsse (protocol version 1.0.0), so that other tools can check it too.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.files import write_private
from auditor.yamlfile import InputError, Mistake

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_MAX_KEY = 64 * 1024


class SignatureProblem(Exception):  # noqa: N818 - it is a finding about a file, not a fault of the program
    """An envelope isn't one, or no trusted key signed it; the message says which."""


@dataclass(frozen=True)
class PublicKey:
    """Half of a key that checks. ``fingerprint`` is the SHA-256, in hex, of its DER form (SubjectPublicKeyInfo)."""

    half: Ed25519PublicKey
    fingerprint: str

    @property
    def pem(self) -> bytes:
        """The key as PEM."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self.half.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True)
class SigningKey:
    """A key that signs, and whether it was made just now."""

    half: Ed25519PrivateKey
    public: PublicKey
    path: Path
    new: bool = False

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its public half."""
        return self.public.fingerprint

    def envelope(self, payload: bytes) -> bytes:
        """Return a payload in a signed envelope, as JSON. The same payload and key give the same bytes."""
        return _written(payload, self.fingerprint, self.half.sign(_pae(payload)))


@dataclass(frozen=True)
class Opened:
    """What an envelope holds. ``signer`` is the trusted key that signed it; where there is none, ``problem`` says why."""

    payload: bytes
    signer: str
    problem: str = ""


def default_path() -> Path:
    """Return where the user's own key is: ``$XDG_CONFIG_HOME/cis-auditor/signing.key``, by default below ``~/.config``."""
    config = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(config) if config.startswith("/") else Path("~/.config").expanduser()) / "cis-auditor" / "signing.key"


def own_key() -> SigningKey:
    """Return the user's own key, which is made when there is none. Raises `InputError` and OSError."""
    path = default_path()
    if not path.exists():
        made = _make(path)
        key = load_signing_key(path)
        return SigningKey(key.half, key.public, path, made)
    return load_signing_key(path)


def public_path(path: Path) -> Path:
    """Return where the public half of the user's own key is kept, to be handed out."""
    return path.with_suffix(".pub")


def _make(path: Path) -> bool:
    """Make a key unless another process is first; return whether this one did. Raises OSError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate()
    try:  # never in place of the key of another first run
        write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), new=True)
    except FileExistsError:
        return False
    with contextlib.suppress(OSError):  # it can be made from the key at any time
        write_private(public_path(path), _public(key.public_key()).pem)
    return True


def load_signing_key(path: Path) -> SigningKey:
    """Read an Ed25519 key (PKCS #8 PEM or OpenSSH, no passphrase) that nobody else can read. Raises `InputError`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    data = read_file(path, private=True)
    load = load_ssh_private_key if b"OPENSSH PRIVATE KEY" in data else load_pem_private_key
    try:
        key = load(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # the libraries' messages may quote what they read
        raise _wrong(path, "is no private key that can be read: PEM (PKCS #8) or OpenSSH, without a passphrase") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _wrong(path, "is no Ed25519 key; make one with: openssl genpkey -algorithm ed25519 -out FILE")
    return SigningKey(key, _public(key.public_key()), path)


def load_public_key(path: Path) -> PublicKey:
    """Read an Ed25519 public key: PEM, or a line as OpenSSH has it. Raises `InputError`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_public_key

    data = read_file(path, private=False)
    if b"PRIVATE KEY" in data:
        raise _wrong(path, "is a private key; a public one is wanted, such as: openssl pkey -in FILE -pubout")
    load = load_ssh_public_key if data.startswith(b"ssh-") else load_pem_public_key
    try:
        key = load(data)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _wrong(path, "is no public key that can be read: PEM, or a line as OpenSSH writes it") from None
    if not isinstance(key, Ed25519PublicKey):
        raise _wrong(path, "is no Ed25519 key")
    return _public(key)


def open_envelope(data: bytes, keys: Sequence[PublicKey]) -> Opened:
    """Return what an envelope holds, and which of the keys signed it. Raises `SignatureProblem` when it isn't one."""
    try:
        document = json.loads(data)
        payload = base64.b64decode(document["payload"], validate=True)
        kind = document["payloadType"]
        signatures = [(str(s.get("keyid", "")), base64.b64decode(s["sig"], validate=True)) for s in document["signatures"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
        raise SignatureProblem("is no DSSE envelope") from None
    if kind != PAYLOAD_TYPE:
        return Opened(payload, "", f"holds something of the type {str(kind)[:80]!r}, not {PAYLOAD_TYPE!r}")
    for _, signature in signatures:
        for key in keys:
            if _fits(key, signature, _pae(payload)):
                # What is around the payload isn't signed, so it has to be what we write, to the byte.
                whole = data == _written(payload, key.fingerprint, signature)
                return Opened(
                    payload, key.fingerprint, "" if whole else "was altered: what is signed in it is not, what is around is"
                )
    named = [keyid for keyid, _ in signatures]
    if any(k.fingerprint in named for k in keys):
        return Opened(payload, "", "was altered: its signature does not fit what it says")
    return Opened(payload, "", f"is not signed by a trusted key: {_named(named)}; trusted: {_named(k.fingerprint for k in keys)}")


def _written(payload: bytes, keyid: str, signature: bytes) -> bytes:
    """Return an envelope as it stands in a file."""
    signed = [{"keyid": keyid, "sig": _base64(signature)}]
    document = {"payload": _base64(payload), "payloadType": PAYLOAD_TYPE, "signatures": signed}
    return json.dumps(document, indent=1).encode("ascii") + b"\n"


def _named(fingerprints: Iterable[str]) -> str:
    shown = [f"key {f[:64]}" for f in fingerprints if f]
    return ", ".join(shown[:3]) or "no key"


def _fits(key: PublicKey, signature: bytes, signed: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.half.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _pae(payload: bytes) -> bytes:
    """Return what is signed: DSSE's pre-authentication encoding."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _public(key: Ed25519PublicKey) -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return PublicKey(key, hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest())


def _wrong(path: Path, message: str) -> InputError:
    return InputError([Mistake(str(path), 0, 0, message)])


def read_file(path: Path, *, private: bool) -> bytes:
    """Return the content of a key's or certificate's file, which nobody else may read if it is ``private``. Raises `InputError`."""
    try:
        with path.open("rb") as file:
            seen = os.fstat(file.fileno())
            if not stat.S_ISREG(seen.st_mode):
                raise _wrong(path, "is not a file")
            # As ssh has it: a file of another account's (a mounted secret of root's) may be our group's to read.
            if private and seen.st_mode & (0o077 if seen.st_uid == os.geteuid() else 0o007):
                raise _wrong(path, f"has the mode {seen.st_mode & 0o7777:04o}: others may use this key; make it 0600")
            return file.read(_MAX_KEY)
    except OSError as error:
        raise _wrong(path, f"can't be read: {error.strerror}") from None
