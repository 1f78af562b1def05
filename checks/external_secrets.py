"""``external_secrets``: whether secrets come from a store outside of the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.facts.kubernetes import KINDS, Objects
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, Status
from checks.base import error, manual
from checks.rbac_rules import listed
from checks.workloads import WORKLOAD_FACTS, id_of, workloads

DRIVER = "secrets-store.csi.k8s.io"
SYNCED = ("externalsecrets", "externalsecrets-v1beta1", "vaultstaticsecrets", "vaultdynamicsecrets")
DRIVERS = Objects("csidrivers")
EXPECTED = "secrets come from a store outside of the cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalSecrets:
    """An operator or CSI driver for external secrets is there and in use: pass, with what was seen.

    Nothing seen: whether the cluster should have one is the site's decision, so that a person is asked; fail where the site has
    decided so with ``required``.
    """

    required: bool = False

    def needs(self) -> frozenset[Fact]:
        """Return the objects of known operators, the CSI drivers, and what mounts their volumes."""
        return WORKLOAD_FACTS | {DRIVERS, *map(Objects, SYNCED)}

    def evaluate(self, facts: Facts) -> Outcome:
        """Return one observation for each way that is in use, or one that says that none was seen."""
        errors: list[Observation] = []
        found: list[Observation] = []
        seen: set[tuple[str, str]] = set()
        for kind in SYNCED:
            plain = kind.partition("-")[0]
            objects = self._read(facts, kind, errors, addon=True)
            fresh = {id_of(o) for o in objects} - (seen if plain == "externalsecrets" else set())
            seen |= fresh if plain == "externalsecrets" else set()
            if fresh:
                actual = f"{len(fresh)} {plain} in {listed(sorted({n for n, _ in fresh}))}"
                found.append(Observation(f"cluster/{plain}", Status.PASS, EXPECTED, actual, f"GET {KINDS[kind].path}"))
        driver = any(id_of(o)[1] == DRIVER for o in self._read(facts, "csidrivers", errors, addon=False))
        work = workloads(facts)
        users = sorted(
            {i.subject for i in work.work if any(v.get("csi", {}).get("driver") == DRIVER for v in i.spec.get("volumes", ()))}
        )
        errors += [*work.errors, *work.unreadable]
        if driver and users:
            actual = f"the CSI driver {DRIVER} gives volumes to {listed(users)}"
            found.append(Observation(f"csidriver/{DRIVER}", Status.PASS, EXPECTED, actual, "CSIDriver and volumes"))
        if found:
            return Outcome(tuple(found))
        if errors:
            return Outcome(tuple(errors))
        actual = f"the CSI driver {DRIVER} is installed, but no volume uses it" if driver else "no sign of one"
        source = "objects of External Secrets, Vault Secrets Operator and the secrets store CSI driver"
        if self.required:
            return Outcome((Observation("cluster/secrets", Status.FAIL, EXPECTED, actual, source),))
        question = (
            f"{actual}: has the site weighed one against secrets in etcd? (the parameter required says that it must be there)"
        )
        return Outcome((manual("cluster/secrets", expected=EXPECTED, actual=question, source=source),))

    def _read(self, facts: Facts, kind: str, errors: list[Observation], *, addon: bool) -> list[dict[str, Any]]:
        answer = facts.get(Objects(kind))
        if isinstance(answer, Problem):
            if not (addon and answer.reason is Reason.ABSENT):
                errors.append(error(f"cluster/{kind}", answer, source=f"GET {KINDS[kind].path}"))
            return []
        return answer  # type: ignore[no-any-return]
