"""A cluster judged with its nodes: each side alone, both together, and where they disagree."""

from __future__ import annotations

from typing import Any

import pytest

from auditor import correlate
from auditor.facts.components import component
from auditor.facts.components import node as shown_node
from auditor.facts.redact import identity
from auditor.facts.sides import match
from auditor.model import Evidence, Problem, Reason, Status, Target, TargetStatus
from tests.support.sides import ANONYMOUS, CONFIGZ, LOOSE, SECURE, cluster, host, judged, mirror, node, seen


def test_the_api_alone_shows_flags_of_command_and_of_args():
    pods = [mirror("kube-apiserver", "cp-1", SECURE)]
    found = judged(cluster(node("cp-1"), pods=pods))
    assert found[ANONYMOUS].status is Status.PASS
    (observation,) = found[ANONYMOUS].observations
    assert observation.subject == "node/cp-1/process/kube-apiserver"
    assert "mirror pod kube-system/kube-apiserver-cp-1" in observation.source
    assert judged(cluster(node("cp-1"), pods=[mirror("kube-apiserver", "cp-1", [])]))[ANONYMOUS].status is Status.FAIL


@pytest.mark.parametrize(("container", "args", "why"), [
    ({"command": ["kube-apiserver", "--profiling=false"]}, ["--profiling=false"], ""),
    ({"command": ["/usr/local/bin/kube-apiserver"], "args": ["--profiling=false"]}, ["--profiling=false"], ""),
    ({"command": ["kube-apiserver", "--a=1"], "args": ["--profiling=false"]}, ["--a=1", "--profiling=false"], ""),
    ({"args": ["--profiling=false"]}, ["--profiling=false"], ""),
    ({"command": ["/bin/sh", "-c", "exec kube-apiserver --profiling=false"]}, [], "its command is sh, not kube-apiserver itself"),
    ({"command": ["kube-apiserver", "--a=$(NODE)"], "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}]},
     ["--a=10.0.0.1"], ""),
    ({"command": ["kube-apiserver", "--authorization-mode=$(MODES)"],
      "env": [{"name": "MODES", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}}]}, [],
     "its arguments refer to MODES, whose value the API doesn't show"),
    ({"command": ["kube-apiserver", "--etcd-servers=https://user:secret@etcd:2379"]}, ["--etcd-servers=https://[redacted]@etcd:2379"], ""),
])  # fmt: skip
def test_arguments_of_a_mirror_pod(container, args, why):
    found = component(mirror_pod(container))
    assert found is not None
    assert (found["args"], found.get("unreadable", "")) == (args, why)


