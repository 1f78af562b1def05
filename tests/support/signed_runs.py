"""Signed runs to change: several one after the other with their evidence, and the history that holds them."""

import base64
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import ed25519

from auditor import signing
from auditor.cli import cli
from auditor.signing import PublicKey, SigningKey
from auditor.store import Store
from auditor.verification import Checked, verify
from tests.support import stores

DEMO = Path(__file__).parents[2] / "auditor" / "demo"
RUNS = ("one", "two", "three", "four")


def new_key(path: Path) -> SigningKey:
    key = ed25519.Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()))
    path.chmod(0o600)
    return signing.load_signing_key(path)


def invoke(home: Path, *argv: object) -> Result:
    env = {"HOME": str(home), "XDG_CONFIG_HOME": "", "XDG_STATE_HOME": ""}
    return CliRunner().invoke(cli, [str(a) for a in argv], env=env, standalone_mode=False)


class World:
    """Runs with their evidence, one after the other, and the history that holds them."""

    def __init__(self, base: Path, names: Sequence[str] = RUNS) -> None:
        self.base, self.runs, self.url = base, base / "runs", f"sqlite:///{base}/state/history.sqlite"
        for name in names:
            shutil.copytree(DEMO, self.runs / name / "evidence", ignore=shutil.ignore_patterns("__*"))
            done = invoke(base, "evaluate", self.runs / name / "evidence", "-o", self.runs / name, "--format", "json,csv", "--quiet",
                          "--save", "--store", self.url, "--only", "docker-image-healthcheck")  # fmt: skip
            assert done.exit_code == 0, done.output
        self.key = signing.load_signing_key(base / ".config/cis-auditor/signing.key")
        for part in ("runs", "state"):
            shutil.copytree(base / part, base / "kept" / part)

    def restore(self) -> None:
        for part in ("runs", "state"):
            shutil.rmtree(self.base / part)
            shutil.copytree(self.base / "kept" / part, self.base / part)

    def id(self, name: str) -> str:
        return str(json.loads((self.base / "kept/runs" / name / "results.json").read_text())["run"]["id"])

    def check(self, *folders: Path, keys: list[PublicKey] | None = None, history: bool = False) -> Checked:
        trusted = [self.key.public] if keys is None else keys
        if not history:
            return verify(folders or [self.runs], trusted)
        with Store(self.url) as store:
            return verify(folders or [self.runs], trusted, store)

    def sql(self, statement: str, **values: Any) -> list[Any]:
        return stores.execute(self.url, statement, **values)


def said(checked: Checked, kind: str, *words: str) -> bool:
    return any(p.startswith(f"{kind}: ") and all(w in p for w in words) for p in checked.problems)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def payload(manifest: Path) -> dict[str, Any]:
    return dict(json.loads(base64.b64decode(json.loads(manifest.read_text())["payload"])))
