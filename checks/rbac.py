"""``rbac``: who holds dangerous permissions in a cluster, and through which binding.

Rules are matched as the RBAC authorizer matches them (k8s.io/kubernetes/pkg/apis/rbac/v1/evaluation_helpers.go): ``*`` stands for
every verb, group or resource, subresources included; ``*/scale`` is that subresource of every resource; ``pods/*`` matches
nothing. Aggregated ClusterRoles hold their collected rules already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from auditor.facts.kubernetes import KINDS, Objects
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, Status
from checks.base import error

Role = tuple[str, str, str]  # kind, namespace (of a Role), name
Verdict = Literal["pass", "fail", "manual"]

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

    ``cluster_scoped`` resources lie in no namespace, so that a RoleBinding can't grant them.
    """

    verbs: tuple[str, ...]
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    cluster_scoped: bool = False

    def __post_init__(self) -> None:
        if not self.verbs or bool(self.urls) == bool(self.resources) or bool(self.api_groups) != bool(self.resources):
            raise ValueError("give verbs, and either api_groups with resources or urls")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExemptSubjects:
    """Subjects that may hold the permission, and why. Every condition given must hold.

    ``names`` and ``bindings`` are exact, or end in one ``*``; no ``bindings`` means any. With ``bootstrap`` the binding must also
    carry the label of the built-in ones. Groups that stand for no one in particular (`broad`) are never exempt.
    """

    because: str
    kind: Literal["User", "Group", "ServiceAccount"]
    names: tuple[str, ...]
    namespace: str = ""
    bindings: tuple[str, ...] = ()
    bootstrap: bool = False

    def __post_init__(self) -> None:
        _require_patterns((*self.names, *self.bindings))
        if (self.kind == "ServiceAccount") != bool(self.namespace):
            raise ValueError("a service account, and nothing else, has a namespace")
        for name in self.names:
            if whom := broad(self.kind, name):
                raise ValueError(f"{self.kind} {name} is {whom} and can't be exempt")

    def covers(self, subject: dict[str, Any], binding: dict[str, Any]) -> bool:
        """Return whether a binding's subject is meant."""
        return (
            subject.get("kind") == self.kind
            and (self.kind != "ServiceAccount" or subject.get("namespace") == self.namespace)
            and _like(subject.get("name", ""), self.names)
            and (not self.bindings or _like(_name(binding), self.bindings))
            and (not self.bootstrap or _bootstrap(binding))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExemptRoles:
    """Roles that may hold wildcards, and why; with ``bootstrap`` only where they carry the label of the built-in ones."""

    because: str
    names: tuple[str, ...]
    bootstrap: bool = False

    def __post_init__(self) -> None:
        _require_patterns(self.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundSubjects:
    """Subjects that must not be named in bindings; no ``namespace`` means service accounts of every namespace."""

    kind: Literal["User", "Group", "ServiceAccount"]
    names: tuple[str, ...]
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rbac:
    """Bindings and roles against one question, exactly one of these.

    * ``grants``: no subject but the exempt ones is granted any of these permissions, cluster-wide or in a namespace. What a rule
      narrows to named objects counts as ``named_objects`` says;
    * ``role``: no subject but the exempt ones is bound to this ClusterRole, or to any role with a rule ``*/*/*``;
    * ``wildcards``: no role but the exempt ones has ``*`` among the verbs or resources of a rule. One that nothing binds, or
      that has a lesser wildcard (any API group, ``*/subresource``, a URL), is left to a person;
    * ``bound``: these subjects stand in no binding but the exempt ones.
    """

    grants: tuple[Permission, ...] = ()
    role: str = ""
    wildcards: bool = False
    bound: tuple[BoundSubjects, ...] = ()
    named_objects: Verdict = "fail"
    exempt: tuple[ExemptSubjects, ...] = ()
    exempt_roles: tuple[ExemptRoles, ...] = ()

    def __post_init__(self) -> None:
        if sum(map(bool, (self.grants, self.role, self.wildcards, self.bound))) != 1:
            raise ValueError("give exactly one of grants, role, wildcards, bound")

    def needs(self) -> frozenset[Fact]:
        """Return the bindings and, unless only their subjects matter, the roles."""
        return frozenset(Objects(k) for k in (BINDINGS if self.bound else (*BINDINGS, *ROLES)))

    def evaluate(self, facts: Facts) -> Outcome:
        """Return an observation for each binding (or role) that answers the question; unreadable kinds are errors."""
        read = _Read(facts, BINDINGS if self.bound else (*BINDINGS, *ROLES))
        found = list(self._roles(read) if self.wildcards else self._bindings(read))
        if not found and not read.errors:
            counts = ", ".join(f"{len(objects)} {kind}" for kind, objects in read.objects.items())
            found.append(Observation("cluster/rbac", Status.PASS, self._expected(), f"none among {counts}", "RBAC objects"))
        return Outcome((*read.errors, *found))

    def _expected(self) -> str:
        if self.wildcards:
            return "no * in the verbs or resources of a role"
        if self.role:
            return f"only exempt subjects reach {self.role}"
        if self.bound:
            return "not named in a binding: " + ", ".join(f"{b.kind} {n}" for b in self.bound for n in b.names)
        return "only exempt subjects may " + "; ".join(_permission(p) for p in self.grants)

    # Bindings

    def _bindings(self, read: _Read) -> Iterator[Observation]:
        granted: dict[tuple[Role, bool], _Grant] = {}
        for kind, binding in read.bindings():
            cluster_wide = kind == "clusterrolebindings"
            role = _role_ref(binding)
            if (role, cluster_wide) not in granted:
                granted[role, cluster_wide] = self._grant(role, read.rules.get(role, ()), cluster_wide=cluster_wide)
            grant = granted[role, cluster_wide]
            if grant and (observation := self._observe(kind, binding, role, grant)):
                yield observation

    def _grant(self, role: Role, rules: Iterable[dict[str, Any]], *, cluster_wide: bool) -> _Grant:
        grant = _Grant()
        if self.bound:
            grant.whole["a role"] = {"bound": None}
        elif self.role:
            if role == ("ClusterRole", "", self.role) or any(_everything(r) for r in rules):
                grant.whole["everything"] = {"*": None}
        else:
            for rule in rules:
                for permission in self.grants:
                    if cluster_wide or not (permission.cluster_scoped or permission.urls):
                        grant.add(rule, permission)
        return grant

    def _observe(self, kind: str, binding: dict[str, Any], role: Role, grant: _Grant) -> Observation | None:
        subjects = [s for s in binding.get("subjects", ()) if self._asked(s)]
        if not subjects:
            return None
        allowed = [(s, self._exemption(s, binding)) for s in subjects]
        rest = [s for s, because in allowed if because is None]
        status = Status.FAIL if rest else Status.PASS
        if rest and not grant.whole and not any(broad(s.get("kind", ""), s.get("name", "")) for s in rest):
            status = Status(self.named_objects)
        namespace = binding.get("metadata", {}).get("namespace", "")
        where = "cluster-wide" if kind == "clusterrolebindings" else f"in namespace {namespace}"
        parts = [f"{_listed(_subject(s) for s in rest)}: {grant} {where}, by {role[0]} {role[2]}"] if rest else []
        exempt = [f"{_subject(s)} ({because})" for s, because in allowed if because is not None]
        if exempt:
            parts.append(f"exempt: {_listed(exempt)}" + ("" if rest else f": {grant} {where}, by {role[0]} {role[2]}"))
        word = kind.removesuffix("s")
        subject = f"{word}/{namespace}/{_name(binding)}" if namespace else f"{word}/{_name(binding)}"
        return Observation(subject, status, self._expected(), "; ".join(parts), f"{word}: roleRef, subjects")

    def _asked(self, subject: dict[str, Any]) -> bool:
        return not self.bound or any(
            subject.get("kind") == b.kind
            and subject.get("name") in b.names
            and (not b.namespace or subject.get("namespace") == b.namespace)
            for b in self.bound
        )

    def _exemption(self, subject: dict[str, Any], binding: dict[str, Any]) -> str | None:
        if broad(subject.get("kind", ""), subject.get("name", "")):
            return None
        return next((e.because for e in self.exempt if e.covers(subject, binding)), None)

    # Roles

    def _roles(self, read: _Read) -> Iterator[Observation]:
        holders: dict[Role, list[str]] = {}
        for kind, binding in read.bindings():
            if subjects := binding.get("subjects"):
                to = _listed(_subject(s) for s in subjects)
                holders.setdefault(_role_ref(binding), []).append(f"{kind.removesuffix('s')} {_name(binding)} to {to}")
        unread = [k for k in BINDINGS if k not in read.objects]
        for kind in ROLES:
            for role in read.objects.get(kind, ()):
                namespace = role.get("metadata", {}).get("namespace", "")
                name: Role = ("ClusterRole" if kind == "clusterroles" else "Role", namespace, _name(role))
                hits, lesser = _wildcards(role)
                if hits or lesser:
                    yield self._role(role, name, hits or lesser, holders.get(name, []), unread, lesser=not hits)

    def _role(
        self, role: dict[str, Any], name: Role, hits: list[str], by: list[str], unread: list[str], *, lesser: bool
    ) -> Observation:
        because = next(
            (e.because for e in self.exempt_roles if _like(name[2], e.names) and (not e.bootstrap or _bootstrap(role))), None
        )
        bound = f"bound by {_listed(by)}" if by else "bound to nobody"
        status = Status.FAIL
        if because is not None:
            status, bound = Status.PASS, f"exempt: {because}"
        elif not by and unread:
            status, bound = Status.ERROR, f"whether it is bound is unknown: {' and '.join(unread)} could not be read"
        elif not by or lesser:
            status = Status.MANUAL
        subject = f"role/{name[1]}/{name[2]}" if name[1] else f"clusterrole/{name[2]}"
        return Observation(subject, status, self._expected(), f"{_listed(hits, '; ')}; {bound}", f"{name[0]}: rules")


@dataclass(slots=True)
class _Grant:
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
        _, slash, sub = resource.partition("/")
        matching = {"*", resource, f"*/{sub}"} if slash else {"*", resource}
        if not matching & set(rule.get("resources", ())):
            return
        shown = f"{resource}.{group}" if group else resource
        names = rule.get("resourceNames", ())
        if not names:
            self.whole.setdefault(shown, {}).update(dict.fromkeys(verbs))
            return
        # A request to create or to delete a collection carries no name, so such a rule never allows it.
        named = [v for v in verbs if slash or v not in ("create", "deletecollection")]
        if named:
            self.named.setdefault(f"{shown} named {_listed(names)}", {}).update(dict.fromkeys(named))


class _Read:
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
        for kind, word in (("clusterroles", "ClusterRole"), ("roles", "Role")):
            for role in self.objects.get(kind, ()):
                self.rules[word, role.get("metadata", {}).get("namespace", ""), _name(role)] = role.get("rules", [])

    def bindings(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (kind, binding) for all bindings that could be read."""
        for kind in BINDINGS:
            for binding in self.objects.get(kind, ()):
                yield kind, binding


def _role_ref(binding: dict[str, Any]) -> Role:
    ref = binding.get("roleRef", {})
    namespace = binding.get("metadata", {}).get("namespace", "") if ref.get("kind") == "Role" else ""
    return ref.get("kind", ""), namespace, ref.get("name", "")


def _everything(rule: dict[str, Any]) -> bool:
    return all("*" in rule.get(k, ()) for k in ("apiGroups", "resources", "verbs")) and not rule.get("resourceNames")


def _wildcards(role: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the rules with ``*`` in verbs or resources, and those with a lesser wildcard, in words."""
    hits: dict[str, None] = {}
    lesser: dict[str, None] = {}
    for rule in role.get("rules", ()):
        groups, resources, verbs, urls = (rule.get(k, []) for k in ("apiGroups", "resources", "verbs", "nonResourceURLs"))
        what = f"{', '.join(resources)} in {', '.join(g or 'core' for g in groups)}" if resources else ", ".join(urls)
        text = f"{', '.join(verbs)} on {what}"
        if "*" in verbs or "*" in resources:
            hits[text] = None
        elif "*" in groups or any(r.startswith("*/") for r in resources) or {"*", "/*"} & set(urls):
            lesser[text] = None
    return list(hits), list(lesser)


def _permission(p: Permission) -> str:
    things = p.urls or [f"{r}.{g}" if g else r for g in p.api_groups for r in p.resources]
    return f"{', '.join(p.verbs)} {', '.join(things)}"


def _subject(subject: dict[str, Any]) -> str:
    kind, name = subject.get("kind", "?"), subject.get("name", "?")
    shown = f"{kind} {subject['namespace']}/{name}" if subject.get("namespace") else f"{kind} {name}"
    whom = broad(kind, name)
    return f"{shown} ({whom})" if whom else shown


def _listed(items: Iterable[str], separator: str = ", ") -> str:
    found = list(items)
    rest = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return separator.join(found[:SHOWN]) + rest


def _name(item: dict[str, Any]) -> str:
    return str(item.get("metadata", {}).get("name", ""))


def _bootstrap(item: dict[str, Any]) -> bool:
    return bool(item.get("metadata", {}).get("labels", {}).get(BOOTSTRAP[0]) == BOOTSTRAP[1])


def _like(name: str, patterns: Iterable[str]) -> bool:
    return any(name == p or (p.endswith("*") and name.startswith(p[:-1])) for p in patterns)


def _require_patterns(patterns: Iterable[str]) -> None:
    for pattern in patterns:
        if "*" in pattern[:-1] or pattern in ("", "*"):
            raise ValueError(f"{pattern!r}: a name is exact or ends in one *, and is never * alone")
