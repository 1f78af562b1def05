"""``network_plugin``: the pod network enforces network policies, told from the DaemonSets that make it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.facts.kubernetes import KINDS, Objects, Server
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Status
from checks.base import error, manual
from checks.workloads import at, id_of

DAEMONSETS = Objects("daemonsets")
EXPECTED = "a network plugin that enforces network policies runs on every node"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlugin:
    """A plugin, known by the names of containers in its DaemonSet: one of ``containers``."""

    name: str
    containers: tuple[str, ...]
    ask: str = ""  # of one that may enforce policies: what decides that


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlugins:
    """One of the ``enforcing`` plugins is ready on all its nodes: pass. Only those ``without`` policies: fail.

    A plugin of ``depends`` (unless an enforcing one runs beside it), one that isn't ready everywhere, and none that is known, are
    left to a person. ``distributions`` bring a network of their own: a part of the server's version and what to ask there.
    """

    enforcing: tuple[NetworkPlugin, ...]
    without: tuple[NetworkPlugin, ...]
    depends: tuple[NetworkPlugin, ...] = ()
    distributions: tuple[NetworkPlugin, ...] = ()

    def needs(self) -> frozenset[Fact]:
        """Return the DaemonSets and the server's version."""
        return frozenset((DAEMONSETS, Server()))

    def evaluate(self, facts: Facts) -> Outcome:
        """Return an observation for each plugin that was found, or one that says what runs instead."""
        answer = facts.get(DAEMONSETS)
        if isinstance(answer, Problem):
            return Outcome((error("cluster/daemonsets", answer, source=f"GET {KINDS['daemonsets'].path}"),))
        found = [(p, item) for p in self.enforcing for item in answer if _is(p, item)]
        if found:
            return Outcome(tuple(_enforcing(p, item) for p, item in found))
        asked = [(p, item) for p in self.depends for item in answer if _is(p, item)]
        if asked:
            return Outcome(tuple(_asking(p, item) for p, item in asked))
        server = facts.get(Server())
        version = "" if isinstance(server, Problem) else str(server.get("gitVersion", ""))
        for distribution in self.distributions:
            if any(mark in version for mark in distribution.containers):
                actual = f"{distribution.name} ({version}): {distribution.ask}"
                return Outcome((manual("cluster/network", expected=EXPECTED, actual=actual, source="GET /version"),))
        lacking = [(p, item) for p in self.without for item in answer if _is(p, item)]
        if lacking:
            return Outcome(tuple(_lacking(p, item) for p, item in lacking))
        names = ", ".join(sorted("/".join(id_of(item)) for item in answer)[:20]) or "none"
        actual = f"no known network plugin among the DaemonSets ({names}): which one runs, and does it enforce policies?"
        return Outcome((manual("cluster/network", expected=EXPECTED, actual=actual, source="DaemonSets"),))


def _is(plugin: NetworkPlugin, item: dict[str, Any]) -> bool:
    names = {c.get("name") for c in at(item, "spec.template.spec.containers") or ()}
    return bool(names & set(plugin.containers))


def _subject(item: dict[str, Any]) -> str:
    return "daemonset/" + "/".join(id_of(item))


def _enforcing(plugin: NetworkPlugin, item: dict[str, Any]) -> Observation:
    wanted, ready = at(item, "status.desiredNumberScheduled") or 0, at(item, "status.numberReady") or 0
    actual = f"{plugin.name}, which enforces policies, is ready on {ready} of {wanted} nodes"
    if ready and ready >= wanted:
        return Observation(_subject(item), Status.PASS, EXPECTED, actual, "DaemonSet")
    return manual(_subject(item), expected=EXPECTED, actual=f"{actual}: is the network of the others policed?", source="DaemonSet")


def _asking(plugin: NetworkPlugin, item: dict[str, Any]) -> Observation:
    return manual(_subject(item), expected=EXPECTED, actual=f"{plugin.name}: {plugin.ask}", source="DaemonSet")


def _lacking(plugin: NetworkPlugin, item: dict[str, Any]) -> Observation:
    actual = f"{plugin.name}, which enforces no policies, and no plugin that does"
    return Observation(_subject(item), Status.FAIL, EXPECTED, actual, "DaemonSet")
