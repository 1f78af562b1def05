"""Security context constraints of OpenShift: a pod gets in when one of those that its maker may use allows it.

Who may use which hangs on users, groups and permissions together; so a field counts as refused only where none allows it at all.
Those that allow it are named with whom they were given to.
"""

from __future__ import annotations

from typing import Any

from checks.policy_rules import (
    ESCALATION,
    HOST_IPC,
    HOST_NETWORK,
    HOST_PATH,
    HOST_PID,
    HOST_PORT,
    PRIVILEGED,
    Reading,
    Rule,
)
from checks.rbac_rules import listed, name_of

KIND = "securitycontextconstraints"
#: What each field allows; a field that isn't there (old objects) allows.
_ALLOW = {
    PRIVILEGED: "allowPrivilegedContainer", HOST_PID: "allowHostPID", HOST_IPC: "allowHostIPC", HOST_NETWORK: "allowHostNetwork",
    HOST_PORT: "allowHostPorts", HOST_PATH: "allowHostDirVolumePlugin", ESCALATION: "allowPrivilegeEscalation",
}  # fmt: skip


def rules(reading: Reading) -> list[Rule]:
    """Return a rule for each field: certain where no constraint allows it."""
    found = reading.objects(KIND)
    if not found:
        return []
    return [_rule(what, [c for c in found if _allows(c, what)]) for what in _ALLOW]


def _allows(constraint: dict[str, Any], what: str) -> bool:
    if what == HOST_PATH and constraint.get("allowHostDirVolumePlugin") is False:
        return bool({"*", "hostPath"} & set(constraint.get("volumes") or ()))
    return constraint.get(_ALLOW[what]) is not False


def _rule(what: str, allowing: list[dict[str, Any]]) -> Rule:
    named = listed(f"{name_of(c)} for {_given_to(c)}" for c in allowing)
    doubt = f"allowed by {named}" if allowing else ""
    return Rule("security context constraints (OpenShift)", frozenset({what}), lambda _name, _labels: True, doubt)


def _given_to(constraint: dict[str, Any]) -> str:
    return listed([*(constraint.get("users") or ()), *(constraint.get("groups") or ())]) or "whom roles let use it"
