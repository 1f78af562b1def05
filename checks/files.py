"""``file_mode`` and ``file_owner``: permissions and owners of files, however they are found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from auditor.facts import flags
from auditor.facts.host import PROGRAMS, STAT_ROOTS, Files, Processes
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, problem_of
from checks import base

_ALL_BITS = 0o7777
_UNIT = re.compile(r"[A-Za-z0-9@_][A-Za-z0-9@_.-]*\.(service|socket|timer|mount|path|target)")
_FLAG = re.compile(r"--[a-z0-9]+(-[a-z0-9]+)*")
_MATCH = re.compile(r"\*\.[a-z]+")


def check_question(file: Files) -> None:
    """Raise ValueError unless ``file`` is found in exactly one of the known ways, below `STAT_ROOTS`."""
    if len([w for w in (file.process or file.path, file.unit, file.static_pod, file.executable) if w]) != 1:
        raise ValueError("file: give exactly one of path, process (with flag), unit, static_pod and executable")
    if bool(file.process) != bool(file.flag):
        raise ValueError("file: process and flag go together")
    if file.match and not (file.process and _MATCH.fullmatch(file.match)):
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


def check_path(path: str) -> None:
    """Raise ValueError unless a path is plain, absolute and below `STAT_ROOTS`; a final ``/*`` is allowed."""
    parts = path.removesuffix("/*").split("/")[1:]
    plain = path.startswith("/") and all(re.fullmatch(r"[A-Za-z0-9@_+.-]+", p) and p not in (".", "..") for p in parts)
    if not plain:
        raise ValueError(f"file: {path!r} is not a plain absolute path (only a final /* may stand for names)")
    if not path.startswith(STAT_ROOTS):
        raise ValueError(f"file: {path!r} is outside the folders whose files may be looked at: {', '.join(STAT_ROOTS)}")


def _evaluate(check: FileMode | FileOwner, facts: Facts) -> Outcome:
    answer = facts.get(check.file)
    if isinstance(answer, Problem):
        return Outcome((base.error(_subject_of(check.file), answer, expected=check.expected, source="stat"),))
    observations = [_observe(check, entry) for entry in answer["files"]]
    return Outcome(tuple(observations)) if observations else _nothing(check, facts, answer["searched"])


def _observe(check: FileMode | FileOwner, entry: dict[str, Any]) -> Observation:
    subject, source = f"file/{entry['path']}", f"stat of {entry['path']}"
    if "problem" in entry:
        return base.error(subject, problem_of(entry), expected=check.expected, source=source)
    return check.judge(subject, entry, source)


def _nothing(check: FileMode | FileOwner, facts: Facts, searched: list[str]) -> Outcome:
    """Say why there is no file: it isn't there, no such program runs, or it should be there and was not found."""
    file = check.file
    where = f" (looked for {base.show(searched)})" if searched else ""
    program = file.process or file.static_pod or file.executable
    if not program:
        return Outcome((), f"there is no such file{where}")
    processes = facts.get(Processes())
    if isinstance(processes, Problem):
        return Outcome((base.error(f"process/{program}", processes, expected=check.expected, source="running processes"),))
    running = [p for p in processes if p["name"] == program]
    if not running:
        return Outcome((), f"no {program} runs here{where}")
    if file.static_pod:
        return _no_manifest(check, running, where)
    if file.executable:
        problem = Problem(Reason.ABSENT, f"{program} runs, but its executable was not found{where}")
        return Outcome((base.error(f"process/{program}", problem, expected=check.expected, source="stat"),))
    told = [flags.text(p["args"], file.flag, flags.dialect_of(program)) for p in running]
    if not file.match and any(told):
        problem = Problem(Reason.ABSENT, f"{program} was told to use a file that was not found{where}")
        return Outcome((base.error(f"process/{program}", problem, expected=check.expected, source=f"{file.flag} of {program}"),))
    return Outcome((), f"{program} uses no such file{where}" if where else f"{program} was given no {file.flag}")


def _no_manifest(check: FileMode | FileOwner, running: list[dict[str, Any]], where: str) -> Outcome:
    program = check.file.static_pod
    if any(p["contained"] for p in running):
        problem = Problem(Reason.ABSENT, f"{program} runs in a container but its manifest was not found{where}")
        return Outcome((base.error(f"process/{program}", problem, expected=check.expected, source="stat"),))
    return Outcome((), f"{program} does not run from a static pod here{where}")


def _subject_of(file: Files) -> str:
    program = file.process or file.static_pod or file.executable
    return f"process/{program}" if program else f"file/{file.path or file.unit}"


def _needs(file: Files) -> frozenset[Fact]:
    return frozenset({file, Processes()}) if file.process or file.static_pod or file.executable else frozenset({file})


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMode:
    """Each ``file`` that is found has no permission bit beyond ``at_most`` (octal text, such as "644").

    Modes are compared as bit masks, setuid, setgid and sticky included; one observation a file, none is not applicable.
    """

    file: Files
    at_most: str

    def __post_init__(self) -> None:
        check_question(self.file)
        if not re.fullmatch(r"0?[0-7]{3,4}", self.at_most):
            raise ValueError(f'at_most must be an octal mode in quotes, such as "644", not {self.at_most!r}')

    @property
    def expected(self) -> str:
        """The expectation in words."""
        return f"{int(self.at_most, 8):04o} or tighter"

    def needs(self) -> frozenset[Fact]:
        """The files, and the running programs where one decides which files are meant."""
        return _needs(self.file)

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every file."""
        return _evaluate(self, facts)

    def judge(self, subject: str, entry: dict[str, Any], source: str) -> Observation:
        """Return the observation about one file."""
        if not re.fullmatch(r"[0-7]{3,5}", str(entry["mode"])):
            return base.error(
                subject, Problem(Reason.UNPARSABLE, f"{entry['mode']!r} is no mode"), expected=self.expected, source=source
            )
        mode = int(entry["mode"], 8) & _ALL_BITS
        extra = mode & ~int(self.at_most, 8)
        actual = f"{mode:04o}" + (f" (too much: {extra:04o})" if extra else "")
        return base.verdict(subject, extra == 0, expected=self.expected, actual=actual, source=source)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOwner:
    """Each ``file`` that is found belongs to the numeric ``uid`` and ``gid``; one observation a file, none is not applicable."""

    file: Files
    uid: int = 0
    gid: int = 0

    def __post_init__(self) -> None:
        check_question(self.file)

    @property
    def expected(self) -> str:
        """The expectation in words."""
        return "root:root (0:0)" if (self.uid, self.gid) == (0, 0) else f"{self.uid}:{self.gid}"

    def needs(self) -> frozenset[Fact]:
        """The files, and the running programs where one decides which files are meant."""
        return _needs(self.file)

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every file."""
        return _evaluate(self, facts)

    def judge(self, subject: str, entry: dict[str, Any], source: str) -> Observation:
        """Return the observation about one file."""
        uid, gid = entry["uid"], entry["gid"]
        if min(uid, gid) < 0:
            return base.error(
                subject, Problem(Reason.UNPARSABLE, "its owner could not be read"), expected=self.expected, source=source
            )
        actual = f"{base.show(entry['user'])}:{base.show(entry['group'])} ({uid}:{gid})"
        return base.verdict(subject, (uid, gid) == (self.uid, self.gid), expected=self.expected, actual=actual, source=source)
