"""The inventory of what was seen in a run: hosts, engines, versions, images, containers, clusters, nodes and namespaces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from auditor.model import TargetKind, TargetResult, TargetStatus
from reports.text import plural
from reports.view import View

#: Kinds in words, in the order in which they are told.
KINDS = {
    "host": "Hosts", "engine": "Engines", "program": "Kubernetes programs", "container": "Containers", "image": "Images",
    "cluster": "Clusters", "node": "Nodes of clusters", "namespace": "Namespaces",
}  # fmt: skip


@dataclass(slots=True)
class Thing:
    """Something with a name, and where it was seen. Things that are alike in name and description are one."""

    name: str
    about: str
    targets: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Listing:
    """All things of a kind. ``count`` is how many there are; ``recorded``, which may be fewer, how many the run holds by name."""

    kind: str
    title: str
    count: int
    recorded: int
    things: tuple[Thing, ...]  # alike ones as one, the most widespread first
    targets: int


def each(view: View) -> Iterator[tuple[str, str, str, str]]:
    """Yield (kind, target, name, about) of everything that the run recorded, one by one."""
    for result in view.run.targets:
        if result.status is not TargetStatus.AUDITED:
            continue
        yield "cluster" if result.kind is TargetKind.CLUSTER else "host", result.name, result.name, _about(result)
        for seen in result.seen:
            for name, about in seen.things:
                yield seen.kind, result.name, name, about


def _about(result: TargetResult) -> str:
    """Return what is known of a host or a cluster in a line."""
    facts = result.facts
    plain = [facts[k] for k in ("system", "kernel", "platform") if facts.get(k)]
    named = [f"{k} {facts[k]}" for k in ("Docker engine", "Kubernetes") if facts.get(k)]
    kinds = [k for k in ("nodes", "namespaces", "pods", "containers", "images") if facts.get(k)]
    counted = [f"{facts[k]} {k.removesuffix('s') if facts[k] == '1' else k}" for k in kinds]
    return ", ".join([*plain, *named, *counted])


def listings(view: View) -> list[Listing]:
    """Return the inventory by kind; hosts are told by their system, since each stands among the targets."""
    counts: dict[str, int] = {}
    where: dict[str, set[str]] = {}
    for result in view.run.targets:
        for seen in result.seen:
            counts[seen.kind] = counts.get(seen.kind, 0) + seen.count
    recorded: dict[str, int] = {}
    things: dict[str, dict[tuple[str, str], Thing]] = {}
    facts = {t.result.name: t.result.facts for t in view.targets}
    for kind, target, name, about in each(view):
        recorded[kind] = recorded.get(kind, 0) + 1
        where.setdefault(kind, set()).add(target)
        key = (
            (facts[target].get("system", "") or "system not known", facts[target].get("kernel", ""))
            if kind == "host"
            else (name, about)
        )
        things.setdefault(kind, {}).setdefault(key, Thing(*key)).targets.append(target)
    kinds = [*KINDS, *sorted(set(things) - set(KINDS))]
    return [
        Listing(k, KINDS.get(k, k.capitalize()), counts.get(k, recorded[k]), recorded[k],
                tuple(sorted(things[k].values(), key=lambda t: (-len(t.targets), t.name, t.about))), len(where[k]))
        for k in kinds if k in things
    ]  # fmt: skip


def said(listing: Listing) -> str:
    """Return how much of a kind there is, in words."""
    if listing.kind == "host":
        return f"{listing.count:,} with {plural(len(listing.things), 'system')}"
    if listing.kind == "cluster":
        return f"{listing.count:,}"
    alike = "" if len(listing.things) == listing.recorded else f", {len(listing.things):,} different"
    return f"{listing.count:,} on {plural(listing.targets, 'target')}{alike}"
