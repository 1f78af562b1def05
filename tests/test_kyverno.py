"""What Kyverno's policies surely refuse: shapes of rules that are understood, and everything that may let a pod through."""

from __future__ import annotations

from typing import Any

import pytest

from auditor.facts.kube_reduce import kyverno_policy
from auditor.model import Problem, Reason
from checks import policy_kyverno
from checks.policy_rules import BASELINE, RESTRICTED
from tests.test_cluster_engines import CREATE, WHOLE, changed, policies

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
