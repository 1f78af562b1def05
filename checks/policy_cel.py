"""ValidatingAdmissionPolicies: which fields of pods their expressions refuse, where that can be told.

An expression is a program. Here only a few shapes are understood, the ones that the documentation of Kubernetes and common policy
collections use for one field; whatever else stands in a policy may refuse anything or nothing and proves nothing.
"""

from __future__ import annotations

import re
from typing import Any

from checks.policy_rules import (
    ESCALATION,
    HOST_IPC,
    HOST_NETWORK,
    HOST_PATH,
    HOST_PID,
    OF_PODS,
    PRIVILEGED,
    Labels,
    Reading,
    Rule,
    narrows,
    sees_new_containers,
    sees_new_pods,
    selects,
)

KINDS = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")

_FLAGS = {"hostPID": HOST_PID, "hostIPC": HOST_IPC, "hostNetwork": HOST_NETWORK}
_FALSE = (
    "!has({f})||{f}==false",
    "!has({f})||!{f}",
    "!has({f})||{f}!=true",
    "!(has({f})&&{f})",
    "!(has({f})&&{f}==true)",
    "!has({f})",
)
_POD_SHAPES = {
    **{shape.format(f=f"object.spec.{name}"): what for name, what in _FLAGS.items() for shape in _FALSE},
    **{f"object.spec.?{name}.orValue(false)==false": what for name, what in _FLAGS.items()},
    "!has(object.spec.volumes)||object.spec.volumes.all(v,!has(v.hostPath))": HOST_PATH,
    "object.spec.?volumes.orValue([]).all(v,!has(v.hostPath))": HOST_PATH,
}
#: All containers of a pod, in one expression.
_ALL_CONTAINERS = {
    (
        "object.spec.containers+(has(object.spec.initContainers)?object.spec.initContainers:[])"
        "+(has(object.spec.ephemeralContainers)?object.spec.ephemeralContainers:[])"
    ),
    "object.spec.containers+object.spec.?initContainers.orValue([])+object.spec.?ephemeralContainers.orValue([])",
}
#: What must hold of a container ``c``, by what it refuses.
_EACH = {
    "!has(c.securityContext)||!has(c.securityContext.privileged)||c.securityContext.privileged==false": PRIVILEGED,
    "!has(c.securityContext)||!has(c.securityContext.privileged)||!c.securityContext.privileged": PRIVILEGED,
    "c.?securityContext.?privileged.orValue(false)==false": PRIVILEGED,
    "has(c.securityContext)&&has(c.securityContext.allowPrivilegeEscalation)"
    "&&c.securityContext.allowPrivilegeEscalation==false": ESCALATION,
    "has(c.securityContext)&&has(c.securityContext.allowPrivilegeEscalation)"
    "&&!c.securityContext.allowPrivilegeEscalation": ESCALATION,
    "c.?securityContext.?allowPrivilegeEscalation.orValue(true)==false": ESCALATION,
}
#: What must hold of no container ``c``.
_NONE = {
    "has(c.securityContext)&&has(c.securityContext.privileged)&&c.securityContext.privileged==true": PRIVILEGED,
    "has(c.securityContext)&&has(c.securityContext.privileged)&&c.securityContext.privileged": PRIVILEGED,
    "c.?securityContext.?privileged.orValue(false)==true": PRIVILEGED,
    "c.?securityContext.?privileged.orValue(false)": PRIVILEGED,
}
_LOOP = re.compile(r"(!?)variables\.([A-Za-z_][A-Za-z0-9_]*)\.(all|exists)\(([A-Za-z_][A-Za-z0-9_]*),(.*)\)")


def rules(reading: Reading) -> list[Rule]:
    """Return what is enforced: every binding with the action Deny, together with its policy."""
    policies = {p.get("metadata", {}).get("name"): p.get("spec", {}) for p in reading.objects(KINDS[0])}
    found = []
    for binding in reading.objects(KINDS[1]):
        spec = binding.get("spec", {})
        policy = policies.get(spec.get("policyName"))
        if policy is None or "Deny" not in spec.get("validationActions", ()):
            continue
        own, narrowed = policy.get("matchConstraints", {}), spec.get("matchResources", {})
        if sees_new_pods(own.get("resourceRules", ())) and (
            not narrowed.get("resourceRules") or sees_new_pods(narrowed["resourceRules"])
        ):
            name = f"ValidatingAdmissionPolicy {spec['policyName']} (binding {binding.get('metadata', {}).get('name', '?')})"
            found += _rules(name, policy, spec)
    return found


