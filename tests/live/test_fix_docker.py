"""Fixes on a real Docker host: what failed is applied, passes, and is left alone by a second run of the same script."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.fixes.as_shell import render
from auditor.fixes.steps import After, HaveLines, Plan, Step
from tests.support.auditing import Result, audit, auditor, host_entry
from tests.support.fixing import PLAIN, LooseDockerHost, loose_certificates
from tests.support.fixing_script import rerun
from tests.support.proofs import DOCKER_DISRUPTIVE, DOCKER_QUIET
from tests.support.proofs import REMAPPED as ALONE

pytestmark = pytest.mark.live
#: What changes by itself while an engine runs, and what our own runs and audits leave.
ALIVE = ("/var/lib/docker", "/run", "/var/log", "/tmp", "/root", "/home", "/dev", "/var/lib/containerd")


@pytest.fixture(scope="module")
def host(needs_docker: None) -> Iterator[LooseDockerHost]:
    with LooseDockerHost(certificates=loose_certificates()) as started:
        yield started


@dataclasses.dataclass
class Fixing:
    """A host that is audited, fixed and audited again; each audit in a folder of its own."""

    host: LooseDockerHost
    folder: Path

    def audit(self, name: str, *options: str) -> Result:
        where = self.folder / name
        where.mkdir()
        return audit(where, [host_entry(self.host)], "--no-sign", "--benchmark", "cis-docker", *options)

    def write(self, run: Result, *options: str) -> str:
        """Return the script for a run's failures; its copy on the host is /root/fix.sh."""
        where = run.folder.parent
        done = auditor(where, "fix", "out", "-o", "fixes", "--format", "shell,markdown", *options)
        assert done.code == 0, done.stderr
        script = (where / "fixes" / "loose.sh").read_text()
        self.host.run("sh", "-c", "cat >/root/fix.sh", stdin=script.encode())
        return script

    def apply(self, *options: str, shell: str = "sh") -> tuple[int, str]:
        return rerun(self.host, *options, shell=shell)

    def state(self) -> dict[str, tuple[object, ...]]:
        """Return every file that was ever changed, and the containers' limits."""
        return {k: v[:5] for k, v in self.host.files(ignore=ALIVE).items()}


@pytest.fixture(scope="module")
def fixing(host: LooseDockerHost, tmp_path_factory: pytest.TempPathFactory) -> Fixing:
    return Fixing(host, tmp_path_factory.mktemp("fixing"))


@pytest.fixture(scope="module")
def before(fixing: Fixing) -> Result:
    return fixing.audit("before")


def failing(run: Result) -> set[str]:
    return {key for key, status in run.statuses("loose").items() if status == "fail"}


def test_an_engine_is_reloaded_without_systemd(host: LooseDockerHost) -> None:
    """By a signal to the process of its pid file: the script of its service knows no reload."""
    reload = After("Reload the engine", service="docker", verb="reload")
    step = Step(action=HaveLines("/etc/reloaded", ("x",)), controls=("c 1",), subject="s", words="w", after=reload)
    script = render(Plan(run="r", target="t", kind="docker-host", address="", steps=(step,)))
    host.run("mv", "/run/systemd", "/run/systemd.away")
    usage = host.run("service", "docker", "reload", check=False)
    out = host.run("sh", "-s", stdin=script.encode(), check=False)
    host.run("mv", "/run/systemd.away", "/run/systemd")
    host.run("rm", "-r", "/etc/reloaded", "/var/backups/cis-auditor")
    assert "{start|stop|restart|status}" in usage
    assert "done          Reload the engine" in out, out
    host.wait_for(lambda: "Reloaded configuration" in host.log("dockerd"), "dockerd to reload")


def test_everything_that_is_to_be_proven_fails(before: Result) -> None:
    assert {*DOCKER_QUIET, *DOCKER_DISRUPTIVE} - failing(before) == set()


