"""Which files a control may ask about, and what else must be known to tell that they are the right ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from auditor.facts import flags
from auditor.facts.docker import Engine
from auditor.facts.host import BINARIES, NODE_FILES, PROGRAMS, SETTING_FILES, STAT_ROOTS, TREES, Files, Processes
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason
from checks import base, engines, node_files, running
from checks.auditrules import canonical
from checks.configured import documents
from checks.running import Instance

_UNIT = re.compile(r"[A-Za-z0-9@_][A-Za-z0-9@_.-]*\.(service|socket|timer|mount|path|target)")
_FLAG = re.compile(r"--[a-z0-9]+(-[a-z0-9]+)*")
_MATCH = re.compile(r"\*\.[a-z]+")
_WAYS = "path, process (with flag or setting), unit, static_pod, executable, tree, binary, listener and node"


def check_question(file: Files) -> None:
    """Raise ValueError unless ``file`` is found in exactly one of the known ways, below `STAT_ROOTS`."""
    ways = (file.process or file.path, file.unit, file.static_pod, file.executable, file.tree, file.binary, file.listener,
            file.node)  # fmt: skip
    if len([w for w in ways if w]) != 1:
        raise ValueError(f"file: give exactly one of {_WAYS}")
    if bool(file.process) != bool(file.flag or file.setting) or (file.flag and file.setting):
        raise ValueError("file: process goes with one of flag and setting")
    if file.match and not (file.flag and _MATCH.fullmatch(file.match)):
        raise ValueError("file: match goes with process and flag, and looks like *.conf")
    if file.path:
        check_path(file.path)
    if file.flag and not _FLAG.fullmatch(file.flag):
        raise ValueError(f"file: flag must look like --some-name, not {file.flag!r}")
    if file.unit and not _UNIT.fullmatch(file.unit):
        raise ValueError(f"file: {file.unit!r} is not the name of a systemd unit, such as docker.service")
    for program in (file.process, file.static_pod, file.executable):
        if program and program not in PROGRAMS:
            raise ValueError(f"file: {program!r} is not a program that is looked for; known: {', '.join(PROGRAMS)}")
    if file.setting and (file.process != "dockerd" or file.path):
        raise ValueError("file: setting goes with the process dockerd, and without a path")
    closed = (("setting", tuple(SETTING_FILES)), ("tree", TREES), ("binary", BINARIES), ("listener", ("dockerd", "containerd")),
              ("node", tuple(NODE_FILES)))  # fmt: skip
    for name, known in closed:
        value = getattr(file, name)
        if value and value not in known:
            raise ValueError(f"file: {name} must be one of {', '.join(known)}, not {value!r}")


def check_path(path: str) -> None:
    """Raise ValueError unless a path is plain, absolute and below `STAT_ROOTS`; a final ``/*`` is allowed."""
    parts = path.removesuffix("/*").split("/")[1:]
    plain = path.startswith("/") and all(re.fullmatch(r"[A-Za-z0-9@_+.-]+", p) and p not in (".", "..") for p in parts)
    if not plain:
        raise ValueError(f"file: {path!r} is not a plain absolute path (only a final /* may stand for names)")
    if not path.startswith(STAT_ROOTS):
        raise ValueError(f"file: {path!r} is outside the folders whose files may be looked at: {', '.join(STAT_ROOTS)}")


def program_of(file: Files) -> str:
    """Return the program whose file it is, empty for a file that is just there."""
    if file.node:
        return NODE_FILES[file.node]
    return file.process or file.static_pod or file.executable or ("dockerd" if file.listener else "")


def subject_of(file: Files) -> str:
    """Return the subject that stands for a question as a whole."""
    program = program_of(file)
    return f"process/{program}" if program else f"file/{file.path or file.unit or file.tree or file.binary or file.node}"


def needs(file: Files) -> frozenset[Fact]:
    """Return the question itself, and what tells whether the right files were found."""
    found: set[Fact] = {file}
    if program_of(file) or file.unit:
        found.add(Processes())
    if file.setting or (file.process == "dockerd" and file.flag):
        found |= engines.DAEMON_FACTS
    if file.listener == "containerd":
        found.add(Engine("info"))
    return frozenset(found) | node_files.needs(file)


def mistaken(file: Files, facts: Facts, searched: list[str]) -> list[Observation]:
    """Return errors for files that should have been looked for, by what is known better, and were not."""
    if file.setting:
        return _settings(file, facts, searched)
    if file.listener == "containerd":
        return _addresses(facts, searched)
    return []


def _settings(file: Files, facts: Facts, searched: list[str]) -> list[Observation]:
    """The host's shell reads daemon.json by its looks; here it was parsed."""
    instances = running.instances(facts, file.process)
    wrong: list[Observation] = []
    for instance in [] if isinstance(instances, Outcome) else instances:
        named = _named(file, facts, instance)
        if isinstance(named, str) and named and named not in searched:
            named = Problem(Reason.ABSENT, f"{file.setting} names {base.show(named)}, which was not looked at")
        if isinstance(named, Problem):
            wrong.append(base.error(instance.subject, named, source=f"{file.setting} of {instance}"))
    return wrong


def named_anywhere(file: Files, facts: Facts) -> bool:
    """Return whether a running program was told by a setting to use a file, so that it must be there."""
    instances = running.instances(facts, file.process)
    return any(_named(file, facts, instance) for instance in ([] if isinstance(instances, Outcome) else instances))


def _named(file: Files, facts: Facts, instance: Instance) -> str | Problem:
    flag = flags.text(instance.args, f"--{file.setting}", instance.dialect)
    if isinstance(flag, Problem) or flag:
        return flag
    read = documents(facts, engines.DAEMON_CONFIG, instance)
    if isinstance(read, Problem):
        return read
    found = read.find(file.setting, "text")
    return found if isinstance(found, Problem) else str(found[0]) if found else ""


def _addresses(facts: Facts, searched: list[str]) -> list[Observation]:
    """Engines from 27.0 on say themselves which containerd they use."""
    known = {canonical(path) for path in searched}
    answers = engines.answers(facts, "info")
    wrong = list(answers.missing)
    for engine, info in answers.read:
        address = str((info.get("Containerd") or {}).get("Address") or "").removeprefix("unix://")
        if address and canonical(address) not in known:
            problem = Problem(Reason.ABSENT, f"the engine uses containerd at {base.show(address)}, which was not looked at")
            wrong.append(base.error(f"daemon/dockerd{engine.suffix}", problem, source=engines.source("info", "Containerd.Address")))
    return wrong


def owner_of(file: Files, entry: Mapping[str, Any], facts: Facts) -> Instance | None:
    """Return the rootless engine whose own file this is: root has nothing to do with it. None for every other file."""
    if program_of(file) != "dockerd":
        return None
    instances = running.instances(facts, "dockerd")
    for instance in [] if isinstance(instances, Outcome) else instances:
        if instance.uid == 0:
            continue
        if "pid" in entry:
            if entry["pid"] == instance.pid:
                return instance
        elif entry["path"] in (
            _home_config(instance),
            flags.text(instance.args, file.flag or f"--{file.setting}", instance.dialect),
        ):
            return instance
    return None


def _home_config(instance: Instance) -> str:
    environment = instance.environ or {}
    folder = environment.get("XDG_CONFIG_HOME") or (f"{environment['HOME']}/.config" if environment.get("HOME") else "")
    return f"{folder}/docker/daemon.json" if folder else ""
