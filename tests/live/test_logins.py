"""Logging in with keys, passphrases and passwords; asking hosts for their keys. Secrets are in nothing that is written."""

from __future__ import annotations

import copy
import os
import pickle
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auditor.transports.logins import Secret
from tests.support.auditing import Result, auditor, host_entry, write_inventory
from tests.support.host import Entry, TestHost

pytestmark = pytest.mark.live

PASSWORD = "planted-Pass word-é8Kd"
PASSPHRASE = "planted-Phrase-3Vn"
ONLY = ("--only", "docker-daemon-icc", "--format", "json,html", "--no-store", "--log-json")


class Guarded(TestHost):
    """A host with accounts that need a password, a key, or both, and with a key of every type."""

    __test__ = False

    def _furnish(self) -> None:
        super()._furnish()
        hashed = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=PASSWORD.encode(), capture_output=True, check=True)
        for number, name in enumerate(("word", "both"), 4000):
            self.run("useradd", "-m", "-u", str(number), "-p", hashed.stdout.decode().strip(), "-s", "/bin/sh", name)
            for key in ("locked", "client"):
                if not (self.keys / key).exists():
                    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-a", "2", "-N", PASSPHRASE, "-f", str(self.keys / key)]
                    subprocess.run(argv, check=True, capture_output=True)
            public = (self.keys / "client.pub").read_text() + (self.keys / "locked.pub").read_text()
            home = f"/home/{name}/.ssh"
            self.place(Entry(home, None, 0o700, number, number), Entry(f"{home}/authorized_keys", public, 0o600, number, number))
        self.place(Entry("/root/.ssh/authorized_keys", (self.keys / "locked.pub").read_text(), 0o600))
        for kind in ("rsa", "ecdsa"):
            self.run("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", f"/etc/ssh/ssh_host_{kind}_key")

    def _sshd_config(self) -> str:
        more = [
            "HostKey /etc/ssh/ssh_host_rsa_key", "HostKey /etc/ssh/ssh_host_ecdsa_key",
            "Match User word", "PasswordAuthentication yes", "PubkeyAuthentication no",
            "Match User both", "PasswordAuthentication yes", "AuthenticationMethods publickey,password",
        ]  # fmt: skip
        return super()._sshd_config() + "\n".join(more) + "\n"


@pytest.fixture(scope="module")
def guarded(needs_hosts: None) -> Iterator[Guarded]:
    with Guarded(hostname="guarded") as host:
        yield host


def private(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_every_way_in_and_no_secret_written(guarded: Guarded, tmp_path: Path) -> None:
    """One audit with a host entry for each way of logging in, right and wrong."""
    locked = str(guarded.keys / "locked")
    file = private(tmp_path / "password", PASSWORD + "\n")
    phrase = private(tmp_path / "phrase", PASSPHRASE)
    wrong = private(tmp_path / "wrong", "planted-wrong-2Qx\n", 0o400)

    def entry(name: str, user: str, **ssh: Any) -> dict[str, Any]:
        return host_entry(guarded, name, user=user, ssh={"become": "none", **ssh})

    hosts = [
        entry("by-env", "word", password_env="AUDIT_WORD"),
        entry("by-file", "word", password_file=file),
        entry("both", "both", identity_file=locked, passphrase_file=phrase, password_env="AUDIT_WORD"),
        entry("phrase", "root", identity_file=locked, passphrase_env="AUDIT_PHRASE"),
        entry("wrong-password", "word", password_file=wrong),
        entry("wrong-phrase", "root", identity_file=locked, passphrase_file=wrong),
        entry("no-phrase", "root", identity_file=locked),
        entry("no-password", "word"),
        entry("half", "both"),
    ]
    inventory = write_inventory(tmp_path, hosts)
    env = {"AUDIT_WORD": PASSWORD, "AUDIT_PHRASE": PASSPHRASE, "PYTHONFAULTHANDLER": "1"}
    result = auditor(tmp_path, "audit", "-i", str(inventory), "-o", str(tmp_path / "out"), *ONLY, env=env)
    assert result.code == 3
    errors = {t["name"]: t["error"] for t in result.document["targets"]}
    assert [n for n, e in errors.items() if e is None] == ["by-env", "by-file", "both", "phrase"]
    assert "the password is not accepted" in errors["wrong-password"]
    assert f"the passphrase given for the key {locked} is wrong" in errors["wrong-phrase"]
    assert "needs a passphrase" in errors["no-phrase"]
    assert "only, and no password was given" in errors["no-password"]
    assert "the server takes password only" in errors["half"]
    secrets = [*(s.encode() for s in (PASSWORD, PASSPHRASE, "planted-wrong")), PASSWORD.encode("unicode_escape")]
    everything = {**result.written(), "stdout": result.stdout.encode(), "stderr": result.stderr.encode()}
    assert [name for name, content in everything.items() for s in secrets if s in content] == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(guarded: Guarded, tmp_path: Path, mode: int) -> None:
    result = refused(guarded, tmp_path, password_file=private(tmp_path / "open", PASSWORD, mode))
    assert f"has the mode {mode:04o}" in result.stderr


def test_secrets_that_are_not_there(guarded: Guarded, tmp_path: Path) -> None:
    """Everything is said before anything is audited."""
    assert "AUDIT_NONE is not set" in refused(guarded, tmp_path, password_env="AUDIT_NONE").stderr
    assert "no terminal to ask on" in refused(guarded, tmp_path, passphrase_prompt=True).stderr
    assert "holds no password" in refused(guarded, tmp_path, password_file=private(tmp_path / "empty", "\n")).stderr
    told = refused(guarded, tmp_path, password_env=PASSWORD).stderr
    assert "name of an environment variable" in told
    assert PASSWORD not in told
    assert "exclude each other" in refused(guarded, tmp_path, password_env="A", password_prompt=True).stderr


def refused(host: TestHost, folder: Path, **ssh: Any) -> Result:
    inventory = write_inventory(folder, [host_entry(host, user="word", ssh=ssh)])
    result = auditor(folder, "audit", "-i", str(inventory), "-o", str(folder / "out"), *ONLY)
    assert result.code == 2, result.stderr
    assert not (folder / "out").exists()
    return result


def test_a_prompt(guarded: Guarded, tmp_path: Path) -> None:
    """It is asked once for all hosts of an account, on the terminal, and not shown."""
    hosts = [host_entry(guarded, name, user="word", ssh={"password_prompt": True}) for name in ("a", "b")]
    inventory = write_inventory(tmp_path, hosts)
    argv = [sys.executable, "-m", "auditor", "audit", "-i", str(inventory), "-o", str(tmp_path / "out"), *ONLY]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2]), "LANG": "C.UTF-8"}
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, argv, env)
    seen, answered, end = b"", False, time.monotonic() + 60
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            seen += os.read(terminal, 65536)
        except OSError:
            break
        if not answered and b"SSH password for word (2 hosts): " in seen:
            os.write(terminal, PASSWORD.encode() + b"\n")
            answered = True
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert (answered, os.waitstatus_to_exitcode(status)) == (True, 0), seen
    assert PASSWORD.encode() not in seen


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret(PASSWORD)
    assert PASSWORD not in f"{secret} {secret!r} {[secret]}"
    for copied in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            copied(secret)
    assert secret.reveal() == PASSWORD


