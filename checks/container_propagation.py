"""The rule about mounts that show up outside of the container they are made in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from auditor.model import Observation
from checks import base
from checks.container_isolation import Everywhere
from checks.engines import EngineFacts, source

SHARED = ("shared", "rshared")


def propagations(container: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Return (place in the container, propagation) of every mount that the engine lists or the options ask for."""
    for mount in container.get("Mounts") or ():
        yield str(mount.get("Destination") or "?"), str(mount.get("Propagation") or "")
    host = container["HostConfig"]
    for bind in host.get("Binds") or ():
        parts = str(bind).split(":")
        options = parts[2].split(",") if len(parts) > 2 else []
        yield parts[min(1, len(parts) - 1)], next((o for o in options if o in SHARED), "")
    for mount in host.get("Mounts") or ():
        yield str(mount.get("Target") or "?"), str((mount.get("BindOptions") or {}).get("Propagation") or "")


@dataclass(frozen=True, slots=True)
class MountPropagation(Everywhere):
    """What a container mounts below its own mounts doesn't appear on the host: no mount is shared or rshared."""

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:  # noqa: ARG002
        """Look at every mount."""
        expected = "no mount with shared propagation"
        where = source("containers", "Mounts[].Propagation")
        found = set(propagations(container))
        if not found:
            return base.not_applicable(subject, expected=expected, actual="no mount", source=where)
        bad = sorted(f"{place} ({mode})" for place, mode in found if mode in SHARED)
        actual = base.show(bad) if bad else ", ".join(sorted({mode or "private" for _, mode in found}))
        return base.verdict(subject, not bad, expected=expected, actual=actual, source=where)
