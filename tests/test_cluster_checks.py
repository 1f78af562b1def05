"""The check types of clusters: rules matched as the authorizer does, and what other controls will need of them."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.model import Evidence, Outcome, Target
from checks.expectation import Expect
from checks.namespace import Namespace
from checks.pod_condition import Condition
from checks.rbac import BoundSubjects, ExemptSubjects, Permission, Rbac
from checks.workload import Workload

BOB = {"kind": "User", "name": "bob"}


def evaluate(check: Any, **objects: Any) -> Outcome:
    return check.evaluate(Evidence(Target("c", "kubernetes"), "", {f"objects:{k}": v for k, v in objects.items()}))


def rbac(check: Rbac, rules: list[dict[str, Any]], subject: dict[str, Any] = BOB, *, namespaced: bool = False) -> Outcome:
    role = {"metadata": {"name": "r"}, "rules": rules}
    binding = {"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [subject]}
    quiet = {"metadata": {"name": "quiet"}, "roleRef": {"kind": "ClusterRole", "name": "none"}}
    in_shop = {**binding, "metadata": {"name": "b", "namespace": "shop"}}
    return evaluate(check, clusterroles=[role], roles=[], clusterrolebindings=[quiet, *([] if namespaced else [binding])],
                    rolebindings=[in_shop] if namespaced else [])  # fmt: skip


def pods(*specs: dict[str, Any], **more: Any) -> dict[str, Any]:
    kinds = ("deployments", "replicasets", "statefulsets", "daemonsets", "replicationcontrollers", "jobs", "cronjobs")
    listed = [{"metadata": {"name": f"p{i}", "namespace": "shop"}, "spec": s} for i, s in enumerate(specs)]
    return {"namespaces": [{"metadata": {"name": "shop"}}], "pods": listed, **{k: [] for k in kinds}, **more}


# rbac


def authorizer(rule: dict[str, Any], verb: str, group: str, resource: str) -> bool:
    """What k8s.io/kubernetes/pkg/apis/rbac/v1/evaluation_helpers.go does, line by line."""

    def resource_matches() -> bool:
        _, _, subresource = resource.partition("/")
        for wanted in rule.get("resources", []):
            if wanted in ("*", resource):
                return True
            if not subresource:
                continue
            if len(wanted) == len(subresource) + 2 and wanted.startswith("*/") and wanted.endswith(subresource):
                return True
        return False

    return (
        any(v in ("*", verb) for v in rule.get("verbs", []))
        and any(g in ("*", group) for g in rule.get("apiGroups", []))
        and resource_matches()
    )


WORDS = st.lists(st.sampled_from(["*", "get", "list", "create"]), max_size=3)
GROUPS = st.lists(st.sampled_from(["*", "", "apps"]), max_size=2)
RESOURCES = st.lists(st.sampled_from(["*", "pods", "pods/exec", "pods/*", "*/exec", "*/*", "pod", "exec"]), max_size=3)


@given(
    st.lists(st.fixed_dictionaries({"verbs": WORDS, "apiGroups": GROUPS, "resources": RESOURCES}), max_size=3),
    st.sampled_from(["get", "list", "create"]),
    st.sampled_from(["", "apps"]),
    st.sampled_from(["pods", "pods/exec", "exec"]),
)
def test_a_rule_grants_what_the_authorizer_would_allow(rules, verb, group, resource):
    check = Rbac(grants=(Permission(api_groups=(group,), resources=(resource,), verbs=(verb,)),))
    allowed = any(authorizer(rule, verb, group, resource) for rule in rules)
    assert rbac(check, rules).status == ("fail" if allowed else "pass")


@pytest.mark.parametrize(
    ("urls", "status"),
    [(["/metrics"], "fail"), (["*"], "fail"), (["/met*"], "fail"), (["/metrics/"], "pass"), (["/healthz"], "pass")],
)
def test_urls(urls, status):
    check = Rbac(grants=(Permission(urls=("/metrics",), verbs=("get",)),))
    assert rbac(check, [{"nonResourceURLs": urls, "verbs": ["get"]}]).status == status


def test_a_rolebinding_grants_no_url_and_nothing_outside_namespaces():
    url = Rbac(grants=(Permission(urls=("/metrics",), verbs=("get",)),))
    assert rbac(url, [{"nonResourceURLs": ["*"], "verbs": ["*"]}], namespaced=True).status == "pass"
    volume = Permission(api_groups=("",), resources=("persistentvolumes",), verbs=("create",), cluster_scoped=True)
    rules = [{"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": ["create"]}]
    assert rbac(Rbac(grants=(volume,)), rules, namespaced=True).status == "pass"
    assert rbac(Rbac(grants=(volume,)), rules).status == "fail"


@pytest.mark.parametrize("status", ["pass", "fail", "manual"])
def test_named_objects(status):
    bind = Permission(api_groups=("rbac.authorization.k8s.io",), resources=("clusterroles",), verbs=("bind",))
    rules = [
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["edit"], "verbs": ["bind"]}
    ]
    assert rbac(Rbac(grants=(bind,), named_objects=status), rules).status == status


@pytest.mark.parametrize("verb", ["list", "watch", "create", "deletecollection"])
def test_the_empty_name_is_that_of_requests_that_carry_none(verb):
    """An API server takes such a rule and lets all objects be listed by it, and new ones be made: tried with 1.20."""
    secrets = Permission(api_groups=("",), resources=("secrets",), verbs=(verb,))
    for names in ([""], ["x", ""]):
        rules = [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": names, "verbs": [verb]}]
        assert rbac(Rbac(grants=(secrets,), named_objects="pass"), rules).status == "fail"


def test_a_rule_for_named_objects_never_allows_to_create_them_but_their_subresources():
    rules = [{"apiGroups": [""], "resources": ["pods", "serviceaccounts/token"], "resourceNames": ["x"], "verbs": ["*"]}]
    pod = Permission(api_groups=("",), resources=("pods",), verbs=("create", "deletecollection"))
    token = Permission(api_groups=("",), resources=("serviceaccounts/token",), verbs=("create",))
    assert rbac(Rbac(grants=(pod,)), rules).status == "pass"
    assert rbac(Rbac(grants=(token,)), rules).status == "fail"


def test_a_label_alone_exempts_nobody_that_stands_for_everybody():
    for kind, name in (("Group", "system:authenticated"), ("Group", "system:unauthenticated"), ("Group", "system:serviceaccounts"),
                       ("Group", "system:serviceaccounts:ci"), ("User", "system:anonymous")):  # fmt: skip
        with pytest.raises(ValueError, match="can't be exempt"):
            ExemptSubjects(because="no", kind=kind, names=(name,))
        wide = ExemptSubjects(because="all of the system", kind=kind, names=("system:*",))
        check = Rbac(grants=(Permission(api_groups=("",), resources=("pods",), verbs=("get",)),), exempt=(wide,))
        rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
        assert rbac(check, rules, {"kind": kind, "name": name}).status == "fail"
        assert rbac(check, rules, {"kind": kind, "name": "system:kube-scheduler"}).status == "pass"


@pytest.mark.parametrize("name", ["*", "", "a*b", "*a"])
def test_patterns_that_say_too_much(name):
    with pytest.raises(ValueError, match="exact or ends in one"):
        ExemptSubjects(because="no", kind="User", names=(name,))


def test_exactly_one_question():
    for wrong in ({}, {"role": "cluster-admin", "wildcards": True}):
        with pytest.raises(ValueError, match="exactly one"):
            Rbac(**wrong)


def test_subjects_that_must_not_be_bound():
    check = Rbac(
        bound=(BoundSubjects(kind="Group", names=("system:masters",)), BoundSubjects(kind="ServiceAccount", names=("default",))),
        exempt=(ExemptSubjects(because="built in", kind="Group", names=("system:masters",), bindings=("cluster-admin",)),),
    )
    assert {f.key for f in check.needs()} == {"objects:clusterrolebindings", "objects:rolebindings"}
    bindings = [
        {"metadata": {"name": name}, "roleRef": {"kind": "ClusterRole", "name": "x"}, "subjects": [subject]}
        for name, subject in (
            ("cluster-admin", {"kind": "Group", "name": "system:masters"}),
            ("mine", {"kind": "Group", "name": "system:masters"}),
            ("sa", {"kind": "ServiceAccount", "namespace": "ci", "name": "default"}),
            ("other", BOB),
        )
    ]
    seen = {o.subject: o.status.value for o in evaluate(check, clusterrolebindings=bindings, rolebindings=[]).observations}
    assert seen == {
        "clusterrolebinding/cluster-admin": "pass",
        "clusterrolebinding/mine": "fail",
        "clusterrolebinding/sa": "fail",
    }


def test_many_subjects_are_cut_with_a_word_about_it():
    subjects = [{"kind": "User", "name": f"u{i}"} for i in range(100)]
    binding = {"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}, "subjects": subjects}
    roles = [{"metadata": {"name": "cluster-admin"}}]
    (seen,) = evaluate(
        Rbac(role="cluster-admin"), clusterroles=roles, roles=[], clusterrolebindings=[binding], rolebindings=[]
    ).observations
    assert "and 60 more" in seen.actual


# workload: conditions that the other controls of the section are made of

NON_ROOT = Condition(container="securityContext.runAsNonRoot", inherit=True, default=False, expect=Expect(equals=True))
HOST_PORT = Condition(container="ports[].hostPort", expect=Expect(subset_of=(0,)), default=0)
NET_RAW = Condition(container="securityContext.capabilities.drop", expect=Expect(contains_any=("ALL", "NET_RAW")))
SECCOMP = Condition(
    container="securityContext.seccompProfile.type", inherit=True, expect=Expect(one_of=("RuntimeDefault", "Localhost"))
)
HOST_PROCESS = Condition(
    container="securityContext.windowsOptions.hostProcess", inherit=True, default=False, expect=Expect(equals=False)
)
HOST_PATH = Condition(pod="volumes[].hostPath.path", expect=Expect(set=False))


@pytest.mark.parametrize(
    ("condition", "spec", "status"),
    [
        (NON_ROOT, {"containers": [{"name": "a"}]}, "fail"),
        (NON_ROOT, {"securityContext": {"runAsNonRoot": True}, "containers": [{"name": "a"}]}, "pass"),
        (NON_ROOT, {"securityContext": {"runAsNonRoot": True}, "containers": [{"name": "a", "securityContext": {"runAsNonRoot": False}}]}, "fail"),
        (HOST_PORT, {"containers": [{"name": "a"}]}, "pass"),
        (HOST_PORT, {"containers": [{"name": "a", "ports": [{"containerPort": 80}]}]}, "pass"),
        (HOST_PORT, {"containers": [{"name": "a", "ports": [{"containerPort": 80}, {"hostPort": 80}]}]}, "fail"),
        (NET_RAW, {"containers": [{"name": "a"}]}, "fail"),
        (NET_RAW, {"containers": [{"name": "a", "securityContext": {"capabilities": {"drop": ["ALL"]}}}]}, "pass"),
        (SECCOMP, {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}, "containers": [{"name": "a"}]}, "pass"),
        (SECCOMP, {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}, "containers": [{"name": "a"}, {"name": "b", "securityContext": {"seccompProfile": {"type": "Unconfined"}}}]}, "fail"),
        (SECCOMP, {"containers": [{"name": "a"}]}, "fail"),
        (HOST_PROCESS, {"securityContext": {"windowsOptions": {"hostProcess": True}}, "containers": [{"name": "a"}]}, "fail"),
        (HOST_PROCESS, {"containers": [{"name": "a"}]}, "pass"),
        (HOST_PATH, {"containers": [{"name": "a"}], "volumes": [{"name": "v"}, {"hostPath": {"path": "/"}}]}, "fail"),
        (HOST_PATH, {"containers": [{"name": "a"}], "volumes": [{"name": "v"}]}, "pass"),
    ],
)  # fmt: skip
def test_conditions(condition, spec, status):
    assert evaluate(Workload(conditions=(condition,)), **pods(spec)).status == status


PRIVILEGED = Workload(
    conditions=(Condition(container="securityContext.privileged", default=False, expect=Expect(equals=False)),),
    min_level="baseline",
)
BAD = {"containers": [{"name": "main", "securityContext": {"privileged": True}}]}


def owned(name: str, kind: str, owner: str, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "shop", "ownerReferences": [{"kind": kind, "name": owner, "controller": True}]},
        **spec,
    }


@pytest.mark.parametrize("kind", ["Rollout", "ReplicaSet", "Workflow"])
def test_an_owner_that_was_not_read_still_names_the_workload(kind):
    seen = evaluate(PRIVILEGED, **{**pods(), "pods": [owned("p", kind, "x", spec=BAD)]})
    assert {o.subject for o in seen.observations} == {"namespace/shop", f"{kind.lower()}/shop/x"}


def test_owners_that_own_each_other_end():
    replicasets = [
        owned("a", "ReplicaSet", "b", spec={"template": {"spec": BAD}}),
        owned("b", "ReplicaSet", "a", spec={"template": {"spec": BAD}}),
    ]
    facts = {**pods(), "replicasets": replicasets, "pods": [owned("p", "ReplicaSet", "a", spec=BAD)]}
    assert evaluate(PRIVILEGED, **facts).status == "fail"


def test_a_job_of_a_cronjob_counts_for_the_cronjob():
    template = {"template": {"spec": BAD}}
    facts = {
        **pods(),
        "cronjobs": [{"metadata": {"name": "nightly", "namespace": "shop"}, "spec": {"jobTemplate": {"spec": template}}}],
        "jobs": [owned("nightly-1", "CronJob", "nightly", spec=template)],
        "pods": [owned("nightly-1-x", "Job", "nightly-1", spec=BAD)],
    }
    seen = [o for o in evaluate(PRIVILEGED, **facts).observations if o.status == "fail"]
    assert [o.subject for o in seen] == ["namespace/shop", "cronjob/shop/nightly"]
    assert seen[1].source == "pod template and 1 pod"


def test_pods_that_stand_for_several_count_as_many():
    facts = {**pods(), "pods": [{**owned("p", "ReplicaSet", "x", spec=BAD), "count": 7}, owned("q", "ReplicaSet", "x", spec=BAD)]}
    assert [o.source for o in evaluate(PRIVILEGED, **facts).observations if o.subject == "replicaset/shop/x"] == ["8 pods"]


def test_workloads_that_are_judged_together_are_alike_in_all_that_is_judged():
    """Specs that differ in nothing but images and resources are judged once; 0 and false, or a rule about images, are not that."""
    user = Condition(container="securityContext.runAsUser", optional=True, expect=Expect(not_equals=0))
    image = Condition(container="image", expect=Expect(equals="good"))
    limit = Condition(container="resources.limits.cpu", expect=Expect(set=True))

    def spec(user: Any, image: str, **resources: Any) -> dict[str, Any]:
        return {"containers": [{"name": "a", "image": image, "securityContext": {"runAsUser": user}, "resources": resources}]}

    facts = pods(spec(False, "good", limits={"cpu": 1}), spec(0, "good", limits={"cpu": 1}), spec(1, "bad"), spec(1, "good"))
    for condition, wrong in ((user, {"p0", "p1"}), (image, {"p2"}), (limit, {"p2", "p3"})):
        seen = {o.subject.rpartition("/")[2] for o in evaluate(Workload(conditions=(condition,)), **facts).observations}
        assert seen == {"shop", *wrong}, condition


def test_other_evidence_is_put_together_anew():
    """What runs is indexed once for the checks of one evidence; it must never be that of another."""
    for spec, status in ((BAD, "fail"), ({"containers": [{"name": "a"}]}, "manual"), (BAD, "fail")):
        assert evaluate(PRIVILEGED, **pods(spec)).status == status
    facts = pods(BAD)
    assert evaluate(PRIVILEGED, **facts).status == "fail"
    assert evaluate(PRIVILEGED, **{**facts, "pods": []}).status == "manual"


def test_a_namespace_made_while_the_cluster_was_read_is_an_error_and_its_pods_are_seen():
    facts = pods(BAD, namespaces=[{"metadata": {"name": "other"}}])
    seen = {o.subject: o.status.value for o in evaluate(PRIVILEGED, **facts).observations}
    assert seen == {"namespace/other": "manual", "namespace/shop": "error", "pod/shop/p0": "fail"}


def test_cost_grows_with_the_pods_and_no_faster():
    def seconds(count: int) -> float:
        listed = [owned(f"p{i}", "ReplicaSet", f"r{i // 4}", spec=BAD) for i in range(count)]
        sets = [owned(f"r{i}", "Deployment", f"d{i}", spec={"template": {"spec": BAD}}) for i in range(count // 4)]
        facts = {**pods(), "pods": listed, "replicasets": sets}
        started = time.process_time()
        assert len(evaluate(PRIVILEGED, **facts).observations) == count // 4 + 1
        return time.process_time() - started

    seconds(1000)
    assert seconds(20_000) < 25 * min(seconds(2000) for _ in range(3))


# namespace


def test_labels_and_namespaces_that_must_be_empty():
    level = Namespace(label="pod-security.kubernetes.io/enforce", expect=Expect(one_of=("baseline", "restricted")))
    spaces = [
        {"metadata": {"name": "a", "labels": {"pod-security.kubernetes.io/enforce": "baseline"}}},
        {"metadata": {"name": "b", "labels": {"pod-security.kubernetes.io/audit": "baseline"}}},
        {"metadata": {"name": "default"}},
    ]
    seen = {o.subject: o.status.value for o in evaluate(level, namespaces=spaces).observations}
    assert seen == {"namespace/a": "pass", "namespace/b": "fail", "namespace/default": "fail"}
    unused = Namespace(count=("pods", "deployments"), expect=Expect(at_most=0), only=("default",))
    lost = {"metadata": {"name": "p", "namespace": "default"}}
    assert evaluate(unused, namespaces=spaces, pods=[], deployments=[]).status == "pass"
    assert evaluate(unused, namespaces=spaces, pods=[lost], deployments=[]).status == "fail"
    assert evaluate(unused, namespaces=spaces, pods=[lost]).status == "error"
    assert evaluate(Namespace(count=("pods",), expect=Expect(at_most=0), only=("x",)), namespaces=spaces, pods=[]).reason


def test_a_kind_nobody_knows():
    with pytest.raises(ValueError, match="'secrets' is no known kind"):
        Namespace(count=("secrets",), expect=Expect(at_least=1))
