"""The rule about the image that a running container was made from: is it the one that its reference names now?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from auditor.facts.docker import Engine
from auditor.model import Fact, Observation, Problem, Reason
from checks import base
from checks.container_isolation import Everywhere
from checks.engines import EngineFacts, source

_DIGEST = re.compile(r"(?:sha256:)?[0-9a-f]{12,64}")
_HUB = ("docker.io/library/", "index.docker.io/library/", "library/", "docker.io/", "index.docker.io/")


def familiar(reference: str) -> str:
    """Return an image's reference as engines list it: without Docker Hub's own name, with ``latest`` when it has no tag."""
    for prefix in _HUB:
        if reference.startswith(prefix):
            reference = reference.removeprefix(prefix)
            break
    return reference if "@" in reference or ":" in reference.rpartition("/")[2] else reference + ":latest"


@dataclass(frozen=True, slots=True)
class CurrentImage(Everywhere):
    """A running container's image is the one that its reference names on the engine now.

    A container that was started before its tag was pulled or built again runs an outdated copy. References by digest or by the
    image's own id can't drift. Registries are not asked.
    """

    def needs(self) -> frozenset[Fact]:
        """All images with their names."""
        return frozenset({Engine("images")})

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:
        """Compare the id of the container's image with that of the image behind its reference."""
        expected = "the image that its reference names now"
        where = source("containers", "Image, Config.Image") + "; " + source("images", "RepoTags")
        identity = str(container.get("Image") or "")
        reference = str((container.get("Config") or {}).get("Image") or "")
        if not identity or not reference:
            return base.error(subject, Problem(Reason.ABSENT, "its image is not given"), expected=expected, source=where)
        if "@sha256:" in reference:
            return base.verdict(subject, ok=True, expected=expected, actual=f"{reference} (by digest)", source=where)
        images = engine.document("images")
        if isinstance(images, Problem):
            return base.error(subject, images, expected=expected, source=where)
        name = familiar(reference)
        holders = engine.once("images by name", lambda: _by_name(images)).get(name, [])
        unpinned = " (latest: what that is may change any time)" if name.endswith(":latest") else ""
        if any(i["Id"] == identity for i in holders):
            actual = f"{name}{unpinned}: {_short(identity)}"
            return base.verdict(subject, ok=True, expected=expected, actual=actual, source=where)
        if holders:
            actual = f"{_short(identity)}, while {name} is {_short(holders[0]['Id'])} now"
            return base.verdict(subject, ok=False, expected=expected, actual=actual, source=where)
        if _DIGEST.fullmatch(reference) and identity.removeprefix("sha256:").startswith(reference.removeprefix("sha256:")):
            return base.verdict(subject, ok=True, expected=expected, actual=f"{_short(identity)} (by its id)", source=where)
        if any("problem" in i for i in images):
            problem = Problem(Reason.ABSENT, f"not every image could be read, and {name} may be among those")
            return base.error(subject, problem, expected=expected, source=where)
        question = f"{expected}: is this one current?"
        actual = f"{_short(identity)}; no image of the engine is named {name} any more"
        return base.manual(subject, expected=question, actual=actual, source=where)


def _by_name(images: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    index: dict[str, list[dict[str, Any]]] = {}
    for image in images:
        for name in dict.fromkeys(familiar(str(tag)) for tag in image.get("RepoTags") or ()):
            index.setdefault(name, []).append(image)
    return index


def _short(identity: str) -> str:
    return identity.removeprefix("sha256:")[:12]
