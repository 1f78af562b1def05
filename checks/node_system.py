"""``node_system``: whether a cluster has nodes of an operating system; a guard for what only exists there."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.facts.kubernetes import KINDS, Objects
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, Status
from checks.base import error
from checks.workloads import at

NODES = Objects("nodes")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSystem:
    """At least one node runs this operating system, in the words of its kubelet: ``linux`` or ``windows``."""

    name: str

    def needs(self) -> frozenset[Fact]:
        """Return the nodes."""
        return frozenset((NODES,))

    def evaluate(self, facts: Facts) -> Outcome:
        """Return one observation about all nodes; no node at all is missing evidence."""
        answer = facts.get(NODES)
        if answer == []:
            answer = Problem(Reason.ABSENT, "not one node was listed")
        if isinstance(answer, Problem):
            return Outcome((error("cluster/nodes", answer, source=f"GET {KINDS['nodes'].path}"),))
        systems = [str(at(node, "status.nodeInfo.operatingSystem") or "?") for node in answer]
        expected, source = f"a node runs {self.name}", "status.nodeInfo.operatingSystem"
        unknown = Problem(Reason.UNPARSABLE, "a node doesn't say what it runs")
        if self.name in systems:
            actual = f"{systems.count(self.name)} of {len(systems)} nodes do"
            return Outcome((Observation("cluster/nodes", Status.PASS, expected, actual, source),))
        if "?" in systems:
            return Outcome((error("cluster/nodes", unknown, expected=expected, source=source),))
        actual = f"every node ({len(systems)}) runs {', '.join(sorted(set(systems)))}"
        return Outcome((Observation("cluster/nodes", Status.FAIL, expected, actual, source),))
