"""Gatekeeper: constraints that refuse pods, each made from a template of the project's public library of policies.

A template is a program that anybody may change, so its kind proves nothing. Here templates are known by digests of what they run,
for the library's releases that were read: those say what a constraint of theirs refuses, and whether it also looks at ephemeral
containers that are added to a pod later. Releases since 1.0.1 skip every update, so that such containers get past them.
"""

from __future__ import annotations

from typing import Any

from checks.policy_rules import (
    ADD_BASELINE,
    ADD_RESTRICTED,
    BASELINE_CAPABILITIES,
    ESCALATION,
    HOST_IPC,
    HOST_NETWORK,
    HOST_PATH,
    HOST_PID,
    HOST_PORT,
    HOST_PROCESS,
    OF_PODS,
    PRIVILEGED,
    PROC_MOUNT,
    Labels,
    Reading,
    Rule,
    guard,
    like,
    may_be_like,
    narrows,
    selects,
)
from checks.rbac_rules import name_of

TEMPLATES, CONFIGS = "constrainttemplates", "gatekeeperconfigs"
WEBHOOK = "validation.gatekeeper.sh"
#: Kind of constraint -> digest of a template -> whether that template also looks at updates of pods.
KNOWN: dict[str, dict[str, bool]] = {
    "K8sPSPPrivilegedContainer": {
        "e31314bb70490240b5cf3eddd260b5cc": False, "cdd91333bd7b7f253b8b4271f40cd610": False,
        "5987b91d0237919c3d76e9052fa39a24": True},
    "K8sPSPHostNamespace": {
        "1a32ff19b8d502f504f3f6dc3b0249f4": False, "41b670779207359c2be989ecba3934f1": False,
        "45602acd65fa37820cc989eb6cdf7baf": True},
    "K8sPSPHostNetworkingPorts": {
        "32894c21aa3a95bc9c90c64ecf75369a": False, "98ecc6cb00c51637cc40f8a9adfac6e5": False,
        "ab7f8282fafc16f7ec05963547febfd2": False, "770f798e765598c2d40ee8a08dd529ec": True},
    "K8sPSPHostFilesystem": {
        "bbb25133103425ac7cc561f05413e2d1": False, "5bd80f2f59bc58e1c60b1813d12d8a4e": False,
        "a65cecd4d7b12dea29ad52413aeeae68": False, "f5c127a85e0d44a5932cab971f8479cc": True},
    "K8sPSPVolumeTypes": {
        "7641a20030a69781503ca957818aa90d": False, "442da20791eaedfff8278c1806305b99": False,
        "fbd039ed2536c17c27e1f67418018145": True},
    "K8sPSPAllowPrivilegeEscalationContainer": {
        "d80ca240e41e11f5e4c28632bda83d87": False, "a99f016426acd899c349391a02afe75b": False,
        "196e358bd11efa3718247e6429b9e4f9": True},
    "K8sPSPCapabilities": {
        "662b92abe28117fe389dee8f612c8f18": False, "e26935cfd22149597977afedf4c89902": False,
        "3283cc8812489d8efae7eedd8535d6c7": True},
    "K8sPSPProcMount": {"83fd555274a483ed558a7fe4074b2466": False},
    "K8sPSPHostProcess": {"f6f2592914e93cad10d65a30f061b97e": False},
}  # fmt: skip
#: The library's template for ports and networks checks ports wrongly where Gatekeeper runs its CEL: only those without it count.
_PORTS = ("98ecc6cb00c51637cc40f8a9adfac6e5", "ab7f8282fafc16f7ec05963547febfd2", "770f798e765598c2d40ee8a08dd529ec")
#: More kinds of the library that are read, to name them; what they refuse is not what the controls ask for.
ALSO = ("K8sPSPAllowedUsers", "K8sPSPSeccomp", "K8sPSPSeccompV2")
KINDS = (TEMPLATES, CONFIGS, *(kind.lower() for kind in (*KNOWN, *ALSO)))
_MATCH = {"kinds", "namespaces", "excludedNamespaces", "namespaceSelector", "labelSelector", "name", "source", "scope"}


def rules(reading: Reading, hooks: list[dict[str, Any]]) -> list[Rule]:
    """Return a rule for each constraint about pods that denies, with the doubts that its surroundings raise."""
    digests = {t.get("kind"): t.get("digest", "") for t in reading.objects(TEMPLATES)}
    configs = reading.objects(CONFIGS)
    found: list[Rule] = []
    for kind in (*KNOWN, *ALSO):
        for constraint in reading.objects(kind.lower()):
            spec = constraint.get("spec", {})
            if spec.get("enforcementAction", "deny") in ("deny", "scoped") and _about_pods(spec.get("match", {})):
                found += _rules(kind, constraint, digests.get(kind, ""), configs, hooks)
    return found