def _rules(name: str, policy: dict[str, Any], binding: dict[str, Any]) -> list[Rule]:
    matches = [policy.get("matchConstraints", {}), binding.get("matchResources", {})]

    def selecting(_: str, labels: Labels) -> bool:
        return all(selects(m.get("namespaceSelector"), labels) for m in matches)

    refused = refuses(policy)
    doubt = _doubt(policy, binding, matches) or ("" if refused else "what its expressions refuse can't be told")
    late = refused - OF_PODS
    if not late or all(sees_new_containers(m["resourceRules"]) for m in matches if m.get("resourceRules")):
        return [Rule(name, refused, selecting, doubt)]
    # Fields of pods never change later, those of ephemeral containers come later.
    sure = [Rule(name, refused & OF_PODS, selecting, doubt)] if refused & OF_PODS else []
    return [*sure, Rule(name, late, selecting, doubt or "doesn't see ephemeral containers")]


def _doubt(policy: dict[str, Any], binding: dict[str, Any], matches: list[dict[str, Any]]) -> str:
    if policy.get("failurePolicy", "Fail") != "Fail":
        return f"lets pods in when it fails (failurePolicy {policy['failurePolicy']})"
    if policy.get("matchConditions"):
        return "leaves out pods by conditions"
    if policy.get("paramKind") or binding.get("paramRef"):
        return "hangs on a parameter that isn't read"
    if any(narrows(m.get("objectSelector")) for m in matches):
        return "leaves out pods by their labels"
    if any(m.get("excludeResourceRules") for m in matches) or any(
        rule.get("resourceNames") for m in matches for rule in m.get("resourceRules", ())
    ):
        return "leaves out some objects"
    return ""


def refuses(policy: dict[str, Any]) -> frozenset[str]:
    """Return what a policy's expressions surely refuse; nothing where none of them is understood."""
    variables = {str(v.get("name")): _plain(v.get("expression", "")) for v in policy.get("variables", ())}
    found: set[str] = set()
    for validation in policy.get("validations", ()):
        for part in _conjuncts(_plain(validation.get("expression", ""))):
            found |= _of(part, variables)
    return frozenset(found)


def _of(part: str, variables: dict[str, str]) -> set[str]:
    if part in _POD_SHAPES:
        return {_POD_SHAPES[part]}
    loop = _LOOP.fullmatch(part)
    if loop is None or _unwrapped(variables.get(loop[2], "")) not in _ALL_CONTAINERS:
        return set()
    negated, _, how, name, body = loop.groups()
    if not _balanced(body):
        return set()
    body = re.sub(rf"\b(?<![.\w]){re.escape(name)}\b(?=\.)", "c", body)
    table = _EACH if (negated, how) == ("", "all") else _NONE if (negated, how) == ("!", "exists") else {}
    return {table[body]} if body in table else set()


def _plain(expression: Any) -> str:
    """Return an expression without white space; nothing for one with quotes or comments, in which it would matter."""
    text = str(expression)
    return "" if '"' in text or "'" in text or "//" in text else re.sub(r"\s+", "", text)


def _conjuncts(expression: str) -> list[str]:
    """Return the parts of ``a && b``, outer parentheses taken off; any ``||`` or ``?`` beside them makes it one part."""
    expression = _unwrapped(expression)
    parts, depth, start, index = [], 0, 0, 0
    while index < len(expression):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(expression[index], 0)
        pair = expression[index : index + 2]
        if depth == 0 and (pair == "||" or (expression[index] == "?" and expression[index - 1] != ".")):
            return [expression]
        if depth == 0 and pair == "&&":
            parts.append(expression[start:index])
            start = index = index + 2
            continue
        index += 1
    parts.append(expression[start:])
    return [expression] if len(parts) == 1 else [p for part in parts for p in _conjuncts(part)]


def _unwrapped(expression: str) -> str:
    """Return an expression without the parentheses around the whole of it."""
    while expression[:1] == "(" and expression[-1:] == ")" and _balanced(expression[1:-1]):
        expression = expression[1:-1]
    return expression


def _balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            return False
    return depth == 0
