"""What may keep pods out of a namespace besides Pod Security: policies and webhooks that see pods before they are made.

What a policy's expression or a webhook really refuses can't be told from here. So these never make a control pass: they are named
to the person who has to decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from auditor.facts.kubernetes import KINDS, Objects
from auditor.model import Fact, Facts, Observation, Problem, Reason
from checks.base import error

_ADDONS = ("validatingadmissionpolicies", "validatingadmissionpolicybindings", "securitycontextconstraints")
_KINDS = ("validatingwebhookconfigurations", *_ADDONS)

API_SERVERS = Objects("apiservers")

#: Every fact that `PodPolicies` reads.
POLICY_FACTS: frozenset[Fact] = frozenset((API_SERVERS, *map(Objects, _KINDS)))


class PodPolicies:
    """Policies and webhooks by what they select. ``errors`` for what could not be read: then none of the answers is complete.

    ``switched_off`` says in words that an API server doesn't check Pod Security at all, so that the labels mean nothing; it is
    empty where they don't say so, or can't be seen.
    """

    def __init__(self, facts: Facts) -> None:
        self.errors: list[Observation] = []
        self.switched_off = ""
        servers = facts.get(API_SERVERS)
        for server in [] if isinstance(servers, Problem) else servers:
            if "PodSecurity" in server.get("flags", {}).get("disable-admission-plugins", ()):
                self.switched_off = f"the API server {server['metadata']['name']} has the plugin PodSecurity switched off"
        read: dict[str, list[dict[str, Any]]] = {}
        for kind in _KINDS:
            answer = facts.get(Objects(kind))
            if isinstance(answer, Problem):
                if kind not in _ADDONS or answer.reason is not Reason.ABSENT:
                    self.errors.append(error(f"cluster/{kind}", answer, source=f"GET {KINDS[kind].path}"))
                answer = []
            read[kind] = answer
        self._selecting: list[tuple[str, list[Any]]] = []
        self._bindings(read)
        for configuration in read["validatingwebhookconfigurations"]:
            self._selecting.extend(
                (f"webhook {hook.get('name', '?')}", [hook.get("namespaceSelector")])
                for hook in configuration.get("webhooks", ())
                if sees_new_pods(hook.get("rules", ()))
            )
        if read["securitycontextconstraints"]:
            self._selecting.append(("security context constraints (OpenShift)", []))

    def _bindings(self, read: dict[str, list[dict[str, Any]]]) -> None:
        policies = {p.get("metadata", {}).get("name"): p.get("spec", {}) for p in read["validatingadmissionpolicies"]}
        for binding in read["validatingadmissionpolicybindings"]:
            spec = binding.get("spec", {})
            policy = policies.get(spec.get("policyName"))
            if policy is None or "Deny" not in spec.get("validationActions", ()):
                continue
            own, narrowed = policy.get("matchConstraints", {}), spec.get("matchResources", {})
            if sees_new_pods(own.get("resourceRules", ())) and (
                not narrowed.get("resourceRules") or sees_new_pods(narrowed["resourceRules"])
            ):
                name = f"ValidatingAdmissionPolicy {spec['policyName']} (binding {binding.get('metadata', {}).get('name', '?')})"
                self._selecting.append((name, [own.get("namespaceSelector"), narrowed.get("namespaceSelector")]))

    def of(self, labels: dict[str, str]) -> list[str]:
        """Return in words what sees new pods of a namespace with these labels and may refuse them."""
        return [name for name, selectors in self._selecting if all(selects(s, labels) for s in selectors)]


def sees_new_pods(rules: Iterable[dict[str, Any]]) -> bool:
    """Return whether admission rules cover the making of pods."""
    return any(
        {"*", ""} & set(rule.get("apiGroups", ()))
        and {"*", "v1"} & set(rule.get("apiVersions", ("*",)))
        and {"*", "CREATE"} & set(rule.get("operations", ()))
        and {"*", "*/*", "pods"} & set(rule.get("resources", ()))
        and rule.get("scope", "*") in ("*", "Namespaced")
        for rule in rules
    )


def selects(selector: dict[str, Any] | None, labels: dict[str, str]) -> bool:
    """Return whether a label selector selects; none or an empty one selects everything.

    Raises ValueError for an operator that nobody knows.
    """
    if not selector:
        return True
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items()) and all(
        _holds(e, labels) for e in selector.get("matchExpressions", ())
    )


def _holds(expression: dict[str, Any], labels: dict[str, str]) -> bool:
    key, values = expression.get("key", ""), expression.get("values", ())
    match expression.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise ValueError(f"unknown operator {expression.get('operator')!r} in a label selector")
