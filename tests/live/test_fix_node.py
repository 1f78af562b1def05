"""Fixes on a real node, by script and by Ansible: what failed is applied, passes, and is left alone the next time.

The node's programs are stand-ins, and the test does what the kubelet does: it starts again whatever has other arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support.ansible import Ansible
from tests.support.auditing import Result, audit, auditor, host_entry
from tests.support.fixing_node import LooseKubeNode
from tests.support.fixing_script import rerun
from tests.support.proofs import ANSIBLE, NODE

pytestmark = pytest.mark.live
BENCHMARK = "cis-kubernetes@2.1"
ALL = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "kubelet")
#: A mode, an owner, a key of a file and a flag of a manifest: every kind of task that there is for a node.
SOME = ("--tags", "cis-kubernetes-1.1.1,cis-kubernetes-1.1.2,cis-kubernetes-4.2.1,cis-kubernetes-1.2.15")
ALIVE = ("/var/log", "/run", "/tmp", "/root", "/home", "/dev")


@dataclass
class Fixing:
    """A node that is audited, fixed and audited again; ``fixes`` holds what was written for its failures."""

    node: LooseKubeNode
    folder: Path
    fixes: Path
    before: Result

    def audit(self, name: str) -> Result:
        where = self.folder / name
        where.mkdir()
        return audit(where, [host_entry(self.node)], "--no-sign", "--benchmark", BENCHMARK)

    def apply(self, *options: str) -> tuple[int, str]:
        return rerun(self.node, *options)

    def state(self) -> dict[str, tuple[object, ...]]:
        return {k: v[:5] for k, v in self.node.files(ignore=ALIVE).items() if not k.startswith("/var/backups")}


@pytest.fixture(scope="module")
def fixing(needs_hosts: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fixing]:
    folder = tmp_path_factory.mktemp("node")
    with LooseKubeNode() as node:
        before = audit(folder, [host_entry(node)], "--no-sign", "--benchmark", BENCHMARK)
        done = auditor(folder, "fix", "out", "-o", "fixes", "--format", "shell,ansible")
        assert done.code == 0, done.stderr
        node.run("sh", "-c", "cat >/root/fix.sh", stdin=(folder / "fixes/cp-1.sh").read_bytes())
        yield Fixing(node, folder, folder / "fixes", before)


def failing(run: Result) -> set[str]:
    return {key for key, status in run.statuses("cp-1").items() if status == "fail"}


def test_everything_that_is_to_be_proven_fails(fixing: Fixing) -> None:
    assert set(NODE) - failing(fixing.before) == set()


def test_a_script(fixing: Fixing) -> None:
    """It says, and changes nothing; it does; what it did passes; it does nothing more; and its back-ups put everything back."""
    node, old = fixing.node, fixing.state()
    code, out = fixing.apply("--check", "--disruptive")
    assert (code, fixing.state()) == (2, old), out
    manifests = {c: node.run("cat", f"/etc/kubernetes/manifests/{c}.yaml") for c in ALL[:-1]}
    code, out = fixing.apply("--disruptive")
    assert code == 0, out
    assert node.run("cat", "/run/systemctl.log") == "daemon-reload\nrestart kubelet\n"
    assert node.act_as_kubelet() == list(ALL)
    after = fixing.audit("script")
    assert {k: s for k, s in after.statuses("cp-1").items() if k in NODE and s != "pass"} == {}, out
    new = fixing.state()
    code, again = fixing.apply("--disruptive")
    assert (code, fixing.state(), node.act_as_kubelet()) == (0, new, [])
    assert "changed  " not in again, again
    kept = node.run("cat", "/var/lib/kubelet/config.yaml")
    assert kept.startswith("# Set up by hand, long ago.\n"), "comments stay"
    assert "enabled: false   # for the old monitoring" in kept
    (folder,) = node.run("ls", "/var/backups/cis-auditor").split()
    node.run("sh", f"/var/backups/cis-auditor/{folder}/restore.sh")
    assert {c: node.run("cat", f"/etc/kubernetes/manifests/{c}.yaml") for c in ALL[:-1]} == manifests


def test_a_playbook(fixing: Fixing) -> None:
    """What disturbs something is off by default; a check shows each file's new lines; then as with a script."""
    node, ansible = fixing.node, Ansible(fixing.folder, fixing.node, fixing.fixes)
    node.loosen()
    old = fixing.state()
    shown = ansible.play("cp-1", "--check", "--diff", *SOME)
    assert "+    - --profiling=false" in shown, shown
    assert "+    enabled: false   # for the old monitoring" in shown, shown
    assert fixing.state() == old
    manifests = {c: node.run("cat", f"/etc/kubernetes/manifests/{c}.yaml") for c in ALL[:-1]}
    said = ansible.play("cp-1", "--tags", "all,disruptive")
    assert node.run("cat", "/run/systemctl.log") == "daemon-reload\nrestart kubelet\n"
    assert node.act_as_kubelet() == list(ALL)
    after = fixing.audit("playbook")
    assert {k: s for k, s in after.statuses("cp-1").items() if k in NODE and k in ANSIBLE and s != "pass"} == {}, said
    new = fixing.state()
    assert " changed=0 " in ansible.play("cp-1", *SOME)
    code, out = fixing.apply("--check", "--disruptive")
    assert (code, fixing.state(), node.act_as_kubelet()) == (0, new, []), out
    folder = node.run("sh", "-c", "ls -td /var/backups/cis-auditor/*/files | head -n 1").strip()
    assert {c: node.run("cat", f"{folder}/etc/kubernetes/manifests/{c}.yaml") for c in ALL[:-1]} == manifests


def test_by_default_nothing_restarts(fixing: Fixing) -> None:
    """All tasks that disturb something bear the tag that Ansible leaves out unless it is told."""
    (play,) = yaml.load((fixing.fixes / "cp-1.yml").read_text(), Loader=_Loader)
    quiet = [t for t in play["tasks"] if "never" not in t["tags"]]
    assert not any("kube-apiserver for" in t.get("name", "") or "kubelet" in str(t.get("notify", "")) for t in quiet)
    modules = {key for t in quiet for part in t.get("block", [t]) for key in part if key.startswith("ansible.")}
    assert modules == {f"ansible.builtin.{m}" for m in ("set_fact", "command", "stat", "file")}


class _Loader(yaml.SafeLoader):
    """Reads Ansible's own tag as text."""


_Loader.add_constructor("!unsafe", lambda loader, node: str(node.value))
