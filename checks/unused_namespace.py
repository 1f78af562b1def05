"""``unused_namespace``: nobody puts anything into the namespace that commands fall back to."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.facts.kubernetes import KINDS, Objects
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Status
from checks.base import error
from checks.rbac_rules import is_bootstrap
from checks.workloads import WORKLOAD_FACTS, WORKLOADS_AND_PODS, controller_of, id_of

NAMESPACE = "default"
ALSO = ("serviceaccounts", "roles", "rolebindings", "default/services", "default/configmaps", "default/persistentvolumeclaims",
        "default/ingresses", "default/horizontalpodautoscalers", "default/poddisruptionbudgets")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedNamespace:
    """The namespace ``default`` holds nothing but what the ``system`` puts there, as ``kind/name`` (``service/kubernetes``).

    Network policies, quotas and limits guard a namespace and are no use of it. Secrets and objects of extensions are not read.
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


def _singular(plural: str) -> str:
    return plural[:-2] if plural.endswith("sses") else plural.removesuffix("s")
