"""The rule about programs that should not run in containers: SSH servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.facts.inside import Programs
from auditor.model import Fact, Observation, Problem, Reason, problem_of
from checks import base, engines
from checks.container_isolation import Everywhere
from checks.container_ports import Ports, published, show
from checks.engines import EngineFacts

#: Runtimes whose containers are processes of the host. Others keep them behind a kernel or a machine of their own.
ORDINARY = frozenset({"", "runc", "crun", "youki", "nvidia", "io.containerd.runc.v2", "io.containerd.runtime.v1.linux"})
SSH = "22/tcp"
_WHERE = "/proc of its processes, or docker top"


@dataclass(frozen=True, slots=True, kw_only=True)
class SshServer(Everywhere):
    """No SSH server runs in a running container: no process, and no file that one executes, has one of the names ``programs``.

    Nothing is run in the container. One that publishes its port 22 without such a program is shown for a person to judge.
    """

    programs: tuple[str, ...] = ("sshd", "sshd-session", "sshd-auth", "dropbear", "dropbearmulti", "tinysshd")

    def needs(self) -> frozenset[Fact]:
        """The programs in each container."""
        return frozenset({Programs()})

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:
        """Compare the names; a container without any process is missing evidence, since it runs."""
        expected = "no SSH server"
        running = self._programs(container, engine)
        if isinstance(running, Problem):
            return base.error(subject, running, expected=expected, source=_WHERE)
        found = sorted(set(running) & set(self.programs))
        if found:
            return base.verdict(subject, ok=False, expected=expected, actual=base.show(found), source=_WHERE)
        runtime = str(container["HostConfig"].get("Runtime") or "")
        if runtime not in ORDINARY:
            problem = Problem(Reason.ABSENT, f"the runtime {runtime} doesn't show a container's processes to its host")
            return base.error(subject, problem, expected=expected, source=engines.source("containers", "HostConfig.Runtime"))
        ports: Ports | Problem = published(container)
        if isinstance(ports, Problem):
            return base.error(subject, ports, expected=expected, source=engines.source("containers", "NetworkSettings.Ports"))
        if leading := [p for p in ports if p.inner == SSH]:
            question = f"{expected}: what answers on its port 22?"
            actual = f"publishes {show(leading)}; runs {base.show(running)}"
            return base.manual(subject, expected=question, actual=actual, source=_WHERE)
        return base.verdict(subject, ok=True, expected=expected, actual=base.show(running), source=_WHERE)

    @staticmethod
    def _programs(container: dict[str, Any], engine: EngineFacts) -> list[str] | Problem:
        data = engine.answer(Programs())
        if isinstance(data, Problem):
            return data
        entry: dict[str, Any] | None = engine.once("programs by id", lambda: {e["Id"]: e for e in data}).get(container["Id"])
        if entry is None:
            return Problem(Reason.ABSENT, "none of its processes was found by its cgroup")
        return problem_of(entry) if "problem" in entry else list(entry["programs"])
