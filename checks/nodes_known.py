"""``nodes_known``: the hosts that stand for a cluster's nodes are its nodes, and were audited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auditor.facts.sides import Sides
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, Status
from checks import base


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesKnown:
    """Each host that the inventory names under a cluster is one of its nodes; one observation a host.

    A host that could not be audited is an error: what only it could show is missing. One that is no node is left out of the
    cluster's verdicts, unless it runs no kubelet: then it may be an etcd server or a control plane that is no node, which is a pass
    where it advertises what an API server names in ``--etcd-servers``, and else for a person to say (manual).
    """

    def needs(self) -> frozenset[Fact]:
        """Both sides of every node."""
        return frozenset({Sides()})

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every host that is named."""
        sides = facts.get(Sides())
        if isinstance(sides, Problem):
            return Outcome((base.error("cluster/nodes", sides, source="inventory"),))
        return base.outcome([_judge(h) for h in sides["hosts"]], "the inventory names no host as a node of this cluster")


def _judge(host: Mapping[str, Any]) -> Observation:
    subject, expected, source = f"host/{host['target']}", "a node of this cluster, audited", "inventory, nodes of the cluster"
    if host["error"] is not None:
        return Observation(subject, Status.ERROR, expected, host["error"], source)
    if host.get("unlisted"):
        problem = Problem(Reason.ABSENT, f"whether it is a node isn't known: {host['unlisted']}")
        return base.error(subject, problem, expected=expected, source=source)
    kubelet, serves, etcd = host.get("kubelet", True), ", ".join(host.get("serves", ())), host.get("etcd_of", "")
    if host["node"] is not None:
        actual = f"node/{host['node']}" + ("" if kubelet else ", but no kubelet runs there")
        return base.verdict(subject, ok=kubelet, expected=expected, actual=actual, source=source)
    if etcd:
        actual = f"no node, but the API server keeps its objects in the etcd there ({etcd})"
        more = f"{source}; --etcd-servers, --advertise-client-urls"
        return base.verdict(subject, ok=True, expected=expected, actual=actual, source=more)
    if serves and not kubelet:
        actual = f"runs {serves} and no kubelet, so the API doesn't know it as a node: does it belong to this cluster?"
        return base.manual(subject, expected=expected, actual=actual, source=source)
    actual = "no node of the cluster is this machine by its numbers, its name and its address: what it shows doesn't count here"
    return base.verdict(subject, ok=False, expected=expected, actual=actual, source=source)
