"""``unused_namespace``: nobody puts anything into the namespace that commands fall back to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auditor.facts.kubernetes import KINDS, Objects
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Status
from checks.base import error
from checks.rbac_rules import is_bootstrap
from checks.workloads import WORKLOAD_FACTS, WORKLOADS_AND_PODS, controller_of, id_of

NAMESPACE = "default"
ALSO = ("serviceaccounts", "roles", "rolebindings", "default/services", "default/configmaps", "default/persistentvolumeclaims",
        "default/ingresses", "default/horizontalpodautoscalers", "default/poddisruptionbudgets")  # fmt: skip
#: The role and the binding by which an account may look into the namespace for an audit (``auditor privileges``).
LOOKING = "cis-auditor"
_LOOKED_AT = frozenset((kind.group, kind.resource) for kind in KINDS.values() if kind.namespace == NAMESPACE)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedNamespace:
    """The namespace ``default`` holds nothing but what the ``system`` puts there, as ``kind/name`` (``service/kubernetes``).

    Network policies, quotas and limits guard a namespace and are no use of it, nor are the role and the binding that let the
    auditor look into it, as long as they allow nothing else. Secrets and objects of extensions are not read.
    """

    system: tuple[str, ...]

    def needs(self) -> frozenset[Fact]:
        """Return what runs, and the other kinds that are looked for."""
        return WORKLOAD_FACTS | frozenset(map(Objects, ALSO))

    def evaluate(self, facts: Facts) -> Outcome:
        """Return an observation for each object that somebody put there; unreadable kinds are errors."""
        kinds = (*WORKLOADS_AND_PODS, *ALSO)
        expected = f"only {', '.join(self.system)}"
        found: list[Observation] = []
        errors: list[Observation] = []
        read: list[str] = []
        here: dict[tuple[str, str], Observation] = {}
        owners: dict[tuple[str, str], tuple[str, str]] = {}
        for kind in kinds:
            answer = facts.get(Objects(kind))
            plural = kind.rpartition("/")[2]
            if isinstance(answer, Problem):
                errors.append(error(f"cluster/{plural}", answer, source=f"GET {KINDS[kind].path}"))
                continue
            read.append(plural)
            for item in answer:
                namespace, name = id_of(item)
                built_in = kind in ("roles", "rolebindings") and name.startswith("system:")
                word = _singular(plural)
                if namespace != NAMESPACE or f"{word}/{name}" in self.system or (built_in and is_bootstrap(item)):
                    continue
                if name == LOOKING and _only_looks(kind, item, facts):
                    continue
                if owner := controller_of(item):
                    owners[word, name] = (owner["kind"].lower(), owner["name"])
                actual = f"somebody's {word}"
                here[word, name] = Observation(
                    f"{word}/{NAMESPACE}/{name}", Status.FAIL, expected, actual, f"GET {KINDS[kind].path}"
                )
        # What a controller made goes with what is named already.
        found = [o for key, o in here.items() if owners.get(key) not in here]
        if not found and not errors:
            actual = f"nothing else among {', '.join(read)}; Secrets and objects of extensions are not read"
            found.append(Observation(f"namespace/{NAMESPACE}", Status.PASS, expected, actual, "objects of the namespace"))
        return Outcome((*errors, *found))


def _only_looks(kind: str, item: Mapping[str, Any], facts: Facts) -> bool:
    """Return whether this is the role that lets the auditor list what it looks for there, or the binding to it."""
    if kind == "roles":
        rules = item.get("rules") or ()
        return bool(rules) and all(_lists(rule) for rule in rules)
    role = item.get("roleRef", {})
    if kind != "rolebindings" or (role.get("kind"), role.get("name")) != ("Role", LOOKING):
        return False
    roles = facts.get(Objects("roles"))
    same = [r for r in roles if id_of(r) == (NAMESPACE, LOOKING)] if isinstance(roles, list) else []
    return bool(same) and all(_only_looks("roles", r, facts) for r in same)


def _lists(rule: Mapping[str, Any]) -> bool:
    asked = {(g, r) for g in rule.get("apiGroups") or () for r in rule.get("resources") or ()}
    return rule.get("verbs") == ["list"] and bool(asked) and asked <= _LOOKED_AT and not rule.get("nonResourceURLs")


def _singular(plural: str) -> str:
    return plural[:-2] if plural.endswith("sses") else plural.removesuffix("s")
