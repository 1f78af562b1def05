"""``namespace_use``: workloads are kept apart by namespaces."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.model import Fact, Facts, Observation, Outcome, Status
from checks.base import manual
from checks.rbac_rules import listed
from checks.workloads import WORKLOAD_FACTS, workloads

EXPECTED = "what doesn't belong together runs in namespaces of its own"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceUse:
    """Workloads run in namespaces that were made for them.

    All of the site's own in ``shared`` namespaces (default) or in those of the ``system``: fail. Otherwise only the site knows what
    belongs together: a person is shown what runs where, unless ``planned`` names the namespaces that are meant to hold
    workloads: then others that do fail. What runs in the system's namespaces is shown; whose it is can't be told.
    """

    shared: tuple[str, ...]
    system: tuple[str, ...]
    planned: tuple[str, ...] = ()

    def needs(self) -> frozenset[Fact]:
        """Return what runs."""
        return WORKLOAD_FACTS

    def evaluate(self, facts: Facts) -> Outcome:
        """Return an observation for each namespace that holds workloads."""
        work = workloads(facts)
        found: dict[str, set[str]] = {}
        for item in work.work:
            found.setdefault(item.namespace, set()).add(item.subject)
        errors = [*work.errors, *work.unreadable]
        own = {n: s for n, s in found.items() if n not in self.system}
        observations = list(errors)
        if not own and not errors:
            return Outcome((), "nothing runs outside of the system's namespaces")
        apart = bool(set(own) - set(self.shared))
        for name, subjects in sorted(found.items()):
            names = listed(sorted(s.replace(f"/{name}/", "/") for s in subjects))
            actual = f"{len(subjects)} workload{'s' if len(subjects) > 1 else ''}: {names}"
            subject = f"namespace/{name}"
            if name in self.system:
                more = "" if self.planned else ": are all of them the system's?"
                status = Status.NOT_APPLICABLE if self.planned else Status.MANUAL
                observations.append(Observation(subject, status, EXPECTED, actual + more, "pods and pod templates"))
            elif name in self.planned:
                observations.append(Observation(subject, Status.PASS, EXPECTED, f"planned; {actual}", "planned"))
            elif self.planned or (not apart and not errors):
                why = "not among the planned namespaces" if self.planned else "everything runs in a shared namespace"
                observations.append(Observation(subject, Status.FAIL, EXPECTED, f"{why}; {actual}", "pods and pod templates"))
            else:
                question = f"{actual}: do they belong together?"
                observations.append(manual(subject, expected=EXPECTED, actual=question, source="pods and pod templates"))
        return Outcome(tuple(observations))