def _rules(
    kind: str, constraint: dict[str, Any], digest: str, configs: list[dict[str, Any]], hooks: list[dict[str, Any]]
) -> list[Rule]:
    spec, name = constraint.get("spec", {}), f"Gatekeeper constraint {kind} {name_of(constraint)}"
    match: dict[str, Any] = spec.get("match", {})

    def matching(namespace: str, labels: Labels) -> bool:
        return (
            (not match.get("namespaces") or any(like(namespace, p) for p in match["namespaces"]))
            and not any(may_be_like(namespace, p) for p in (*match.get("excludedNamespaces", ()), *_left_out(configs)))
            and selects(match.get("namespaceSelector"), labels)
        )

    def selecting(namespace: str, labels: Labels) -> bool:
        return matching(namespace, labels) and not guard(hooks, WEBHOOK, namespace, labels)

    def unguarded(namespace: str, labels: Labels) -> bool:
        return matching(namespace, labels) and bool(guard(hooks, WEBHOOK, namespace, labels))

    known = KNOWN.get(kind, {})
    refused = _refused(kind, digest, spec.get("parameters") or {}) if digest in known else frozenset()
    doubt = _doubt(constraint, digest in known) or ("" if refused else "what it refuses can't be told")
    found = [Rule(name, refused & OF_PODS, selecting, doubt)] if refused & OF_PODS else []
    if late := refused - OF_PODS:
        found.append(Rule(name, late, selecting, doubt or ("" if known[digest] else "doesn't look at ephemeral containers")))
    if not refused:
        found.append(Rule(name, refused, selecting, doubt))
    return [*found, Rule(name, refused, unguarded, f"its webhook {WEBHOOK} doesn't hold every pod back")]


def _about_pods(match: dict[str, Any]) -> bool:
    kinds = match.get("kinds")
    return not kinds or any(
        {"", "*"} & set(k.get("apiGroups", ("*",))) and {"Pod", "*"} & set(k.get("kinds", ("*",))) for k in kinds
    )


def _doubt(constraint: dict[str, Any], known: bool) -> str:  # noqa: FBT001 - says what it is about
    spec = constraint.get("spec", {})
    match = spec.get("match", {})
    if not known:
        return "its template is none of those known by their digests"
    if spec.get("enforcementAction", "deny") != "deny":
        return "it denies at some enforcement points only"
    if narrows(match.get("labelSelector")) or match.get("name") or match.get("source", "All") not in ("All", ""):
        return "leaves out pods by their labels, names or sources"
    if match.get("scope", "*") not in ("*", "Namespaced", ""):
        return "is for what lies in no namespace"
    if unknown := set(match) - _MATCH:
        return f"narrowed by {', '.join(sorted(unknown))}"
    if (spec.get("parameters") or {}).get("exemptImages"):
        return "leaves out images (exemptImages)"
    by_pod = constraint.get("status", {}).get("byPod", ())
    return "" if by_pod and all(p.get("enforced") for p in by_pod) else "its status doesn't say that it is enforced"


def _left_out(configs: list[dict[str, Any]]) -> list[str]:
    """Return the namespaces that Gatekeeper's own configuration leaves out at admission."""
    return [
        pattern
        for config in configs
        for entry in config.get("spec", {}).get("match", ())
        if {"*", "webhook"} & set(entry.get("processes", ()))
        for pattern in entry.get("excludedNamespaces", ())
    ]


def _refused(kind: str, digest: str, parameters: dict[str, Any]) -> frozenset[str]:
    match kind:
        case "K8sPSPPrivilegedContainer":
            return frozenset({PRIVILEGED})
        case "K8sPSPHostNamespace":
            return frozenset({HOST_PID, HOST_IPC})
        case "K8sPSPHostNetworkingPorts":
            ports = digest in _PORTS and (parameters.get("min"), parameters.get("max")) == (0, 0)
            return frozenset({HOST_PORT} if ports else ()) | frozenset(() if parameters.get("hostNetwork") else {HOST_NETWORK})
        case "K8sPSPHostFilesystem":
            return frozenset(() if parameters.get("allowedHostPaths") else {HOST_PATH})
        case "K8sPSPVolumeTypes":
            return frozenset(() if {"*", "hostPath"} & set(parameters.get("volumes") or ("*",)) else {HOST_PATH})
        case "K8sPSPAllowPrivilegeEscalationContainer":
            return frozenset({ESCALATION})
        case "K8sPSPProcMount":
            return frozenset({PROC_MOUNT} if str(parameters.get("procMount", "default")).lower() == "default" else ())
        case "K8sPSPHostProcess":
            return frozenset({HOST_PROCESS})
    allowed = set(parameters.get("allowedCapabilities") or ())  # K8sPSPCapabilities
    if allowed <= {"NET_BIND_SERVICE"}:
        return frozenset({ADD_BASELINE, ADD_RESTRICTED})
    return frozenset({ADD_BASELINE} if allowed <= BASELINE_CAPABILITIES else ())
