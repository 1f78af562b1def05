"""Keys that sign runs, and envelopes: others' tools read them, and what is none is refused."""

import base64
import hashlib
import json
import multiprocessing
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from auditor import integrity, signing
from auditor.integrity import NAME
from auditor.signing import SignatureProblem, SigningKey
from reports import as_html, as_pdf
from tests.support import sample_run
from tests.support.signed_runs import World, invoke, new_key


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("signing"), ("one", "two"))


@pytest.fixture
def world(made: World) -> Iterator[World]:
    yield made
    made.restore()


def test_the_key_is_private_and_its_other_half_lies_beside(world: World) -> None:
    folder = world.base / ".config" / "cis-auditor"
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {"signing.key": 0o600, "signing.pub": 0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert signing.load_public_key(folder / "signing.pub").fingerprint == world.key.fingerprint
    assert stat.S_IMODE((world.runs / "one" / NAME).stat().st_mode) == 0o600


# Others' tools


def test_securesystemslib_verifies_the_envelope(world: World, tmp_path: Path) -> None:
    path = world.runs / "two" / NAME
    public = forms.load_pem_public_key((world.base / ".config/cis-auditor/signing.pub").read_bytes())
    key = SSlibKey.from_crypto(public, keyid=world.key.fingerprint)
    envelope = Envelope.from_dict(json.loads(path.read_text()))
    assert set(envelope.verify([key], 1)) == {world.key.fingerprint}
    assert envelope.payload_type == "application/vnd.in-toto+json"
    other = new_key(tmp_path / "other")
    stranger = SSlibKey.from_crypto(other.public.half, keyid=world.key.fingerprint)
    with pytest.raises(VerificationError):
        envelope.verify([stranger], 1)
    document = json.loads(path.read_text())
    document["payload"] = base64.b64encode(base64.b64decode(document["payload"]).replace(b'"sha256":"', b'"sha256":"0', 1)).decode()
    with pytest.raises(VerificationError):
        Envelope.from_dict(document).verify([key], 1)


def test_openssl_gives_the_fingerprint_that_the_documentation_says(world: World) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    command = ["openssl", "pkey", "-pubin", "-in", str(world.base / ".config/cis-auditor/signing.pub"), "-outform", "DER"]
    der = subprocess.run(command, check=True, capture_output=True).stdout
    assert hashlib.sha256(der).hexdigest() == world.key.fingerprint


def test_keys_of_openssh(world: World, tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    private = tmp_path / "id"
    private.write_bytes(key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.OpenSSH, forms.NoEncryption()))
    private.chmod(0o600)
    (tmp_path / "id.pub").write_bytes(key.public_key().public_bytes(forms.Encoding.OpenSSH, forms.PublicFormat.OpenSSH))
    done = invoke(
        tmp_path, "audit", "--demo", "-o", tmp_path / "out", "--format", "csv", "--no-store", "--quiet", "--signing-key", private
    )
    assert done.exit_code == 0, done.output
    assert not (tmp_path / ".config").exists()
    assert invoke(tmp_path, "verify", tmp_path / "out", "--key", tmp_path / "id.pub").exit_code == 0
    assert invoke(tmp_path, "verify", tmp_path / "out", "--key", world.base / ".config/cis-auditor/signing.pub").exit_code == 1


# The command line


def bad_key(kind: str, folder: Path) -> Path:
    path = folder / kind
    made: Any = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ed25519.Ed25519PrivateKey.generate()
    protection = forms.BestAvailableEncryption(b"x") if kind == "passphrase" else forms.NoEncryption()
    path.write_bytes(made.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, protection) if kind != "nonsense" else b"x")
    path.chmod(0o644 if kind == "open" else 0o600)
    return path


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("rsa", "no Ed25519 key"),
        ("passphrase", "without a passphrase"),
        ("nonsense", "no private key"),
        ("open", "0644"),
        ("absent", "can't be read"),
    ],
)
def test_a_key_that_can_not_sign_ends_the_command_before_anything_is_done(kind: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "absent" if kind == "absent" else bad_key(kind, tmp_path)
    done = invoke(tmp_path, "audit", "--demo", "-o", tmp_path / "out", "--format", "csv", "--no-store", "--signing-key", path)
    assert why in str(done.exception)
    assert type(done.exception).__name__ == "InputError"
    assert not (tmp_path / "out").exists()


def test_bad_usage(world: World, tmp_path: Path) -> None:
    done = invoke(tmp_path, "verify", world.runs)
    assert type(done.exception).__name__ == "UsageError"
    assert "no key to check with" in str(done.exception.format_message())  # type: ignore[union-attr]
    assert "is a private key" in str(invoke(tmp_path, "verify", world.runs, "--key", world.key.path).exception)
    assert type(invoke(tmp_path, "verify", tmp_path / "nowhere").exception).__name__ == "BadParameter"
    done = invoke(tmp_path, "audit", "--demo", "--no-sign", "--signing-key", world.key.path)
    assert type(done.exception).__name__ == "UsageError"


def test_nothing_is_signed_where_that_is_asked_for_or_no_key_can_be_made(tmp_path: Path) -> None:
    common = ("audit", "--demo", "--format", "csv", "--no-store", "--quiet", "-o", tmp_path / "out")
    assert invoke(tmp_path, *common, "--no-sign").exit_code == 0
    (tmp_path / ".config").write_text("in the way")
    done = invoke(tmp_path, *common)
    assert done.exit_code == 0
    assert "not signed: " in done.output
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["findings.csv"]


def _first(home: str, answers: Any) -> None:
    os.environ.update(HOME=home, XDG_CONFIG_HOME="")
    answers.put(signing.own_key().fingerprint)


def test_two_first_runs_at_once_make_one_key(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    processes = [context.Process(target=_first, args=(str(tmp_path), answers)) for _ in range(6)]
    for process in processes:
        process.start()
    found = {answers.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert len(found) == 1
    assert {p.name for p in (tmp_path / ".config/cis-auditor").iterdir()} == {"signing.key", "signing.pub"}
    assert signing.load_public_key(tmp_path / ".config/cis-auditor/signing.pub").fingerprint in found


# What comes from outside

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda c: st.lists(c, max_size=3) | st.dictionaries(
    st.sampled_from(["payload", "payloadType", "signatures", "sig", "keyid", "_type", "predicate", "predicateType", "subject", "chain"]), c, max_size=4), max_leaves=10)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | JSON.map(lambda v: json.dumps(v).encode()))
def test_odd_envelopes_are_told_apart_from_faults(data: bytes) -> None:
    try:
        assert signing.open_envelope(data, []).problem
    except SignatureProblem as error:
        assert str(error) == "is no DSSE envelope"


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_odd_statements_that_are_signed_are_no_manifests(value: Any) -> None:
    half = ed25519.Ed25519PrivateKey.from_private_bytes(b"1" * 32)
    key = SigningKey(half, signing._public(half.public_key()), Path("key"))
    envelope = key.envelope(json.dumps(value).encode())
    with tempfile.NamedTemporaryFile() as file:
        file.write(envelope)
        file.flush()
        assert integrity.read(Path(file.name), [key.public]).problem


# The reports


def test_reports_print_the_fingerprint_and_what_a_signature_does_not_prove() -> None:
    run, signer = sample_run.single(), "ab" * 32
    for text in (
        as_html.render(run, signer=signer).decode(),
        *(as_pdf.page(run, mode, signer=signer) for mode in ("by-control", "summary", "per-target")),
    ):
        assert signer in text
        assert "does not prove whose key it is" in text
    for text in (as_html.render(run).decode(), as_pdf.page(run)):
        assert "No key signed this report" in text
        assert "fingerprint" not in text


def test_the_report_of_a_run_prints_the_key_that_signed_it(tmp_path: Path) -> None:
    done = invoke(
        tmp_path, "audit", "--demo", "-o", tmp_path / "out", "--format", "html", "--quiet", "--only", "docker-image-healthcheck"
    )
    assert done.exit_code == 0, done.output
    key = signing.load_signing_key(tmp_path / ".config/cis-auditor/signing.key")
    assert key.fingerprint in (tmp_path / "out" / "report.html").read_text()
