"""What runs in a cluster and what may: pods and the templates they are made from, each under the workload that owns it.

What counts: pods that have not finished, and pod templates that stand by themselves (a ReplicaSet of a Deployment and a Job of a
CronJob are copies, old revisions among them).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from auditor.facts.kubernetes import KINDS, WORKLOADS, Objects
from auditor.model import Fact, Facts, Observation, Problem, Status
from checks.base import error

CONTAINERS = (("initContainers", "init container"), ("containers", "container"), ("ephemeralContainers", "ephemeral container"))

_CONTAINER_LISTS = {name for name, _ in CONTAINERS}
#: Fields of containers that two specs of the same shape may differ in.
NOT_IN_SHAPE = ("image", "resources")

#: The kinds that hold pods and pod templates.
WORKLOADS_AND_PODS = ("pods", *(kind for kind, _ in WORKLOADS.values()))
#: Every fact that `Workloads` reads.
WORKLOAD_FACTS: frozenset[Fact] = frozenset(map(Objects, WORKLOADS_AND_PODS))


@dataclass(frozen=True, slots=True)
class Work:
    """A pod or a pod template.

    ``subject`` names the workload at the top of its owners, ``kind`` is that workload's. ``static``: a kubelet made it from a file.
    ``count`` pods of the workload are all like this one. Specs of one ``shape`` (a number) differ in nothing but their containers'
    images and resources.
    """

    namespace: str
    subject: str
    kind: str
    spec: dict[str, Any]
    is_pod: bool
    static: bool = False
    count: int = 1
    shape: int = 0

    @property
    def account(self) -> str:
        """The name of its service account."""
        return str(self.spec.get("serviceAccountName") or "default")

    @property
    def windows(self) -> bool:
        """Whether it says that it is for Windows."""
        return bool(at(self.spec, "os.name") == "windows")


#: What was put together last, with the answers that it was made of. Every pod rule asks for the same.
_last: tuple[tuple[Any, ...], Workloads] | None = None


def workloads(facts: Facts) -> Workloads:
    """Return what runs, put together once for the checks that follow each other on the same evidence."""
    global _last  # noqa: PLW0603 - one place for one result; it is only ever used for the very same answers
    answers = tuple(facts.get(Objects(kind)) for kind in WORKLOADS_AND_PODS)
    last = _last
    if last is None or any(new is not old for new, old in zip(answers, last[0], strict=True)):
        last = _last = answers, Workloads(facts)
    return last[1]


class Workloads:
    """All pods and templates that could be read, in ``work``.

    ``errors`` stand for the kinds that could not be read, ``unreadable`` for answers that make no sense. ``namespaces`` are those
    that anything was seen in. Checks share it, so nothing in it may be changed.
    """

    def __init__(self, facts: Facts) -> None:
        errors: list[Observation] = []
        self._unreadable: list[Observation] = []
        read: dict[str, list[dict[str, Any]]] = {}
        for kind in WORKLOADS_AND_PODS:
            answer = facts.get(Objects(kind))
            if isinstance(answer, Problem):
                errors.append(error(f"cluster/{kind}", answer, source=f"GET {KINDS[kind].path}"))
            else:
                read[kind] = answer
        self.errors = tuple(errors)
        self._read = read
        self._index = {(kind, *id_of(item)): item for kind, (plural, _) in WORKLOADS.items() for item in read.get(plural, ())}
        self.namespaces = frozenset(id_of(item)[0] for items in read.values() for item in items)
        self._shapes: dict[bytes, int] = {}
        self.work: tuple[Work, ...] = tuple(self._all())
        self.unreadable = tuple(self._unreadable)

    def _all(self) -> Iterator[Work]:
        for kind, (plural, path) in WORKLOADS.items():
            for item in self._read.get(plural, ()):
                if not self._is_copy(item):
                    yield from self._work(kind, item, at(item, path))
        for pod in self._read.get("pods", ()):
            # A pod that has finished runs nothing and can't start again.
            if at(pod, "status.phase") not in ("Succeeded", "Failed"):
                yield from self._work("Pod", pod, pod.get("spec"), is_pod=True)

    def _is_copy(self, item: dict[str, Any]) -> bool:
        """Whether the owner's own template counts instead, or it is an old revision, which is no use."""
        owner = controller_of(item)
        if owner is None:
            return False
        return (owner["kind"], id_of(item)[0], owner["name"]) in self._index or at(item, "spec.replicas") == 0

    def _work(self, kind: str, item: dict[str, Any], spec: Any, *, is_pod: bool = False) -> Iterator[Work]:
        namespace, name = id_of(item)
        if not isinstance(spec, dict) or not spec.get("containers"):
            subject = f"{kind.lower()}/{namespace}/{name}"
            self._unreadable.append(Observation(subject, Status.ERROR, "", "unparsable: it has no containers", f"GET {kind}"))
            return
        owner = controller_of(item)
        static = owner is not None and owner["kind"] == "Node"
        for _ in range(len(WORKLOADS)):  # as many steps as there are kinds, also where owners go round in a circle
            if owner is None or owner["kind"] == "Node":  # a static pod is its own workload
                break
            kind, name = owner["kind"], owner["name"]
            above = self._index.get((kind, namespace, name))
            owner = controller_of(above) if above else None
        count, shape = item.get("count", 1), self._shape(spec)
        yield Work(namespace, f"{kind.lower()}/{namespace}/{name}", kind, spec, is_pod, static, count, shape)

    def _shape(self, spec: dict[str, Any]) -> int:
        # As text, in which 0 is not false: compared as values they would be one.
        parts = {k: [_without_image(c) for c in v] if k in _CONTAINER_LISTS else v for k, v in spec.items()}
        return self._shapes.setdefault(msgspec.json.encode(parts), len(self._shapes))


