"""Which running instances of a program a check judges, and what to say when there are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auditor.facts.flags import Dialect, dialect_of
from auditor.facts.host import Processes
from auditor.model import Facts, Outcome, Problem, Reason
from checks import base

#: In a container these are somebody's workload (docker in docker, kind); the host's own are what an audit is about.
_HOST_PROGRAMS = frozenset({"dockerd", "containerd", "kubelet"})
_K3S_TOOLS = frozenset(
    {"kubectl", "crictl", "ctr", "etcd-snapshot", "secrets-encrypt", "certificate", "token", "check-config", "completion"}
)
_IN_K3S = frozenset({"kubelet", "kube-proxy"})
_IN_K3S_SERVER = frozenset({"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"})
_IN_KUBELITE = frozenset({"kubelet", "kube-proxy", "kube-apiserver", "kube-controller-manager", "kube-scheduler"})


@dataclass(frozen=True, slots=True)
class Instance:
    """One running process of a program. ``environ`` is None when it could not be read; times are UNIX seconds.

    ``origin`` says where the arguments were read when it isn't the process's own command line. ``partial`` says why a flag that
    isn't among them is not known to be unset; it is empty when they are all.
    """

    name: str
    pid: int
    args: tuple[str, ...]
    environ: Mapping[str, str] | None
    uid: int
    started: int
    exe: str | None
    contained: bool
    subject: str
    origin: str = ""
    partial: str = ""

    @property
    def dialect(self) -> Dialect:
        """How it reads its command line."""
        return dialect_of(self.name)

    def __str__(self) -> str:
        kind = "daemon" if self.name == "dockerd" else "process"
        return f"{kind}/{self.name} ({self.origin or f'pid {self.pid}'})"


def subject_of(program: str) -> str:
    """Return the subject that stands for a program as such."""
    return f"daemon/{program}" if program == "dockerd" else f"process/{program}"


def instances(facts: Facts, program: str) -> list[Instance] | Outcome:
    """Return the instances to judge, or the outcome of a check when there are none.

    That outcome is an error when it can't be known or when the program runs inside another one (k3s, kubelite), where its
    settings can't be seen, or when an API only tells that there is one; otherwise the check doesn't apply.
    """
    processes = facts.get(Processes())
    if isinstance(processes, Problem):
        return Outcome((base.error(subject_of(program), processes, source="running processes"),))
    same = [p for p in processes if p["name"] == program]
    for process in same:
        if "unseen" in process:
            problem = Problem(Reason.ABSENT, process["unseen"])
            return Outcome((base.error(subject_of(program), problem, source="Kubernetes API"),))
        if "elsewhere" in process:
            return Outcome((), process["elsewhere"])
    judged = [p for p in same if not (p["contained"] and program in _HOST_PROGRAMS)]
    if judged:
        return [_instance(p, alone=len(judged) == 1) for p in judged]
    embedder = _embedder(processes, program)
    if embedder is not None:
        problem = Problem(Reason.ABSENT, f"it runs inside {embedder}, where its settings can't be seen from outside")
        return Outcome((base.error(subject_of(program), problem, source="running processes"),))
    if same:
        pids = ", ".join(str(p["pid"]) for p in same)
        return Outcome((), f"no {program} of this host runs here; the ones in containers (pid {base.short(pids)}) are workloads")
    return Outcome((), f"no {program} runs here")


def _instance(process: Mapping[str, Any], *, alone: bool) -> Instance:
    name, pid = process["name"], process["pid"]
    subject = subject_of(name) if alone else f"{subject_of(name)} pid {pid}"
    return Instance(name, pid, tuple(process["args"]), process["environ"], process["uid"], process["started"], process["exe"],
                    process["contained"], subject, process.get("origin", ""), process.get("partial", ""))  # fmt: skip


def _embedder(processes: list[Mapping[str, Any]], program: str) -> str | None:
    """Return the running program that has this one built in, if any."""
    for process in processes:
        name, command = process["name"], "".join(process["args"][:1])
        if process["contained"] or (name == "k3s" and command in _K3S_TOOLS):
            continue
        if name == "k3s" and (program in _IN_K3S or (program in _IN_K3S_SERVER and command != "agent")):
            return f"k3s (pid {process['pid']})"
        if name == "kubelite" and program in _IN_KUBELITE:
            return f"kubelite (pid {process['pid']})"
    return None
