"""The auditor's own command, its targets' answers taken from the demo's evidence: for fleets that don't exist, killed at will.

``python -m tests.support.recorded_audit LOG STALL AUDITOR-ARGUMENTS...``: the name of every target that is asked becomes a line
of the file LOG; at the targets called STALL (``-`` for none, several with commas) nobody answers until the process is killed, or
there is a file LOG-TARGET.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "auditor" / "demo"


#: What the site decided: one waiver for some hosts, one in part, one for nothing, an attestation; a parameter for some hosts.
TAILORING = """\
tailoring: 1
overrides:
  - {control: docker-container-capabilities, targets: ["web-1"], parameters: {allowed: [NET_ADMIN]}, reason: It is a router}
waivers:
  - {id: W-HOSTS, control: docker-daemon-icc, groups: [prod], reason: Old clients, owner: Jo, approver: Kim, expires: 2999-12-31}
  - {id: W-PART, control: docker-container-memory, targets: ["*"], subjects: [container/bad], reason: Small, owner: Jo, approver: Kim,
     expires: 2999-12-31}
  - {id: W-NOTHING, control: docker-daemon-icc, targets: ["gone-*"], reason: None, owner: Jo, approver: Kim, expires: 2999-12-31}
attestations:
  - {id: A-1, control: k8s-users-without-certificates, targets: ["shop-*"], verdict: pass, by: Kim, at: 2020-01-01, statement: OIDC,
     evidence: MIN-7, expires: 2999-12-31}
"""


def inventory(folder: Path, hosts: int, clusters: int = 1) -> Path:
    """Write an inventory of Docker hosts, clusters with two nodes each, and one host that can't be reached; return its path."""
    entries = [{"name": f"web-{n}", "address": f"10.0.0.{n}", "groups": ["prod" if n % 2 else "test"]} for n in range(hosts)]
    entries += [{"name": f"cp-{c}-{n}", "address": f"10.1.{c}.{n}"} for c in range(clusters) for n in range(2)]
    entries.append({"name": "lost", "address": "10.9.9.9"})
    named = [{"name": f"shop-{c}", "kubeconfig": "kubeconfig", "nodes": [f"cp-{c}-0", f"cp-{c}-1"]} for c in range(clusters)]
    (folder / "kubeconfig").write_text("{}")
    (folder / "site.yaml").write_text(TAILORING)
    path = folder / "inventory.yaml"
    path.write_text(json.dumps({"hosts": entries, "clusters": named}))
    return path


def command(folder: Path, log: str, *argv: str, stall: str = "-") -> list[str]:
    """Return the command line that audits such a fleet."""
    return [sys.executable, "-m", "tests.support.recorded_audit", str(folder / log), stall, "audit", *argv]


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of somebody who has nothing but a state folder."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "150",
    }


def audit(folder: Path, log: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """Audit such a fleet to the end."""
    done = subprocess.run(
        command(folder, log, *argv), cwd=folder, env=environment(folder), capture_output=True, text=True, check=False, timeout=120
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def ended(folder: Path, log: str, stall: str, *argv: str, by: int = signal.SIGKILL) -> str:
    """Audit such a fleet until a target is asked that never answers, then end it by a signal; return what it said."""
    process = begun(folder, log, stall, *argv)
    until(process, folder, log, stall)
    process.send_signal(by)
    said, _ = process.communicate(timeout=60)
    assert "Traceback" not in said, said
    return said


def begun(folder: Path, log: str, stall: str, *argv: str, program: str = "") -> subprocess.Popen[str]:
    """Begin to audit such a fleet, by a program in the place of this module."""
    words = command(folder, log, *argv, stall=stall)
    words[1:3] = ["-c", program] if program else words[1:3]
    return subprocess.Popen(words, cwd=folder, env=environment(folder),
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip


def until(process: subprocess.Popen[str], folder: Path, log: str, name: str) -> None:
    """Wait until a target is asked."""
    end = time.monotonic() + 60
    while name not in asked(folder, log):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.02)


def asked(folder: Path, log: str) -> list[str]:
    """Return which targets were asked."""
    path = folder / log
    return path.read_text().split() if path.exists() else []


def comparable(path: Path) -> dict[str, Any]:
    """Return a results document without what no two runs share: its id and when and by whom it was made."""
    document: dict[str, Any] = json.loads(path.read_text())
    document["run"] = {k: v for k, v in document["run"].items() if k not in ("id", "started", "finished", "operator")}
    return document


def answering(log: Path, stall: str = "-") -> Any:
    """Return what stands in for the collector's `run`."""
    from auditor import evidence
    from auditor.collect import Collector
    from auditor.inventory import Spec, target_of
    from auditor.model import Evidence, Problem, Reason, TargetStatus

    kinds = {"web": "web-1", "cp": "cp-1", "shop": "shop"}
    recorded = {e.target.name: e for e in evidence.load_all(DEMO)}

    def run(self: Collector, targets: Sequence[Spec], _: Any = None) -> Iterator[Evidence]:
        for spec in targets:
            if self.stopped:
                return
            with log.open("a") as file:
                file.write(f"{spec.name}\n")
            while spec.name in stall.split(",") and not self.stopped and not log.with_name(f"{log.name}-{spec.name}").exists():
                time.sleep(0.02)
            if self.stopped:
                return
            target = target_of(spec)
            if spec.name == "lost":
                problem = Problem(Reason.TIMEOUT, "no answer")
                yield Evidence(target, "2026-11-21T09:00:00Z", {}, TargetStatus.UNREACHABLE, problem)
            else:
                yield dataclasses.replace(recorded[kinds[spec.name.partition("-")[0]]], target=target)

    return run


def main() -> None:
    """Put the answers in the place of the collector's."""
    from auditor.cli import main as auditor
    from auditor.collect import Collector

    Collector.run = answering(Path(sys.argv[1]), sys.argv[2])  # type: ignore[method-assign]
    sys.argv = ["auditor", *sys.argv[3:]]
    auditor()


if __name__ == "__main__":
    main()