def _without_image(container: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in container.items() if k not in NOT_IN_SHAPE}


def id_of(item: dict[str, Any]) -> tuple[str, str]:
    """Return an object's namespace and name."""
    metadata = item.get("metadata", {})
    return metadata.get("namespace", ""), metadata.get("name", "")


def controller_of(item: dict[str, Any]) -> dict[str, Any] | None:
    """Return the owner that controls an object."""
    for owner in item.get("metadata", {}).get("ownerReferences", ()):
        if owner.get("controller") and owner.get("kind") and owner.get("name"):
            return owner  # type: ignore[no-any-return]
    return None


@cache
def _steps(path: str) -> tuple[tuple[str, str], ...]:
    """Return the keys of a path, each with the rest of the path where the key holds a list to go through."""
    parts = path.split(".")
    rests = [".".join(parts[i + 1 :]) if part.endswith("[]") else "" for i, part in enumerate(parts)]
    return tuple((part.removesuffix("[]"), rest) for part, rest in zip(parts, rests, strict=True))


def at(value: Any, path: str) -> Any:
    """Return what stands at a path, a flat list where the path goes through lists; None for nothing."""
    for key, rest in _steps(path):
        if not isinstance(value, dict):
            return None
        value = value.get(key)
        if rest and isinstance(value, list):
            return [found for item in value if (found := at(item, rest)) is not None] or None
    return value


def exempt_workload(subject: str, patterns: tuple[str, ...]) -> bool:
    """Return whether a workload is listed: ``deployment/shop/front``, or the start of such a name with one ``*`` at its end."""
    return any(subject == p or (p.endswith("*") and subject.startswith(p[:-1])) for p in patterns)


def require_workload_patterns(patterns: tuple[str, ...]) -> None:
    """Raise ValueError for what names no workload, or too many: kind and namespace must be written out."""
    for pattern in patterns:
        parts = pattern.removesuffix("*").split("/")
        if "*" in pattern[:-1] or len(parts) != 3 or not all(parts[:2]) or not (parts[2] or pattern.endswith("*")):
            raise ValueError(f"{pattern!r}: write kind/namespace/name, the name may end in one *")
