"""Signatures in PDFs with a person's or an organisation's certificate: PAdES B-B (ETSI EN 319 142-1), by pyHanko.

They are made after a PDF was laid out and before the manifest takes its digest. What is wrong with a certificate, its key or its
password is found out when it is loaded, before anything is audited.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.credentials import of_file
from auditor.signing import read_file
from auditor.yamlfile import InputError, Mistake
from reports.error import ReportError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

#: Shorter keys are forgeable soon, or already; PDF readers refuse them.
_LEAST_RSA = 2048
_FIELD = "Signature"
_NO_PASSWORD = "it takes a password, in a file or an environment variable: --pdf-password-file or --pdf-password-env"  # noqa: S105


@dataclass(frozen=True)
class Seal:
    """A certificate with its key, and those that lead to its issuer, to sign PDFs with."""

    path: Path
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: PrivateKey = field(repr=False)

    @property
    def told(self) -> str:
        """Who signs, in words for the report: the certificate's subject, issuer, serial number and fingerprint."""
        from cryptography.hazmat.primitives.hashes import SHA256

        c = self.certificate
        return (
            f"{c.subject.rfc4514_string()}, issued by {c.issuer.rfc4514_string()}, serial number {c.serial_number:x}, "
            f"SHA-256 {c.fingerprint(SHA256()).hex()}"
        )

    def sign(self, pdf: bytes) -> bytes:
        """Return a PDF with a signature over all of it, at the time that the clock says. Raises `ReportError`."""
        if problem := _dates(self.certificate):
            raise ReportError(f"the PDF could not be signed: {self.path}: {problem}")
        try:
            return _signed(self, pdf)
        except Exception as error:  # noqa: BLE001 - whatever the libraries raise: an unsigned PDF must not pass for a signed one
            raise ReportError(
                f"the PDF could not be signed ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
            ) from None


def load(certificate: Path, key: Path | None, password_env: str | None, password_file: Path | None) -> Seal:
    """Read what signs PDFs: PKCS #12, or PEM whose key is in the same file or in ``key``. Raises `InputError`.

    The password of a PKCS #12 file or of a PEM key stands in an environment variable or in the first line of a private file.
    """
    if find_spec("pyhanko") is None:
        raise _wrong("--pdf-certificate", "needs pyHanko: pip install 'cis-auditor[pades]'")
    password = _password(password_env, password_file)
    data = read_file(certificate, private=False)
    if b"-----BEGIN " in data:
        found, certificates = _pem(certificate, data, key, password)
    elif key is not None:
        raise _wrong(str(certificate), "is no PEM file: --pdf-key goes with one alone, a PKCS #12 file holds its key")
    else:
        found, certificates = _pkcs12(certificate, password)
    return _checked(certificate, found, certificates)


def _password(env: str | None, file: Path | None) -> bytes | None:
    if file is not None:
        try:
            return of_file(file, "password").encode()
        except ValueError as error:
            raise _wrong("--pdf-password-file", str(error)) from None
    if env is None:
        return None
    password = os.environ.pop(env, "")  # what the audit starts has no use for it
    if not password:
        raise _wrong("--pdf-password-env", f"the environment variable {env} is not set")
    return password.encode()


def _pkcs12(path: Path, password: bytes | None) -> tuple[Any, list[x509.Certificate]]:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

    try:
        loaded = load_pkcs12(read_file(path, private=True), password)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # the libraries' messages may quote what they read
        why = "the password does not open it, or it is damaged" if password else f"{_NO_PASSWORD}; or it is damaged"
        raise _wrong(str(path), f"can't be read as PEM or PKCS #12: {why}") from None
    certificates = [loaded.cert, *loaded.additional_certs]
    return loaded.key, [c.certificate for c in certificates if c is not None]


def _pem(path: Path, data: bytes, key: Path | None, password: bytes | None) -> tuple[Any, list[x509.Certificate]]:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        certificates = x509.load_pem_x509_certificates(data)
    except ValueError:
        raise _wrong(str(path), "holds no certificate that can be read") from None
    where = key or path
    if key is None and b"PRIVATE KEY-----" not in data:
        raise _wrong(str(path), "holds no private key: name its file with --pdf-key")
    pem = read_file(where, private=True)
    encrypted = b"ENCRYPTED" in pem
    if encrypted and password is None:
        raise _wrong(str(where), f"its key is encrypted: {_NO_PASSWORD}")
    try:
        return load_pem_private_key(pem, password if encrypted else None), certificates
    except (ValueError, TypeError, UnsupportedAlgorithm):
        why = "the password does not open it, or it is damaged" if encrypted else "PEM (PKCS #8) is wanted"
        raise _wrong(str(where), f"holds no private key that can be read: {why}") from None


def _checked(path: Path, key: Any, certificates: list[x509.Certificate]) -> Seal:
    """Return what signs: the key has to be of a kind that PDF readers take, its certificate there, in force and for signatures."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if key is None:
        raise _wrong(str(path), "holds no private key")
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise _wrong(str(path), "the key is not of a kind that PDF readers know: RSA or ECDSA")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < _LEAST_RSA:
        raise _wrong(str(path), f"the key is too short: RSA with {key.key_size} bits, less than {_LEAST_RSA}")
    own = next((c for c in certificates if c.public_key() == key.public_key()), None)
    if own is None:
        raise _wrong(str(path), "holds no certificate that the key belongs to")
    if problem := _dates(own):
        raise _wrong(str(path), problem)
    try:
        usage = own.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        pass
    except ValueError:
        raise _wrong(str(path), "the certificate can't be read") from None
    else:
        if not (usage.digital_signature or usage.content_commitment):
            raise _wrong(str(path), "the certificate is not for signatures (key usage)")
    return Seal(path, own, tuple(c for c in certificates if c != own), key)


def _dates(certificate: x509.Certificate) -> str:
    """Return what is wrong with the time of a certificate now, empty when it is in force."""
    now = datetime.now(UTC)
    if now > certificate.not_valid_after_utc:
        return f"the certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if now < certificate.not_valid_before_utc:
        return f"the certificate is not in force before {certificate.not_valid_before_utc:%Y-%m-%d}"
    return ""


def _signed(seal: Seal, pdf: bytes) -> bytes:
    from asn1crypto import keys, x509
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
    from pyhanko.sign import PdfSignatureMetadata, SimpleSigner, sign_pdf
    from pyhanko.sign.fields import SigSeedSubFilter
    from pyhanko_certvalidator.registry import SimpleCertificateStore

    certificates = [x509.Certificate.load(c.public_bytes(Encoding.DER)) for c in (seal.certificate, *seal.chain)]
    key = seal.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    chain = SimpleCertificateStore.from_certs(certificates[1:])  # type: ignore[no-untyped-call]
    signer = SimpleSigner(certificates[0], keys.PrivateKeyInfo.load(key), chain)
    # An approval, not a certification: others may sign after it. Its field has no place on a page: reports say in words who signs.
    told = PdfSignatureMetadata(field_name=_FIELD, md_algorithm="sha256", subfilter=SigSeedSubFilter.PADES)
    out = BytesIO()
    sign_pdf(IncrementalPdfFileWriter(BytesIO(pdf)), told, signer=signer, output=out)
    return out.getvalue()


def _wrong(where: str, message: str) -> InputError:
    return InputError([Mistake(where, 0, 0, message)])
