"""What policy engines surely refuse: shapes that are understood, and everything that may let a pod through."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from auditor.model import Evidence, Target
from checks import policy_cel
from checks.expectation import Expect
from checks.pod_condition import Condition
from checks.pod_policies import PodPolicies
from checks.policy_rules import BASELINE, BASELINE_CAPABILITIES, RESTRICTED, like, refusal
from tests.support.cluster import controls

CREATE = {
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "operations": ["CREATE", "UPDATE"],
    "resources": ["pods", "pods/ephemeralcontainers"],
}
PRIVILEGED, PID = "securityContext.privileged: false", "hostPID: false"


def policies(**objects: Any) -> PodPolicies:
    return PodPolicies(Evidence(Target("c", "kubernetes"), "", {f"objects:{k}": v for k, v in objects.items()}))


def changed(value: Any, path: str, to: Any) -> Any:
    """Return a copy with something else at a path like ``spec.match.0.kinds``; None takes it away."""
    value = copy.deepcopy(value)
    *parts, last = path.split(".")
    inner = value
    for part in parts:
        inner = inner[int(part)] if isinstance(inner, list) else inner.setdefault(part, {})
    if to is None:
        del inner[last]
    else:
        inner[last] = to
    return value


def test_what_the_controls_ask_for_has_a_name_that_engines_know() -> None:
    """A condition that no engine's rule could ever refuse would make the engines useless for its control."""
    for key, control in controls().items():
        if getattr(control.check, "min_level", None):
            assert {refusal(c) for c in control.check.conditions} <= RESTRICTED, key  # type: ignore[attr-defined]


def test_a_condition_that_asks_for_more_is_refused_by_no_level() -> None:
    for path, expect in (
        ("securityContext.capabilities.add", Expect(subset_of=("CHOWN",))),
        ("securityContext.capabilities.add", Expect(contains_none=("CHOWN",))),
        ("securityContext.capabilities.drop", Expect(contains=("NET_RAW",))),
        ("securityContext.privileged", Expect(equals=0)),
        ("securityContext.privileged", Expect(equals=True)),
        ("ports[].hostPort", Expect(subset_of=(0, 80))),
    ):
        refused = refusal(Condition(container=path, expect=expect))
        # 0 and false read differently, so that one is never taken for the other.
        assert refused not in RESTRICTED, refused
    assert BASELINE < RESTRICTED
    assert "NET_RAW" not in BASELINE_CAPABILITIES


@pytest.mark.parametrize(
    ("name", "pattern", "same"),
    [("kube-system", "kube-*", True), ("a-system", "*-system", True), ("shop", "*", True), ("shop", "shop", True), ("shop", "sho", False),
     ("x-kube-y", "*kube*", True), ("shop", "s*p", False), ("shop", "", False)],
)  # fmt: skip
def test_patterns_of_namespaces(name: str, pattern: str, same: bool) -> None:
    assert like(name, pattern) is same


# ValidatingAdmissionPolicy

UNION = (
    "object.spec.containers + (has(object.spec.initContainers) ? object.spec.initContainers : [])"
    " + (has(object.spec.ephemeralContainers) ? object.spec.ephemeralContainers : [])"
)
EXISTS = (
    "!variables.all.exists(k, has(k.securityContext) && has(k.securityContext.privileged) && k.securityContext.privileged == true)"
)


def cel(*expressions: str, **variables: str) -> dict[str, Any]:
    return {
        "variables": [{"name": n, "expression": e} for n, e in variables.items()],
        "validations": [{"expression": e} for e in expressions],
    }


@pytest.mark.parametrize(
    ("policy", "refused"),
    [
        (cel("!has(object.spec.hostPID) || object.spec.hostPID == false"), {PID}),
        (cel("( object.spec.?hostPID.orValue(false) == false) &&\n (object.spec.?hostIPC.orValue(false) == false)"), {PID, "hostIPC: false"}),
        (cel("!has(object.spec.hostPID) || object.spec.hostPID"), set()),
        (cel("!has(object.spec.hostPID) || object.spec.hostPID == false || true"), set()),
        (cel("true || (!has(object.spec.hostPID) && true)"), set()),
        (cel("object.metadata.name == 'x' && !has(object.spec.hostPID)"), set()),
        (cel("true // && !has(object.spec.hostPID)"), set()),
        (cel("request.x ? true : true && !has(object.spec.hostPID)"), set()),
        (cel(EXISTS, all=UNION), {PRIVILEGED}),
        (cel(EXISTS, all=f"({UNION})"), {PRIVILEGED}),
        (cel(EXISTS, all="object.spec.containers"), set()),
        (cel(EXISTS), set()),
        (cel(EXISTS[1:], all=UNION), set()),
        (cel(EXISTS.replace("exists", "all"), all=UNION), set()),
        (cel("variables.all.all(c, c.?securityContext.?privileged.orValue(false) == false)", all=UNION), {PRIVILEGED}),
        (cel("variables.all.all(c, c.?securityContext.?allowPrivilegeEscalation.orValue(false) == false)", all=UNION), set()),
        (cel("!has(object.spec.volumes) || object.spec.volumes.all(v, !has(v.hostPath))"), {"volumes[].hostPath.path: not set"}),
    ],
)  # fmt: skip
def test_expressions(policy: dict[str, Any], refused: set[str]) -> None:
    assert policy_cel.refuses(policy) == refused


