"""``pod_admission``: something decides what pods may be made in every namespace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.model import Fact, Facts, Observation, Outcome, Problem, Status
from checks.base import error, outcome, show
from checks.namespace import NAMESPACES, exempted, read_namespaces
from checks.pod_policies import POLICY_FACTS, UNSEEN, PodPolicies, api_servers
from checks.policy_rules import NODE
from checks.rbac_rules import listed
from checks.workload import ENFORCE, describe_level, enforced

EXPECTED = "enforces baseline or restricted, or another policy refuses pods"
CONFIG_FILE = "admission-control-config-file"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAdmission:
    """Every namespace but the exempt ones enforces a Pod Security level above privileged by its label: pass.

    That counts where Kubernetes checks it (1.23 and later). One passes too whose policies surely refuse all that gives away the
    node: privileged containers, the node's namespaces and paths.
    Where neither holds, a policy or webhook that sees its pods, or an API server whose configuration may set a default, leaves the
    namespace to a person; so does an API server that can't be seen. Where none of these can be, it fails.
    """

    exempt_namespaces: tuple[str, ...] = ()

    def needs(self) -> frozenset[Fact]:
        """Return the namespaces, what sees new pods, and the API servers' flags."""
        return POLICY_FACTS | {NAMESPACES}

    def evaluate(self, facts: Facts) -> Outcome:
        """Return an observation for each namespace; what could not be read is an error where the verdict hangs on it."""
        namespaces = read_namespaces(facts)
        if isinstance(namespaces, Problem):
            return Outcome((error("cluster/namespaces", namespaces, source="GET /api/v1/namespaces"),))
        policies, servers = PodPolicies(facts), api_servers(facts)
        default = "" if isinstance(servers, Problem) else _cluster_default(servers)
        off = policies.switched_off
        observations: list[Observation] = []
        undecided = False
        for item in namespaces:
            metadata: dict[str, Any] = item.get("metadata", {})
            name, labels = metadata.get("name", ""), metadata.get("labels", {})
            if name in self.exempt_namespaces:
                observations.append(exempted(name, EXPECTED, describe_level(labels)))
                continue
            actual, others = describe_level(labels) + (f", but {off}" if off else ""), policies.of(name, labels)
            by = policies.refusing(name, labels, NODE)
            if enforced(labels) in ("baseline", "restricted") and not off:
                status = Status.PASS
                if policies.unseen and not by:
                    status, actual, undecided = Status.ERROR, f"{actual}; {UNSEEN}", True
            elif by:
                status, actual = Status.PASS, f"{actual}; what gives away the node is refused by {listed(by)}"
            elif others:
                status, actual = Status.MANUAL, f"{actual}; new pods are seen by {show(others)}: what do they refuse?"
            elif policies.errors or isinstance(servers, Problem):
                status, actual, undecided = Status.ERROR, f"{actual}; what else may refuse pods could not be read", True
            elif default and ENFORCE not in labels and not off:
                status, actual = Status.MANUAL, f"{actual}; no policy or webhook sees its pods; {default}"
            else:
                status, actual = Status.FAIL, f"{actual}; nothing else refuses pods"
            observations.append(Observation(f"namespace/{name}", status, EXPECTED, actual, f"label {ENFORCE}"))
        if undecided:
            observations.extend(policies.errors)
            if isinstance(servers, Problem):
                observations.append(error("cluster/apiservers", servers, source="static pods in kube-system"))
            if policies.unseen and policies.unseen not in observations:
                observations.append(policies.unseen)
        return outcome(observations, "the cluster has no namespace")


def _cluster_default(servers: list[dict[str, Any]]) -> str:
    """Return why the cluster may have a default level of its own; nothing where it can have none."""
    if not servers:
        return "the API server isn't a pod here, so that a default of the cluster can't be seen"
    for server in servers:
        name, flags = server["name"], server.get("flags")
        if flags is None:
            return f"the flags of {name} can't be read ({server.get('unreadable', '')})"
        if CONFIG_FILE in flags:
            return f"does {flags[CONFIG_FILE]} on the control plane ({name}) set a default?"
    return ""
