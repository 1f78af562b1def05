"""Which version of a benchmark judges a target: the one that is published for the Kubernetes that runs there. Pure.

Tables of contents say for which minor versions of Kubernetes their document is published. These ranges overlap, so the newest
document that covers a version counts. Where none does, or it isn't known what runs, the nearest one judges, and a warning says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auditor.editions import Edition
from auditor.facts.kube_version import SKEW, minor_of, require_minor
from auditor.facts.kubernetes import Server
from auditor.facts.node import VERSIONED, KubernetesVersion
from auditor.model import Evidence, Problem, Reason, TargetStatus
from auditor.targets import KUBERNETES_ROLES, roles_of

#: So many names or reasons stand in one text.
SHOWN = 6


@dataclass(frozen=True, slots=True)
class Running:
    """The Kubernetes that a target runs, and who says so. ``note`` is what else must be known, ``warning`` what doesn't fit."""

    version: str
    minor: int
    said_by: str
    note: str = ""
    warning: str = ""

    def __str__(self) -> str:
        return f"{self.said_by} is {self.version}" + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True, slots=True)
class Choice:
    """The version of a benchmark that judges a target, why, and what must be said loudly about it (empty: nothing)."""

    version: str
    because: str
    warning: str = ""


def running_of(evidence: Evidence, cluster: Evidence | None = None) -> Running | Problem | None:
    """Return which Kubernetes a target runs, why that isn't known, or None when none runs there.

    ``cluster`` is the evidence of the cluster that a node belongs to: its API server's version counts for the node as well.
    """
    if evidence.target.transport == "kubernetes":
        return _server(evidence)
    own = _node(evidence)
    if cluster is None:
        return own
    server, name = _server(cluster), cluster.target.name
    if isinstance(server, Problem):
        if not isinstance(own, Running):
            return own
        warning = f"the API server of {name} did not say its version ({server}), so each node is judged by its own"
        return Running(own.version, own.minor, own.said_by, own.note, warning)
    return Running(server.version, server.minor, server.said_by, "", _mismatch(own, server))


def _mismatch(own: Running | Problem | None, server: Running) -> str:
    if not isinstance(own, Running) or own.minor == server.minor:
        return ""
    said = f"{own.said_by} is {own.version}, but {server}, which counts"
    return said if 0 < server.minor - own.minor <= SKEW else f"{said}; such a difference is not supported by Kubernetes"


def _server(evidence: Evidence) -> Running | Problem:
    answer: Any = evidence.get(Server()) if evidence.status is TargetStatus.AUDITED else evidence.error
    if answer is None or isinstance(answer, Problem):
        return answer or Problem(Reason.ABSENT, "it was not audited")
    return _running(str(answer.get("gitVersion", "")), f"the API server of {evidence.target.name}")


def _running(version: str, said_by: str, note: str = "") -> Running | Problem:
    minor = minor_of(version)
    return Problem(Reason.UNPARSABLE, f"{said_by} calls its version {version[:60]!r}") if minor is None else Running(
        version, minor, said_by, note
    )  # fmt: skip


def _node(evidence: Evidence) -> Running | Problem | None:
    if evidence.target.transport == "docker":
        return None  # an engine alone: nothing of Kubernetes can be seen there
    roles = set(roles_of(evidence))
    answer = evidence.get(KubernetesVersion())
    if isinstance(answer, Problem):
        known = "processes" in evidence.facts and not isinstance(evidence.facts["processes"], Problem)
        return None if known and not roles & KUBERNETES_ROLES else answer
    if not answer:
        return Problem(Reason.ABSENT, "no program there says which Kubernetes it is") if roles & KUBERNETES_ROLES else None
    named = sorted((a for a in answer if "version" in a), key=lambda a: (VERSIONED.index(a["name"]), a["pid"]))
    if not named:
        failed = min(answer, key=lambda a: VERSIONED.index(a["name"]))
        return Problem(Reason(failed["problem"]["reason"]), f"{failed['name']}: {failed['problem']['detail']}")
    hidden = any(a["name"] == "kube-apiserver" and "problem" in a for a in answer)
    note = f"its API server, which could not be asked, may be up to {SKEW} minor versions newer" if hidden else ""
    return _running(named[0]["version"], f"its {named[0]['name']}", note)


