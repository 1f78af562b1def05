"""Rules of roles matched as the RBAC authorizer matches them, and what bindings grant.

``*`` stands for every verb, group or resource, subresources included; ``*/scale`` is that subresource of every resource; ``pods/*``
in a role matches nothing (k8s.io/kubernetes/pkg/apis/rbac/v1/evaluation_helpers.go). Aggregated ClusterRoles hold their collected
rules already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from auditor.facts.kubernetes import KINDS, Objects
from auditor.model import Facts, Observation, Problem, Reason
from checks.base import error

Role: TypeAlias = tuple[str, str, str]  # kind, namespace (of a Role), name

BINDINGS = ("clusterrolebindings", "rolebindings")
ROLES = ("clusterroles", "roles")
BOOTSTRAP = ("kubernetes.io/bootstrapping", "rbac-defaults")
SHOWN = 40


def broad(kind: str, name: str) -> str:
    """Return in words whom a subject stands for when that is no one in particular, else nothing. Never exempt."""
    if kind == "User" and name == "system:anonymous":
        return "anyone, without logging in"
    if kind != "Group":
        return ""
    if name.startswith("system:serviceaccounts:"):
        return "every service account of a namespace"
    return {"system:authenticated": "everyone who can log in", "system:unauthenticated": "anyone, without logging in",
            "system:serviceaccounts": "every service account"}.get(name, "")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What must not be granted: any of ``verbs`` on any of ``resources`` of ``api_groups``, or on any of ``urls``.

    ``cluster_scoped`` resources lie in no namespace, so that a RoleBinding can't grant them. A resource ``name/*`` means any
    subresource of it.
    """

    verbs: tuple[str, ...]
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    cluster_scoped: bool = False

    def __post_init__(self) -> None:
        if not self.verbs or bool(self.urls) == bool(self.resources) or bool(self.api_groups) != bool(self.resources):
            raise ValueError("give verbs, and either api_groups with resources or urls")


@dataclass(slots=True)
class Grant:
    """What a role grants of what was asked: resource -> verbs, without and with a restriction to named objects."""

    whole: dict[str, dict[str, None]] = field(default_factory=dict)
    named: dict[str, dict[str, None]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.whole or self.named)

    def __str__(self) -> str:
        if "a role" in self.whole:
            return "bound"
        if "everything" in self.whole:
            return "may do everything"
        groups: dict[str, list[str]] = {}
        for resource, verbs in (*self.whole.items(), *self.named.items()):
            groups.setdefault(", ".join(verbs), []).append(resource)
        return "may " + "; ".join(f"{verbs} {', '.join(resources)}" for verbs, resources in groups.items())

    def add(self, rule: dict[str, Any], permission: Permission) -> None:
        """Add what one rule grants of one permission."""
        have = rule.get("verbs", ())
        verbs = [v for v in permission.verbs if v in have or "*" in have]
        if not verbs:
            return
        for url in permission.urls:
            if any(u in ("*", url) or (u.endswith("*") and url.startswith(u[:-1])) for u in rule.get("nonResourceURLs", ())):
                self.whole.setdefault(url, {}).update(dict.fromkeys(verbs))
        for group in permission.api_groups:
            if {"*", group} & set(rule.get("apiGroups", ())):
                for resource in permission.resources:
                    self._add(rule, group, resource, verbs)

    def _add(self, rule: dict[str, Any], group: str, resource: str, verbs: list[str]) -> None:
        above, slash, sub = resource.partition("/")
        matching = {"*", resource, f"*/{sub}"} if slash else {"*", resource}
        have = set(rule.get("resources", ()))
        if sub == "*":  # asked for any subresource; in a role this word matches nothing
            matching = {"*", *(r for r in have if r.startswith((f"{above}/", "*/")) and not r.endswith("/*"))}
        if not matching & have:
            return
        shown = f"{resource}.{group}" if group else resource
        names = rule.get("resourceNames", ())
        if not names or "" in names:  # a request for all objects, or for a new one, carries the empty name
            self.whole.setdefault(shown, {}).update(dict.fromkeys(verbs))
            return
        # A request to create or to delete a collection carries no name, so such a rule never allows it.
        named = [v for v in verbs if slash or v not in ("create", "deletecollection")]
        if named:
            self.named.setdefault(f"{shown} named {listed(names)}", {}).update(dict.fromkeys(named))


