"""PDFs that are signed with a certificate: poppler and OpenSSL find the signature valid, and see every change."""

import dataclasses
import datetime as dt
import json
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

import reports
from auditor import pades
from auditor.cli import cli
from tests.support import sample_run

ROOT = Path(__file__).parent.parent
PASSWORD = "Grüner Tee, 3 Minuten"
DAY = dt.timedelta(days=1)
NOW = dt.datetime.now(dt.UTC)
PEM, DER, PKCS8 = forms.Encoding.PEM, forms.Encoding.DER, forms.PrivateFormat.PKCS8
AUDIT = ("audit", "--demo", "--no-store", "--quiet", "--only", "docker-image-healthcheck", "--pdf", "summary")


class Authority:
    """An issuer of certificates of its own."""

    def __init__(self, name: str = "Test CA") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name.from_rfc4514_string(f"CN={name}")
        self.certificate = self.issue(self.name, self.key, authority=True)

    def issue(self, name: x509.Name, key: Any, after: dt.datetime = NOW + DAY, before: dt.datetime = NOW - DAY,
              usage: str = "digital_signature", *, authority: bool = False) -> x509.Certificate:  # fmt: skip
        allowed = {"key_cert_sign", "crl_sign"} if authority else {usage}
        names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                 "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
        return (
            x509.CertificateBuilder().subject_name(name).issuer_name(self.name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(before).not_valid_after(after)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**{n: n in allowed for n in names}), critical=True)
            .sign(self.key, hashes.SHA256())
        )  # fmt: skip


CA = Authority()
KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name.from_rfc4514_string("CN=Ann Auditor,O=Audits & Söhne")
CERTIFICATE = CA.issue(NAME, KEY)


