"""Kyverno: ClusterPolicies and Policies (kyverno.io/v1) that refuse pods, by the shapes of their rules that are understood.

Understood are ``podSecurity`` rules, patterns for single fields, and the few conditions that the project's public collection of
pod security policies writes for capabilities. A rule of any other shape refuses nothing for certain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from checks.policy_rules import (
    ADD_BASELINE,
    ADD_RESTRICTED,
    BASELINE,
    BASELINE_CAPABILITIES,
    DROP_ALL,
    ESCALATION,
    HOST_IPC,
    HOST_NETWORK,
    HOST_PATH,
    HOST_PID,
    HOST_PORT,
    HOST_PROCESS,
    NON_ROOT,
    PRIVILEGED,
    PROC_MOUNT,
    RESTRICTED,
    USER,
    Labels,
    Reading,
    Rule,
    guard,
    like,
    may_be_like,
    selects,
)
from checks.rbac_rules import name_of

POLICIES = ("clusterpolicies", "kyvernopolicies")
EXCEPTIONS = ("policyexceptions", "policyexceptions-v2beta1", "policyexceptions-v2alpha1")
CONFIGS = "kyvernoconfigs"
KINDS = (*POLICIES, *EXCEPTIONS, CONFIGS)
WEBHOOK = "validate.kyverno.svc"

_SINCE_CAPABILITIES = 22  # minor version of Kubernetes whose restricted level looks at capabilities, as our rules ask
_LISTS = ("containers", "initContainers", "ephemeralContainers")
_NOT_DELETE = {"all": [{"key": "{{request.operation||'BACKGROUND'}}", "operator": "NotEquals", "value": "DELETE"}]}
_ALL_ADDED = "{{request.object.spec.[ephemeralContainers,initContainers,containers][].securityContext.capabilities.add[]}}"
_EACH_CONTAINER = "request.object.spec.[ephemeralContainers,initContainers,containers][]"
_DROPPED, _ADDED = (f"{{{{element.securityContext.capabilities.{what}[]||`[]`}}}}" for what in ("drop", "add"))
#: Fields of containers: path -> (value, whether it must be set, what that refuses).
_FIELDS: dict[str, tuple[str, bool, str]] = {
    "securityContext.privileged": ("false", False, PRIVILEGED),
    "securityContext.allowPrivilegeEscalation": ("false", True, ESCALATION),
    "securityContext.procMount": ("Default", False, PROC_MOUNT),
    "securityContext.runAsUser": (">0", False, USER),
    "securityContext.windowsOptions.hostProcess": ("false", False, HOST_PROCESS),
    "ports[].hostPort": ("0", False, HOST_PORT),
}
#: Of those, the ones that a pod may also set for all its containers.
_ALSO_OF_PODS = ("securityContext.runAsUser", "securityContext.windowsOptions.hostProcess")


def rules(reading: Reading, hooks: list[dict[str, Any]]) -> list[Rule]:
    """Return a rule for each one that is enforced on new pods, with the doubts that its surroundings raise."""
    policies = [(kind, p) for kind in POLICIES for p in reading.objects(kind)]
    if not policies:
        return []
    before = len(reading.errors)
    excepted = [e for kind in EXCEPTIONS for x in reading.objects(kind) for e in x.get("spec", {}).get("exceptions", ())]
    filters = reading.objects(CONFIGS)
    unread = "its exceptions or settings could not be read" if len(reading.errors) > before else ""
    return [rule for kind, p in policies for rule in _policy(kind, p, excepted, filters, hooks, unread)]


def _policy(
    kind: str, policy: dict[str, Any], excepted: list[dict[str, Any]], configs: list[dict[str, Any]], hooks: list[dict[str, Any]],
    unread: str,
) -> Iterator[Rule]:  # fmt: skip
    spec = policy.get("spec", {})
    home = policy.get("metadata", {}).get("namespace", "") if kind == "kyvernopolicies" else ""
    own = f"{home}/{name_of(policy)}" if home else name_of(policy)
    for rule in spec.get("rules", ()):
        validate = rule.get("validate") or {}
        action = validate.get("failureAction") or spec.get("validationFailureAction") or "Audit"
        if not validate or str(action).lower() != "enforce" or not _about_pods(rule.get("match", {})):
            continue
        name = f"Kyverno {'Policy' if home else 'ClusterPolicy'} {own} (rule {rule.get('name', '?')})"
        named = [e for e in excepted if e.get("policyName") in (own, name_of(policy)) and _names(e, str(rule.get("name", "")))]
        refused = refuses(validate)
        doubt = (
            _doubt(spec, rule)
            or ("it has exceptions" if named else "")
            or unread
            or ("" if refused else "what it refuses can't be told")
        )
        yield _rule(name, refused, rule.get("match", {}), home, doubt, configs, hooks, sure=True)
        gap = "its match, Kyverno's settings or the webhook may leave pods out"
        yield _rule(name, refused, rule.get("match", {}), home, gap, configs,
                    hooks, sure=False)  # fmt: skip


def _rule(
    name: str, refused: frozenset[str], match: dict[str, Any], home: str, doubt: str, configs: list[dict[str, Any]],
    hooks: list[dict[str, Any]], *, sure: bool,
) -> Rule:  # fmt: skip
    def selecting(namespace: str, labels: Labels) -> bool:
        certain = (
            home in ("", namespace)
            and _selects(match, namespace, labels)
            and not _filtered(configs, namespace)
            and not guard(hooks, WEBHOOK, namespace, labels)
        )
        return certain if sure else not certain and home in ("", namespace) and _may_select(match, namespace, labels)

    return Rule(name, refused, selecting, doubt)


def _names(exception: dict[str, Any], rule: str) -> bool:
    return any("*" in n or n == rule for n in exception.get("ruleNames", ("*",)))


def _doubt(spec: dict[str, Any], rule: dict[str, Any]) -> str:
    validate = rule.get("validate") or {}
    if spec.get("validationFailureActionOverrides") or validate.get("failureActionOverrides"):
        return "it is enforced in some namespaces only (failureActionOverrides)"
    if spec.get("admission") is False:
        return "it is not applied at admission"
    webhook = spec.get("webhookConfiguration") or {}
    if "Ignore" in (spec.get("failurePolicy"), webhook.get("failurePolicy")):
        return "it lets pods in when Kyverno can't be reached"
    if webhook.get("matchConditions") or rule.get("celPreconditions"):
        return "it leaves out pods by conditions"
    if spec.get("applyRules") == "One":
        return "only the first of its rules that matches is applied"
    if rule.get("exclude"):
        return "it excludes something"
    if rule.get("preconditions") and _normal(rule["preconditions"]) != _NOT_DELETE:
        return "it has preconditions"
    return "it reads values from elsewhere (context)" if rule.get("context") else ""


def _blocks(match: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the blocks of which one suffices: ``any``, or ``resources`` by itself, or ``all`` where it holds just one."""
    if match.get("any"):
        return list(match["any"])
    if match.get("all"):
        return list(match["all"]) if len(match["all"]) == 1 else []
    return [match] if match.get("resources") else []