class ReadRbac:
    """The RBAC objects that could be read, and an error for each kind that could not."""

    def __init__(self, facts: Facts, kinds: tuple[str, ...]) -> None:
        self.objects: dict[str, list[dict[str, Any]]] = {}
        self.errors: list[Observation] = []
        for kind in kinds:
            answer = facts.get(Objects(kind))
            if kind == "clusterrolebindings" and answer == []:
                answer = Problem(
                    Reason.ABSENT, "not one ClusterRoleBinding was listed, though every cluster with RBAC has built-in ones"
                )
            if isinstance(answer, Problem):
                self.errors.append(error(f"cluster/{kind}", answer, source=f"GET {KINDS[kind].path}"))
            else:
                self.objects[kind] = answer
        self.rules: dict[Role, list[dict[str, Any]]] = {}
        self.aggregated = {name_of(r) for r in self.objects.get("clusterroles", ()) if r.get("aggregationRule")}
        for kind, word in (("clusterroles", "ClusterRole"), ("roles", "Role")):
            for role in self.objects.get(kind, ()):
                self.rules[word, role.get("metadata", {}).get("namespace", ""), name_of(role)] = role.get("rules", [])

    def role_text(self, role: Role) -> str:
        """Return a role in words."""
        more = " (put together from other roles)" if role[0] == "ClusterRole" and role[2] in self.aggregated else ""
        return f"{role[0]} {role[2]}{more}"

    def dangling(self) -> Iterator[str]:
        """Yield in words the bindings that name a role which isn't there, as far as roles could be read."""
        read = {word for kind, word in (("clusterroles", "ClusterRole"), ("roles", "Role")) if kind in self.objects}
        for kind, binding in self.bindings():
            role = role_ref(binding)
            if role[0] in read and role not in self.rules and binding.get("subjects"):
                to = listed(subject_text(s) for s in binding["subjects"])
                yield f"{kind.removesuffix('s')} {name_of(binding)} of {role[0]} {role[2]} to {to}"

    def bindings(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (kind, binding) for all bindings that could be read."""
        for kind in BINDINGS:
            for binding in self.objects.get(kind, ()):
                yield kind, binding


def role_ref(binding: dict[str, Any]) -> Role:
    """Return the role that a binding names."""
    ref = binding.get("roleRef", {})
    namespace = binding.get("metadata", {}).get("namespace", "") if ref.get("kind") == "Role" else ""
    return ref.get("kind", ""), namespace, ref.get("name", "")


def subject_text(subject: dict[str, Any]) -> str:
    """Return a binding's subject in words."""
    kind, name = subject.get("kind", "?"), subject.get("name", "?")
    shown = f"{kind} {subject['namespace']}/{name}" if subject.get("namespace") else f"{kind} {name}"
    whom = broad(kind, name)
    return f"{shown} ({whom})" if whom else shown


def listed(items: Iterable[str], separator: str = ", ") -> str:
    """Return at most `SHOWN` items, saying how many more there are."""
    found = list(items)
    rest = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return separator.join(found[:SHOWN]) + rest


def name_of(item: dict[str, Any]) -> str:
    """Return an object's name."""
    return str(item.get("metadata", {}).get("name", ""))


def is_bootstrap(item: dict[str, Any]) -> bool:
    """Return whether an object carries the label of the built-in ones."""
    return bool(item.get("metadata", {}).get("labels", {}).get(BOOTSTRAP[0]) == BOOTSTRAP[1])


def accounts(subject: dict[str, Any]) -> tuple[str, str]:
    """Return (namespace, name) of the service accounts that a binding's subject stands for, ``*`` for all; empty for none.

    A service account is also a user and a member of groups, and may be bound as such.
    """
    kind, name = subject.get("kind", ""), str(subject.get("name", ""))
    if kind == "ServiceAccount":
        return str(subject.get("namespace", "")), name
    parts = name.split(":")
    if kind == "User" and parts[:2] == ["system", "serviceaccount"] and len(parts) == 4:
        return parts[2], parts[3]
    if kind == "Group" and parts[:2] == ["system", "serviceaccounts"] and len(parts) <= 3:
        return (parts[2] if len(parts) == 3 else "*"), "*"
    return "", ""
