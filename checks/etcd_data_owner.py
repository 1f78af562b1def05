"""``etcd_data_owner``: who owns the folder that the datastore keeps its data in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.facts.host import Files, Processes
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, Status
from checks import base, running
from checks.file_question import needs
from checks.files import FileOwner

_FILE = Files(node="etcd-data")


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdDataOwner:
    """The data folder belongs to ``user``:``group``, or to the account without root's rights that etcd runs as."""

    user: str = "etcd"
    group: str = "etcd"

    @property
    def _expected(self) -> str:
        return f"{self.user}:{self.group}, or the account without root's rights that etcd runs as"

    def needs(self) -> frozenset[Fact]:
        """The folder and the running programs."""
        return needs(_FILE) | {Processes()}

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge the folder of every running etcd."""
        # What isn't an owner (nothing found, denied, an etcd without a folder) is said there.
        known = FileOwner(file=_FILE).evaluate(facts)
        answer, instances = facts.get(_FILE), running.instances(facts, "etcd")
        if isinstance(answer, Problem):
            return known
        unknown = None
        if isinstance(instances, Outcome):
            unknown = next((o.actual for o in instances.observations if o.status is Status.ERROR), None)
            instances = []
        accounts = {i.uid for i in instances}
        entries = {f"file/{e['path']}": e for e in answer["files"] if "problem" not in e}
        return Outcome(
            tuple(self._judge(o, entries[o.subject], accounts, unknown) if o.subject in entries else o for o in known.observations),
            known.reason,
        )

    def _judge(self, told: Observation, entry: dict[str, Any], accounts: set[int], unknown: str | None) -> Observation:
        """Judge one folder; ``unknown`` says why the accounts that etcd runs as are not known."""
        uid, gid = entry["uid"], entry["gid"]
        if min(uid, gid) < 0:
            return base.error(told.subject, Problem(Reason.UNPARSABLE, "its owner could not be read"), expected=self._expected)
        ok = (entry["user"], entry["group"]) == (self.user, self.group) and uid != 0
        note = ""
        if not ok and uid != 0 and gid != 0 and unknown:
            detail = f"it belongs to {uid}:{gid}, and whether etcd runs as that account isn't known: {unknown}"
            return base.error(told.subject, Problem(Reason.ABSENT, detail), expected=self._expected)
        if not ok and uid != 0 and gid != 0 and accounts == {uid}:
            ok, note = True, "; etcd runs as that account"
        elif not ok and accounts:
            note = f"; etcd runs as uid {', '.join(map(str, sorted(accounts)))}"
        actual = f"{base.show(entry['user'])}:{base.show(entry['group'])} ({uid}:{gid}){note}"
        return base.verdict(told.subject, ok=ok, expected=self._expected, actual=actual, source=told.source)
