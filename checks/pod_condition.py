"""What one field of a pod must be: the conditions that pod rules are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from checks.base import show
from checks.expectation import Expect, Scalar
from checks.workloads import CONTAINERS, at


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What one field must be, in the ``pod`` spec or in every ``container`` of it (init and ephemeral ones included).

    A field path like ``securityContext.privileged`` or ``ports[].hostPort``. With ``inherit`` the pod's value of the same path
    stands in where a container has none; ``default`` where nobody has one. An ``optional`` field need not be set at all.
    Words are compared in capitals with ``capitals``. ``own_network``: pods in the node's network are left out; ``linux``: pods
    that declare Windows are.
    """

    expect: Expect
    pod: str = ""
    container: str = ""
    inherit: bool = False
    default: Scalar | None = None
    optional: bool = False
    capitals: bool = False
    own_network: bool = False
    linux: bool = False

    def __post_init__(self) -> None:
        if bool(self.pod) == bool(self.container) or (self.inherit and not self.container):
            raise ValueError("give either pod or container; only a container inherits")
        if self.optional and self.default is not None:
            raise ValueError("give either optional or default")

    @property
    def field(self) -> str:
        """The field's path."""
        return self.pod or self.container

    def violations(self, spec: dict[str, Any]) -> Iterator[str]:
        """Yield in words what in a pod spec is not as expected."""
        if (self.own_network and spec.get("hostNetwork")) or (self.linux and at(spec, "os.name") == "windows"):
            return
        if self.pod:
            yield from self._judge("pod", at(spec, self.pod))
            return
        inherited = at(spec, self.container) if self.inherit else None
        for name, what in CONTAINERS:
            for container in spec.get(name, ()):
                value = at(container, self.container)
                yield from self._judge(f"{what} {container.get('name', '?')}", inherited if value is None else value)

    def _judge(self, where: str, value: Any) -> Iterator[str]:
        if value is None and self.optional:
            return
        effective = self.default if value is None else value
        compared = _capitals(effective) if self.capitals else effective
        if not self.expect.holds(compared):
            unset = "" if value is not None or effective is None else "unset, so "
            yield f"{where}: {self.field} {unset}{show(effective)}"


def _capitals(value: Any) -> Any:
    if isinstance(value, list):
        return [_capitals(v) for v in value]
    return value.upper() if isinstance(value, str) else value
