"""Ansible as an operator runs it, from an environment of its own: an inventory, a playbook, a test host over SSH."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.host import TestHost

ROOT = Path(__file__).parents[2]


def program() -> Path:
    """Return ansible-playbook; without the environment that ``make test`` makes, the test is skipped."""
    named = os.environ.get("FORMAT_VALIDATORS")
    found = ROOT / (named or ".venv-validators") / "bin" / "ansible-playbook"
    if not named and not found.is_file():
        pytest.skip("there is no Ansible in .venv-validators: make test puts it there")
    return found


@dataclass
class Ansible:
    """Plays the playbooks of a folder on a host."""

    home: Path
    host: TestHost
    fixes: Path

    def play(self, target: str, *options: str, code: int = 0) -> str:
        """Play a target's playbook, which must end with this code, and return what Ansible says."""
        ssh = f"-F none -o BatchMode=yes -o ControlMaster=auto -o ControlPersist=60 -o UserKnownHostsFile={self.host.known_hosts}"
        env = {
            "PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_SSH_ARGS": ssh, "ANSIBLE_SSH_TRANSFER_METHOD": "piped", "ANSIBLE_PRIVATE_KEY_FILE": str(self.host.identity),
            "ANSIBLE_REMOTE_USER": "root", "ANSIBLE_REMOTE_PORT": str(self.host.port), "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        }  # fmt: skip
        argv = [str(program()), "-i", str(self.fixes / "inventory.yml"), str(self.fixes / f"{target}.yml"), *options]
        with tempfile.TemporaryDirectory(prefix="cp") as sockets:  # below a test's own folder their paths would be too long
            env["ANSIBLE_SSH_CONTROL_PATH_DIR"] = sockets
            done = subprocess.run(argv, capture_output=True, env=env, cwd=self.home, check=False, timeout=300, text=True)
            for socket in Path(sockets).iterdir():
                subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "host"], capture_output=True, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == code, said[-6000:]
        assert code or "fatal:" not in said, said[-6000:]
        return said
