"""Secrets in an inventory: their places, which of them counts, and that one in a wrong place is refused and not repeated."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from auditor.credentials import of_file
from auditor.inventory import load
from tests.support import inventories
from tests.support.inventories import mistakes

ROOT = Path(__file__).parent.parent


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    return inventories.writer(tmp_path)


SECRETS = """\
defaults:
  ssh: {password_env: FLEET, passphrase_file: key}
hosts:
  - {name: as-all}
  - {name: own, ssh: {password_file: key, channels: 4}}
  - {name: asked, ssh: {passphrase_prompt: true}}
"""


def test_a_secret_has_one_place_and_a_hosts_own_stands_for_the_defaults(write: Callable[[str], Path], tmp_path: Path) -> None:
    as_all, own, asked = (h.ssh for h in load(write(SECRETS)).hosts)
    assert (as_all.password_env, as_all.password_file, as_all.passphrase_file) == ("FLEET", None, tmp_path / "key")
    assert (own.password_env, own.password_file, own.passphrase_file, own.channels) == (None, tmp_path / "key", tmp_path / "key", 4)
    assert (asked.password_env, asked.passphrase_file, asked.passphrase_prompt) == ("FLEET", None, True)


@pytest.mark.parametrize(
    ("ssh", "said"),
    [
        ("{password: x}", "there is no key 'password' here"),
        ("{sudo_password_env: X}", "there is no key 'sudo_password_env' here"),
        ("{password_env: my pass}", "must be the name of an environment variable, never the secret itself"),
        ("{password_file: none-here}", "there is no such file"),
        ("{password_env: A, password_file: key}", "password_env and password_file exclude each other"),
        ("{channels: 0}", "1 to 1000"),
    ],
)
def test_secrets_in_the_wrong_place(write: Callable[[str], Path], ssh: str, said: str) -> None:
    (mistake,) = mistakes(write(f"hosts:\n  - {{name: a, ssh: {ssh}}}\n"))
    assert said in mistake
    assert "my pass" not in mistake


PLANTED = "Zq9planted7"
MISPLACED = {
    "hosts: [{name: a, ssh: {password_env: 8675309421}}]": "1:39: must be text in quotes",
    "hosts: [{name: a, ssh: {passphrase_env: 0x8675309421}}]": "1:41: must be text in quotes",
    "hosts: [{name: a, ssh: {password_file: 8675309421}}]": "1:40: must be text in quotes",
    "hosts: [{name: a, ssh: {password_file: Zq9planted7}}]": "1:40: there is no such file",
    "hosts: [{name: a, ssh: {passphrase_file: Zq9planted7}}]": "1:42: there is no such file",
    "hosts: [{name: a, ssh: {identity_file: '-----BEGIN OPENSSH PRIVATE KEY----- Zq9planted7'}}]": "1:40: there is no such file",
    "clusters:\n- name: a\n  kubeconfig: |\n    users:\n    - token: Zq9planted7\n": "3:15: there is no such file",
    "hosts: [{name: a, ssh: {user: 'me:Zq9planted7'}}]": "1:31: an account's name holds no colon",
    "hosts: [{name: a, address: 'me:Zq9planted7@10.0.0.1'}]": "1:28: no password belongs into an address",
    "hosts: [{name: a, address: 'ssh://me:Zq9planted7@10.0.0.1'}]": "1:28: no password belongs into an address",
    "hosts: [{name: a, address: 'ssh://Zq9planted7@10.0.0.1'}]": "1:28: is no address but an URL",
    "hosts: [{name: a, jump: 'me:Zq9planted7@10.0.0.1'}]": "1:25: no password belongs into an address",
    "hosts: [{name: a, jump: 'ssh://me:Zq9planted7@10.0.0.1:x'}]": "1:25: no password belongs into an address",
    "docker: [{name: a, url: 'https://me:Zq9planted7@x:2376'}]": "1:25: no password belongs into an address",
    "docker: [{name: a, url: 'me:Zq9planted7@x:2376'}]": "1:25: no password belongs into an address",
    "docker: [{name: a, url: 'tcp://x:2376?token=Zq9planted7'}]": "1:25: is no engine's address: after the scheme",
    "docker: [{name: a, url: 'tcp://me:Zq9planted7'}]": "1:25: is no engine's address: after the scheme",
}


@pytest.mark.parametrize("text", MISPLACED)
def test_a_secret_where_none_belongs_is_refused_and_not_repeated(write: Callable[[str], Path], text: str) -> None:
    """What is printed here goes into cron's mails and pipelines' logs; an address goes into every report."""
    (mistake,) = mistakes(write(text))
    assert mistake.startswith(MISPLACED[text])
    assert not any(s in mistake for s in (PLANTED, "8675309421"))


def test_addresses_that_only_look_like_they_held_a_secret(write: Callable[[str], Path]) -> None:
    hosts = ("address: 'fe80::1%eth0'", "jump: 'me@[fe80::1]:22'", "address: web.example.org, ssh: {user: me@corp.example}")
    listed = ", ".join(f"{{name: h{n}, {h}}}" for n, h in enumerate(hosts))
    urls = ("ssh://me@web:22", "tcp://[fe80::1]:2376", "tcp://10.0.0.1", "unix:///run/a:b@c.sock", "ssh://web/")
    engines = ", ".join(f"{{name: e{n}, url: '{u}'}}" for n, u in enumerate(urls))
    inventory = load(write(f"hosts: [{listed}]\ndocker: [{engines}]\n"))
    assert (len(inventory.hosts), [e.url for e in inventory.engines]) == (3, list(urls))


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give a file to root and become somebody else")
@pytest.mark.parametrize(("owner", "mode", "fine"), [(0, 0o440, True), (0, 0o640, True), (0, 0o660, False), (0, 0o444, False),
                                                     (65532, 0o400, True), (65532, 0o440, False), (1, 0o440, False)])  # fmt: skip
def test_a_password_file_may_be_a_mounted_secret(tmp_path: Path, owner: int, mode: int, fine: bool) -> None:
    """Of root's, for the group of a pod's account, as Kubernetes mounts it."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own can be entered by nobody else
        Path(folder).chmod(0o755)
        path = Path(folder) / "password"
        path.write_text("secret\n")
        os.chown(path, owner, 65532)
        path.chmod(mode)
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setresgid(65532, 65532, 65532)
            os.setresuid(65532, 65532, 65532)
            with contextlib.suppress(ValueError):
                os._exit(0 if of_file(path, "password") == "secret" else 2)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (0 if fine else 1)