def test_a_check_says_and_changes_nothing(fixing: Fixing, before: Result) -> None:
    """Both shells, with and without the disruptive steps; the same steps would change."""
    fixing.write(before, *(word for key in failing(before) - {ALONE} for word in ("--only", key)))
    old = fixing.state()
    for shell in ("dash", "bash"):
        code, out = fixing.apply("--check", "--disruptive", shell=shell)
        assert code == 2, out
        assert "failed " not in out, out
        assert fixing.state() == old
    assert "would change  " in out
    assert not fixing.host.run("sh", "-c", "ls /var/backups/cis-auditor /run/cis-auditor-fix.lock 2>/dev/null || :")


def test_what_disturbs_nothing(fixing: Fixing, before: Result) -> None:
    """Modes, owners, audit rules, containers' limits and what the engine reloads: by default, without a restart."""
    engine = fixing.host.run("cat", "/var/run/docker.pid")
    code, out = fixing.apply()
    assert code == 0, out
    assert fixing.host.run("cat", "/run/systemctl.log") == "reload docker\n"
    assert fixing.host.run("cat", "/var/run/docker.pid") == engine
    after = fixing.audit("quiet")
    assert failing(after) & set(DOCKER_QUIET) == set(), out
    assert set(DOCKER_DISRUPTIVE) <= failing(after), "they were left out"
    old = fixing.state()
    code, again = fixing.apply()
    assert (code, fixing.state()) == (0, old)
    assert "changed  " not in again, again


def test_what_restarts_the_engine(fixing: Fixing, before: Result) -> None:
    """Settings in the file, and flags that go by a drop-in."""
    code, out = fixing.apply("--disruptive")
    assert code == 0, out
    assert fixing.host.run("cat", "/run/systemctl.log").count("restart docker") == 1
    after = fixing.audit("restarted")
    assert failing(after) & {*DOCKER_QUIET, *DOCKER_DISRUPTIVE} == {ALONE}, out
    settings = json.loads(fixing.host.run("cat", "/etc/docker/daemon.json"))
    assert settings["labels"] == ["täst=1"], "what nobody asked for stays"
    old = fixing.state()
    assert fixing.apply("--check", "--disruptive")[0] == 0
    code, again = fixing.apply("--disruptive")
    assert (code, fixing.state()) == (0, old)
    assert "changed  " not in again, again
    assert fixing.host.run("cat", "/run/systemctl.log").count("restart docker") == 1


def test_users_are_remapped(fixing: Fixing, before: Result) -> None:
    """By the first run's script, of which this is all that is left to do."""
    fixing.write(before, "--only", ALONE)
    code, out = fixing.apply("--disruptive")
    assert code == 0, out
    assert fixing.audit("remapped", "--only", ALONE).statuses("loose") == {ALONE: "pass"}
    code, again = fixing.apply("--disruptive")
    assert code == 0
    assert "changed  " not in again, again


def test_back_ups_put_everything_back(fixing: Fixing) -> None:
    """The last run's first: the files are then as they were."""
    for folder in reversed(fixing.host.run("ls", "/var/backups/cis-auditor").split()):
        fixing.host.run("sh", f"/var/backups/cis-auditor/{folder}/restore.sh")
    shown = fixing.host.run("stat", "-c", "%a %u %n", "/etc/docker", "/etc/docker/daemon.json", "/etc/default/docker")
    assert shown == f"777 {PLAIN} /etc/docker\n666 {PLAIN} /etc/docker/daemon.json\n666 {PLAIN} /etc/default/docker\n"
    assert json.loads(fixing.host.run("cat", "/etc/docker/daemon.json")) == fixing.host.settings
    assert fixing.host.run("ls", "/etc/audit/rules.d", "/etc/systemd/system/docker.service.d") == (
        "/etc/audit/rules.d:\n\n/etc/systemd/system/docker.service.d:\nlimits.conf\n"
    )
