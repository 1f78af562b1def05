"""Which running instances of a program a check judges, and what to say when there are none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from auditor.facts.flags import Dialect, dialect_of
from auditor.facts.host import Processes
from auditor.facts.platforms import built_in, partial, without
from auditor.model import Facts, Observation, Outcome, Problem, Reason
from checks import base

#: In a container these are somebody's workload (docker in docker, kind); the host's own are what an audit is about.
_HOST_PROGRAMS = frozenset({"dockerd", "containerd", "kubelet"})


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

    That outcome is an error when it can't be known, or when a program is there whose arguments are not known (it is part of another
    one, or only an API tells of it); otherwise the check doesn't apply.
    """
    found = base.once(facts, ("instances", program), lambda: _instances(facts.get(Processes()), program))
    return found if isinstance(found, Outcome) else list(found)


def each(facts: Facts, program: str, judge: Callable[[Instance], Observation | list[Observation]]) -> Outcome:
    """Return what ``judge`` says about every running instance of a program, or why there is none to judge."""
    found = instances(facts, program)
    if isinstance(found, Outcome):
        return found
    judged = map(judge, found)
    return Outcome(tuple(o for said in judged for o in (said if isinstance(said, list) else [said])))


def _instances(processes: list[dict[str, Any]] | Problem, program: str) -> list[Instance] | Outcome:
    if isinstance(processes, Problem):
        return Outcome((base.error(subject_of(program), processes, source="running processes"),))
    problem = unseen(processes, program)
    if problem is not None:
        by_api = any(p["name"] == program and "unseen" in p and p["pid"] == 0 for p in processes)
        source = "Kubernetes API" if by_api else "running processes"
        return Outcome((base.error(subject_of(program), problem, source=source),))
    same = [p for p in processes if p["name"] == program and "elsewhere" not in p]
    judged = [p for p in same if not (p["contained"] and program in _HOST_PROGRAMS)]
    if judged:
        return [_instance(p, alone=len(judged) == 1) for p in judged]
    if same:
        pids = ", ".join(str(p["pid"]) for p in same)
        return Outcome((), f"no {program} of this host runs here; the ones in containers (pid {base.short(pids)}) are workloads")
    return Outcome((), why_none(processes, program))


def unseen(processes: Iterable[Mapping[str, Any]], program: str) -> Problem | None:
    """Return why the arguments of a program that is there are not known; None when they are, or when it isn't there."""
    processes = list(processes)
    same = [p for p in processes if p["name"] == program]
    found = next((p["unseen"] for p in same if "unseen" in p), None)
    if found is None and not same:
        within = next((p for p in processes if program in built_in(p)), None)
        if within is not None:
            found = f"it runs inside {within['name']} (pid {within['pid']}), and what it was told was not collected"
    return Problem(Reason.ABSENT, found) if found is not None else None


def why_none(processes: Iterable[Mapping[str, Any]], program: str) -> str:
    """Return why a program doesn't run here: what its platform has instead, if that is known."""
    processes = list(processes)
    said = next((p["elsewhere"] for p in processes if p["name"] == program and "elsewhere" in p), "")
    return said or without(processes, program) or f"no {program} runs here"


def _instance(process: Mapping[str, Any], *, alone: bool) -> Instance:
    name, pid = process["name"], process["pid"]
    subject = subject_of(name) if alone else f"{subject_of(name)} pid {pid}"
    return Instance(name, pid, tuple(process["args"]), process["environ"], process["uid"], process["started"], process["exe"],
                    process["contained"], subject, process.get("origin", ""), partial(process))  # fmt: skip
