"""``swarm``: a rule for engines that are members of a swarm."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from auditor.facts import swarm as facts_of
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, problem_of
from checks import base, engines
from checks.swarm_keys import Autolock, NodeCertificate, RootCa, UnlockKey
from checks.swarm_member import WORKER, Member, Rule
from checks.swarm_network import EncryptedOverlays, ListenAddress, SeparatePlanes
from checks.swarm_objects import ManagerCount, ServiceSecrets

_FACT = facts_of.Swarm()


@dataclass(frozen=True, slots=True, kw_only=True)
class Swarm:
    """Every engine that is a member of a swarm must satisfy one rule; the others are not applicable.

    What only a manager knows is not applicable on a worker. A member that is locked, still joining or without a quorum tells
    nothing about its swarm: that is an error, never a pass.
    """

    autolock: Autolock | None = None
    encrypted_overlays: EncryptedOverlays | None = None
    listen_address: ListenAddress | None = None
    manager_count: ManagerCount | None = None
    node_certificate: NodeCertificate | None = None
    root_ca: RootCa | None = None
    separate_planes: SeparatePlanes | None = None
    service_secrets: ServiceSecrets | None = None
    unlock_key: UnlockKey | None = None

    def __post_init__(self) -> None:
        if len(self._rules()) != 1:
            raise ValueError("give exactly one rule: " + ", ".join(f.name for f in dataclasses.fields(self)))

    def _rules(self) -> list[Rule]:
        return [r for f in dataclasses.fields(self) if (r := getattr(self, f.name)) is not None]

    def needs(self) -> frozenset[Fact]:
        """The swarm, and what the rule reads beside it."""
        return frozenset({_FACT}) | self._rules()[0].needs()

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every engine."""
        (rule,) = self._rules()
        found = facts.get(_FACT)
        if isinstance(found, Problem):
            return Outcome((base.error("daemon/dockerd", found, source="docker info: Swarm"),))
        observations: list[Observation] = []
        reasons: list[str] = []
        for entry in found:
            suffix = f"@{entry['engine']}" if len(found) > 1 else ""
            engine = engines.EngineFacts(entry["engine"], entry.get("pid"), suffix, facts)
            judged = _judge(rule, engine, entry)
            if isinstance(judged, str):
                reasons.append(judged)
            else:
                observations += judged
        return engines.conclude(observations, reasons)


def _judge(rule: Rule, engine: engines.EngineFacts, entry: dict[str, Any]) -> list[Observation] | str:
    subject, source = f"daemon/dockerd{engine.suffix}", "docker info: Swarm"
    if "problem" in entry:
        return [base.error(subject, problem_of(entry), source=source)]
    member = Member(engine, entry["data"])
    info = member.info
    state = info["LocalNodeState"]
    if state == "inactive":
        return "the engine is not a member of a swarm"
    if state == "locked" and isinstance(rule, Autolock):
        return rule.judge_locked(member)
    if state != "active":
        said = f" ({base.short(str(info['Error']))})" if info.get("Error") else ""
        return [base.error(subject, Problem(Reason.ABSENT, f"the swarm's state on this engine is {state}{said}"), source=source)]
    if rule.asks == "manager":
        if not member.manager:
            others = [m.get("NodeID") for m in info.get("RemoteManagers") or ()]
            if info.get("NodeID") not in others:
                return WORKER
            return [base.error(subject, Problem(Reason.ABSENT, "the engine is a manager that has no control now"), source=source)]
        # Without a quorum the engine answers with a cluster of zeros, in which autolock is "false".
        if info.get("Error") or not (info.get("Cluster") or {}).get("ID"):
            said = base.short(str(info.get("Error") or "it names no cluster"))
            return [base.error(subject, Problem(Reason.ABSENT, f"the manager can't tell about its swarm: {said}"), source=source)]
    return rule.judge(member)
