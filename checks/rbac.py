"""``rbac``: who holds dangerous permissions in a cluster, and through which binding.

How rules are matched stands in `checks.rbac_rules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from auditor.facts.kubernetes import Objects
from auditor.model import Fact, Facts, Observation, Outcome, Status
from checks.rbac_rules import (
    BINDINGS,
    ROLES,
    Grant,
    Permission,
    ReadRbac,
    Role,
    broad,
    is_bootstrap,
    listed,
    name_of,
    role_ref,
    subject_text,
)

Verdict: TypeAlias = Literal["pass", "fail", "manual"]


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
            and (not self.bindings or _like(name_of(binding), self.bindings))
            and (not self.bootstrap or is_bootstrap(binding))
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

    ``allowed`` are a site's own exemptions beside ``exempt``, the built-in ones, which count unless ``built_in`` is false. With
    ``administrators`` those who may do everything by design are exempt too: `ADMINISTRATORS`.
    """

    grants: tuple[Permission, ...] = ()
    role: str = ""
    wildcards: bool = False
    bound: tuple[BoundSubjects, ...] = ()
    named_objects: Verdict = "fail"
    exempt: tuple[ExemptSubjects, ...] = ()
    allowed: tuple[ExemptSubjects, ...] = ()
    administrators: bool = False
    built_in: bool = True
    exempt_roles: tuple[ExemptRoles, ...] = ()
    allowed_roles: tuple[ExemptRoles, ...] = ()

    def __post_init__(self) -> None:
        if sum(map(bool, (self.grants, self.role, self.wildcards, self.bound))) != 1:
            raise ValueError("give exactly one of grants, role, wildcards, bound")

    def needs(self) -> frozenset[Fact]:
        """Return the bindings and, unless only their subjects matter, the roles."""
        return frozenset(Objects(k) for k in (BINDINGS if self.bound else (*BINDINGS, *ROLES)))

    def evaluate(self, facts: Facts) -> Outcome:
        """Return an observation for each binding (or role) that answers the question; unreadable kinds are errors."""
        read = ReadRbac(facts, BINDINGS if self.bound else (*BINDINGS, *ROLES))
        found = list(self._roles(read) if self.wildcards else self._bindings(read))
        if self.role and (dangling := list(read.dangling())):
            actual = f"bound to roles that aren't there, which grants nothing until somebody makes them: {listed(dangling, '; ')}"
            found.append(Observation("cluster/missing-roles", Status.PASS, self._expected(), actual, "roleRef of bindings"))
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

    def _bindings(self, read: ReadRbac) -> Iterator[Observation]:
        granted: dict[tuple[Role, bool], Grant] = {}
        for kind, binding in read.bindings():
            cluster_wide = kind == "clusterrolebindings"
            role = role_ref(binding)
            if (role, cluster_wide) not in granted:
                granted[role, cluster_wide] = self._grant(role, read.rules.get(role, ()), cluster_wide=cluster_wide)
            grant = granted[role, cluster_wide]
            if grant and (observation := self._observe(read, kind, binding, grant)):
                yield observation

    def _grant(self, role: Role, rules: Iterable[dict[str, Any]], *, cluster_wide: bool) -> Grant:
        grant = Grant()
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

    def _observe(self, read: ReadRbac, kind: str, binding: dict[str, Any], grant: Grant) -> Observation | None:
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
        how = f"{grant} {where}, by {read.role_text(role_ref(binding))}"
        parts = [f"{listed(subject_text(s) for s in rest)}: {how}"] if rest else []
        exempt = [f"{subject_text(s)} ({because})" for s, because in allowed if because is not None]
        if exempt:
            parts.append(f"exempt: {listed(exempt)}" + ("" if rest else f": {how}"))
        word = kind.removesuffix("s")
        subject = f"{word}/{namespace}/{name_of(binding)}" if namespace else f"{word}/{name_of(binding)}"
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
        every = (*(self.exempt if self.built_in else ()), *self.allowed, *(ADMINISTRATORS if self.administrators else ()))
        return next((e.because for e in every if e.covers(subject, binding)), None)

    # Roles

    def _roles(self, read: ReadRbac) -> Iterator[Observation]:
        holders: dict[Role, list[str]] = {}
        for kind, binding in read.bindings():
            if subjects := binding.get("subjects"):
                to = listed(subject_text(s) for s in subjects)
                holders.setdefault(role_ref(binding), []).append(f"{kind.removesuffix('s')} {name_of(binding)} to {to}")
        unread = [k for k in BINDINGS if k not in read.objects]
        for kind in ROLES:
            for role in read.objects.get(kind, ()):
                namespace = role.get("metadata", {}).get("namespace", "")
                name: Role = ("ClusterRole" if kind == "clusterroles" else "Role", namespace, name_of(role))
                hits, lesser = _wildcards(role)
                if hits or lesser:
                    yield self._role(role, name, hits or lesser, holders.get(name, []), unread, lesser=not hits)

    def _role(
        self, role: dict[str, Any], name: Role, hits: list[str], by: list[str], unread: list[str], *, lesser: bool
    ) -> Observation:
        because = next(
            (
                e.because
                for e in (*(self.exempt_roles if self.built_in else ()), *self.allowed_roles)
                if _like(name[2], e.names) and (not e.bootstrap or is_bootstrap(role))
            ),
            None,
        )
        bound = f"bound by {listed(by)}" if by else "bound to nobody"
        status = Status.FAIL
        if because is not None:
            status, bound = Status.PASS, f"exempt: {because}"
        elif not by and unread:
            status, bound = Status.ERROR, f"whether it is bound is unknown: {' and '.join(unread)} could not be read"
        elif not by or lesser:
            status = Status.MANUAL
        subject = f"role/{name[1]}/{name[2]}" if name[1] else f"clusterrole/{name[2]}"
        return Observation(subject, status, self._expected(), f"{listed(hits, '; ')}; {bound}", f"{name[0]}: rules")


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


def _like(name: str, patterns: Iterable[str]) -> bool:
    return any(name == p or (p.endswith("*") and name.startswith(p[:-1])) for p in patterns)


def _require_patterns(patterns: Iterable[str]) -> None:
    for pattern in patterns:
        if "*" in pattern[:-1] or pattern in ("", "*"):
            raise ValueError(f"{pattern!r}: a name is exact or ends in one *, and is never * alone")


#: Who may do everything in a cluster by design, with the binding that says so: of Kubernetes itself and of distributions.
ADMINISTRATORS = (
    ExemptSubjects(because="the built-in administrators' group", kind="Group", names=("system:masters",),
                   bindings=("cluster-admin",), bootstrap=True),
    ExemptSubjects(because="the administrators' group of kubeadm 1.29 and later", kind="Group",
                   names=("kubeadm:cluster-admins",), bindings=("kubeadm:cluster-admins",)),
    ExemptSubjects(because="the chart installer of K3s", kind="ServiceAccount", namespace="kube-system",
                   names=("helm-traefik", "helm-traefik-crd"),
                   bindings=("helm-kube-system-traefik", "helm-kube-system-traefik-crd")),
    ExemptSubjects(because="the chart installer of RKE2", kind="ServiceAccount", namespace="kube-system",
                   names=("helm-rke2-*",), bindings=("helm-kube-system-rke2-*",)),
)  # fmt: skip
