"""``etcd_peers``: what only matters to a datastore of several members."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from auditor.model import Check, Fact, Facts, Observation, Outcome, Problem, Status
from checks import base, running
from checks.expectation import Expect
from checks.loopback import is_loopback
from checks.running import Instance
from checks.setting import FileSource, Setting

_ANY = Expect(set=True)


def _setting(name: str) -> Setting:
    return Setting(process="etcd", flag=f"--{name}", env="ETCD_" + name.upper().replace("-", "_"), key=name, type="text",
                   file=FileSource(from_flag="--config-file", from_env="ETCD_CONFIG_FILE"), file_overrides=True,
                   expect=_ANY)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdPeers:
    """``check`` must hold for every etcd that has other members to talk to.

    A failure stays one where ``initial-cluster`` names several members. It doesn't apply where peers can reach this member on no
    address but the host's own. Where one member is named and others could have joined later, a person decides.
    """

    check: Check

    def needs(self) -> frozenset[Fact]:
        """What the check needs, and what tells the members."""
        return self.check.needs() | _setting("initial-cluster").needs()

    def evaluate(self, facts: Facts) -> Outcome:
        """Return the check's observations, its failures as what they mean for this member."""
        outcome = self.check.evaluate(facts)
        found = running.instances(facts, "etcd")
        if outcome.status is not Status.FAIL or isinstance(found, Outcome):
            return outcome
        instances = {i.subject: i for i in found}
        return Outcome(tuple(self._seen(facts, o, instances.get(o.subject)) for o in outcome.observations), outcome.reason)

    def _seen(self, facts: Facts, observation: Observation, instance: Instance | None) -> Observation:
        if observation.status is not Status.FAIL or instance is None:
            return observation
        members = self._members(facts, instance)
        if isinstance(members, Problem):
            return base.error(instance.subject, members, expected=observation.expected, source=f"initial-cluster of {instance}")
        if members > 1:
            return replace(observation, actual=f"{observation.actual} ({members} members)")
        if self._alone(facts, instance):
            alone = "peers can reach it on this host alone, so it is the only member"
            return base.not_applicable(instance.subject, expected=observation.expected, actual=f"{observation.actual}; {alone}",
                                       source=observation.source)  # fmt: skip
        asked = "initial-cluster names this member only; it applies if others joined later (etcdctl member list tells)"
        return base.manual(instance.subject, expected=observation.expected, actual=f"{observation.actual}; {asked}",
                           source=observation.source)  # fmt: skip

    def _members(self, facts: Facts, instance: Instance) -> int | Problem:
        found = _setting("initial-cluster").find(facts, instance)
        if isinstance(found, Problem):
            return found
        named = [part.partition("=")[0].strip() for part in str(found.value or "").split(",") if part.strip()]
        return len(set(named)) or 1

    def _alone(self, facts: Facts, instance: Instance) -> bool:
        """Whether nobody from outside can be a peer: etcd's own default is http://localhost:2380."""
        found = _setting("listen-peer-urls").find(facts, instance)
        if isinstance(found, Problem):
            return False
        hosts = [urlsplit(url.strip()).hostname or "" for url in str(found.value or "http://localhost:2380").split(",")]
        return all(is_loopback(host) is True for host in hosts)
