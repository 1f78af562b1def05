"""``workload``: a rule for pods, in both halves: does admission keep violations out, and does anything violate it now.

What counts as use stands in `checks.workloads`. Where admission blocks, a template can't become a pod, so there only
running pods count: they were let in before the namespace was labelled, or by an exemption, and still run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from auditor.model import Fact, Facts, Observation, Outcome, Problem, Status
from checks.base import error, outcome, show
from checks.namespace import NAMESPACES, exempted, read_namespaces
from checks.pod_condition import Condition
from checks.pod_policies import POLICY_FACTS, UNSEEN, PodPolicies
from checks.policy_rules import refusal
from checks.rbac_rules import listed
from checks.workloads import (
    NOT_IN_SHAPE,
    WORKLOAD_FACTS,
    Work,
    Workloads,
    exempt_workload,
    require_workload_patterns,
    workloads,
)

Level: TypeAlias = Literal["privileged", "baseline", "restricted"]

#: Pod Security levels, weakest first (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
LEVELS: tuple[str, ...] = ("privileged", "baseline", "restricted")
ENFORCE = "pod-security.kubernetes.io/enforce"
ENFORCE_VERSION = "pod-security.kubernetes.io/enforce-version"
SHOWN = 8


def enforced(labels: dict[str, str], since: int = 0) -> str:
    """Return the Pod Security level that a namespace's labels enforce: empty for none, or for one of before ``since``.

    ``since`` is the minor version that brought a rule into its level; a namespace may pin an older one.
    """
    level, version = labels.get(ENFORCE, ""), labels.get(ENFORCE_VERSION, "latest")
    pinned = re.fullmatch(r"v1\.([0-9]{1,3})", version)
    known = version == "latest" or (pinned is not None and int(pinned[1]) >= since)
    return level if level in LEVELS and known else ""


def describe_level(labels: dict[str, str]) -> str:
    """Return what a namespace's labels enforce, in words."""
    level, version = labels.get(ENFORCE), labels.get(ENFORCE_VERSION, "latest")
    text = f"enforces {show(level)}" + ("" if level is None or level in LEVELS else " (no such level)")
    return text if version == "latest" or level is None else f"{text} of version {version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Pods are as all ``conditions`` say; pods that declare Windows are left out with ``windows_exempt``.

    With ``min_level``, for every namespace but the exempt ones: its Pod Security label enforces at least this level, of minor
    version ``since`` or later, on a Kubernetes that checks it (1.23 and later) where no API server has the plugin switched off,
    or policies of known engines surely refuse what the conditions don't allow: pass, with what explains it. Not enforced and
    violated: fail. Not enforced and not violated: manual, since only the cluster's own default (which the API doesn't show) or
    another policy engine could keep violations out; those that see pods are named. Where such an engine sees pods, a template
    that no pod runs of is left to a person too. Without ``min_level`` only violations count. ``exempt_workloads`` are
    ``kind/namespace/name``, the name may end in one ``*``.
    """

    conditions: tuple[Condition, ...]
    min_level: Level | None = None
    since: int = 0
    windows_exempt: bool = False
    exempt_namespaces: tuple[str, ...] = ()
    exempt_workloads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.conditions:
            raise ValueError("give at least one condition")
        require_workload_patterns(self.exempt_workloads)

    def needs(self) -> frozenset[Fact]:
        """Return namespaces, pods and everything that has a pod template; what sees new pods where that matters."""
        return WORKLOAD_FACTS | {NAMESPACES} | (POLICY_FACTS if self.min_level else frozenset())

    def evaluate(self, facts: Facts) -> Outcome:
        """Return an observation for each namespace and for each violating workload; unreadable kinds are errors."""
        work = workloads(facts)
        uses = _Uses(self, work)
        admission = PodPolicies(facts) if self.min_level else None
        labels: dict[str, dict[str, str]] = {}
        errors = [*work.errors, *work.unreadable]
        namespaces = read_namespaces(facts)
        if isinstance(namespaces, Problem):
            errors.append(error("cluster/namespaces", namespaces, source="GET /api/v1/namespaces"))
        else:
            labels = {n["metadata"]["name"]: n["metadata"].get("labels", {}) for n in namespaces}
        incomplete, observations = bool(errors), list(errors)
        for name in sorted({*labels, *uses.namespaces}):
            observations.extend(self._namespace(name, labels.get(name), uses.of(name), admission, incomplete=incomplete))
        return outcome(list(dict.fromkeys(observations)), "the cluster has no namespace")

    def _namespace(
        self, name: str, labels: dict[str, str] | None, uses: list[_Use], admission: PodPolicies | None, *, incomplete: bool
    ) -> Iterator[Observation]:
        expected = ", ".join(f"{c.field} {c.expect.describe()}" for c in self.conditions)
        if name in self.exempt_namespaces:
            yield exempted(name, expected, f"{len(uses)} of its workloads violate the rule" if uses else "")
            return
        for use in uses:
            if exempt_workload(use.subject, self.exempt_workloads):
                actual = f"exempt: the control lists this workload; {use.describe()}"
                yield Observation(use.subject, Status.NOT_APPLICABLE, expected, actual, "exempt_workloads")
        uses = [u for u in uses if not exempt_workload(u.subject, self.exempt_workloads)]
        by = []
        if admission and labels is not None:
            refused = frozenset(map(refusal, self.conditions))
            level = self._blocked(labels) and not admission.switched_off
            by = [] if level else admission.refusing(name, labels, refused)
            others = [] if by else admission.of(name, labels, refused)
            blocked = level or bool(by)
        else:
            blocked, others = False, []
        # A template proves use only where it is certain that it may become a pod.
        running_only = blocked or (labels is None and self.min_level is not None)
        used = [u for u in uses if u.pods or not running_only]
        unsure = bool(others or (admission and admission.errors))
        doubtful = unsure and not blocked and bool(used) and not any(u.pods for u in used)
        if doubtful and not others and admission:
            yield from admission.errors
        off = admission.switched_off if admission else ""
        if blocked and not by and admission and admission.unseen:
            yield admission.unseen
            off = UNSEEN
        yield self._admission(name, labels, used, others, off, by, blocked=blocked, incomplete=incomplete, doubtful=doubtful)
        for use in used:
            late = "; runs although the namespace now blocks it" if blocked else ""
            maybe = doubtful or bool(not use.pods and others)
            yield Observation(use.subject, Status.MANUAL if maybe else Status.FAIL, expected, use.describe() + late, use.source())

    def _blocked(self, labels: dict[str, str] | None) -> bool:
        level = enforced(labels, self.since) if labels else ""
        return bool(self.min_level and level and LEVELS.index(level) >= LEVELS.index(self.min_level))

    def _admission(
        self, name: str, labels: dict[str, str] | None, used: list[_Use], others: list[str], off: str, by: list[str],
        *, blocked: bool, incomplete: bool, doubtful: bool,
    ) -> Observation:  # fmt: skip
        subject, expected, source = f"namespace/{name}", f"Pod Security enforces at least {self.min_level}", f"label {ENFORCE}"
        if by:
            expected, source = f"{expected}, or a policy refuses violations", "policies"
        actual = describe_level(labels or {}) + (f", but {off}" if off else "")
        users = ", ".join(u.subject for u in used[:SHOWN]) + (f" and {len(used) - SHOWN} more" if len(used) > SHOWN else "")
        seen_by = f"; new pods are also seen by {show(others)}" if others else ""
        if self.min_level is None:
            expected, actual, source = (
                "no violating workload",
                f"violated by {users}" if used else "none seen",
                "pods and pod templates",
            )
            status = Status.FAIL if used else Status.ERROR if incomplete else Status.PASS
            actual += "" if used or not incomplete else ", but not everything could be read"
        elif labels is None:
            status, actual = Status.ERROR, "its labels could not be read, or it was made while the cluster was read"
        elif blocked:
            status, actual = (
                Status.ERROR if off == UNSEEN else Status.PASS,
                f"{actual}; violations are refused by {listed(by)}" if by else actual,
            )
        elif used and doubtful:
            status, actual = (
                Status.MANUAL if others else Status.ERROR,
                f"{actual}; in the templates of {users}, of which no pod runs{seen_by}",
            )
        elif used:
            status, actual = Status.FAIL, f"{actual}; used by {users}{seen_by}"
        elif incomplete:
            status, actual = Status.ERROR, f"{actual}; no violation seen, but not everything could be read"
        else:
            status, actual = Status.MANUAL, f"{actual}; nothing violates the rule now; does another policy keep it so?{seen_by}"
        return Observation(subject, status, expected, actual, source)


@dataclass(slots=True)
class _Use:
    """A violating workload: what violates, in how many of its pods, and whether in its template."""

    subject: str
    pods: int = 0
    in_pods: dict[str, None] = field(default_factory=dict)
    in_template: dict[str, None] = field(default_factory=dict)

    def describe(self) -> str:
        """Return the violations in words, at most `SHOWN` of them."""
        found = list({**self.in_template, **self.in_pods})
        return "; ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")

    def source(self) -> str:
        """Return where it was seen."""
        pods = f"{self.pods} pod{'s' if self.pods > 1 else ''}" if self.pods else ""
        return " and ".join(filter(None, ("pod template" if self.in_template else "", pods)))


class _Uses:
    """The violating workloads by namespace, pods put together under the controller at the top. Linear in the objects."""

    def __init__(self, rule: Workload, work: Workloads) -> None:
        self.namespaces = work.namespaces
        self._uses: dict[str, dict[str, _Use]] = {}
        judged: dict[int, dict[str, None]] = {}
        alike = not any(c.field.split(".")[0].split("[")[0] in NOT_IN_SHAPE for c in rule.conditions)
        for item in work.work:
            violations = judged.get(item.shape) if alike else None
            if violations is None:
                violations = judged[item.shape] = self._violations(rule, item)
            if violations:
                self._add(item, violations)

    @staticmethod
    def _violations(rule: Workload, item: Work) -> dict[str, None]:
        if rule.windows_exempt and item.windows:
            return {}
        return dict.fromkeys(v for condition in rule.conditions for v in condition.violations(item.spec))

    def _add(self, item: Work, violations: dict[str, None]) -> None:
        use = self._uses.setdefault(item.namespace, {}).setdefault(item.subject, _Use(item.subject))
        if item.is_pod:
            use.pods += item.count
            use.in_pods.update(violations)
        else:
            use.in_template.update(violations)

    def of(self, namespace: str) -> list[_Use]:
        """Return a namespace's violating workloads in the order of their names."""
        return [use for _, use in sorted(self._uses.get(namespace, {}).items())]
