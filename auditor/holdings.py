"""What a target holds, as a run records it beside its findings: the nouns of the inventory and of vulnerable images."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seen:
    """What a target holds of one kind: engines, containers, images, programs, nodes or namespaces.

    ``count`` is how many there are; ``things`` are the first of them in the order of their names, each a name and a few words about
    it (version, image, state, ...).
    """

    kind: str
    count: int
    things: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ScannedImage:
    """An image of a target that a scanner's result is of by a digest: what was found in it, and what runs from it there.

    ``critical`` and ``high`` are all vulnerabilities of that severity, ``..._fixable`` those of them with a fix. ``running``,
    ``privileged`` and ``published`` count running containers; a published one can be reached from outside its host, by the
    ``ports`` or because it uses the host's network. ``scanned`` is UTC in ISO 8601, empty when not known.
    """

    name: str
    id: str
    scanner: str
    scanned: str
    critical: int
    critical_fixable: int
    high: int
    high_fixable: int
    running: int
    privileged: int
    published: int
    ports: tuple[str, ...] = ()
    worst: tuple[str, ...] = ()
