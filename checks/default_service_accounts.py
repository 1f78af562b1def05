"""``default_service_accounts``: the account that every pod gets unless it names another holds nothing and gives away nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.facts.kubernetes import KINDS, Objects
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Status
from checks.base import error, outcome
from checks.namespace import NAMESPACES, exempted, read_namespaces
from checks.rbac_rules import BINDINGS, ReadRbac, accounts, is_bootstrap, listed, name_of, role_ref, subject_text
from checks.workloads import WORKLOAD_FACTS, workloads

ACCOUNTS = Objects("serviceaccounts")
EXPECTED = "automountServiceAccountToken false, bound to no role"
DISCOVERY = "system:service-account-issuer-discovery"  # built in; every service account may read where tokens come from


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultServiceAccounts:
    """In every namespace but the exempt ones the service account ``default`` mounts no token and is bound to no role.

    Bindings to it as a user, and to the groups of service accounts, count; not the built-in one that lets service accounts read the
    token issuer's keys. With ``unused`` no pod may run as it either.
    """

    unused: bool = False
    exempt_namespaces: tuple[str, ...] = ()

    def needs(self) -> frozenset[Fact]:
        """Return service accounts, namespaces and bindings; what runs, with ``unused``."""
        facts: frozenset[Fact] = frozenset((ACCOUNTS, NAMESPACES, *map(Objects, BINDINGS)))
        return facts | WORKLOAD_FACTS if self.unused else facts

    def evaluate(self, facts: Facts) -> Outcome:
        """Return an observation for each namespace; what could not be read is an error."""
        rbac = ReadRbac(facts, BINDINGS)
        observations = list(rbac.errors)
        namespaces, answer = read_namespaces(facts), facts.get(ACCOUNTS)
        if isinstance(namespaces, Problem):
            observations.append(error("cluster/namespaces", namespaces, source="GET /api/v1/namespaces"))
        if isinstance(answer, Problem):
            observations.append(error("cluster/serviceaccounts", answer, source=f"GET {KINDS['serviceaccounts'].path}"))
        users, unread = self._users(facts) if self.unused else ({}, [])
        observations.extend(unread)
        if isinstance(namespaces, Problem) or isinstance(answer, Problem):
            return outcome(observations, "")
        defaults = {a["metadata"].get("namespace", ""): a for a in answer if name_of(a) == "default"}
        bound = _bound(rbac)
        incomplete = bool(rbac.errors or unread)
        for namespace in sorted(map(name_of, namespaces)):
            if namespace in self.exempt_namespaces:
                observations.append(exempted(namespace, EXPECTED))
                continue
            found = [*bound.get(namespace, ()), *bound.get("*", ())]
            observations.append(_judge(namespace, defaults.get(namespace), found, users.get(namespace, {}), incomplete=incomplete))
        return outcome(observations, "the cluster has no namespace")

    def _users(self, facts: Facts) -> tuple[dict[str, dict[str, None]], list[Observation]]:
        found: dict[str, dict[str, None]] = {}
        work = workloads(facts)
        for item in work.work:
            if item.account == "default" and not item.static:
                found.setdefault(item.namespace, {})[item.subject] = None
        return found, [*work.errors, *work.unreadable]


def _bound(rbac: ReadRbac) -> dict[str, list[str]]:
    """Return the bindings of default accounts in words, by the accounts' namespace; ``*`` for those of all."""
    found: dict[str, list[str]] = {}
    for kind, binding in rbac.bindings():
        if is_bootstrap(binding) and name_of(binding) == DISCOVERY:
            continue
        for subject in binding.get("subjects", ()):
            namespace, name = accounts(subject)
            if name in ("default", "*"):
                inside = binding.get("metadata", {}).get("namespace", "")
                where = f"{kind.removesuffix('s')} {inside + '/' if inside else ''}{name_of(binding)}"
                role = role_ref(binding)
                found.setdefault(namespace, []).append(f"{where} gives {role[0]} {role[2]} to {subject_text(subject)}")
    return found


def _judge(
    namespace: str, account: dict[str, Any] | None, bound: list[str], users: dict[str, None], *, incomplete: bool
) -> Observation:
    subject, source = f"serviceaccount/{namespace}/default", "ServiceAccount and bindings"
    if account is None:
        actual = "there is no such account now; the controller makes one for every namespace"
        return Observation(subject, Status.FAIL if bound else Status.ERROR, EXPECTED, listed([*bound, actual], "; "), source)
    mounted = account.get("automountServiceAccountToken")
    parts = [] if mounted is False else ["automountServiceAccountToken " + ("true" if mounted else "unset, so true")]
    parts += [f"{listed(bound, '; ')}"] if bound else []
    parts += [f"used by {listed(users)}"] if users else []
    if parts:
        return Observation(subject, Status.FAIL, EXPECTED, "; ".join(parts), source)
    if incomplete:
        return Observation(subject, Status.ERROR, EXPECTED, "no token is mounted; not everything else could be read", source)
    return Observation(subject, Status.PASS, EXPECTED, "no token is mounted, no binding names it", source)
