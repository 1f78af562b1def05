"""Defaults that depend on the version of Kubernetes: which one is in force in a running program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from auditor.facts.kube_version import SKEW, minor_of, require_minor
from auditor.facts.node import KubernetesVersion
from auditor.model import Facts, Problem, Reason, problem_of
from checks.base import show
from checks.running import Instance

#: Programs that others are built into, which then are of the same version.
_EMBEDDERS = ("k3s", "kubelite")


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultSince:
    """The default from a minor version of Kubernetes on, such as "1.36"."""

    since: str
    value: bool | int | str | tuple[str, ...]

    def __post_init__(self) -> None:
        require_minor(self.since)


@dataclass(frozen=True, slots=True)
class InForce:
    """The defaults that may be in force, more than one where the version is only known within bounds, and how that is known."""

    values: tuple[Any, ...]
    source: str
    certain: bool


def in_force(facts: Facts, instance: Instance, first: Any, later: Sequence[DefaultSince]) -> InForce | Problem:
    """Return which default a running program has: ``first``, or the last of ``later`` that its version has reached.

    A problem when its version could not be asked for; all of them when it's a program that doesn't say it to anybody outside.
    """
    answer = facts.get(KubernetesVersion())
    if isinstance(answer, Problem):
        return answer
    own = [a for a in answer if a["pid"] == instance.pid and a["name"] in (instance.name, *_EMBEDDERS)]
    known = next((a for a in own if "version" in a), None)
    minor = minor_of(known["version"]) if known else None
    if known and minor is not None:
        return InForce((_at(minor, first, later),), f"default of Kubernetes {known['version']}", certain=True)
    # A kubelet is never newer than its API server, and at most so much older.
    kubelet = next((a["version"] for a in answer if a["name"] == "kubelet" and "version" in a), "")
    minor = minor_of(kubelet)
    if instance.name == "kube-apiserver" and minor is not None:
        values = dict.fromkeys(_at(m, first, later) for m in range(minor, minor + SKEW + 1))
        source = f"default of Kubernetes 1.{minor} to 1.{minor + SKEW} (the kubelet is {kubelet}; API servers are as new or newer)"
        return InForce(tuple(values), source, certain=False)
    refused = next((problem_of(a) for a in own if "problem" in a), None)
    if refused is not None and refused.reason is not Reason.ABSENT:
        return refused
    return InForce((first, *(d.value for d in later)), "default", certain=False)


def describe(first: Any, later: Sequence[DefaultSince]) -> str:
    """Return in words which default which version has."""
    words = f"{show(first)} up to Kubernetes 1.{require_minor(later[0].since) - 1}"
    return "the default is " + words + "".join(f" and {show(d.value)} from {d.since} on" for d in later)


def _at(minor: int, first: Any, later: Sequence[DefaultSince]) -> Any:
    return next((d.value for d in reversed(later) if require_minor(d.since) <= minor), first)
