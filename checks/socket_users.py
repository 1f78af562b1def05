"""``socket_users``: who may give orders to the engine through its socket, which is as good as being root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.facts.host import Files, Processes, SocketGroups
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, Status, problem_of
from checks import base, running

_SOCKETS = Files(listener="dockerd")


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketUsers:
    """Every account that may write to an engine's socket is ``trusted`` (names).

    Counted are the members of the socket's real group, those with it as their primary group included. With nobody trusted by
    name a group without members passes, and members are shown for a person to judge (manual).
    """

    trusted: tuple[str, ...] = ()

    def needs(self) -> frozenset[Fact]:
        """The engines' sockets and the groups that own them."""
        return frozenset({_SOCKETS, SocketGroups(), Processes()})

    @property
    def expected(self) -> str:
        """The expectation in words."""
        return f"only {base.show(self.trusted)} and root" if self.trusted else "nobody but root, or accounts that somebody approved"

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every socket of every engine."""
        engines = running.instances(facts, "dockerd")
        if isinstance(engines, Outcome):
            return engines
        sockets = facts.get(_SOCKETS)
        if isinstance(sockets, Problem):
            return Outcome(
                (base.error("daemon/dockerd", sockets, expected=self.expected, source="sockets that dockerd holds open"),)
            )
        observations = [self._judge(facts, entry) for entry in sockets["files"]]
        return base.outcome(observations, "the engine listens on no unix socket")

    def _judge(self, facts: Facts, entry: dict[str, Any]) -> Observation:
        subject, source = f"file/{entry['path']}", f"stat of {entry['path']}; getent group"
        if "problem" in entry:
            return base.error(subject, problem_of(entry), expected=self.expected, source=source)
        mode, gid, uid = int(entry["mode"], 8), entry["gid"], entry["uid"]
        if mode & 0o002:
            actual = f"every account of the host may (mode {mode:04o})"
            return base.verdict(subject, ok=False, expected=self.expected, actual=actual, source=source)
        if uid != 0:
            actual = f"belongs to uid {uid}, which runs this engine without root"
            return base.not_applicable(subject, expected=self.expected, actual=actual, source=source)
        if not mode & 0o020:
            actual = f"root alone may (mode {mode:04o})"
            return base.verdict(subject, ok=True, expected=self.expected, actual=actual, source=source)
        groups = facts.get(SocketGroups())
        if isinstance(groups, Problem):
            return base.error(subject, groups, expected=self.expected, source=source)
        group = next((g for g in groups if g["gid"] == gid), None)
        if group is None:
            problem = Problem(
                Reason.ABSENT, f"the group {gid}, which may write to it, is not known to the host: who is in it can't be told"
            )
            return base.error(subject, problem, expected=self.expected, source=source)
        return self._members(subject, group, source)

    def _members(self, subject: str, group: dict[str, Any], source: str) -> Observation:
        members = [m for m in group["members"] if m != "root"]
        strangers = [m for m in members if m not in self.trusted]
        where = f"group {group['name']} ({group['gid']})"
        if not strangers:
            actual = f"{where}: {base.show(members)}" if members else f"{where} has no members"
            return base.verdict(subject, ok=True, expected=self.expected, actual=actual, source=source)
        if not self.trusted:
            actual = f"{where}: {base.show(members)}; say which of them are trusted"
            return base.manual(subject, expected=self.expected, actual=actual, source=source)
        actual = f"{where}: not trusted: {base.show(strangers)}" + (
            f" (of {base.show(members)})" if len(strangers) < len(members) else ""
        )
        return Observation(subject, Status.FAIL, self.expected, actual, source)
