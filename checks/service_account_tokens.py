"""``service_account_tokens``: a pod gets a token for the API only where its service account has something to do there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from auditor.facts.kubernetes import KINDS, Objects
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Status
from checks.base import error, outcome
from checks.namespace import NAMESPACES, exempted, read_namespaces
from checks.rbac_rules import BINDINGS, ReadRbac, accounts, listed, name_of
from checks.workloads import (
    WORKLOAD_FACTS,
    Work,
    exempt_workload,
    id_of,
    require_workload_patterns,
    workloads,
)

ACCOUNTS = Objects("serviceaccounts")
EXPECTED = "a token only where the service account is bound to a role"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccountTokens:
    """No workload but the exempt ones gets a token that its service account has no use for.

    The pod's automountServiceAccountToken counts, else that of its account, else true. Need is told from bindings: the account
    is named in one, or its namespace's group of service accounts is; the account ``default`` never needs a token. Static pods
    get none. ``needed`` are accounts that a site knows to need theirs, as ``namespace/name``.
    """

    needed: tuple[str, ...] = ()
    exempt_namespaces: tuple[str, ...] = ()
    exempt_workloads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_workload_patterns(self.exempt_workloads)

    def needs(self) -> frozenset[Fact]:
        """Return what runs, the service accounts, and the bindings."""
        return WORKLOAD_FACTS | {NAMESPACES, ACCOUNTS, *map(Objects, BINDINGS)}

    def evaluate(self, facts: Facts) -> Outcome:
        """Return an observation for each workload with a token it has no use for, and for each namespace."""
        rbac, work = ReadRbac(facts, BINDINGS), workloads(facts)
        errors = [*rbac.errors, *work.errors]
        namespaces, answer = read_namespaces(facts), facts.get(ACCOUNTS)
        if isinstance(namespaces, Problem):
            errors.append(error("cluster/namespaces", namespaces, source="GET /api/v1/namespaces"))
            namespaces = []
        if isinstance(answer, Problem):
            errors.append(error("cluster/serviceaccounts", answer, source=f"GET {KINDS['serviceaccounts'].path}"))
        mounting = None if isinstance(answer, Problem) else {id_of(a): a.get("automountServiceAccountToken") for a in answer}
        bound = {accounts(s) for _, b in rbac.bindings() for s in b.get("subjects", ())}
        bound |= {(n, a) for n, _, a in (entry.partition("/") for entry in self.needed)}
        seen: dict[str, _Seen] = {}
        for item in work.work:
            if not item.static:
                here = seen.setdefault(item.namespace, _Seen())
                self._judge(item, here, mounting, bound, bindings_unread=bool(rbac.errors))
        errors += work.unreadable
        observations: list[Observation] = list(errors)
        for name in sorted({*map(name_of, namespaces), *seen}):
            here = seen.get(name, _Seen())
            if name in self.exempt_namespaces:
                observations.append(exempted(name, EXPECTED, f"{len(here.failing)} of its workloads" if here.failing else ""))
            else:
                observations.extend(here.observations(name, self.exempt_workloads, incomplete=bool(errors)))
        return outcome(observations, "the cluster has no namespace")

    def _judge(
        self, item: Work, here: _Seen, mounting: dict[tuple[str, str], Any] | None, bound: set[tuple[str, str]],
        *, bindings_unread: bool,
    ) -> None:  # fmt: skip
        account, who = (item.namespace, item.account), f"service account {item.account}"
        own = item.spec.get("automountServiceAccountToken")
        if own is None and (mounting is None or account not in mounting):
            here.unknown[item.subject] = f"{who} could not be read, and the pod doesn't say whether it gets a token"
            return
        effective, source = (own, "pod") if own is not None else (mounting[account] if mounting else None, who)
        if effective is False:
            here.without += item.count
        elif item.account != "default" and (account in bound or (item.namespace, "*") in bound):
            here.using[item.subject] = None
        elif item.account != "default" and bindings_unread:
            here.unknown[item.subject] = f"a token is mounted; whether {who} has a use for it is unknown"
        else:
            said = f"automountServiceAccountToken true ({source})" if effective else "automountServiceAccountToken unset, so true"
            why = "which is for no workload in particular" if item.account == "default" else "which no binding names"
            here.failing[item.subject] = f"{said}; {who}, {why}"


@dataclass(slots=True)
class _Seen:
    """The workloads of one namespace: without a token (counted), with one they have a use for, with one they don't, and unknown."""

    without: int = 0
    using: dict[str, None] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)

    def observations(self, name: str, exempt: tuple[str, ...], *, incomplete: bool) -> list[Observation]:
        """Return the observations about a namespace."""
        source, found, failed = "pods, service accounts, bindings", [], False
        for subject, actual in sorted(self.failing.items()):
            listed_here = exempt_workload(subject, exempt)
            failed = failed or not listed_here
            status, why = (Status.NOT_APPLICABLE, "exempt: the control lists this workload; ") if listed_here else (Status.FAIL, "")
            found.append(Observation(subject, status, EXPECTED, why + actual, "exempt_workloads" if listed_here else source))
        found += [
            Observation(s, Status.ERROR, EXPECTED, a, source) for s, a in sorted(self.unknown.items()) if s not in self.failing
        ]
        if not failed and not self.unknown:
            actual = f"bound to a role: {listed(self.using)}" if self.using else "no workload gets a token"
            status = Status.ERROR if incomplete else Status.PASS
            actual += "; not everything could be read" if incomplete else ""
            found.append(Observation(f"namespace/{name}", status, EXPECTED, actual, source))
        return found
