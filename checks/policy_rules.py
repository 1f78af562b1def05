"""What policy engines refuse, field by field, in the terms of pod rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from auditor.facts.kubernetes import KINDS, Objects
from auditor.model import Facts, Observation, Problem, Reason
from checks.base import error
from checks.pod_condition import Condition

Labels: TypeAlias = dict[str, str]

#: Capabilities that the baseline level lets containers add (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
BASELINE_CAPABILITIES = frozenset(
    {"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID",
     "SETPCAP", "SETUID", "SYS_CHROOT"}
)  # fmt: skip
HOST_PID, HOST_IPC, HOST_NETWORK = "hostPID: false", "hostIPC: false", "hostNetwork: false"
HOST_PATH, HOST_PORT = "volumes[].hostPath.path: not set", "ports[].hostPort: only 0"
PRIVILEGED, ESCALATION = "securityContext.privileged: false", "securityContext.allowPrivilegeEscalation: false"
NON_ROOT, USER = "securityContext.runAsNonRoot: true", "securityContext.runAsUser: not 0"
HOST_PROCESS, PROC_MOUNT = "securityContext.windowsOptions.hostProcess: false", "securityContext.procMount: Default"
DROP_ALL, ADD_BASELINE, ADD_RESTRICTED = "capabilities: drop ALL", "capabilities: add baseline", "capabilities: add restricted"
#: What can't change once a pod is made. The others stand in containers, and ephemeral ones (without ports) may be added later.
OF_PODS = frozenset({HOST_PID, HOST_IPC, HOST_NETWORK, HOST_PATH, HOST_PORT})
BASELINE = OF_PODS | {PRIVILEGED, HOST_PROCESS, PROC_MOUNT, ADD_BASELINE}
RESTRICTED = BASELINE | {ESCALATION, NON_ROOT, USER, DROP_ALL, ADD_RESTRICTED}
#: What gives away the node when nothing refuses it.
NODE = frozenset({HOST_PID, HOST_IPC, HOST_NETWORK, HOST_PATH, PRIVILEGED})


def refusal(condition: Condition) -> str:
    """Return what a rule must refuse for the condition to hold, one of the names above; any other text is refused by no rule."""
    expect = condition.expect
    if condition.field.endswith("capabilities.drop"):
        return DROP_ALL if "ALL" in expect.operands() else "?"
    if condition.field.endswith("capabilities.add"):
        wanted = set(expect.operands())
        if expect.operator == "contains_none":
            return ADD_BASELINE if not wanted & BASELINE_CAPABILITIES else "?"
        if expect.operator != "subset_of":
            return "?"
        return ADD_BASELINE if wanted >= BASELINE_CAPABILITIES else ADD_RESTRICTED if "NET_BIND_SERVICE" in wanted else "?"
    return f"{condition.field}: {expect.describe()}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy's rule: what it refuses (nothing when that can't be told) in the namespaces that it ``selects``.

    ``doubt`` says why something may get past it all the same; without one the rule is certain.
    """

    name: str
    refuses: frozenset[str]
    selects: Callable[[str, Labels], bool]
    doubt: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.doubt})" if self.doubt else self.name


class Reading:
    """Kinds of extensions as they are read: one that isn't served holds nothing; ``errors`` for what could not be read."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self.errors: list[Observation] = []

    def objects(self, kind: str) -> list[dict[str, Any]]:
        """Return the objects of a kind, none where it could not be read."""
        answer = self._facts.get(Objects(kind))
        if not isinstance(answer, Problem):
            return answer  # type: ignore[no-any-return]
        if not KINDS[kind].addon or answer.reason is not Reason.ABSENT:
            self.errors.append(error(f"cluster/{kind}", answer, source=f"GET {KINDS[kind].path}"))
        return []


def sees_new_pods(rules: Iterable[dict[str, Any]]) -> bool:
    """Return whether admission rules cover the making of pods."""
    return any(_of_pods(rule, "CREATE", {"*", "*/*", "pods"}) for rule in rules)


def sees_new_containers(rules: Iterable[dict[str, Any]]) -> bool:
    """Return whether admission rules cover ephemeral containers that are added to a pod."""
    wanted = {"*/*", "pods/*", "*/ephemeralcontainers", "pods/ephemeralcontainers"}
    return any(_of_pods(rule, "UPDATE", wanted) for rule in rules)


def _of_pods(rule: dict[str, Any], operation: str, resources: set[str]) -> bool:
    return bool(
        {"*", ""} & set(rule.get("apiGroups", ()))
        and {"*", "v1"} & set(rule.get("apiVersions", ("*",)))
        and {"*", operation} & set(rule.get("operations", ()))
        and resources & set(rule.get("resources", ()))
        and rule.get("scope", "*") in ("*", "Namespaced")
    )


def selects(selector: dict[str, Any] | None, labels: Labels) -> bool:
    """Return whether a label selector selects; none or an empty one selects everything.

    Raises ValueError for an operator that nobody knows.
    """
    if not selector:
        return True
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items()) and all(
        _holds(e, labels) for e in selector.get("matchExpressions", ())
    )


def narrows(selector: dict[str, Any] | None) -> bool:
    """Return whether a label selector leaves anything out."""
    return bool(selector and (selector.get("matchLabels") or selector.get("matchExpressions")))


def _holds(expression: dict[str, Any], labels: Labels) -> bool:
    key, values = expression.get("key", ""), expression.get("values", ())
    match expression.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise ValueError(f"unknown operator {expression.get('operator')!r} in a label selector")


def like(name: str, pattern: str) -> bool:
    """Return whether a name matches a pattern with ``*`` at its beginning, its end or both."""
    core = pattern.strip("*")
    if "*" in core:
        return False  # engines differ in what it means there
    if pattern.startswith("*") and pattern.endswith("*"):
        return core in name
    if pattern.startswith("*"):
        return name.endswith(core)
    return name.startswith(core) if pattern.endswith("*") else name == pattern


def may_be_like(name: str, pattern: str) -> bool:
    """Return whether a name matches a pattern, or may: engines differ in what a ``*`` inside or a ``?`` means."""
    core = pattern.strip("*")
    return "*" in core or "?" in core or like(name, pattern)


def guard(hooks: list[dict[str, Any]], starting: str, name: str, labels: Labels) -> str:
    """Return why an engine's webhook (by the start of its name) doesn't keep pods out of a namespace; nothing when it does."""
    gaps = []
    for hook in hooks:
        if not str(hook.get("name", "")).startswith(starting) or not sees_new_pods(hook.get("rules", ())):
            continue
        gap = _gap(hook, labels)
        if not gap:
            return ""
        gaps.append(f"{hook['name']} {gap}")
    return "; ".join(gaps) or f"no webhook {starting} sees new pods of {name}"


def _gap(hook: dict[str, Any], labels: Labels) -> str:
    if hook.get("failurePolicy") != "Fail":
        return f"lets pods in when it can't be reached (failurePolicy {hook.get('failurePolicy', '?')})"
    if not selects(hook.get("namespaceSelector"), labels):
        return "leaves the namespace out"
    if narrows(hook.get("objectSelector")):
        return "leaves out pods by their labels"
    if hook.get("matchConditions"):
        return "leaves out pods by conditions"
    return "" if sees_new_containers(hook.get("rules", ())) else "doesn't see ephemeral containers"
