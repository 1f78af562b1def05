"""``socket_owner``: the engine's socket belongs to root and to the group that is meant to use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.facts.host import Files, Processes
from auditor.model import Fact, Facts, Observation, Outcome, Problem, problem_of
from checks import base, running

_SOCKETS = Files(listener="dockerd")


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketOwner:
    """Every unix socket on which an engine takes requests belongs to root and to one of ``groups``, or to root alone."""

    groups: tuple[str, ...]

    def needs(self) -> frozenset[Fact]:
        """The engines' sockets."""
        return frozenset({_SOCKETS, Processes()})

    @property
    def expected(self) -> str:
        """The expectation in words."""
        return f"owner root, group {' or '.join(self.groups)} (or root)"

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every socket; a rootless engine's belongs to its user and is not applicable."""
        found = running.instances(facts, "dockerd")
        if isinstance(found, Outcome):
            return found
        answer = facts.get(_SOCKETS)
        if isinstance(answer, Problem):
            return Outcome(
                (base.error("daemon/dockerd", answer, expected=self.expected, source="sockets that dockerd holds open"),)
            )
        owners = {instance.pid: instance.uid for instance in found}
        observations = [self._judge(entry, owners.get(entry["pid"], 0)) for entry in answer["files"]]
        return base.outcome(observations, "the engine listens on no unix socket")

    def _judge(self, entry: dict[str, Any], engine_uid: int) -> Observation:
        subject, source = f"file/{entry['path']}", f"stat of {entry['path']}"
        if "problem" in entry:
            return base.error(subject, problem_of(entry), expected=self.expected, source=source)
        actual = f"{base.show(entry['user'])}:{base.show(entry['group'])} ({entry['uid']}:{entry['gid']})"
        if engine_uid != 0 and entry["uid"] == engine_uid:
            actual += ": the socket of an engine that runs without root, as this user"
            return base.not_applicable(subject, expected=self.expected, actual=actual, source=source)
        ok = entry["uid"] == 0 and (entry["gid"] == 0 or entry["group"] in self.groups)
        return base.verdict(subject, ok, expected=self.expected, actual=actual, source=source)