def scan(folder: Path, hosts: list[dict[str, Any]], *options: str) -> Result:
    return auditor(folder, "hosts", "scan", "-i", str(write_inventory(folder, hosts)), *options)


def test_scan(guarded: Guarded, bare_host: TestHost, tmp_path: Path) -> None:
    """Known, changed, unknown and pinned hosts, one through another, one that can't be asked; nothing becomes known."""
    none, other = tmp_path / "none", tmp_path / "other"
    none.touch()
    inside = tmp_path / "inside"
    inside.write_text(f"127.0.0.1 {bare_host.host_key()}\n")
    guarded.write_known_hosts(other, "other_host")

    def entry(name: str, **ssh: Any) -> dict[str, Any]:
        return host_entry(guarded, name, user="nobody", ssh={"connect_timeout": 3, **ssh})

    known = entry("known")
    result = scan(tmp_path, [known])
    assert result.code == 0, result.stderr
    assert result.stderr == "1 known\n"
    said = [line for line in result.stdout.splitlines() if not line.startswith("#")]
    assert [line.split()[:2] for line in said] == [[guarded.address, k] for k in ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")]
    assert said[0] == f"{guarded.address} {guarded.host_key()}"
    for kind in ("ed25519", "ecdsa", "rsa"):
        finger = guarded.run("ssh-keygen", "-l", "-f", f"/etc/ssh/ssh_host_{kind}_key").split()[1]
        assert finger in result.stdout
    # What it prints is what OpenSSH takes.
    printed = tmp_path / "printed"
    assert scan(tmp_path, [known], "-o", str(printed)).code == 0
    shown = subprocess.run(["ssh-keygen", "-l", "-f", str(printed)], capture_output=True, text=True, check=True).stdout
    assert shown.count(guarded.address) == 3
    assert scan(tmp_path, [known], "-o", str(printed)).code == 2  # a file that is there is not written over

    hosts = [
        known,
        entry("unknown", known_hosts=str(none)),
        entry("changed", known_hosts=str(other)),
        entry("pinned", known_hosts=str(none)) | {"host_key": guarded.host_key()},
        entry("wrong-pin") | {"host_key": "SHA256:" + "A" * 43},
        host_entry(bare_host, "gate"),
        host_entry(bare_host, "behind", ssh={"known_hosts": str(inside)}) | {"address": "127.0.0.1", "jump": "gate"},
        entry("closed") | {"address": "127.0.0.1", "ssh": {"port": 9, "connect_timeout": 1}},
        host_entry(bare_host, "shut-gate", ssh={"known_hosts": str(none)}),
        entry("behind-it") | {"jump": "shut-gate"},
    ]
    result = scan(tmp_path, hosts)
    verdicts = dict(re.findall(r"^# (\S+) \(.*?\): ([a-z ]+)", result.stdout, re.MULTILINE))
    assert verdicts == {
        "known": "known", "unknown": "unknown", "changed": "changed", "pinned": "known", "wrong-pin": "changed", "gate": "known",
        "behind": "known", "closed": "not asked", "shut-gate": "unknown", "behind-it": "not asked",
    }  # fmt: skip
    assert result.code == 1
    assert "4 known, 2 unknown, 2 changed, 2 not asked" in result.stderr
    assert "behind-it: denied: jump host unknown host key" in result.stderr
    assert none.read_bytes() == b""
    assert not (tmp_path / "home/.ssh").exists()
    assert scan(tmp_path, hosts, "--limit", "known", "--limit", "closed").code == 3
