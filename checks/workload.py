"""``workload``: a rule for pods, in both halves: does admission keep violations out, and does anything violate it now.

What counts as use: pods that have not finished, and pod templates that stand by themselves (a ReplicaSet of a Deployment and a
Job of a CronJob are copies, old revisions among them). Where admission blocks, a template can't become a pod, so there only
running pods count: they were let in before the namespace was labelled, or by an exemption, and still run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from auditor.facts.kubernetes import KINDS, WORKLOADS, Objects
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Status
from checks.base import error, outcome, show
from checks.expectation import Expect, Scalar
from checks.namespace import NAMESPACES, exempted, read_namespaces

Level = Literal["privileged", "baseline", "restricted"]

#: Pod Security levels, weakest first (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
LEVELS: tuple[str, ...] = ("privileged", "baseline", "restricted")
ENFORCE = "pod-security.kubernetes.io/enforce"
CONTAINERS = (("initContainers", "init container"), ("containers", "container"), ("ephemeralContainers", "ephemeral container"))
PODS = Objects("pods")
SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What one field must be, in the ``pod`` spec or in every ``container`` of it (init and ephemeral ones included).

    A field path like ``securityContext.privileged`` or ``ports[].hostPort``. With ``inherit`` the pod's value of the same path
    stands in where a container has none; ``default`` where nobody has one.
    """

    expect: Expect
    pod: str = ""
    container: str = ""
    inherit: bool = False
    default: Scalar | None = None

    def __post_init__(self) -> None:
        if bool(self.pod) == bool(self.container) or (self.inherit and not self.container):
            raise ValueError("give either pod or container; only a container inherits")

    @property
    def field(self) -> str:
        """The field's path."""
        return self.pod or self.container

    def violations(self, spec: dict[str, Any]) -> Iterator[str]:
        """Yield in words what in a pod spec is not as expected."""
        if self.pod:
            yield from self._judge("pod", _at(spec, self.pod))
            return
        for name, what in CONTAINERS:
            for container in spec.get(name, ()):
                value = _at(container, self.container)
                if value is None and self.inherit:
                    value = _at(spec, self.container)
                yield from self._judge(f"{what} {container.get('name', '?')}", value)

    def _judge(self, where: str, value: Any) -> Iterator[str]:
        effective = self.default if value is None else value
        if not self.expect.holds(effective):
            unset = "" if value is not None or effective is None else "unset, so "
            yield f"{where}: {self.field} {unset}{show(effective)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Pods are as all ``conditions`` say; pods that declare Windows are left out with ``windows_exempt``.

    With ``min_level``, for every namespace but the exempt ones: its Pod Security label enforces at least this level: pass. Not
    enforced and violated: fail. Not enforced and not violated: manual, since only the cluster's own default (which the API doesn't
    show) or another policy engine could keep violations out. Without ``min_level`` only violations count.
    """

    conditions: tuple[Condition, ...]
    min_level: Level | None = None
    windows_exempt: bool = False
    exempt_namespaces: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.conditions:
            raise ValueError("give at least one condition")

    def needs(self) -> frozenset[Fact]:
        """Return namespaces, pods and everything that has a pod template."""
        return frozenset((NAMESPACES, PODS, *(Objects(kind) for kind, _ in WORKLOADS.values())))

    def evaluate(self, facts: Facts) -> Outcome:
        """Return an observation for each namespace and for each violating workload; unreadable kinds are errors."""
        errors: list[Observation] = []
        read: dict[str, list[dict[str, Any]]] = {}
        for kind in ("pods", *(kind for kind, _ in WORKLOADS.values())):
            answer = facts.get(Objects(kind))
            if isinstance(answer, Problem):
                errors.append(error(f"cluster/{kind}", answer, source=f"GET {KINDS[kind].path}"))
            else:
                read[kind] = answer
        uses = _Uses(self, read)
        levels: dict[str, Any] = {}
        namespaces = read_namespaces(facts)
        if isinstance(namespaces, Problem):
            errors.append(error("cluster/namespaces", namespaces, source="GET /api/v1/namespaces"))
        else:
            levels = {n["metadata"]["name"]: n["metadata"].get("labels", {}).get(ENFORCE) for n in namespaces}
        observations = [*errors, *uses.unreadable]
        for name in sorted({*levels, *uses.namespaces}):
            observations.extend(self._namespace(name, levels, uses.of(name), incomplete=bool(errors)))
        return outcome(observations, "the cluster has no namespace")

    def _namespace(self, name: str, levels: dict[str, Any], uses: list[_Use], *, incomplete: bool) -> Iterator[Observation]:
        expected = ", ".join(f"{c.field} {c.expect.describe()}" for c in self.conditions)
        if name in self.exempt_namespaces:
            yield exempted(name, expected, f"{len(uses)} of its workloads violate the rule" if uses else "")
            return
        known = name in levels
        level = levels.get(name)
        blocked = self.min_level is not None and level in LEVELS and LEVELS.index(level) >= LEVELS.index(self.min_level)
        # A template proves use only where it is certain that it may become a pod.
        running_only = blocked or not (known or self.min_level is None)
        used = [u for u in uses if u.pods or not running_only]
        yield self._admission(name, level, used, blocked=blocked, known=known, incomplete=incomplete)
        for use in used:
            late = "; runs although the namespace now blocks it" if blocked else ""
            yield Observation(use.subject, Status.FAIL, expected, use.describe() + late, use.source())

    def _admission(
        self, name: str, level: Any, used: list[_Use], *, blocked: bool, known: bool, incomplete: bool
    ) -> Observation:  # fmt: skip
        subject, expected = f"namespace/{name}", f"Pod Security enforces at least {self.min_level}"
        actual = f"enforces {show(level)}" + ("" if level is None or level in LEVELS else " (no such level)")
        users = ", ".join(u.subject for u in used[:SHOWN]) + (f" and {len(used) - SHOWN} more" if len(used) > SHOWN else "")
        source = f"label {ENFORCE}"
        if self.min_level is None:
            expected, actual, source = "no violating workload", f"violated by {users}" if used else "none", "pods and pod templates"
            status = Status.FAIL if used else Status.ERROR if incomplete else Status.PASS
        elif not known:
            status, actual = Status.ERROR, "its labels could not be read, or it was made while the cluster was read"
        elif blocked:
            status = Status.PASS
        elif used:
            status, actual = Status.FAIL, f"{actual}; used by {users}"
        elif incomplete:
            status, actual = Status.ERROR, f"{actual}; no violation seen, but not everything could be read"
        else:
            status, actual = Status.MANUAL, f"{actual}; nothing violates the rule now; does another policy keep it so?"
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

    def __init__(self, rule: Workload, read: dict[str, list[dict[str, Any]]]) -> None:
        self._rule = rule
        self._index = {(kind, *_id(item)): item for kind, (plural, _) in WORKLOADS.items() for item in read.get(plural, ())}
        self._uses: dict[str, dict[str, _Use]] = {}
        self.namespaces: set[str] = set()
        self.unreadable: list[Observation] = []
        for kind, (plural, path) in WORKLOADS.items():
            for item in read.get(plural, ()):
                self._template(kind, item, _at(item, path))
        for pod in read.get("pods", ()):
            # A pod that has finished runs nothing and can't start again.
            if _at(pod, "status.phase") not in ("Succeeded", "Failed"):
                self._pod(pod)

    def of(self, namespace: str) -> list[_Use]:
        """Return a namespace's violating workloads in the order of their names."""
        return [use for _, use in sorted(self._uses.get(namespace, {}).items())]

    def _template(self, kind: str, item: dict[str, Any], spec: Any) -> None:
        owner = _controller(item)
        if owner and ((owner["kind"], _id(item)[0], owner["name"]) in self._index or _at(item, "spec.replicas") == 0):
            return  # the owner's own template counts; an old revision is no use
        violations = self._violations(kind, item, spec)
        if violations:
            self._use(kind, item).in_template.update(violations)

    def _pod(self, pod: dict[str, Any]) -> None:
        violations = self._violations("Pod", pod, pod.get("spec"))
        if violations:
            use = self._use("Pod", pod)
            use.pods += 1
            use.in_pods.update(violations)

    def _violations(self, kind: str, item: dict[str, Any], spec: Any) -> dict[str, None]:
        namespace, name = _id(item)
        self.namespaces.add(namespace)
        if not isinstance(spec, dict) or not spec.get("containers"):
            subject = f"{kind.lower()}/{namespace}/{name}"
            self.unreadable.append(Observation(subject, Status.ERROR, "", "unparsable: it has no containers", f"GET {kind}"))
            return {}
        if self._rule.windows_exempt and _at(spec, "os.name") == "windows":
            return {}
        return dict.fromkeys(v for condition in self._rule.conditions for v in condition.violations(spec))

    def _use(self, kind: str, item: dict[str, Any]) -> _Use:
        namespace, name = _id(item)
        owner = _controller(item)
        for _ in range(len(WORKLOADS)):  # as many steps as there are kinds, also where owners go round in a circle
            if owner is None or owner["kind"] == "Node":  # a static pod is its own workload
                break
            kind, name = owner["kind"], owner["name"]
            above = self._index.get((kind, namespace, name))
            owner = _controller(above) if above else None
        subject = f"{kind.lower()}/{namespace}/{name}"
        return self._uses.setdefault(namespace, {}).setdefault(subject, _Use(subject))


def _id(item: dict[str, Any]) -> tuple[str, str]:
    metadata = item.get("metadata", {})
    return metadata.get("namespace", ""), metadata.get("name", "")


def _controller(item: dict[str, Any]) -> dict[str, Any] | None:
    for owner in item.get("metadata", {}).get("ownerReferences", ()):
        if owner.get("controller") and owner.get("kind") and owner.get("name"):
            return owner  # type: ignore[no-any-return]
    return None


def _at(value: Any, path: str) -> Any:
    """Return what stands at a path, a list where the path goes through lists; None for nothing."""
    for number, part in enumerate(parts := path.split(".")):
        if not isinstance(value, dict):
            return None
        value = value.get(part.removesuffix("[]"))
        if part.endswith("[]") and number < len(parts) - 1 and isinstance(value, list):
            rest = ".".join(parts[number + 1 :])
            return [found for item in value if (found := _at(item, rest)) is not None] or None
    return value
