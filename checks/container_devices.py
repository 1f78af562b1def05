"""The rule about devices of its host that a container is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from auditor.model import Observation, Problem, Reason
from checks import base
from checks.container_isolation import Everywhere
from checks.engines import EngineFacts, source

_PERMISSIONS = frozenset("rwm")


@dataclass(frozen=True, slots=True)
class Device:
    """Something a container was given: a device file, a device by request (GPUs, CDI) or a rule for device numbers."""

    name: str
    permissions: str = ""  # of a device file: of r, w, m

    def __str__(self) -> str:
        return f"{self.name}:{self.permissions}" if self.permissions else self.name


def devices(host: dict[str, Any]) -> Iterator[Device]:
    """Return what the options of a container ask for."""
    for device in host.get("Devices") or ():
        yield Device(str(device.get("PathOnHost") or "?"), str(device.get("CgroupPermissions") or "rwm"))
    for request in host.get("DeviceRequests") or ():
        driver = str(request.get("Driver") or "")
        ids = [str(i) for i in request.get("DeviceIDs") or ()]
        kinds = ["+".join(map(str, kind)) for kind in request.get("Capabilities") or ()]
        if driver == "cdi":
            yield from (Device(i) for i in ids or ["cdi"])
        else:
            yield Device("/".join(filter(None, [driver, *(kinds or ["device"])])) + (f"={','.join(ids)}" if ids else ""))
    for rule in host.get("DeviceCgroupRules") or ():
        yield Device(f"rule {rule}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices(Everywhere):
    """A container is given no device of its host but those ``allowed``.

    ``allowed`` has device files with or without permissions (``/dev/fuse``, ``/dev/ttyUSB0:rw``: no more than these), devices
    by request as observations show them (``gpu``, ``nvidia.com/gpu=all``), and rules for device numbers (``rule c 189:* rw``).
    Without a list devices are shown for a person to judge; the empty list allows none. A privileged container has them all.
    """

    allowed: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for entry in self.allowed or ():
            path, _, permissions = entry.partition(":")
            if path.startswith("/") and not set(permissions) <= _PERMISSIONS:
                raise ValueError(f"{entry!r}: the permissions of a device are of r, w and m")

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:  # noqa: ARG002
        """Compare all that the options ask for with the list."""
        host = container["HostConfig"]
        expected = "no device of the host" + (f" but {base.show(self.allowed)}" if self.allowed else "")
        where = source("containers", "HostConfig.Privileged, Devices, DeviceRequests, DeviceCgroupRules")
        privileged = host.get("Privileged")
        if not isinstance(privileged, bool):
            return base.error(subject, Problem(Reason.ABSENT, "Privileged is not given"), expected=expected, source=where)
        if privileged:
            return base.verdict(subject, ok=False, expected=expected, actual="every device (privileged)", source=where)
        given = list(devices(host))
        beyond = [d for d in given if not self._allows(d)]
        if beyond and self.allowed is None:
            question = "no device of the host that isn't needed: is each of these?"
            return base.manual(subject, expected=question, actual=base.show([str(d) for d in beyond]), source=where)
        actual = base.show([str(d) for d in beyond or given]) if given else "no device"
        return base.verdict(subject, not beyond, expected=expected, actual=actual, source=where)

    def _allows(self, device: Device) -> bool:
        for entry in self.allowed or ():
            name, colon, permissions = entry.partition(":") if entry.startswith("/") else (entry, "", "")
            if name == device.name and (not colon or set(device.permissions) <= set(permissions)):
                return True
        return False
