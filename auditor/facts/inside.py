"""Facts about what runs inside containers beside their first process: programs, and commands that were started there.

The value of both facts is a list with one entry an engine, as that of an `auditor.facts.docker.Engine` fact.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from auditor.facts.projection import decoder, shallow
from auditor.facts.redact import redact_text

#: What is kept of GET /exec/{id}/json. The command's arguments are not.
EXEC_FIELDS = ("ID", "ContainerID", "Running", "ProcessConfig.privileged", "ProcessConfig.user", "ProcessConfig.entrypoint")
#: Characters of one program's name: names of processes have 15, paths are cut to their last part.
_LONGEST = 64


@dataclass(frozen=True, slots=True)
class Programs:
    """Ask which programs run in each container, by the container's cgroup.

    ``data`` is a list of ``{"Id": container, "programs": [name]}``: the sorted names of its processes and, on a host, of the
    files that they execute; or ``{"Id", "problem": {...}}``. A container of which no process was found is not in it.
    """

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "programs"


@dataclass(frozen=True, slots=True)
class Execs:
    """Ask which commands were started in containers by ``docker exec`` and have not ended (or not begun).

    ``data`` is a list of ``{"Id", "ContainerID", "Running": bool, "privileged": bool, "user" (empty: the container's own),
    "command": its first word}``, or ``{"Id", "problem": {...}}``.
    """

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "execs"


#: Facts of this module by key.
FACTS: dict[str, Programs | Execs] = {f.key: f for f in (Programs(), Execs())}


def reduce_exec(raw: bytes) -> dict[str, Any]:
    """Return the answer about one command, reduced and redacted. Raises ValueError when it is something else."""
    told = decoder(EXEC_FIELDS)(raw)
    config = told.get("ProcessConfig")
    if not isinstance(config, dict) or not all(isinstance(told.get(k), str) and told[k] for k in ("ID", "ContainerID")):
        raise ValueError("is not the description of a command in a container")
    privileged, user = config.get("privileged", False), config.get("user", "")
    if not isinstance(privileged, bool) or not isinstance(user, str):
        raise ValueError("privileged or user is of another type than engines use")  # noqa: TRY004 - a document error
    return {"Id": told["ID"], "ContainerID": told["ContainerID"], "Running": told.get("Running") is True, "privileged": privileged,
            "user": user, "command": redact_text(str(config.get("entrypoint") or ""))[:_LONGEST]}  # fmt: skip


class _Top(msgspec.Struct):
    """What is read of GET /containers/{id}/top."""

    titles: list[str] = msgspec.field(name="Titles", default_factory=list)
    processes: list[list[str]] = msgspec.field(name="Processes", default_factory=list)


_TOP = shallow(msgspec.json.Decoder(_Top).decode)


def reduce_top(raw: bytes) -> dict[str, Any]:
    """Return the names of a container's processes, from what its engine's ps says. Raises ValueError for something else."""
    top = _TOP(raw)
    column = next((i for i, title in enumerate(top.titles) if title.upper() in ("COMMAND", "CMD", "COMM")), None)
    if column is None or not top.processes:
        raise ValueError("names no process")
    return {"programs": program_names(row[column] for row in top.processes if len(row) > column)}


def program_names(names: Any) -> list[str]:
    """Return names of programs as the fact has them: without folders, each once, sorted, redacted."""
    plain = (redact_text(re.sub(r" \(deleted\)$", "", str(name))).rpartition("/")[2] for name in names)
    return sorted({name[:_LONGEST] for name in plain if name})


@dataclass(frozen=True, slots=True)
class ExecLog:
    """Ask the host's audit log for the uses of ``docker exec`` that it holds.

    Value: ``{"since": UNIX time of the earliest entry, null when there is no log, "execs": [{"time": int, "container",
    "privileged": bool, "user" (empty: none was named)}]}``. The log holds them only where a rule covers the docker client.
    """

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "exec_log"


#: Options of ``docker`` and of ``docker exec`` that take a value, as the client spells them.
_TAKES_VALUE = frozenset({
    "--config", "-c", "--context", "-H", "--host", "-l", "--log-level", "--tlscacert", "--tlscert", "--tlskey", "--detach-keys",
    "-e", "--env", "--env-file", "-u", "--user", "-w", "--workdir",
})  # fmt: skip


def parse_exec(argv: list[str]) -> dict[str, Any] | None:
    """Return what a command line of the docker client starts in which container, None when it is no ``docker exec``.

    ``argv`` is the whole command line; the container and its user are kept of it, nothing else.
    """
    words = iter(argv[1:])
    found: dict[str, Any] = {"container": "", "privileged": False, "user": ""}
    command: list[str] = []
    for word in words:
        if not word.startswith("-"):
            if command[-1:] == ["exec"]:
                return {**found, "container": redact_text(word)[:_LONGEST]}
            command.append(word)
            if command not in (["exec"], ["container"], ["container", "exec"]):
                return None
            continue
        for name, value in _options(word, words):
            if command[-1:] == ["exec"] and name in ("-u", "--user"):
                found["user"] = redact_text(value)[:_LONGEST]
            elif command[-1:] == ["exec"] and name == "--privileged":
                found["privileged"] = value.lower() not in ("false", "f", "0")
    return None


def _options(word: str, following: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Yield the options of one word with their values: ``--user=x``, ``--user x``, ``-itu x``, ``-itux``."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        yield name, value if equals else next(following, "") if name in _TAKES_VALUE else ""
        return
    for place, letter in enumerate(word[1:], start=2):
        if f"-{letter}" in _TAKES_VALUE:
            rest = word[place:].removeprefix("=")
            yield f"-{letter}", rest or next(following, "")
            return
        yield f"-{letter}", ""
