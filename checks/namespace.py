"""``namespace``: what every namespace must have (or, among some, must not)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from auditor.facts.kubernetes import KINDS, Objects
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, Status
from checks.base import error, outcome, show, verdict
from checks.expectation import Expect

NAMESPACES = Objects("namespaces")


def read_namespaces(facts: Facts) -> list[dict[str, Any]] | Problem:
    """Return the namespaces; none at all is missing evidence, since a cluster always has its own."""
    answer = facts.get(NAMESPACES)
    if answer == []:
        return Problem(Reason.ABSENT, "not one namespace was listed, though every cluster has some")
    return answer


def exempted(name: str, expected: str, more: str = "") -> Observation:
    """Return the observation of a namespace that a control's own list leaves out: shown, not hidden."""
    actual = "exempt: the control lists this namespace" + (f"; {more}" if more else "")
    return Observation(f"namespace/{name}", Status.NOT_APPLICABLE, expected, actual, "exempt_namespaces")


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """Every namespace but the exempt ones (or just those of ``only``) is as expected. Exactly one of

    * ``count``: how many objects of these kinds it has together. ``or_kinds`` are kinds of network plugins that do as well:
      where there is no such plugin they count nothing; a cluster-wide object among them leaves the namespace to a person,
      since what it selects isn't read;
    * ``label``: the value of its label.
    """  # noqa: D415

    expect: Expect
    count: tuple[str, ...] = ()
    or_kinds: tuple[str, ...] = ()
    label: str = ""
    only: tuple[str, ...] = ()
    exempt_namespaces: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.count) == bool(self.label) or (self.or_kinds and not self.count):
            raise ValueError("give either count (and or_kinds) or label")
        for kind in (*self.count, *self.or_kinds):
            if kind not in KINDS:
                raise ValueError(f"{kind!r} is no known kind; known: {', '.join(sorted(KINDS))}")

    def needs(self) -> frozenset[Fact]:
        """Return the namespaces and what is counted in them."""
        return frozenset((NAMESPACES, *map(Objects, (*self.count, *self.or_kinds))))

    def evaluate(self, facts: Facts) -> Outcome:
        """Return an observation for each namespace; kinds that could not be read are errors."""
        namespaces = read_namespaces(facts)
        if isinstance(namespaces, Problem):
            return Outcome((error("cluster/namespaces", namespaces, source="GET /api/v1/namespaces"),))
        observations: list[Observation] = []
        seen = _Seen(facts, self.count, self.or_kinds)
        for item in namespaces:
            metadata = item.get("metadata", {})
            name = metadata.get("name", "")
            if self.only and name not in self.only:
                continue
            if name in self.exempt_namespaces:
                observations.append(exempted(name, self._expected()))
            elif self.label:
                value = metadata.get("labels", {}).get(self.label)
                observations.append(verdict(f"namespace/{name}", self.expect.holds(value), expected=self._expected(),
                                            actual=show(value), source=f"label {self.label}"))  # fmt: skip
            else:
                observations.append(self._counted(name, seen))
        undecided = any(o.status is Status.ERROR for o in observations)
        errors = [*seen.errors, *(seen.plugin_errors if undecided else ())]
        return outcome([*errors, *observations], "the cluster has no such namespace")

    def _expected(self) -> str:
        return f"{self.label}: {self.expect.describe()}" if self.label else f"{self.expect.describe()} of {', '.join(self.count)}"

    def _counted(self, name: str, seen: _Seen) -> Observation:
        subject, kinds = f"namespace/{name}", f"all {', '.join(seen.counts)}" if seen.counts else "nothing"
        number = sum(count[name] for count in seen.counts.values())
        having = [f"{count[name]} {kind}" for kind, count in seen.counts.items() if count[name]]
        actual = ", ".join(having) or "none"
        if seen.missing:
            # With more of them the verdict could turn, unless enough were seen already.
            status = Status.PASS if self.expect.at_least is not None and self.expect.holds(number) else Status.ERROR
            return Observation(subject, status, self._expected(), f"{actual}, as far as could be read", kinds)
        if not self.expect.holds(number) and seen.cluster_wide and self.expect.at_least is not None:
            actual += f"; cluster-wide {', '.join(seen.cluster_wide)} may select it"
            return Observation(subject, Status.MANUAL, self._expected(), actual, kinds)
        return verdict(subject, self.expect.holds(number), expected=self._expected(), actual=actual, source=kinds)


class _Seen:
    """Objects a namespace by kind, and what could not be read."""

    def __init__(self, facts: Facts, kinds: tuple[str, ...], plugin_kinds: tuple[str, ...]) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.cluster_wide: list[str] = []
        self.missing = False
        self.errors: list[Observation] = []
        self.plugin_errors: list[Observation] = []  # these matter only where a namespace has nothing else
        for kind in (*kinds, *plugin_kinds):
            answer = facts.get(Objects(kind))
            if isinstance(answer, Problem):
                if kind in plugin_kinds and answer.reason is Reason.ABSENT:
                    continue
                self.missing = True
                errors = self.plugin_errors if kind in plugin_kinds else self.errors
                errors.append(error(f"cluster/{kind}", answer, source=f"GET {KINDS[kind].path}"))
                continue
            self.counts[kind] = Counter()
            for item in answer:
                metadata = item.get("metadata", {})
                if metadata.get("namespace"):
                    self.counts[kind][metadata["namespace"]] += 1
                else:
                    self.cluster_wide.append(f"{kind} {metadata.get('name', '')}")