def private(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def p12(path: Path, key: Any = KEY, certificate: x509.Certificate | None = CERTIFICATE, password: str = PASSWORD) -> Path:
    protection = forms.BestAvailableEncryption(password.encode()) if password else forms.NoEncryption()
    return private(path, pkcs12.serialize_key_and_certificates(b"signer", key, certificate, [CA.certificate], protection))


def pem(key: Any = None, *certificates: x509.Certificate, password: str = "") -> bytes:
    protection = forms.BestAvailableEncryption(password.encode()) if password else forms.NoEncryption()
    return b"".join(c.public_bytes(PEM) for c in certificates) + (key.private_bytes(PEM, PKCS8, protection) if key else b"")


def invoke(home: Path, *argv: object, **env: str) -> Result:
    clean = {"HOME": str(home), "XDG_CONFIG_HOME": "", "XDG_STATE_HOME": "", **env}
    return CliRunner().invoke(cli, [str(a) for a in argv], env=clean, standalone_mode=False)


def pdfsig(path: Path) -> str:
    """Return what poppler says of the signatures in a PDF."""
    program = shutil.which("pdfsig")
    if program is None:
        pytest.skip("pdfsig is not installed")
    done = subprocess.run([program, "-nocert", path], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def valid(path: Path) -> bool:
    told = pdfsig(path)
    return "Signature Validation: Signature is Valid." in told and "- Total document signed" in told


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pades")


@pytest.fixture(scope="module")
def signed(home: Path) -> Path:
    """The folder of a run whose PDF is signed, with what was printed."""
    word = private(home / "word", PASSWORD.encode() + b"\n")
    out = home / "out"
    done = invoke(home, *[a for a in AUDIT if a != "--quiet"], "-o", out, "--format", "pdf,html,json",
                  "--pdf-certificate", p12(home / "signer.p12"), "--pdf-password-file", word)  # fmt: skip
    assert done.exit_code == 0, done.output
    (home / "printed").write_text(done.output)
    return out


def test_poppler_finds_the_whole_document_signed(signed: Path) -> None:
    told = pdfsig(signed / "summary.pdf")
    assert valid(signed / "summary.pdf"), told
    assert told.count("Signature #") == 1
    assert "Signature Type: ETSI.CAdES.detached" in told  # PAdES B-B
    assert "Common Name: Ann Auditor" in told
    assert stat.S_IMODE((signed / "summary.pdf").stat().st_mode) == 0o600


def test_the_manifest_has_the_digest_of_the_signed_file(home: Path, signed: Path) -> None:
    done = invoke(home, "verify", signed)
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "fine: 1 run, 3 files, 0 of them evidence")


def test_every_change_is_seen(home: Path, signed: Path, tmp_path: Path) -> None:
    whole = (signed / "summary.pdf").read_bytes()
    begin, gap, rest, _ = ranges(whole)
    places = [begin + 30, gap // 3, gap - 200, rest + 5]  # before and after the signature itself
    for at in places:
        changed = bytearray(whole)
        changed[at] ^= 1
        path = private(tmp_path / "changed.pdf", bytes(changed))
        assert not valid(path), at
    assert "Digest Mismatch" in pdfsig(private(tmp_path / "changed.pdf", whole.replace(b"/Title", b"/Tltle", 1)))
    longer = private(tmp_path / "longer.pdf", whole + whole[len(whole) // 2 :])
    assert not valid(longer)
    kept = signed / "summary.pdf"
    kept.write_bytes(whole[:-1] + b" ")
    done = invoke(home, "verify", signed)
    kept.write_bytes(whole)
    assert done.exit_code == 1
    assert f"altered: {kept}" in done.output


def ranges(pdf: bytes) -> tuple[int, int, int, int]:
    """Return the two parts of a PDF that are signed: where each begins and how long it is."""
    (found,) = re.findall(rb"/ByteRange \[(\d+) (\d+) (\d+) (\d+)", pdf)
    first, length, second, rest = map(int, found)
    return first, length, second, rest


@pytest.mark.parametrize(("issuer", "fits"), [(CA, True), (Authority(), False)], ids=["our CA", "another of that name"])
def test_openssl_follows_the_signature_to_its_issuer(signed: Path, tmp_path: Path, issuer: Authority, *, fits: bool) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    pdf = (signed / "summary.pdf").read_bytes()
    first, length, second, rest = ranges(pdf)
    (tmp_path / "content").write_bytes(pdf[first : first + length] + pdf[second : second + rest])
    (tmp_path / "signature").write_bytes(bytes.fromhex(pdf[length + 1 : second - 1].decode()))
    (tmp_path / "ca").write_bytes(issuer.certificate.public_bytes(PEM))
    command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "signature", "-content", "content", "-CAfile", "ca",
               "-purpose", "any", "-out", "out"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode == 0) is fits, done.stderr


def test_the_report_says_whose_certificate_it_is(signed: Path) -> None:
    text = " ".join(
        subprocess.run(["pdftotext", signed / "summary.pdf", "-"], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "Digital signature. This file was signed (PAdES) with the certificate of" in text
    assert "Ann Auditor" in text
    assert CERTIFICATE.fingerprint(hashes.SHA256()).hex() in text.replace(" ", "")
    assert "but for the digital signature in it" in text


def test_neither_key_nor_password_is_anywhere(home: Path, signed: Path) -> None:
    number = KEY.private_numbers().private_value
    secrets = [PASSWORD.encode(), number.to_bytes(32), f"{number:x}".encode(), str(number).encode(), b"PRIVATE KEY"]
    files = [home / "printed", *(p for p in signed.rglob("*") if p.is_file())]
    assert len(files) == 5
    for file in files:
        assert not [s for s in secrets if s in file.read_bytes()], file
    seal = pades.load(home / "signer.p12", None, None, home / "word")
    assert "key" not in repr(seal).lower()


def test_what_was_laid_out_stays_as_it_is_under_the_signature(signed: Path) -> None:
    """A signature is added at the end; with SOURCE_DATE_EPOCH what is before it is the same again, the signature is not."""
    seal = pades.Seal(Path("x"), CERTIFICATE, (CA.certificate,), KEY)
    whole = (signed / "summary.pdf").read_bytes()
    pdf = whole[: whole.index(b"%%EOF") + 6]
    one, two = seal.sign(pdf), seal.sign(pdf)
    assert one.startswith(pdf)
    assert two.startswith(pdf)
    assert one != two


def test_every_document_of_the_pdf_format_is_signed(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    seal = pades.Seal(Path("x"), CA.issue(NAME, key, usage="content_commitment"), (), key)
    run = sample_run.single()
    run = dataclasses.replace(run, targets=(*run.targets, dataclasses.replace(run.targets[0], name="other")))
    written = reports.write(run, tmp_path, ["pdf"], reports.Options(pdf=("per-target",), seal=seal))
    assert len(written) == 2
    for path in written:
        assert valid(path), pdfsig(path)


PLACES: dict[str, Callable[[Path], tuple[list[object], dict[str, str]]]] = {
    "PKCS #12, password in a variable": lambda f: ([p12(f / "a"), "--pdf-password-env", "WORD"], {"WORD": PASSWORD}),
    "PKCS #12 without a password": lambda f: ([p12(f / "a", password="")], {}),
    "PEM, key in it": lambda f: ([private(f / "a", pem(KEY, CERTIFICATE, CA.certificate))], {}),
    "PEM, key before, chain first": lambda f: ([private(f / "a", pem(KEY) + pem(None, CA.certificate, CERTIFICATE))], {}),
    "PEM, key apart": lambda f: ([private(f / "a", pem(None, CERTIFICATE), 0o644), "--pdf-key", private(f / "k", pem(KEY))], {}),
    "PEM, key apart, encrypted": lambda f: (
        [private(f / "a", pem(None, CERTIFICATE)), "--pdf-key", private(f / "k", pem(KEY, password=PASSWORD)),
         "--pdf-password-env", "WORD"], {"WORD": PASSWORD}),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_where_a_certificate_may_be(name: str, tmp_path: Path) -> None:
    given, env = PLACES[name](tmp_path)
    words = [str(g) for g in given]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in env.items():
            patch.setenv(variable, value)
        key = options.get("--pdf-key")
        seal = pades.load(Path(words[0]), Path(key) if key else None, options.get("--pdf-password-env"), None)
    assert seal.certificate == CERTIFICATE
    assert CERTIFICATE not in seal.chain


def expired(folder: Path) -> Path:
    return p12(folder / "a", certificate=CA.issue(NAME, KEY, NOW - DAY, NOW - 2 * DAY), password="")


def short(folder: Path) -> Path:
    key = rsa.generate_private_key(65537, 1024)
    return p12(folder / "a", key, CA.issue(NAME, key), "")


def other_kind(folder: Path) -> Path:
    key = ed25519.Ed25519PrivateKey.generate()
    return private(folder / "a", pem(key, CA.issue(NAME, key)))


OTHER = ec.generate_private_key(ec.SECP256R1())
REFUSED: dict[str, tuple[Callable[[Path], list[object]], str]] = {
    "wrong password": (lambda f: [p12(f / "a"), "--pdf-password-file", private(f / "w", b"no")], "a: can't be read as PEM or PKCS #12: the password does not open it"),
    "no password": (lambda f: [p12(f / "a")], "it takes a password"),
    "wrong password of a PEM key": (lambda f: [private(f / "a", pem(KEY, CERTIFICATE, password="x")), "--pdf-password-file", private(f / "w", b"no")], "the password does not open it"),
    "no password of a PEM key": (lambda f: [private(f / "a", pem(KEY, CERTIFICATE, password="x"))], "its key is encrypted: it takes a password"),
    "expired": (lambda f: [expired(f)], f"the certificate expired on {NOW - DAY:%Y-%m-%d}"),
    "not yet": (lambda f: [p12(f / "a", certificate=CA.issue(NAME, KEY, NOW + 2 * DAY, NOW + DAY), password="")], f"is not in force before {NOW + DAY:%Y-%m-%d}"),
    "another's key": (lambda f: [private(f / "a", pem(OTHER, CERTIFICATE))], "holds no certificate that the key belongs to"),
    "another use": (lambda f: [p12(f / "a", certificate=CA.issue(NAME, KEY, usage="key_agreement"), password="")], "not for signatures"),
    "short key": (lambda f: [short(f)], "RSA with 1024 bits"),
    "key of another kind": (lambda f: [other_kind(f)], "RSA or ECDSA"),
    "no key": (lambda f: [private(f / "a", pem(None, CERTIFICATE))], "holds no private key: name its file with --pdf-key"),
    "no certificate": (lambda f: [private(f / "a", pem(KEY))], "holds no certificate"),
    "open to others": (lambda f: [private(f / "a", pem(KEY, CERTIFICATE), 0o640)], "0640: others may use this key"),
    "PKCS #12 open to others": (lambda f: [p12(f / "a", password="").rename(private(f / "b", b"", 0o644)).chmod(0o644) or f / "b"], "0644"),
    "key open to others": (lambda f: [private(f / "a", pem(None, CERTIFICATE)), "--pdf-key", private(f / "k", pem(KEY), 0o604)], "0604"),
    "password open to others": (lambda f: [p12(f / "a"), "--pdf-password-file", private(f / "w", PASSWORD.encode(), 0o644)], "0644: others may use it"),
    "nothing there": (lambda f: [f / "nowhere"], "nowhere: can't be read"),
    "no password there": (lambda f: [p12(f / "a"), "--pdf-password-file", f / "nowhere"], "nowhere can't be read"),
    "no such variable": (lambda f: [p12(f / "a"), "--pdf-password-env", "NOWHERE"], "the environment variable NOWHERE is not set"),
    "nonsense": (lambda f: [private(f / "a", b"\x30\x82nonsense")], "can't be read as PEM or PKCS #12"),
    "PEM nonsense": (lambda f: [private(f / "a", b"-----BEGIN CERTIFICATE-----\nx\n")], "holds no certificate"),
    "a key beside PKCS #12": (lambda f: [p12(f / "a"), "--pdf-key", private(f / "k", pem(KEY))], "--pdf-key goes with one alone"),
    "two passwords": (lambda f: [p12(f / "a"), "--pdf-password-env", "A", "--pdf-password-file", f / "a"], "one of --pdf-password-env and --pdf-password-file"),
    "no PDF": (lambda f: [p12(f / "a"), "--format", "html"], "which --format leaves out"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_sign_ends_the_command_before_anything_is_done(name: str, tmp_path: Path) -> None:
    make, why = REFUSED[name]
    done = invoke(tmp_path, *AUDIT, "-o", tmp_path / "out", "--pdf-certificate", *make(tmp_path))
    assert type(done.exception).__name__ in ("InputError", "UsageError"), done.output
    said = getattr(done.exception, "format_message", lambda: str(done.exception))()
    assert why in said
    assert "\n" not in said
    assert PASSWORD not in said
    assert sorted(p.name for p in tmp_path.iterdir() if p.name in ("out", ".config")) == []


def test_a_key_without_a_certificate_is_no_use(tmp_path: Path) -> None:
    for option in ("--pdf-key", "--pdf-password-env", "--pdf-password-file"):
        done = invoke(tmp_path, *AUDIT, "-o", tmp_path / "out", option, "x")
        assert "go with --pdf-certificate" in done.exception.format_message()  # type: ignore[union-attr]


def test_exit_code_and_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "auditor", *AUDIT, "-o", tmp_path / "out", "--pdf-certificate", expired(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [f"{tmp_path / 'a'}: the certificate expired on {NOW - DAY:%Y-%m-%d}"]


def test_without_pyhanko_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyhanko", None)
    done = invoke(tmp_path, *AUDIT, "--pdf-certificate", p12(tmp_path / "a"))
    assert "pip install 'cis-auditor[pades]'" in str(done.exception)


def test_a_certificate_that_expires_meanwhile_leaves_no_pdf_that_looks_signed(tmp_path: Path) -> None:
    seal = pades.Seal(Path("a"), CA.issue(NAME, KEY, NOW - DAY, NOW - 2 * DAY), (), KEY)
    options = reports.Options(pdf=("summary",), seal=seal)
    with pytest.raises(reports.ReportError, match="the PDF could not be signed: a: the certificate expired"):
        reports.write(sample_run.single(), tmp_path, ["json", "pdf"], options)
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]
    with pytest.raises(reports.ReportError, match="could not be signed"):
        pades.Seal(Path("a"), CERTIFICATE, (), KEY).sign(b"%PDF-1.7\nnone")


def test_the_report_of_an_earlier_run_is_signed_too(tmp_path: Path) -> None:
    given = ("--store", f"sqlite:///{tmp_path}/history.sqlite", "--format", "json")
    evidence = ROOT / "auditor" / "demo" / "web-1.evidence.json"
    done = invoke(
        tmp_path, "evaluate", evidence, "--save", "--quiet", "-o", tmp_path / "one", *given, "--only", "docker-image-healthcheck"
    )
    assert done.exit_code == 0, done.output
    run = json.loads((tmp_path / "one" / "results.json").read_text())["run"]["id"]
    done = invoke(tmp_path, "report", run, *given[:2], "--format", "pdf", "--pdf", "summary", "-o", tmp_path / "two",
                  "--pdf-certificate", p12(tmp_path / "a"), "--pdf-password-env", "WORD", WORD=PASSWORD)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert valid(tmp_path / "two" / "summary.pdf")
