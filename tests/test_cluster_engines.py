"""What policy engines surely refuse: shapes that are understood, and everything that may let a pod through."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from auditor.facts.kube_reduce import constraint_template, kyverno_policy
from auditor.facts.kubernetes import CONSTRAINTS, KINDS
from auditor.model import Evidence, Problem, Reason, Target
from checks import policy_cel, policy_gatekeeper, policy_kyverno
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


# Gatekeeper

HOOK = {
    "name": "validation.gatekeeper.sh",
    "failurePolicy": "Fail",
    "rules": [{**CREATE, "resources": ["*", "pods/ephemeralcontainers"]}],
}
HOST_NAMESPACE = {
    "metadata": {"name": "c"},
    "spec": {
        "enforcementAction": "deny",
        "match": {"kinds": [{"apiGroups": [""], "kinds": ["Pod"]}], "excludedNamespaces": ["kube-*"]},
    },
    "status": {"byPod": [{"enforced": True}]},
}
DIGEST = "41b670779207359c2be989ecba3934f1"


def gatekeeper(
    constraint: Any = HOST_NAMESPACE, hook: Any = HOOK, digest: str = DIGEST, namespace: str = "shop", config: Any = (),
    wanted: str = PID,
) -> list[str]:  # fmt: skip
    return policies(
        constrainttemplates=[{"kind": "K8sPSPHostNamespace", "digest": digest}],
        gatekeeperconfigs=list(config),
        k8spsphostnamespace=[constraint],
        validatingwebhookconfigurations=[{"webhooks": [hook]}],
    ).refusing(namespace, {}, frozenset({wanted}))


def test_a_constraint_of_a_known_template_refuses() -> None:
    assert gatekeeper() == ["Gatekeeper constraint K8sPSPHostNamespace c"]
    assert gatekeeper(changed(HOST_NAMESPACE, "spec.enforcementAction", None))  # deny is the default
    assert gatekeeper(wanted="hostNetwork: false") == []
    assert gatekeeper(namespace="kube-system") == []


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("spec.enforcementAction", "dryrun"),
        ("spec.enforcementAction", "warn"),
        ("spec.enforcementAction", "scoped"),
        ("spec.match.namespaces", ["other"]),
        ("spec.match.excludedNamespaces", ["*"]),
        ("spec.match.excludedNamespaces", ["s*p"]),
        ("spec.match.labelSelector", {"matchLabels": {"a": "b"}}),
        ("spec.match.namespaceSelector", {"matchLabels": {"a": "b"}}),
        ("spec.match.name", "web-*"),
        ("spec.match.scope", "Cluster"),
        ("spec.match.source", "Generated"),
        ("spec.match.somethingNew", ["x"]),
        ("spec.match.kinds", [{"apiGroups": ["apps"], "kinds": ["Deployment"]}]),
        ("spec.parameters", {"exemptImages": ["*"]}),
        ("status.byPod", [{"enforced": True}, {}]),
        ("status", {}),
    ],
)
def test_a_constraint_with_a_gap_refuses_nothing_for_certain(path: str, to: Any) -> None:
    assert gatekeeper(changed(HOST_NAMESPACE, path, to)) == []


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("failurePolicy", "Ignore"),
        ("name", "mutation.gatekeeper.sh"),
        ("objectSelector", {"matchLabels": {"a": "b"}}),
        ("namespaceSelector", {"matchLabels": {"a": "b"}}),
        ("matchConditions", [{"name": "x"}]),
        ("rules", [{**CREATE, "resources": ["deployments"]}]),
        ("rules", [{**CREATE, "resources": ["pods"]}]),
    ],
)
def test_gatekeeper_refuses_nothing_for_certain_behind_a_webhook_with_a_gap(path: str, to: Any) -> None:
    assert gatekeeper(hook=changed(HOOK, path, to)) == []


def test_a_template_that_somebody_wrote_proves_nothing() -> None:
    assert gatekeeper(digest="0" * 32) == []


@pytest.mark.parametrize(("processes", "refused"), [(["*"], False), (["webhook"], False), (["audit"], True)])
def test_gatekeepers_own_settings_leave_namespaces_out(processes: list[str], refused: bool) -> None:
    config = {"spec": {"match": [{"excludedNamespaces": ["sho*"], "processes": processes}]}}
    assert bool(gatekeeper(config=[config])) is refused


def test_constraints_that_skip_updates_dont_hold_containers_that_come_later() -> None:
    def refusing(digest: str) -> list[str]:
        return policies(
            constrainttemplates=[{"kind": "K8sPSPPrivilegedContainer", "digest": digest}],
            k8spspprivilegedcontainer=[HOST_NAMESPACE],
            validatingwebhookconfigurations=[{"webhooks": [HOOK]}],
        ).refusing("shop", {}, frozenset({PRIVILEGED}))

    assert refusing("5987b91d0237919c3d76e9052fa39a24")
    assert refusing("cdd91333bd7b7f253b8b4271f40cd610") == []


@pytest.mark.parametrize(
    ("kind", "parameters", "refused"),
    [
        ("K8sPSPHostNetworkingPorts", {}, {"hostNetwork: false"}),
        ("K8sPSPHostNetworkingPorts", {"hostNetwork": True}, set()),
        (
            "K8sPSPHostNetworkingPorts",
            {"hostNetwork": False, "min": 0, "max": 0},
            {"hostNetwork: false", "ports[].hostPort: only 0"},
        ),
        ("K8sPSPHostNetworkingPorts", {"min": 80, "max": 9000}, {"hostNetwork: false"}),
        ("K8sPSPHostFilesystem", {}, {"volumes[].hostPath.path: not set"}),
        ("K8sPSPHostFilesystem", {"allowedHostPaths": [{"pathPrefix": "/foo"}]}, set()),
        ("K8sPSPVolumeTypes", {"volumes": ["secret"]}, {"volumes[].hostPath.path: not set"}),
        ("K8sPSPVolumeTypes", {"volumes": ["*"]}, set()),
        ("K8sPSPVolumeTypes", {}, set()),
        ("K8sPSPProcMount", {"procMount": "Unmasked"}, set()),
        ("K8sPSPCapabilities", {"allowedCapabilities": ["*"]}, set()),
        ("K8sPSPCapabilities", {"allowedCapabilities": ["CHOWN"]}, {"capabilities: add baseline"}),
        ("K8sPSPCapabilities", {}, {"capabilities: add baseline", "capabilities: add restricted"}),
    ],
)
def test_what_constraints_refuse_hangs_on_their_parameters(kind: str, parameters: dict[str, Any], refused: set[str]) -> None:
    digest = "770f798e765598c2d40ee8a08dd529ec"
    assert policy_gatekeeper._refused(kind, digest, parameters) == refused


def test_a_templates_digest_is_of_what_it_runs() -> None:
    template = {
        "metadata": {"name": "t"},
        "spec": {"crd": {"spec": {"names": {"kind": "K"}}}, "targets": [{"target": "x", "rego": "package a\n\nb {\n  c\n}\n"}]},
    }
    seen = constraint_template(template)
    assert set(seen) == {"metadata", "kind", "digest"}
    assert seen["kind"] == "K"
    assert constraint_template(changed(template, "spec.targets.0.rego", "package a  \n\nb {\n  c\n}"))["digest"] == seen["digest"]
    assert constraint_template(changed(template, "spec.targets.0.rego", "package a\n\nb {\n  d\n}\n"))["digest"] != seen["digest"]
    assert set(CONSTRAINTS) == {k.lower() for k in (*policy_gatekeeper.KNOWN, *policy_gatekeeper.ALSO)}
    assert set(CONSTRAINTS) <= set(KINDS)


# Kyverno

KYVERNO_HOOK = {"name": "validate.kyverno.svc-fail", "failurePolicy": "Fail", "rules": [CREATE]}
SETTINGS = {
    "metadata": {"name": "kyverno"},
    "data": {"resourceFilters": "[Event,*,*] [*/*,kube-system,*] [Pod,kyverno,x]", "excludeGroups": "system:nodes"},
}
PATTERN = {"spec": {"=(hostPID)": "false", "containers": [{"=(securityContext)": {"=(privileged)": "false"}}],
                    "=(initContainers)": [{"=(securityContext)": {"=(privileged)": False}}],
                    "=(ephemeralContainers)": [{"=(securityContext)": {"=(privileged)": "false"}}]}}  # fmt: skip
POLICY = {
    "metadata": {"name": "p"},
    "spec": {
        "validationFailureAction": "Enforce",
        "rules": [{"name": "r", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]}, "validate": {"pattern": PATTERN}}],
    },
}


def kyverno(
    policy: Any = POLICY, hook: Any = KYVERNO_HOOK, settings: Any = SETTINGS, namespace: str = "shop", **more: Any
) -> list[str]:
    return policies(
        clusterpolicies=[policy],
        kyvernoconfigs=[settings] if settings else [],
        validatingwebhookconfigurations=[{"webhooks": [hook]}],
        **more,
    ).refusing(namespace, {}, WHOLE)


def test_an_enforced_rule_refuses() -> None:
    assert kyverno() == ["Kyverno ClusterPolicy p (rule r)"]
    assert kyverno(changed(changed(POLICY, "spec.validationFailureAction", None), "spec.rules.0.validate.failureAction", "Enforce"))
    assert kyverno(changed(POLICY, "spec.rules.0.match", {"resources": {"kinds": ["Pod"]}}))
    not_delete = {"all": [{"key": "{{ request.operation || 'BACKGROUND' }}", "operator": "NotEquals", "value": "DELETE"}]}
    assert kyverno(changed(POLICY, "spec.rules.0.preconditions", not_delete))
    assert kyverno(policyexceptions=[{"spec": {"exceptions": [{"policyName": "other", "ruleNames": ["r"]}]}}])


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("spec.validationFailureAction", "Audit"),
        ("spec.validationFailureAction", None),
        ("spec.validationFailureActionOverrides", [{"action": "Audit", "namespaces": ["shop"]}]),
        ("spec.failurePolicy", "Ignore"),
        ("spec.webhookConfiguration", {"matchConditions": [{"name": "x"}]}),
        ("spec.admission", False),
        ("spec.applyRules", "One"),
        ("spec.rules.0.validate.failureAction", "Audit"),
        ("spec.rules.0.exclude", {"any": [{"subjects": []}]}),
        ("spec.rules.0.preconditions", {"all": [{"key": "x", "operator": "Equals", "value": "y"}]}),
        ("spec.rules.0.context", [{"name": "x"}]),
        ("spec.rules.0.match.any.0.resources.names", ["x"]),
        ("spec.rules.0.match.any.0.resources.selector", {"matchLabels": {"a": "b"}}),
        ("spec.rules.0.match.any.0.resources.operations", ["CREATE"]),
        ("spec.rules.0.match.any.0.resources.namespaces", ["other"]),
        ("spec.rules.0.match.any.0.resources.kinds", ["Deployment"]),
        ("spec.rules.0.match.any.0.subjects", [{"kind": "User", "name": "bob"}]),
        ("spec.rules.0.match", {"all": [{"resources": {"kinds": ["Pod"]}}, {"resources": {"namespaces": ["x"]}}]}),
        ("spec.rules.0.validate.pattern.spec.(hostIPC)", "true"),
        ("spec.rules.0.validate.pattern.spec.=(ephemeralContainers)", None),
        ("spec.rules.0.validate.pattern.spec.=(hostPID)", "true"),
        ("spec.rules.0.validate.pattern.metadata", {"labels": {"a": "b"}}),
        ("spec.rules.0.validate.deny", {"conditions": {}, "x": 1}),
    ],
)  # fmt: skip
def test_a_rule_with_a_gap_refuses_nothing_for_certain(path: str, to: Any) -> None:
    assert kyverno(changed(POLICY, path, to)) == []


def test_kyvernos_settings_webhook_and_exceptions_leave_pods_out() -> None:
    assert kyverno(namespace="kube-system") == []
    assert kyverno(namespace="kyverno") == []
    assert kyverno(settings=None) == []
    assert kyverno(settings=changed(SETTINGS, "data.excludeGroups", "system:nodes,devs")) == []
    assert kyverno(settings=changed(SETTINGS, "data.excludeUsernames", "bob")) == []
    for entry in ("[*,*,*]", "[Pod,sh?p,*]", "[Pod,shop,web]", "[Pod]", "[v1/Pod,s*p,*]", "[*/*,shop,*]"):
        assert kyverno(settings=changed(SETTINGS, "data.resourceFilters", entry)) == [], entry
    assert kyverno(settings=changed(SETTINGS, "data.resourceFilters", "[Pod,web,*][Deployment,shop,*]"))
    assert kyverno(hook=changed(KYVERNO_HOOK, "failurePolicy", "Ignore")) == []
    assert kyverno(hook=changed(KYVERNO_HOOK, "namespaceSelector", {"matchLabels": {"a": "b"}})) == []
    for names in (["r"], ["*"], ["autogen-*"]):
        assert kyverno(policyexceptions=[{"spec": {"exceptions": [{"policyName": "p", "ruleNames": names}]}}]) == []
    denied = Problem(Reason.DENIED, "no")
    assert kyverno(policyexceptions=denied) == []
    assert kyverno(**{"policyexceptions-v2beta1": denied}) == []


def test_a_policy_of_a_namespace_is_for_that_namespace() -> None:
    own = changed(POLICY, "metadata.namespace", "shop")
    found = policies(
        kyvernopolicies=[own], kyvernoconfigs=[SETTINGS], validatingwebhookconfigurations=[{"webhooks": [KYVERNO_HOOK]}]
    )
    assert found.refusing("shop", {}, WHOLE) == ["Kyverno Policy shop/p (rule r)"]
    assert found.refusing("web", {}, WHOLE) == []
    assert not [n for n in found.of("web", {}) if n.startswith("Kyverno")]


@pytest.mark.parametrize(
    ("validate", "refused"),
    [
        ({"podSecurity": {"level": "baseline", "version": "latest"}}, BASELINE),
        ({"podSecurity": {"level": "restricted"}}, RESTRICTED),
        ({"podSecurity": {"level": "restricted", "version": "v1.20"}}, set()),
        ({"podSecurity": {"level": "restricted", "version": "v1.29"}}, RESTRICTED),
        ({"podSecurity": {"level": "restricted", "exclude": [{"controlName": "Capabilities"}]}}, set()),
        ({"podSecurity": {"level": "privileged"}}, set()),
        ({"cel": {"expressions": [{"expression": "false"}]}}, set()),
        ({"pattern": {"spec": {"=(volumes)": [{"X(hostPath)": "null"}]}}}, {"volumes[].hostPath.path: not set"}),
        ({"pattern": {"spec": {"=(volumes)": [{"<(name)": "x", "X(hostPath)": "null"}]}}}, set()),
        # Without the pod's own field a pod may set it for all its containers.
        ({"pattern": {"spec": {k: [{"=(securityContext)": {"=(runAsUser)": ">0"}}]
                               for k in ("containers", "=(initContainers)", "=(ephemeralContainers)")}}}, set()),
        ({"pattern": {"spec": {"=(securityContext)": {"=(runAsUser)": ">0"}, **{
            k: [{"=(securityContext)": {"=(runAsUser)": ">0"}}] for k in ("containers", "=(initContainers)", "=(ephemeralContainers)")}}}},
         {"securityContext.runAsUser: not 0"}),
        # If it is there it must be false, but it need not be there, and left out it is true.
        ({"pattern": {"spec": {k: [{"=(securityContext)": {"=(allowPrivilegeEscalation)": "false"}}]
                               for k in ("containers", "=(initContainers)", "=(ephemeralContainers)")}}}, set()),
        ({"pattern": {"spec": {k: [{"securityContext": {"allowPrivilegeEscalation": "false"}}]
                               for k in ("containers", "=(initContainers)", "=(ephemeralContainers)")}}},
         {"securityContext.allowPrivilegeEscalation: false"}),
        ({"anyPattern": [{"spec": {"=(hostPID)": "false"}}, {"spec": {"=(hostIPC)": "false"}}]}, set()),
    ],
)  # fmt: skip
def test_shapes_of_rules(validate: dict[str, Any], refused: set[str]) -> None:
    assert policy_kyverno.refuses(validate) == refused


def test_of_kyvernos_policies_only_what_validates_is_kept() -> None:
    rules = [{"name": "a", "validate": {"message": "secret words", "pattern": {}}}, {"name": "b", "mutate": {}}]
    assert kyverno_policy({"spec": {"rules": rules}}) == {"spec": {"rules": [{"name": "a", "validate": {"pattern": {}}}]}}
    assert kyverno_policy({"spec": {"rules": rules[1:]}}) is None


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
