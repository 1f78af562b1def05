"""Which versions of Kubernetes a version of a benchmark is published for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from auditor.facts.kube_version import require_minor


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesRange:
    """The minor versions of Kubernetes that a document is published for, such as "1.32" to "1.34", both included."""

    first: str
    last: str

    def __post_init__(self) -> None:
        if require_minor(self.first) > require_minor(self.last):
            raise ValueError("first must not be newer than last")

    def distance(self, minor: int) -> int:
        """Return how many minor versions lie between the range and ``minor``: 0 inside, below 0 for an older one."""
        first, last = require_minor(self.first), require_minor(self.last)
        return minor - first if minor < first else max(0, minor - last)

    def __str__(self) -> str:
        return self.first if self.first == self.last else f"{self.first} to {self.last}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """What a table of contents says about when it counts. ``preliminary`` is why it can't be relied on, empty if it can.

    ``earlier`` maps minor versions of Kubernetes to the versions of their documents, which are not part of this program.
    """

    version: str
    kubernetes: KubernetesRange
    preliminary: str = ""
    earlier: Mapping[str, str] = field(default_factory=dict)