VAP = {
    "metadata": {"name": "p"},
    "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [CREATE]},
        **cel("!has(object.spec.hostPID) || !object.spec.hostPID", EXISTS, all=UNION),
    },
}
BINDING = {"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}}
WHOLE = frozenset({PRIVILEGED, PID})


def vap(policy: Any = VAP, binding: Any = BINDING, wanted: frozenset[str] = WHOLE) -> list[str]:
    return policies(validatingadmissionpolicies=[policy], validatingadmissionpolicybindings=[binding]).refusing(
        "shop", {"a": "1"}, wanted
    )


def test_a_policy_that_is_bound_and_denies_refuses() -> None:
    assert vap() == ["ValidatingAdmissionPolicy p (binding b)"]
    assert vap(wanted=WHOLE | {"hostIPC: false"}) == []
    assert vap(changed(VAP, "spec.failurePolicy", None))  # Fail is the default


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("spec.failurePolicy", "Ignore"),
        ("spec.matchConditions", [{"name": "not-mine"}]),
        ("spec.paramKind", {"kind": "ConfigMap"}),
        ("spec.matchConstraints.objectSelector", {"matchLabels": {"a": "b"}}),
        ("spec.matchConstraints.namespaceSelector", {"matchLabels": {"a": "2"}}),
        ("spec.matchConstraints.excludeResourceRules", [CREATE]),
        ("spec.matchConstraints.resourceRules", [{**CREATE, "resourceNames": ["x"]}]),
        ("spec.matchConstraints.resourceRules", [{**CREATE, "operations": ["UPDATE"]}]),
        ("spec.matchConstraints.resourceRules", [{**CREATE, "resources": ["pods"]}]),
        ("spec.variables.0.expression", "object.spec.containers"),
    ],
)
def test_a_policy_with_a_gap_refuses_nothing_for_certain(path: str, to: Any) -> None:
    assert vap(changed(VAP, path, to)) == []


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("spec.validationActions", ["Warn", "Audit"]),
        ("spec.policyName", "other"),
        ("spec.paramRef", {"name": "x"}),
        ("spec.matchResources", {"namespaceSelector": {"matchLabels": {"a": "2"}}}),
        ("spec.matchResources", {"objectSelector": {"matchLabels": {"a": "b"}}}),
    ],
)
def test_a_binding_with_a_gap_refuses_nothing_for_certain(path: str, to: Any) -> None:
    assert vap(binding=changed(BINDING, path, to)) == []


def test_what_pods_keep_for_life_needs_no_look_at_later_containers() -> None:
    only_pods = changed(VAP, "spec.matchConstraints.resourceRules", [{**CREATE, "resources": ["pods"]}])
    assert vap(only_pods, wanted=frozenset({PID}))
    assert vap(only_pods, wanted=frozenset({PRIVILEGED})) == []


# OpenShift

SCC = {"metadata": {"name": "restricted-v2"}, "allowHostPID": False, "allowPrivilegedContainer": False,
       "allowHostDirVolumePlugin": False, "volumes": ["secret"], "groups": ["system:authenticated"]}  # fmt: skip


def test_security_context_constraints_refuse_what_none_of_them_allows() -> None:
    strict = policies(securitycontextconstraints=[SCC])
    assert strict.refusing("shop", {}, WHOLE) == ["security context constraints (OpenShift)"]
    assert strict.refusing("shop", {}, frozenset({"hostIPC: false"})) == []
    assert strict.refusing("shop", {}, frozenset({"volumes[].hostPath.path: not set"}))
    open_too = policies(securitycontextconstraints=[SCC, {"metadata": {"name": "privileged"}, "users": ["bob"]}])
    assert open_too.refusing("shop", {}, WHOLE) == []
    assert open_too.of("shop", {}, frozenset({PID})) == ["security context constraints (OpenShift) (allowed by privileged for bob)"]