def choose(name: str, editions: Sequence[Edition], running: Running | Problem | None) -> Choice:
    """Return which of a benchmark's editions, oldest first, judges a target that runs this."""
    confirmed = next((e for e in reversed(editions) if not e.preliminary), editions[-1])
    if running is None:
        return Choice(confirmed.version, "newest version that is not preliminary; no program of Kubernetes was seen there")
    if isinstance(running, Problem):
        warning = f"it is not known which Kubernetes runs there ({running})"
        return Choice(
            confirmed.version, "newest version that is not preliminary", f"{warning}; {name} {confirmed.version} was taken"
        )
    nearest = min(reversed(editions), key=lambda e: abs(e.kubernetes.distance(running.minor)))
    distance, ref = nearest.kubernetes.distance(running.minor), f"{name} {nearest.version}"
    because = f"published for Kubernetes {nearest.kubernetes}; {running}"
    warnings = [running.warning]
    if distance:
        because = f"nearest; {because}"
        beyond = _beyond(editions, running.minor, distance)
        warnings.append(f"Kubernetes {running.version} is {beyond}; {ref} was taken, which is published for {nearest.kubernetes}")
    if nearest.preliminary:
        warnings.append(f"{ref} is preliminary here: {nearest.preliminary}")
        warnings.append(f"{name}@{confirmed.version}, for Kubernetes {confirmed.kubernetes}, is the newest version that is not")
    return Choice(nearest.version, because, _joined(warnings))


def _beyond(editions: Sequence[Edition], minor: int, distance: int) -> str:
    own = next((e.earlier[v] for e in editions for v in e.earlier if require_minor(v) == minor), "")
    which = "older" if distance < 0 else "newer"
    return f"{which} than what any version known here is published for" + (
        f" (its own document is {own}, which is not part of this program)" if own else ""
    )


def fits(name: str, editions: Sequence[Edition], asked: str, running: Running | Problem | None) -> Choice:
    """Return the choice of a version that was asked for, with a warning where it isn't published for what a target runs."""
    edition = next((e for e in editions if e.version == asked), None)
    warnings = []
    if edition is not None and isinstance(running, Running):
        warnings.append(running.warning)
        if edition.kubernetes.distance(running.minor):
            better = choose(name, editions, running).version
            fitting = f"; {name} {better} would be the nearest" if better != asked else ""
            warnings.append(
                f"{name} {asked} was asked for, which is published for Kubernetes {edition.kubernetes}, but {running}{fitting}"
            )
    if edition is not None and edition.preliminary and running is not None:
        warnings.append(f"{name} {asked} is preliminary here: {edition.preliminary}")
    return Choice(asked, "asked for", _joined(warnings))


def _joined(warnings: Sequence[str]) -> str:
    return "; ".join(w for w in warnings if w)


def because_of(choices: Mapping[str, Choice]) -> str:
    """Return why a benchmark's version judged these targets and what must be said of it, with their names where they differ."""
    return ". ".join(filter(None, (
        _by_target({target: choice.because for target, choice in choices.items()}),
        _by_target({target: choice.warning and f"ATTENTION: {choice.warning}" for target, choice in choices.items()}),
    )))  # fmt: skip


def _by_target(texts: Mapping[str, str]) -> str:
    groups: dict[str, list[str]] = {}
    for target, text in texts.items():
        groups.setdefault(text, []).append(target)
    if len(groups) == 1:
        return next(iter(groups))
    groups.pop("", None)
    shown = [f"{some(targets)}: {text}" for text, targets in list(groups.items())[:SHOWN]]
    left = sum(map(len, list(groups.values())[SHOWN:]))
    return ". ".join(shown) + (f". And for {left} more targets, each of which says why" if left else "")


def some(names: Sequence[str]) -> str:
    """Return names as a short list."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
