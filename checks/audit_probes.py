"""Sample requests that an audit policy is tried with, and the level at which its rules log one.

The matching follows apiserver/pkg/audit/policy: the first rule that matches decides, what a rule leaves empty matches everything,
and what no rule matches is not logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auditor.model import Problem, Reason

LEVELS = ("None", "Metadata", "Request", "RequestResponse")
_ONE = ("Metadata",)
_MORE = LEVELS[1:]
#: Somebody who is not part of the cluster's own machinery.
_USER, _GROUPS, _NAMESPACE, _NAME = "auditor-probe@example.com", ("system:authenticated",), "auditor-probe", "auditor-probe"


@dataclass(frozen=True, slots=True)
class Probe:
    """A request by an ordinary user, and the levels at which it may be logged."""

    verb: str
    group: str
    resource: str
    subresource: str = ""
    allowed: tuple[str, ...] = _MORE
    namespaced: bool = True

    @property
    def path(self) -> str:
        """``pods/exec`` as rules write it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    def __str__(self) -> str:
        return f"{self.verb} {self.path}{'.' + self.group if self.group else ''}"


_WRITES = ("create", "update", "patch", "delete")
_READS = ("get", "list", "watch")
PROBES: Mapping[str, tuple[Probe, ...]] = {
    "secrets": (
        *(Probe(v, "", r, allowed=_ONE) for r in ("secrets", "configmaps") for v in _READS + _WRITES),
        Probe("create", "authentication.k8s.io", "tokenreviews", allowed=_ONE, namespaced=False),
    ),
    "workloads": tuple(Probe(v, g, r) for g, r in (("", "pods"), ("apps", "deployments")) for v in _WRITES),
    "access": tuple(
        Probe(v, "", r, s)
        for r, s in (("pods", "exec"), ("pods", "portforward"), ("pods", "proxy"), ("services", "proxy"))
        for v in ("create", "get")
    ),
    "certificates": (
        *(Probe(v, "certificates.k8s.io", "certificatesigningrequests", namespaced=False) for v in ("create", "update", "patch")),
        Probe("update", "certificates.k8s.io", "certificatesigningrequests", "approval", namespaced=False),
    ),
    "tokens": (Probe("create", "", "serviceaccounts", "token"),),
}


def level_of(probe: Probe, rules: list[dict[str, Any]]) -> str | Problem:
    """Return the level at which the first matching rule logs a request, "None" when none matches."""
    for number, rule in enumerate(rules, 1):
        try:
            if _matches(probe, rule):
                silent = {"RequestReceived", "ResponseComplete"} <= set(_words(rule, "omitStages"))
                return "None" if silent else str(rule["level"])
        except (TypeError, AttributeError, ValueError):
            return Problem(Reason.UNPARSABLE, f"rule {number} is not of the form of an audit rule")
    return "None"


def _matches(probe: Probe, rule: Mapping[str, Any]) -> bool:
    users, groups, verbs = (_words(rule, k) for k in ("users", "userGroups", "verbs"))
    if users and _USER not in users:
        return False
    if groups and not set(groups) & set(_GROUPS):
        return False
    if verbs and probe.verb not in verbs:
        return False
    namespaces, resources = _words(rule, "namespaces"), rule.get("resources") or []
    if namespaces or resources:
        if namespaces and (_NAMESPACE if probe.namespaced else "") not in namespaces:
            return False
        return not resources or any(_covers(probe, entry) for entry in resources)
    return not _words(rule, "nonResourceURLs")  # a rule for other URLs matches no request for a resource


def _words(rule: Mapping[str, Any], key: str) -> list[str]:
    value = rule.get(key) or []
    if not isinstance(value, list):
        raise ValueError(key)  # noqa: TRY004 - caught above
    return [str(v) for v in value]


def _covers(probe: Probe, entry: Mapping[str, Any]) -> bool:
    """``pods`` is the resource without its subresources, ``pods/*`` with them, ``*/exec`` that one of every resource, ``*`` all."""
    if str(entry.get("group") or "") != probe.group:
        return False
    resources = _words(entry, "resources")
    if not resources:
        return True
    names = _words(entry, "resourceNames")
    if names and (probe.verb in ("list", "watch", "create") or _NAME not in names):
        return False
    ways = {probe.path, "*", f"{probe.resource}/*", f"*/{probe.subresource}" if probe.subresource else "*"}
    return bool(ways & set(resources))
