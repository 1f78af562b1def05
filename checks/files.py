"""``file_mode`` and ``file_owner``: permissions and owners of files, however they are found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from auditor.facts import flags, platforms
from auditor.facts.host import Files, Processes
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, problem_of
from checks import base, node_files, running
from checks.file_question import check_question, mistaken, named_anywhere, needs, owner_of, program_of, subject_of

_ALL_BITS = 0o7777


def _evaluate(check: FileMode | FileOwner, facts: Facts) -> Outcome:
    answer = facts.get(check.file)
    if isinstance(answer, Problem):
        return Outcome((base.error(subject_of(check.file), answer, expected=check.expected, source="stat"),))
    program, processes = program_of(check.file), _processes(facts)
    absent = base.once(facts, ("not here", program, check.file.static_pod), lambda: _not_of_this_host(check.file, processes))
    if absent:
        return Outcome((), absent)
    observations = [_observe(check, entry, facts) for entry in node_files.meant(check.file, facts, answer["files"])]
    unseen = base.once(facts, ("unseen", program), lambda: running.unseen(processes, program))
    if unseen is not None:  # what was found in the usual places may not be what it uses
        observations.append(base.error(running.subject_of(program), unseen, expected=check.expected, source="running processes"))
    observations += mistaken(check.file, facts, answer["searched"]) + node_files.mistaken(check.file, facts, answer)
    return Outcome(tuple(observations)) if observations else _nothing(check, facts, answer["searched"])


def _processes(facts: Facts) -> list[dict[str, Any]]:
    found = facts.get(Processes())
    return [] if isinstance(found, Problem) else list(found)


def _not_of_this_host(file: Files, processes: list[dict[str, Any]]) -> str:
    """Return why there can't be such a file: of a program that is elsewhere, or a manifest of what starts from none."""
    program = program_of(file)
    same = [p for p in processes if p["name"] == program]
    if same and all("elsewhere" in p for p in same):
        return str(same[0]["elsewhere"])
    # A program by itself may have a manifest, whatever else somebody runs here.
    built = any(program in platforms.built_in(p) for p in processes) and all("origin" in p or "unseen" in p for p in same)
    return platforms.without(processes, platforms.MANIFEST) if file.static_pod and built else ""


def _observe(check: FileMode | FileOwner, entry: dict[str, Any], facts: Facts) -> Observation:
    subject, source = f"file/{entry['path']}", f"stat of {entry['path']}"
    if "problem" in entry:
        return base.error(subject, problem_of(entry), expected=check.expected, source=source)
    rootless = owner_of(check.file, entry, facts) if isinstance(check, FileOwner) else None
    if rootless is not None:
        who = f"{rootless} runs without root as uid {rootless.uid}"
        if entry["uid"] in (0, rootless.uid):
            return base.not_applicable(subject, expected=check.expected, actual=f"belongs to {entry['uid']}; {who}", source=source)
        return base.verdict(
            subject, ok=False, expected=f"uid {rootless.uid}, since {who}", actual=f"uid {entry['uid']}", source=source
        )
    return check.judge(subject, entry, source)


def _nothing(check: FileMode | FileOwner, facts: Facts, searched: list[str]) -> Outcome:
    """Say why there is no file: it isn't there, no such program runs, or it should be there and was not found."""
    file = check.file
    where = f" (looked for {base.show(searched)})" if searched else ""
    program = program_of(file)
    processes = facts.get(Processes())
    if not program:
        instead = "" if isinstance(processes, Problem) else platforms.without(processes, file.unit)
        return Outcome((), f"{instead or 'there is no such file'}{where}")
    if isinstance(processes, Problem):
        return Outcome((base.error(f"process/{program}", processes, expected=check.expected, source="running processes"),))
    same = [p for p in processes if p["name"] == program]
    if not same:
        return Outcome((), f"{running.why_none(processes, program)}{where}")
    if file.static_pod:
        return _no_manifest(check, same, where)
    if file.node:
        return node_files.nothing(file, where, check.expected)
    if file.executable:
        problem = Problem(Reason.ABSENT, f"{program} runs, but its executable was not found{where}")
        return Outcome((base.error(f"process/{program}", problem, expected=check.expected, source="stat"),))
    if file.setting and not named_anywhere(file, facts):
        return Outcome((), f"{program} uses no such file{where}")
    if file.listener == "dockerd":
        return Outcome((), "the engine listens on no unix socket")
    if file.listener:
        problem = Problem(Reason.ABSENT, f"the socket of its containerd was not found{where}")
        return Outcome((base.error(f"daemon/{program}", problem, expected=check.expected, source="stat"),))
    told = [True] if file.setting else [flags.text(p["args"], file.flag, flags.dialect_of(program)) for p in same]
    if not file.match and any(told):
        problem = Problem(Reason.ABSENT, f"{program} was told to use a file that was not found{where}")
        return Outcome(
            (
                base.error(
                    f"process/{program}", problem, expected=check.expected, source=f"{file.flag or file.setting} of {program}"
                ),
            )
        )
    return Outcome((), f"{program} uses no such file{where}" if where else f"{program} was given no {file.flag}")


def _no_manifest(check: FileMode | FileOwner, same: list[dict[str, Any]], where: str) -> Outcome:
    program = check.file.static_pod
    if any(p["contained"] for p in same):
        problem = Problem(Reason.ABSENT, f"{program} runs in a container but its manifest was not found{where}")
        return Outcome((base.error(f"process/{program}", problem, expected=check.expected, source="stat"),))
    return Outcome((), f"{program} does not run from a static pod here{where}")


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
        return needs(self.file)

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
        return needs(self.file)

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
