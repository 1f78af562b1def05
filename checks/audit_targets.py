"""What an audit rule should be about: a path, a running program, a file found like any other, or a place that the engine names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from auditor.facts import flags
from auditor.facts.docker import Engine
from auditor.facts.host import BINARIES, Config, Files, Processes
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, problem_of
from checks import base, engines, file_question, running
from checks.auditrules import canonical
from checks.configured import documents, flag_value
from checks.running import Instance

Place = Literal["config_folder", "containerd_state", "data_root", "runtimes"]
Found = list[str | Observation] | Outcome

_CONTAINERD = Config(process="containerd", flag="--config", path="/etc/containerd/config.toml")
_CONTAINERD_SOCKET = Files(listener="containerd")
_ETC = Files(path="/etc/docker")
_RUNTIMES = tuple(name for name in BINARIES if not name.startswith("containerd-shim"))

NEEDS: dict[Place, frozenset[Fact]] = {
    "config_folder": engines.DAEMON_FACTS | {_ETC},
    "containerd_state": frozenset({Processes(), Engine("info"), _CONTAINERD, *file_question.needs(_CONTAINERD_SOCKET)}),
    "data_root": frozenset({Engine("info")}),
    "runtimes": frozenset({Engine("info"), *(Files(binary=name) for name in _RUNTIMES)}),
}


def executables(facts: Facts, program: str) -> Found:
    """Return each distinct executable of a running program."""
    found = running.instances(facts, program)
    if isinstance(found, Outcome):
        return found
    paths: list[str | Observation] = []
    for instance in found:
        if instance.exe is None:
            problem = Problem(Reason.DENIED, f"the executable of {instance} can't be read; root is needed")
            paths.append(base.error(instance.subject, problem, source=f"/proc/{instance.pid}/exe"))
        else:
            paths.append(instance.exe.removesuffix(" (deleted)"))
    return list(dict.fromkeys(paths))


def existing(facts: Facts, file: Files) -> Found:
    """Return the files that a question finds; of a unit its own file, not its drop-ins."""
    answer = facts.get(file)
    subject = file_question.subject_of(file)
    if isinstance(answer, Problem):
        return Outcome((base.error(subject, answer, source="stat"),))
    paths: list[str | Observation] = []
    for entry in answer["files"]:
        if file.unit and entry["path"].rpartition("/")[2] != file.unit:
            continue
        problem = problem_of(entry) if "problem" in entry else None
        paths.append(base.error(f"file/{entry['path']}", problem, source="stat") if problem else entry["path"])
    paths += file_question.mistaken(file, facts, answer["searched"])
    if paths:
        return list(dict.fromkeys(paths))
    program = file_question.program_of(file)
    processes = facts.get(Processes()) if program else []
    if isinstance(processes, Problem):
        return Outcome((base.error(subject, processes, source="running processes"),))
    if file.listener == "containerd" and any(p["name"] == "dockerd" and not p["contained"] for p in processes):
        problem = Problem(Reason.ABSENT, f"the socket of the engine's containerd was not found ({base.show(answer['searched'])})")
        return Outcome((base.error(subject, problem, source="stat"),))
    return Outcome((), f"there is no {base.show(answer['searched']) if answer['searched'] else 'such file'}")


def place(facts: Facts, name: Place) -> Found:
    """Return the paths that a place means here."""
    return _PLACES[name](facts)


def _over_engines(facts: Facts, paths_of: Callable[[engines.EngineFacts, dict[str, Any]], list[str | Observation]]) -> Found:
    answers = engines.answers(facts, "info")
    paths: list[str | Observation] = list(answers.missing)
    for engine, info in answers.read:
        paths += paths_of(engine, info)
    return list(dict.fromkeys(paths)) or Outcome((), answers.reason or engines.NO_ENGINE)


def _data_roots(facts: Facts) -> Found:
    def paths_of(engine: engines.EngineFacts, info: dict[str, Any]) -> list[str | Observation]:
        path = str(info.get("DockerRootDir") or "")
        if path.startswith("/"):
            return [path]
        problem = Problem(Reason.ABSENT, "the engine does not say where its data is")
        return [base.error(f"daemon/dockerd{engine.suffix}", problem, source=engines.source("info", "DockerRootDir"))]

    return _over_engines(facts, paths_of)


def _runtimes(facts: Facts) -> Found:
    def paths_of(engine: engines.EngineFacts, info: dict[str, Any]) -> list[str | Observation]:
        where = engines.source("info", "Runtimes")
        subject = f"daemon/dockerd{engine.suffix}"
        named = {str(r.get("path") or "") for r in (info.get("Runtimes") or {}).values() if isinstance(r, dict)} - {""}
        if not named:
            return [base.error(subject, Problem(Reason.ABSENT, "the engine names no runtime"), source=where)]
        paths: list[str | Observation] = []
        for name in sorted(named):
            if name.startswith("/"):
                paths.append(name)
            elif name in _RUNTIMES:
                found = existing(facts, Files(binary=name))
                paths += list(found.observations) if isinstance(found, Outcome) else found
            else:
                problem = Problem(Reason.ABSENT, f"where the runtime {base.show(name)} is was not asked")
                paths.append(base.error(subject, problem, source=where))
        return paths

    return _over_engines(facts, paths_of)


def _config_folders(facts: Facts) -> Found:
    found = running.instances(facts, "dockerd")
    if isinstance(found, Outcome):
        return found
    paths: list[str | Observation] = []
    for instance in found:
        read = documents(facts, engines.DAEMON_CONFIG, instance)
        folders = [d.path.rpartition("/")[0] for d in read.files] if not isinstance(read, Problem) else []
        if folders:
            paths += folders
        elif isinstance(read, Problem) and (instance.uid != 0 or flag_value(instance, "--config-file")):
            paths.append(base.error(instance.subject, read, source=f"configuration file of {instance}"))
        elif instance.uid == 0:
            default = existing(facts, _ETC)
            paths += list(default.observations) if isinstance(default, Outcome) else default
    return list(dict.fromkeys(paths)) or Outcome((), "the engine has no configuration folder (there is no /etc/docker)")


def _containerd_states(facts: Facts) -> Found:
    sockets = existing(facts, _CONTAINERD_SOCKET)
    if isinstance(sockets, Outcome):
        return sockets
    wanted = {canonical(s) for s in sockets if isinstance(s, str)}
    paths: list[str | Observation] = [s for s in sockets if isinstance(s, Observation)]
    instances = running.instances(facts, "containerd")
    served: set[str] = set()
    for instance in [] if isinstance(instances, Outcome) else instances:
        address = containerd_setting(facts, instance, ("--address", "-a"), "grpc.address", "/run/containerd/containerd.sock")
        state = containerd_setting(facts, instance, ("--state",), "state", "/run/containerd")
        if isinstance(address, Problem):
            paths.append(base.error(instance.subject, address, source=f"configuration of {instance}"))
        elif canonical(address) in wanted:
            served.add(canonical(address))
            paths.append(
                base.error(instance.subject, state, source=f"state of {instance}") if isinstance(state, Problem) else state
            )
    if not any(isinstance(p, Observation) for p in paths):
        for address in sorted(wanted - served):
            problem = Problem(Reason.ABSENT, f"the containerd that listens on {address} is not among the programs found")
            paths.append(base.error("process/containerd", problem, source="running processes"))
    return list(dict.fromkeys(paths))


def containerd_setting(facts: Facts, instance: Instance, names: tuple[str, ...], key: str, default: str) -> str | Problem:
    """Return a setting of a running containerd: its flag, else the key in its configuration file, else the default."""
    for name in names:
        value = flags.text(instance.args, name, instance.dialect)
        if isinstance(value, Problem) or value:
            return value
    read = documents(facts, _CONTAINERD, instance)
    if isinstance(read, Problem):
        return read
    found = read.find(key, "text")
    return found if isinstance(found, Problem) else str(found[0]) if found and found[0] else default


CONTAINERD_FACTS: frozenset[Fact] = frozenset({Processes(), _CONTAINERD})
_PLACES: dict[Place, Callable[[Facts], Found]] = {
    "config_folder": _config_folders,
    "containerd_state": _containerd_states,
    "data_root": _data_roots,
    "runtimes": _runtimes,
}
