"""``data_root_mount``: what containers write can't fill the host's own file systems."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from auditor.facts.docker import Engine
from auditor.facts.host import Mounts
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, Status
from checks import audit_targets, base, engines, running
from checks.engines import EngineFacts

_EXPECTED = "a mount point of its own"
_CONTAINERD_STORE = "io.containerd.snapshotter.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRootMount:
    """Every engine's data root is itself a mount point, of another file system than the one above it.

    So is containerd's root where the engine keeps its images there. With user namespace remapping the data is in a folder below
    the data root, and that above it is meant. A folder that is mounted on itself is none; for another folder of the same file
    system a person decides (manual), since it may have a quota.
    """

    def needs(self) -> frozenset[Fact]:
        """What the engines say, what is mounted, and containerd's settings."""
        return frozenset({Engine("info"), Mounts(), *audit_targets.CONTAINERD_FACTS})

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every engine of the target."""
        found = engines.answers(facts, "info")
        observations = list(found.missing)
        for engine, info in found.read:
            observations.append(_data_root(facts, engine, info))
            driver = info.get("DriverStatus") or []
            if any(row == ["driver-type", _CONTAINERD_STORE] for row in driver if isinstance(row, list)):
                observations += _containerd_roots(facts)
        return engines.conclude(list(dict.fromkeys(observations)), [found.reason])


def _data_root(facts: Facts, engine: EngineFacts, info: dict[str, Any]) -> Observation:
    path = str(info.get("DockerRootDir") or "")
    source = engines.source("info", "DockerRootDir")
    if "name=userns" in [str(o) for o in info.get("SecurityOptions") or ()]:
        path = re.sub(r"/\d+\.\d+$", "", path)
        source += " (the folder above, since user namespaces are remapped)"
    if not path.startswith("/"):
        problem = Problem(Reason.ABSENT, "the engine does not say where its data is")
        return base.error(f"daemon/dockerd{engine.suffix}", problem, expected=_EXPECTED, source=source)
    return _mounted(facts, path, source)


def _containerd_roots(facts: Facts) -> list[Observation]:
    """Which of several containerds holds the images is not told, so all are looked at."""
    instances = running.instances(facts, "containerd")
    if isinstance(instances, Outcome):
        return [_mounted(facts, "/var/lib/containerd", "containerd's default: it is not among the running programs")]
    found = []
    for instance in instances:
        root = audit_targets.containerd_setting(facts, instance, ("--root",), "root", "/var/lib/containerd")
        if isinstance(root, Problem):
            found.append(base.error(instance.subject, root, expected=_EXPECTED, source=f"root of {instance}"))
        else:
            found.append(_mounted(facts, root, f"root of {instance}: the engine keeps its images there"))
    return found


def _mounted(facts: Facts, path: str, source: str) -> Observation:
    mounts = facts.get(Mounts())
    subject = f"file/{path}"
    if isinstance(mounts, Problem):
        return base.error(subject, mounts, expected=_EXPECTED, source="/proc/self/mountinfo")
    plain = path.rstrip("/") or "/"
    by_path = {m["path"]: m for m in mounts}
    holding = max((m for m in by_path if plain == m or plain.startswith(m.rstrip("/") + "/")), key=len, default="/")
    source = f"/proc/self/mountinfo; {source}"
    if holding != plain:
        return Observation(subject, Status.FAIL, _EXPECTED, f"lies on {holding}", source)
    above = max((m for m in by_path if plain != m and plain.startswith(m.rstrip("/") + "/")), key=len, default="")
    own, other = by_path[plain], by_path.get(above)
    if other is None or own["device"] != other["device"]:
        return Observation(subject, Status.PASS, _EXPECTED, f"is a mount point (device {own['device']})", source)
    if own["root"].endswith(plain):  # dockerd does that itself where the file system above isn't shared between namespaces
        return Observation(subject, Status.FAIL, _EXPECTED, f"is mounted on itself and lies on the file system of {above}", source)
    actual = f"is a mount point, but {own['root']} of the same file system as {above}: say whether it is limited (a quota)"
    return base.manual(subject, expected=_EXPECTED, actual=actual, source=source)