def _plain(block: dict[str, Any]) -> bool:
    """Whether a block selects by kind, operation and namespace alone, and new pods and ephemeral containers among them."""
    resources = block.get("resources") or {}
    if set(block) - {"resources", "any", "all"} or set(resources) - {"kinds", "namespaces", "namespaceSelector", "operations"}:
        return False
    return not resources.get("operations") or {"CREATE", "UPDATE"} <= set(resources["operations"])


def _about_pods(match: dict[str, Any]) -> bool:
    wanted = {"Pod", "v1/Pod", "*", "*/Pod"}
    found = [b for b in (*_blocks(match), *match.get("all", ())) if wanted & set((b.get("resources") or {}).get("kinds", ()))]
    return bool(found)


def _selects(match: dict[str, Any], namespace: str, labels: Labels) -> bool:
    for block in _blocks(match):
        resources = block.get("resources") or {}
        if not _plain(block) or not {"Pod", "v1/Pod"} & set(resources.get("kinds", ())):
            continue
        names = resources.get("namespaces")
        if (not names or any(like(namespace, n) for n in names)) and selects(resources.get("namespaceSelector"), labels):
            return True
    return False


def _may_select(match: dict[str, Any], namespace: str, labels: Labels) -> bool:
    blocks = [*_blocks(match), *match.get("all", ())]
    return any(not _plain(b) or "*" in str((b.get("resources") or {}).get("kinds", ())) for b in blocks) or _selects(
        match, namespace, labels
    )


