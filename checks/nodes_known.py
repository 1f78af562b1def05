"""``nodes_known``: the hosts that stand for a cluster's nodes are its nodes, and were audited."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.facts.sides import Sides
from auditor.model import Fact, Facts, Outcome, Problem, Reason
from checks import base


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesKnown:
    """Each host that the inventory names under a cluster is one of its nodes; one observation a host.

    A host that could not be audited is an error: what only it could show is missing.
    """

    def needs(self) -> frozenset[Fact]:
        """Both sides of every node."""
        return frozenset({Sides()})

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every host that is named."""
        sides = facts.get(Sides())
        if isinstance(sides, Problem):
            return Outcome((base.error("cluster/nodes", sides, source="inventory"),))
        found = []
        for host in sides["hosts"]:
            subject, expected, source = (
                f"host/{host['target']}",
                "a node of this cluster, audited",
                "inventory, nodes of the cluster",
            )
            if host["error"] is not None:
                problem = Problem(Reason.UNREACHABLE, host["error"])
                found.append(base.error(subject, problem, expected=expected, source=source))
            else:
                ok = host["node"] is not None
                actual = f"node/{host['node']}" if ok else "no node of the cluster has its name or address"
                found.append(base.verdict(subject, ok, expected=expected, actual=actual, source=source))
        return base.outcome(found, "the inventory names no host as a node of this cluster")
