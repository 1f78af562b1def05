"""Run the auditor's own command against test hosts, as a user does: an inventory, a folder, an exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.host import TestHost


def host_entry(host: TestHost, name: str = "", *, user: str = "root", **keys: Any) -> dict[str, Any]:
    """Return a host's entry of an inventory; ``ssh`` in ``keys`` adds to how it is reached."""
    ssh = {"user": user, "port": host.port, "identity_file": str(host.identity), "known_hosts": str(host.known_hosts)}
    return {"name": name or host.hostname, "address": host.address, **keys, "ssh": {**ssh, **keys.pop("ssh", {})}}


def write_inventory(folder: Path, hosts: Iterable[Mapping[str, Any]]) -> Path:
    """Write an inventory of hosts and return its path."""
    path = folder / "inventory.yaml"
    path.write_text(yaml.safe_dump({"hosts": [dict(h) for h in hosts]}))
    return path


@dataclass
class Result:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str
    folder: Path

    @property
    def document(self) -> dict[str, Any]:
        """The results document."""
        return dict(json.loads((self.folder / "results.json").read_text()))

    def findings(self, target: str) -> dict[str, dict[str, Any]]:
        """Return a target's findings by the controls' keys."""
        return {f["control"]: f for f in self.document["findings"] if f["target"] == target}

    def statuses(self, target: str) -> dict[str, str]:
        """Return a target's verdicts by the controls' keys."""
        return {key: f["status"] for key, f in self.findings(target).items()}

    def observed(self, target: str, control: str) -> dict[str, str]:
        """Return what one control says of each subject of a target."""
        return {o["subject"]: o["status"] for o in self.findings(target)[control]["observations"]}

    def target(self, name: str) -> dict[str, Any]:
        """Return a target as the results list it."""
        return next(t for t in self.document["targets"] if t["name"] == name)

    def evidence(self, name: str) -> dict[str, Any]:
        """Return a target's facts, from its bundle."""
        for path in self.folder.rglob("*.evidence.json"):
            document = json.loads(path.read_text())
            if document["target"]["name"] == name:
                return dict(document["facts"])
        raise AssertionError(f"no evidence of {name} below {self.folder}")

    def written(self) -> dict[str, bytes]:
        """Return the content of every file that was written."""
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in sorted(self.folder.rglob("*")) if p.is_file()}


def auditor(folder: Path, *argv: str, env: Mapping[str, str] | None = None, timeout: float = 300) -> Result:
    """Run the command line with some arguments; it finds no ~/.ssh, no agent and no history but in ``folder``."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    root = str(Path(__file__).parents[2])
    clean = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "PYTHONPATH": root, "COLUMNS": "120", **(env or {})}
    command = [sys.executable, "-m", "auditor", *argv]
    done = subprocess.run(command, capture_output=True, env=clean, cwd=folder, check=False, timeout=timeout)
    stdout, stderr = (s.decode("utf-8", "surrogateescape") for s in (done.stdout, done.stderr))
    assert "Traceback" not in stderr, stderr
    return Result(done.returncode, stdout, stderr, folder / "out")


def audit(folder: Path, hosts: Sequence[Mapping[str, Any]], *options: str, formats: str = "json") -> Result:
    """Audit hosts; the reports are in the result's folder."""
    inventory = write_inventory(folder, hosts)
    return auditor(folder, "audit", "-i", str(inventory), "-o", str(folder / "out"), "--format", formats, "--no-store", *options)


def collect(folder: Path, hosts: Sequence[Mapping[str, Any]], *options: str) -> Result:
    """Collect evidence; the bundles are in the result's folder."""
    inventory = write_inventory(folder, hosts)
    return auditor(folder, "collect", "-i", str(inventory), "-o", str(folder / "out"), *options)