def _filtered(configs: list[dict[str, Any]], namespace: str) -> bool:
    """Whether Kyverno's own settings may leave out pods of a namespace, or makers of pods; so when they can't be found."""
    data = [c.get("data", {}) for c in configs if "resourceFilters" in c.get("data", {})]
    if not data:
        return True
    for settings in data:
        if any(settings.get(k) for k in ("excludeUsernames", "excludeRoles", "excludeClusterRoles", "namespaceSelectors")):
            return True
        if settings.get("excludeGroups", "system:nodes") not in ("", "system:nodes"):
            return True
        for entry in re.findall(r"\[([^\]]*)\]", str(settings["resourceFilters"])):
            kind, _, rest = entry.partition(",")
            where = (rest.partition(",")[0] or "*").strip()
            of_pods = kind.strip().rpartition("/")[2] in ("*", "Pod") or kind.strip().startswith(("Pod/", "*/", "*"))
            if of_pods and may_be_like(namespace, where):
                return True
    return False


def refuses(validate: dict[str, Any]) -> frozenset[str]:
    """Return what a rule's ``validate`` block surely refuses; nothing where its shape isn't understood."""
    found = [k for k in ("podSecurity", "pattern", "anyPattern", "deny", "foreach") if validate.get(k)]
    if len(found) != 1 or validate.get("cel") or validate.get("assert") or validate.get("manifests"):
        return frozenset()
    body = validate[found[0]]
    match found[0]:
        case "podSecurity":
            return _pod_security(body)
        case "pattern":
            return frozenset(_pattern(body))
        case "anyPattern":
            return frozenset({NON_ROOT} if _normal(body) in (_NON_ROOT, _NON_ROOT[::-1]) else ())
        case "deny":
            return _denied(body)
    return _foreach(body)


def _pod_security(body: dict[str, Any]) -> frozenset[str]:
    version = str(body.get("version", "latest"))
    pinned = re.fullmatch(r"v1\.([0-9]{1,3})", version)
    if body.get("exclude") or (version != "latest" and (pinned is None or int(pinned[1]) < _SINCE_CAPABILITIES + 1)):
        return frozenset()
    return {"baseline": BASELINE, "restricted": RESTRICTED}.get(str(body.get("level")), frozenset())


def _pattern(body: Any) -> set[str]:
    spec = body.get("spec") if isinstance(body, dict) and set(body) == {"spec"} else None
    if not isinstance(spec, dict) or not _unconditional(spec):
        return set()
    found = set()
    for name, what in (("hostPID", HOST_PID), ("hostIPC", HOST_IPC), ("hostNetwork", HOST_NETWORK)):
        if any(_word(spec.get(key)) == "false" for key in (name, f"=({name})")):
            found.add(what)
    volumes = spec.get("=(volumes)")
    if isinstance(volumes, list) and len(volumes) == 1 and volumes[0].get("X(hostPath)", "") in ("null", None):
        found.add(HOST_PATH)
    per_list = [_leaves(spec, name) for name in _LISTS]
    context = {k: v for k, v in spec.items() if k in ("securityContext", "=(securityContext)")}
    of_pod = {path: value for path, (value, _) in _walk(context, "", must=True)}
    for path, (value, must, what) in _FIELDS.items():
        if path in _ALSO_OF_PODS and of_pod.get(path) != value:
            continue
        if all(path in leaves and leaves[path][0] == value and (leaves[path][1] or not must) for leaves in per_list):
            found.add(what)
    return found


