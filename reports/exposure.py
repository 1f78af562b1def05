"""Images with known vulnerabilities, ranked by how exposed they are: the model of a section in HTML and PDF."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from auditor.holdings import ScannedImage
from auditor.model import TargetResult

#: How far an image is exposed, the most first.
LEVELS = ("privileged and published", "privileged", "published", "running", "not running")

#: How images are ranked, in words.
ORDER = (
    "First what runs privileged and can be reached from outside its host, then what runs privileged, what can be reached, what "
    "runs at all, and what doesn't run; among these, images with critical vulnerabilities first, then those on most hosts, then "
    "those with most to fix. It goes by the scanners' results that were given, as far as a digest ties them to an image."
)


@dataclass(frozen=True)
class Exposed:
    """An image with critical or high vulnerabilities, on every target that has it (told by its id)."""

    name: str
    id: str
    level: str
    critical: int
    critical_fixable: int
    high: int
    high_fixable: int
    running: int
    privileged: int
    published: int
    ports: tuple[str, ...]
    worst: tuple[str, ...]
    scanned: str  # by which scanner, and on which day
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Exposure:
    """All vulnerable images, the most exposed first, and how many images were looked at."""

    images: tuple[Exposed, ...]
    scanned: int
    targets: int


def exposure(results: Iterable[TargetResult]) -> Exposure:
    """Return the ranking over all targets of a run."""
    found: dict[str, list[tuple[str, ScannedImage]]] = {}
    hosts = 0
    for result in results:
        hosts += bool(result.scanned)
        for image in result.scanned:
            found.setdefault(image.id, []).append((result.name, image))
    images = [_exposed(id_, seen) for id_, seen in found.items()]
    ranked = sorted((i for i in images if i.critical or i.high), key=_rank)
    return Exposure(tuple(ranked), len(images), hosts)


def _exposed(id_: str, seen: list[tuple[str, ScannedImage]]) -> Exposed:
    images = [image for _, image in seen]
    worst = max(images, key=lambda i: (i.critical_fixable, i.critical, i.high_fixable, i.high, i.scanned))
    privileged, published = sum(i.privileged for i in images), sum(i.published for i in images)
    running = sum(i.running for i in images)
    level = 0 if privileged and published else 1 if privileged else 2 if published else 3 if running else 4
    return Exposed(
        name=worst.name,
        id=id_,
        level=LEVELS[level],
        critical=worst.critical,
        critical_fixable=worst.critical_fixable,
        high=worst.high,
        high_fixable=worst.high_fixable,
        running=running,
        privileged=privileged,
        published=published,
        ports=tuple(sorted({port for i in images for port in i.ports})),
        worst=worst.worst,
        scanned=f"{worst.scanner}, {worst.scanned[:10] or 'no date'}",
        targets=tuple(dict.fromkeys(name for name, _ in seen)),
    )


def _rank(image: Exposed) -> tuple[object, ...]:
    return (
        LEVELS.index(image.level), not image.critical, -len(image.targets), -image.critical_fixable, -image.critical,
        -image.high_fixable, -image.high, image.name, image.id,
    )  # fmt: skip
