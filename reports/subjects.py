"""The findings by subject and by severity: what is wrong with each file, container, pod or node, over all targets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from auditor.model import SEVERITY_ORDER, STATUS_ORDER, Counts, Severity, Status
from auditor.score import total
from reports.view import ControlView, View

#: Kinds of subjects in words, in the order in which they are told; other kinds follow under their own names.
KINDS = {
    "container": "Containers", "image": "Images", "daemon": "Engines", "process": "Processes", "file": "Files", "host": "Hosts",
    "node": "Nodes of clusters", "pod": "Pods", "deployment": "Deployments", "statefulset": "Stateful sets",
    "daemonset": "Daemon sets", "replicaset": "Replica sets", "replicationcontroller": "Replication controllers", "job": "Jobs",
    "cronjob": "Cron jobs", "namespace": "Namespaces", "serviceaccount": "Service accounts", "clusterrole": "Cluster roles",
    "clusterrolebinding": "Cluster role bindings", "role": "Roles", "rolebinding": "Role bindings", "cluster": "Clusters",
}  # fmt: skip


@dataclass(slots=True)
class SubjectView:
    """One subject, by its name, over all targets that have one of this name. ``seen`` counts observations by status."""

    name: str
    seen: dict[Status, int] = field(default_factory=lambda: dict.fromkeys(STATUS_ORDER, 0))
    failing: dict[str, ControlView] = field(default_factory=dict)  # by anchor
    targets: dict[str, None] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether something about it fails or could not be judged."""
        return bool(self.seen[Status.FAIL] or self.seen[Status.ERROR])

    @property
    def rank(self) -> tuple[int, ...]:
        """Sorts the worst first: by severity, the most failures of each, then the most errors."""
        of = [c.info.severity for c in self.failing.values()]
        return (*(-of.count(s) for s in SEVERITY_ORDER), -self.seen[Status.FAIL], -self.seen[Status.ERROR])

    @property
    def by_severity(self) -> list[tuple[Severity, list[ControlView]]]:
        """The controls that fail on it, by severity, the worst first."""
        found = [(s, [c for c in self.failing.values() if c.info.severity is s]) for s in SEVERITY_ORDER]
        return [(s, controls) for s, controls in found if controls]


@dataclass(frozen=True)
class Part:
    """Subjects that belong together: a node's, or all of a kind (``label`` is empty). The worst stand first."""

    label: str
    subjects: tuple[SubjectView, ...]

    @property
    def open(self) -> list[SubjectView]:
        """Those about which something fails or could not be judged."""
        return [s for s in self.subjects if s.open]

    @property
    def failures(self) -> int:
        """How many observations of these subjects fail."""
        return sum(s.seen[Status.FAIL] for s in self.subjects)


@dataclass(frozen=True)
class KindView:
    """A kind of subjects."""

    kind: str
    title: str
    parts: tuple[Part, ...]

    @property
    def count(self) -> int:
        """How many subjects there are, by name."""
        return sum(len(p.subjects) for p in self.parts)

    @property
    def open(self) -> int:
        """With how many of them something fails or could not be judged."""
        return sum(len(p.open) for p in self.parts)

    @property
    def clean(self) -> int:
        """With how many of them nothing does."""
        return self.count - self.open


def by_subject(view: View) -> list[KindView]:
    """Return the subjects of a run by their kinds. A cluster's subjects on a node stand together under that node."""
    found: dict[tuple[str, str], dict[str, SubjectView]] = {}
    for control in view.controls:
        for group in control.groups:
            for observation in group.observations:
                for part, targets in _parts(observation.subject, group.targets):
                    subjects = found.setdefault(part, {})
                    subject = subjects.get(observation.subject)
                    if subject is None:
                        subject = subjects[observation.subject] = SubjectView(observation.subject)
                    subject.seen[observation.status] += len(targets)
                    subject.targets.update(dict.fromkeys(targets))
                    if observation.status is Status.FAIL:
                        subject.failing[control.anchor] = control
    order = list(KINDS)
    kinds = sorted({k for k, _ in found}, key=lambda k: (order.index(k) if k in KINDS else len(order), k))
    return [_kind(kind, {label: subjects for (k, label), subjects in found.items() if k == kind}) for kind in kinds]


def _parts(subject: str, targets: tuple[str, ...]) -> Iterable[tuple[tuple[str, str], tuple[str, ...]]]:
    """Return under which kind and label a subject stands, and for which targets: nodes of two clusters are two nodes."""
    kind, _, rest = subject.partition("/")
    if kind != "node" or not rest:
        return [((kind if rest else "other", ""), targets)]
    node = rest.partition("/")[0]
    return [(("node", f"{node} of {target}"), (target,)) for target in targets]


def _kind(kind: str, parts: dict[str, dict[str, SubjectView]]) -> KindView:
    made = [Part(label, tuple(sorted(subjects.values(), key=lambda s: (s.rank, s.name)))) for label, subjects in parts.items()]
    made.sort(key=lambda p: (p.subjects[0].rank, -p.failures, p.label))
    return KindView(kind, KINDS.get(kind, kind.capitalize()), tuple(made))


def severities(view: View) -> list[tuple[Severity, Counts]]:
    """Return the counts of findings by severity, the worst first. They add up to those of the run."""
    return [(s, total(c.counts for c in view.controls if c.info.severity is s)) for s in SEVERITY_ORDER]
