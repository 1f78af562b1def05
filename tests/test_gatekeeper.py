"""What Gatekeeper's constraints surely refuse: templates that are known, and everything that may let a pod through."""

from __future__ import annotations

from typing import Any

import pytest

from auditor.facts.kube_reduce import constraint_template
from auditor.facts.kubernetes import CONSTRAINTS, KINDS
from checks import policy_gatekeeper
from tests.test_cluster_engines import CREATE, PID, PRIVILEGED, changed, policies

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