def _unconditional(value: Any) -> bool:
    """Whether a pattern has no anchor but the harmless ones: ``=(field)`` (if it is there) and ``X(field)`` (must not be there)."""
    if isinstance(value, dict):
        return all(("(" not in k or re.fullmatch(r"[=X]\([^()]+\)", k)) and _unconditional(v) for k, v in value.items())
    return all(map(_unconditional, value)) if isinstance(value, list) else True


def _leaves(spec: dict[str, Any], name: str) -> dict[str, tuple[str, bool]]:
    items = spec.get(name, spec.get(f"=({name})"))
    return dict(_walk(items[0], "", must=True)) if isinstance(items, list) and len(items) == 1 else {}


def _walk(value: Any, path: str, *, must: bool) -> Iterator[tuple[str, tuple[str, bool]]]:
    if isinstance(value, dict):
        for key, below in value.items():
            if key.startswith("X("):
                continue
            optional = key.startswith("=(")
            name = key[2:-1] if optional else key
            yield from _walk(below, f"{path}.{name}" if path else name, must=must and not optional)
    elif isinstance(value, list):
        if len(value) == 1:
            yield from _walk(value[0], f"{path}[]", must=must)
    else:
        yield path, (_word(value), must)


def _denied(body: dict[str, Any]) -> frozenset[str]:
    conditions = (body.get("conditions") or {}).get("all") if isinstance(body.get("conditions"), dict) else None
    if set(body) == {"conditions"} and conditions and len(conditions) == 1:
        (condition,) = conditions
        if _text(condition.get("key")) == _ALL_ADDED and condition.get("operator") == "AnyNotIn":
            return _added(condition.get("value"))
    return frozenset()


def _foreach(body: list[dict[str, Any]]) -> frozenset[str]:
    found: frozenset[str] = frozenset()
    for loop in body:
        conditions: list[dict[str, Any]] = ((loop.get("deny") or {}).get("conditions") or {}).get("all") or []
        if set(loop) != {"list", "deny"} or _text(loop["list"]) != _EACH_CONTAINER or len(conditions) != 1:
            return frozenset()
        (condition,) = conditions
        key, operator, value = _text(condition.get("key")), condition.get("operator"), condition.get("value")
        if (key, operator, _text(value)) == ("ALL", "AnyNotIn", _DROPPED):
            found |= {DROP_ALL}
        elif (key, operator) == (_ADDED, "AnyNotIn"):
            found |= _added(value)
    return found


def _added(value: Any) -> frozenset[str]:
    allowed = set(value) - {""} if isinstance(value, list) else {"?"}
    if allowed <= {"NET_BIND_SERVICE"}:
        return frozenset({ADD_BASELINE, ADD_RESTRICTED})
    return frozenset({ADD_BASELINE} if allowed <= BASELINE_CAPABILITIES else ())


def _word(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _text(value: Any) -> str:
    return re.sub(r"\s+", "", str(value))


def _normal(value: Any) -> Any:
    """Return a pattern with every value as text without white space."""
    if isinstance(value, dict):
        return {k: _normal(v) for k, v in value.items()}
    return [_normal(v) for v in value] if isinstance(value, list) else re.sub(r"\s+", "", _word(value))


#: A pod says that it isn't root for all its containers, or each of them does.
_MUST = [{"securityContext": {"runAsNonRoot": "true"}}]
_MAY = [{"=(securityContext)": {"=(runAsNonRoot)": "true"}}]
_NON_ROOT: list[dict[str, Any]] = [
    {"spec": {**_MUST[0], "=(ephemeralContainers)": _MAY, "=(initContainers)": _MAY, "containers": _MAY}},
    {"spec": {"=(ephemeralContainers)": _MUST, "=(initContainers)": _MUST, "containers": _MUST}},
]