def mirror_pod(container: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": "kube-apiserver-cp-1", "namespace": "kube-system", "annotations": {"kubernetes.io/config.mirror": "4d1f"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "cp-1"}]}  # fmt: skip
    spec = {"nodeName": "cp-1", "containers": [{"name": "kube-apiserver", **container}]}
    return {"metadata": metadata, "spec": spec, "status": {"hostIP": "10.0.0.1"}}


@pytest.mark.parametrize(("part", "forged"), [
    ("ownerReferences", [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cp-1"}]),
    ("ownerReferences", [{"apiVersion": "example.com/v1", "kind": "Node", "name": "cp-1"}]),
    ("ownerReferences", [{"apiVersion": "v1", "kind": "Node", "name": "cp-2"}]),
    ("ownerReferences", []),
    ("annotations", {}),
    ("annotations", {"kubernetes.io/config.source": "file"}),
])  # fmt: skip
def test_a_pod_that_anybody_could_have_made_is_no_program_of_the_control_plane(part, forged):
    """Owners can be written by whoever makes a pod; one with the mark but no static pod is deleted by its kubelet."""
    pod = mirror_pod({"command": ["kube-apiserver", *SECURE]})
    assert component(pod) is not None
    pod["metadata"][part] = forged
    assert component(pod) is None


def test_a_command_that_cannot_be_read_is_an_error():
    pods = [mirror("kube-apiserver", "cp-1", [], unreadable="its command is sh, not kube-apiserver itself")]
    finding = judged(cluster(node("cp-1"), pods=pods))[ANONYMOUS]
    assert finding.status is Status.ERROR
    assert "its command is sh" in finding.observations[0].actual


def test_sides_that_agree_are_one_verdict():
    pods = [mirror("kube-apiserver", "cp-1", SECURE)]
    found = judged(cluster(node("cp-1"), pods=pods), host("cp-1", ("kube-apiserver", SECURE)))
    (observation,) = found[ANONYMOUS].observations
    assert observation.status is Status.PASS
    assert "pid 100" in observation.source
    assert "the API says the same" in observation.source
    agreeing = found["cluster-manifests-in-force"]
    assert seen(agreeing) == {"node/cp-1/process/kube-apiserver": "pass"}
    assert agreeing.observations[0].actual == "the same 3 flags"


@pytest.mark.parametrize(("running", "said"), [
    (["--profiling=true"], ["--profiling=false"]),
    (["--profiling=false"], ["--profiling=true"]),
    (["--profiling=false", "--profiling=true"], ["--profiling=false"]),
    ([], ["--profiling=false"]),
])  # fmt: skip
def test_sides_that_disagree_fail_and_are_a_finding_of_their_own(running, said):
    found = judged(cluster(node("cp-1"), pods=[mirror("kube-apiserver", "cp-1", said)]), host("cp-1", ("kube-apiserver", running)))
    (observation,) = found["k8s-apiserver-profiling"].observations
    assert observation.status is Status.FAIL
    assert observation.actual.startswith("true")
    assert ", but false" in observation.actual
    assert "mirror pod" in observation.actual + observation.source
    disagreement = found["cluster-manifests-in-force"]
    assert disagreement.status is Status.FAIL
    assert "--profiling" in disagreement.observations[0].actual
    assert "the manifest changed and the program was not restarted" in disagreement.observations[0].actual


def test_a_manifest_that_is_not_in_force_passes_nothing():
    """The host's own verdict lacks a file here; the manifest alone would be a pass about something that doesn't run."""
    said, running = SECURE, ["--authentication-config=/etc/kubernetes/authn.yaml"]
    found = judged(cluster(node("cp-1"), pods=[mirror("kube-apiserver", "cp-1", said)]), host("cp-1", ("kube-apiserver", running)))
    assert found[ANONYMOUS].status is Status.ERROR
    same = judged(cluster(node("cp-1"), pods=[mirror("kube-apiserver", "cp-1", said)]), host("cp-1", ("kube-apiserver", said)))
    assert same[ANONYMOUS].status is Status.PASS


def test_a_manifest_whose_program_does_not_run_is_a_disagreement_and_passes_nothing():
    said = [mirror("kube-scheduler", "cp-1", ["--profiling=false", "--bind-address=0.0.0.0"])]
    found = judged(cluster(node("cp-1"), pods=said), host("cp-1", ("kubelet", [])))
    assert seen(found["k8s-scheduler-profiling"]) == {"node/cp-1/process/kube-scheduler": "error"}
    assert "the host shows no such program" in found["k8s-scheduler-profiling"].observations[0].actual
    assert found["k8s-scheduler-bind-address"].status is Status.FAIL
    assert seen(found["cluster-manifests-in-force"])["node/cp-1/process/kube-scheduler"] == "fail"


def test_a_host_that_was_not_reached_leaves_the_api_and_says_so():
    lost = Evidence(Target("cp-1", "ssh"), "", {}, TargetStatus.UNREACHABLE, Problem(Reason.UNREACHABLE, "no route to host"))
    found = judged(cluster(node("cp-1"), pods=[mirror("kube-apiserver", "cp-1", SECURE)]), lost)
    assert found[ANONYMOUS].status is Status.PASS
    assert found["k8s-apiserver-manifest-mode"].status is Status.ERROR
    known = found["cluster-nodes-known"]
    assert known.status is Status.ERROR
    assert known.observations[0].actual == "unreachable: no route to host"


def test_a_host_of_another_cluster_is_a_failure():
    found = judged(cluster(node("cp-1"), pods=[mirror("kube-apiserver", "cp-1", SECURE)]), host("db-9", ("kubelet", [])))
    assert seen(found["cluster-nodes-known"]) == {"host/db-9": "fail"}


def test_what_a_host_of_another_cluster_shows_decides_nothing_here():
    found = judged(cluster(node("w-1")), host("db-9", ("kubelet", []), ("kube-apiserver", SECURE), ("etcd", [])))
    assert not [f.control for f in found.values() if f.status is Status.PASS]
    assert seen(found[ANONYMOUS]) == {"cluster/process/kube-apiserver": "error"}


def numbered(machine: Any, *numbers: str) -> Any:
    """Give a node or a host the numbers of its boot and its machine."""
    if isinstance(machine, Evidence):
        system = {**machine.facts["system"], "ids": [identity(n) for n in numbers]}
        return Evidence(machine.target, "", {**machine.facts, "system": system})
    info = {**machine["status"]["nodeInfo"], **dict(zip(("bootID", "machineID"), numbers, strict=True))}
    return {**machine, "status": {**machine["status"], "nodeInfo": info}}


@pytest.mark.parametrize(("numbers", "same"), [
    (("boot-1", "machine-1"), True), (("boot-2", "machine-1"), True), (("boot-1",), True),
    (("boot-2", "machine-2"), False), (("boot-2",), False), ((), True),
])  # fmt: skip
def test_a_namesake_in_another_cluster_is_known_by_its_numbers(numbers, same):
    """kubeadm's first node is called alike everywhere; a reboot between the two answers changes one number only."""
    here = numbered(node("cp-1", control_plane=True), "boot-1", "machine-1")
    api = cluster(here, pods=[mirror("kube-scheduler", "cp-1", ["--profiling=true"])])
    found = judged(api, numbered(host("cp-1", ("kubelet", []), ("kube-apiserver", SECURE)), *numbers))
    assert found["cluster-nodes-known"].status is (Status.PASS if same else Status.FAIL)
    assert found[ANONYMOUS].status is (Status.PASS if same else Status.ERROR)
    assert found["k8s-scheduler-profiling"].status is Status.FAIL, "what the API shows of the real one counts in any case"


def test_numbers_tell_a_node_whatever_it_is_called():
    nodes = cluster(numbered(node("odd.name"), "boot-1", "machine-1"), numbered(node("w-1"), "boot-2", "machine-2"))
    assert match(nodes, [numbered(host("w-1"), "boot-1", "machine-1")]) == ["odd.name"]
    containers = cluster(*(numbered(node(n), "boot-1", "machine-1") for n in ("a", "b")))
    assert match(containers, [numbered(host("b"), "boot-1", "machine-1")]) == ["b"]


def test_the_better_reason_goes_first_whatever_the_order_of_the_inventory_is():
    assert match(cluster(node("x"), node("y")), [host("x", hostname="other"), host("b", hostname="x")]) == [None, "x"]


def test_an_etcd_server_needs_no_kubelet_where_the_api_server_names_it():
    pods = [mirror("kube-apiserver", "cp-1", [*SECURE, "--etcd-servers=https://10.0.0.5:2379,https://10.0.0.6:2379"])]
    own = host("etcd-1", ("etcd", ["--advertise-client-urls=https://10.0.0.5:2379", "--auto-tls=true"]))
    other = host("etcd-9", ("etcd", ["--advertise-client-urls=https://10.9.9.9:2379"]))
    found = judged(cluster(node("cp-1"), pods=pods), own, other)
    assert seen(found["cluster-nodes-known"]) == {"host/etcd-1": "pass", "host/etcd-9": "manual"}
    assert "node/etcd-1/process/etcd" in seen(found["k8s-etcd-client-tls"])


def test_a_node_whose_host_runs_no_kubelet_is_another_or_dead():
    found = judged(cluster(node("w-1")), host("w-1", ("containerd", [])))
    assert seen(found["cluster-nodes-known"]) == {"host/w-1": "fail"}
    assert "no kubelet runs there" in found["cluster-nodes-known"].observations[0].actual


def test_a_host_whose_programs_cannot_be_seen_is_not_said_to_run_no_kubelet():
    blind = host("cp-1", processes=Problem(Reason.DENIED, "hidepid"))
    found = judged(cluster(node("cp-1", control_plane=True), pods=[mirror("kube-apiserver", "cp-1", SECURE)]), blind)
    assert seen(found["cluster-nodes-known"]) == {"host/cp-1": "pass"}
    assert found[ANONYMOUS].status is Status.PASS, "the API shows it"
    assert found["k8s-kubelet-anonymous-auth"].status is Status.ERROR


def test_a_static_pod_of_a_node_that_is_not_there_vouches_for_nothing():
    finding = judged(cluster(node("cp-1"), pods=[mirror("kube-apiserver", "gone", SECURE)]))[ANONYMOUS]
    assert seen(finding) == {"cluster/process/kube-apiserver": "error"}


def test_one_manifest_and_two_processes_do_not_agree():
    two = host("cp-1", ("kubelet", []), ("kube-apiserver", SECURE), ("kube-apiserver", ["--profiling=true"]))
    found = judged(cluster(node("cp-1", control_plane=True), pods=[mirror("kube-apiserver", "cp-1", SECURE)]), two)
    apart = found["cluster-manifests-in-force"]
    assert seen(apart) == {"node/cp-1/process/kube-apiserver": "fail"}
    assert apart.observations[0].actual.startswith("2 of them run")
    assert found["cluster-nodes-alike"].status is Status.NOT_APPLICABLE
    assert found["k8s-apiserver-profiling"].status is Status.FAIL


def test_a_virtual_clusters_control_plane_on_a_worker_is_a_workload():
    virtual = (("kubelet", []), ("kube-apiserver", SECURE), ("etcd", ["--cert-file=/a", "--key-file=/b"]))
    found = judged(cluster(node("w-1")), host("w-1", *virtual))
    assert seen(found[ANONYMOUS]) == {"cluster/process/kube-apiserver": "error"}
    assert seen(found["k8s-etcd-client-tls"]) == {"cluster/process/etcd": "error"}
    labelled = judged(cluster(node("w-1", control_plane=True)), host("w-1", *virtual))
    assert seen(labelled[ANONYMOUS]) == {"node/w-1/process/kube-apiserver": "pass"}


@pytest.mark.parametrize("said", ["[", "null", '"server"', '{"server": 1}', "[[1]]", '["server", 1]', "[]", "[" * 200_000])
def test_an_odd_annotation_is_none(said):
    shown = shown_node({"metadata": {"name": "k3s-1", "annotations": {"k3s.io/node-args": said}}})
    assert shown == {"metadata": {"name": "k3s-1"}, "nodeArgs": []}
    finding = judged(cluster({**node("k3s-1", control_plane=True), **shown}))[ANONYMOUS]
    assert finding.status is Status.ERROR


def test_files_are_errors_where_their_program_is_and_nothing_elsewhere():
    found = judged(cluster(node("cp-1"), node("w-1"), pods=[mirror("kube-apiserver", "cp-1", SECURE)]))
    assert seen(found["k8s-apiserver-manifest-mode"]) == {"node/cp-1/process/kube-apiserver": "error"}


def test_a_control_plane_that_is_not_visible_is_an_error():
    for key in (ANONYMOUS, "k8s-controller-manager-profiling", "k8s-scheduler-profiling", "k8s-etcd-no-auto-tls"):
        finding = judged(cluster(node("cp-1")))[key]
        assert finding.status is Status.ERROR, key
        assert "no node's static pods show" in finding.observations[0].actual


def test_a_labelled_node_without_its_static_pods_is_an_error_beside_the_others():
    pods = [mirror("kube-apiserver", "cp-1", SECURE)]
    found = judged(cluster(node("cp-1", control_plane=True), node("cp-2", control_plane=True), pods=pods))
    assert seen(found[ANONYMOUS]) == {"node/cp-1/process/kube-apiserver": "pass", "node/cp-2/process/kube-apiserver": "error"}


def test_a_host_that_shows_its_control_plane_needs_no_static_pods():
    found = judged(cluster(node("k3s-1", control_plane=True)), host("k3s-1", ("kube-apiserver", SECURE)))
    assert seen(found[ANONYMOUS]) == {"node/k3s-1/process/kube-apiserver": "pass"}


def test_denied_pods_are_errors_that_name_what_was_denied():
    denied = Problem(Reason.DENIED, 'the account may not list pods in the API group "" in the namespace kube-system')
    finding = judged(cluster(node("cp-1", control_plane=True), pods=denied))[ANONYMOUS]
    assert finding.status is Status.ERROR
    assert "may not list pods" in finding.observations[0].actual


@pytest.mark.parametrize(("version", "provider", "service"), [
    ("v1.33.1-eks-abc", "aws:///eu-west-1a/i-1", "EKS"), ("v1.33.1-gke.100", "gce://p/z/n", "GKE"),
])  # fmt: skip
def test_the_control_plane_of_a_managed_service_is_not_ours_to_judge(version, provider, service):
    found = judged(cluster(node("n-1", provider=provider), version=version))
    for key in (ANONYMOUS, "k8s-etcd-no-auto-tls", "k8s-apiserver-manifest-mode"):
        assert found[key].status is Status.NOT_APPLICABLE, key
    assert service in found[ANONYMOUS].reason
    own = judged(cluster(node("n-1", provider=provider), version="v1.33.1"))
    assert own[ANONYMOUS].status is Status.ERROR, "the provider's machines alone don't make a managed control plane"


def test_outliers_are_named():
    pods = [mirror("kube-apiserver", f"cp-{i}", SECURE if i != 2 else ["--anonymous-auth=true"]) for i in (1, 2, 3)]
    found = judged(cluster(*(node(f"cp-{i}") for i in (1, 2, 3)), pods=pods))
    assert found[ANONYMOUS].reason == "outliers of process/kube-apiserver: cp-2: true (2 of 3 nodes: false)"
    alike = found["cluster-nodes-alike"]
    assert alike.status is Status.MANUAL
    assert "--authorization-mode is Node,RBAC on 2, but cp-2: not set" in alike.observations[0].actual


def test_a_nodes_own_name_and_address_are_no_difference():
    pods = [
        mirror("kube-apiserver", f"cp-{i}", [f"--advertise-address=10.0.0.{i}", f"--etcd-servers=https://10.0.0.{i}:2379"])
        for i in (1, 2)
    ]
    found = judged(cluster(node("cp-1", address="10.0.0.1"), node("cp-2", address="10.0.0.2"), pods=pods))
    assert seen(found["cluster-nodes-alike"]) == {"role/control plane/kube-apiserver": "pass"}


def test_many_nodes_alike_are_one_observation_but_failures_stay():
    nodes = [node(f"w-{i}") for i in range(correlate.ALIKE + 5)]
    strict = {n["metadata"]["name"]: CONFIGZ for n in nodes}
    finding = judged(cluster(*nodes, configs=strict))["k8s-kubelet-anonymous-auth"]
    assert seen(finding) == {"node/25 nodes/process/kubelet": "pass"}
    assert finding.observations[0].source.endswith("w-0, w-1, w-10, w-11, w-12 and 20 more")
    modes = judged(cluster(*nodes, configs=strict))["k8s-kubelet-config-mode"]
    assert seen(modes) == {"node/25 nodes/process/kubelet": "error"}, "two parts of the check say the same of each node"
    assert len(modes.observations) == 1
    loose = dict.fromkeys(strict, LOOSE)
    assert len(judged(cluster(*nodes, configs=loose))["k8s-kubelet-anonymous-auth"].observations) == 25


@pytest.mark.parametrize(("one", "expected"), [
    (host("a", ("kubelet", ["--hostname-override=ip-10-0-0-7"])), "ip-10-0-0-7"),
    (host("a", ("kubelet", []), hostname="W-1.example.com"), "w-1"),
    (host("w-1", ("kubelet", []), hostname="other"), "w-1"),
    (host("a", ("kubelet", []), hostname="other", address="10.0.0.9"), "far"),
    (host("a", ("kubelet", []), hostname="other", address="10.0.0.99"), None),
])  # fmt: skip
def test_which_node_a_host_is(one, expected):
    nodes = cluster(node("w-1"), node("ip-10-0-0-7"), node("far", address="10.0.0.9"))
    assert match(nodes, [one]) == [expected]


def test_two_hosts_are_never_the_same_node():
    nodes = cluster(node("w-1"))
    assert match(nodes, [host("w-1"), host("copy", hostname="w-1")]) == ["w-1", None]


def test_a_cluster_whose_nodes_cannot_be_listed_is_all_errors():
    nothing = Problem(Reason.DENIED, 'the account may not list nodes in the API group "" cluster-wide')
    found = Evidence(Target("prod", "kubernetes"), "", {"server": {"gitVersion": "v1.33.1"}, "objects:nodes": nothing,
                     "objects:components": [], "apiserver_flags": nothing, "kubelet_configs": nothing})  # fmt: skip
    by_key = judged(found)
    assert by_key["k8s-kubelet-anonymous-auth"].status is Status.ERROR
    assert by_key[ANONYMOUS].status is Status.ERROR
    seen_alone = judged(found, host("cp-1", ("kubelet", ["--hostname-override=x"]), ("kube-apiserver", SECURE)))
    assert seen_alone["cluster-nodes-known"].status is Status.ERROR
    for key in (ANONYMOUS, "k8s-kubelet-hostname-override"):
        assert "may not list nodes" in next(o.actual for o in seen_alone[key].observations if o.subject.startswith("cluster/"))
    assert not [f for f in seen_alone.values() if f.status is Status.PASS], "there may be more nodes than this one"
    assert not [f for f in by_key.values() if f.status is Status.PASS]


def test_no_evidence_at_all_passes_nothing():
    found = judged(Evidence(Target("prod", "kubernetes"), "", {}))
    assert not [f.control for f in found.values() if f.status is Status.PASS]
