"""A cluster judged with its nodes: each side alone, both together, and where they disagree."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditor import correlate
from auditor.catalogue import packaged
from auditor.facts.components import component
from auditor.facts.components import node as shown_node
from auditor.facts.redact import identity
from auditor.facts.sides import match
from auditor.model import Benchmark, Evidence, Finding, Problem, Reason, Status, Target, TargetStatus
from checks import check_types

RECORDED = Path(__file__).parent / "recorded" / "kubernetes-1.36"
ANONYMOUS = "k8s-apiserver-anonymous-auth"
CONFIGZ = json.loads((RECORDED / "api_v1_nodes_node1_proxy_configz.json").read_text())["kubeletconfig"]
LOOSE = {**CONFIGZ, "authentication": {**CONFIGZ["authentication"], "anonymous": {"enabled": True}}}
SECURE = ["--anonymous-auth=false", "--authorization-mode=Node,RBAC", "--profiling=false"]


def benchmarks() -> list[Benchmark]:
    library = packaged(check_types())
    return [library.load("cis-kubernetes@1.12"), library.load("cluster-consistency@1")]


def node(name: str, *, control_plane: bool = False, provider: str = "", address: str = "") -> dict[str, Any]:
    labels = {"node-role.kubernetes.io/control-plane": ""} if control_plane else {}
    addresses = [{"type": "InternalIP", "address": address}] if address else []
    return {"metadata": {"name": name, "labels": labels}, "spec": {"providerID": provider},
            "status": {"addresses": addresses, "nodeInfo": {"operatingSystem": "linux"}}}  # fmt: skip


def mirror(program: str, on: str, args: list[str], **more: Any) -> dict[str, Any]:
    return {"name": f"{program}-{on}", "namespace": "kube-system", "node": on, "program": program, "args": args, "environ": {},
            "started": 1000, **more}  # fmt: skip


def cluster(*nodes: dict[str, Any], pods: Any = (), configs: Any = None, flags: Any = None, version: str = "v1.33.1",
            hosts: tuple[str, ...] = (), servers: int = 1) -> Evidence:  # fmt: skip
    absent = Problem(Reason.ABSENT, "not asked")
    facts = {
        "server": {"gitVersion": version},
        "objects:nodes": list(nodes),
        "objects:components": list(pods) if isinstance(pods, tuple | list) else pods,
        "apiserver_flags": {"flags": flags} if flags else absent,
        "kubelet_configs": [{"node": n, "data": c} for n, c in configs.items()] if configs else absent,
        "objects:apiserver-endpoints": [
            {
                "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [f"10.0.0.{i}"]} for i in range(servers)],
            },
            {
                "metadata": {"name": "x", "labels": {"kubernetes.io/service-name": "other"}},
                "endpoints": [{"addresses": ["10.9.9.9"]}],
            },
        ],
    }
    return Evidence(Target("prod", "kubernetes", "", (), hosts), "", facts)


def host(name: str, *programs: tuple[str, list[str]], hostname: str = "", address: str = "", **facts: Any) -> Evidence:
    processes = [{"pid": 100 + i, "name": p, "exe": f"/usr/bin/{p}", "args": args, "uid": 0, "started": 2000, "environ": {},
                  "contained": p not in ("kubelet", "containerd")} for i, (p, args) in enumerate(programs)]  # fmt: skip
    system = {
        "hostname": hostname or name,
        "os": "Debian",
        "kernel": "6.1",
        "user": "root",
        "uid": 0,
        "become": "root",
        "become_detail": "",
    }
    return Evidence(Target(name, "ssh", address), "", {"processes": processes, "system": system, **facts})


def judged(found: Evidence, *hosts: Evidence) -> dict[str, Finding]:
    return {f.control: f for f in correlate.judge(benchmarks(), found, hosts)}


def seen(finding: Finding) -> dict[str, str]:
    return {o.subject: str(o.status) for o in finding.observations}


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


FLAGZ = {"client-ca-file": "/ca.crt", "disable-admission-plugins": "[]", "tls-cert-file": "", "token-auth-file": "",
         "anonymous-auth": "false", "authorization-mode": "[Node,RBAC]", "enable-admission-plugins": "[]", "profiling": "true",
         "request-timeout": "1m0s", "tls-min-version": ""}  # fmt: skip


@pytest.mark.parametrize("servers", [0, 2, 3])
def test_the_answer_of_one_of_several_api_servers_stands_for_none(servers):
    """No node of the control plane is visible: it's hosted, or its servers run no kubelet."""
    finding = judged(cluster(node("w-1"), flags=FLAGZ, servers=servers))[ANONYMOUS]
    assert finding.status is Status.ERROR
    assert "which one answered isn't known" in finding.observations[0].actual or servers == 0


def test_where_endpoints_are_denied_one_answer_stands_for_none():
    found = cluster(node("w-1"), flags=FLAGZ)
    denied = Problem(
        Reason.DENIED, 'the account may not list endpointslices in the API group "discovery.k8s.io" in the namespace default'
    )
    finding = judged(replace(found, facts={**found.facts, "objects:apiserver-endpoints": denied}))[ANONYMOUS]
    assert finding.status is Status.ERROR
    assert "may not list endpointslices" in finding.observations[0].actual


def k3s(name: str, *args: str) -> dict[str, Any]:
    return {**node(name, control_plane=True), "nodeArgs": ["server", *args]}


def test_what_k3s_was_given_decides_what_it_names_and_nothing_else():
    given = (
        "--kube-apiserver-arg",
        "profiling=false",
        "--kube-apiserver-arg=anonymous-auth=true",
        "--kubelet-arg",
        "read-only-port=10255",
    )
    found = judged(cluster(k3s("k3s-1", *given)))
    assert found["k8s-apiserver-profiling"].status is Status.PASS
    assert "annotation node-args" in found["k8s-apiserver-profiling"].observations[0].source
    assert found[ANONYMOUS].status is Status.FAIL
    assert found["k8s-kubelet-read-only-port"].status is Status.FAIL
    for key in ("k8s-apiserver-audit-log-path", "k8s-apiserver-no-always-admit", "k8s-apiserver-token-auth-file",
                "k8s-kubelet-anonymous-auth", "k8s-apiserver-encryption-configured", "k8s-scheduler-profiling"):  # fmt: skip
        assert found[key].status is Status.ERROR, key
    assert found["cluster-manifests-in-force"].status is Status.NOT_APPLICABLE


@pytest.mark.parametrize(("running", "status"), [
    (["--profiling=false", "--anonymous-auth=false", "--feature-gates=A=true,B=true"], "pass"),
    (["--profiling=0", "--feature-gates=A=true", "--feature-gates=B=true"], "pass"),
    (["--profiling=false", "--profiling=true", "--feature-gates=A=true,B=true"], "fail"),
    (["--feature-gates=A=true,B=true"], "fail"),
])  # fmt: skip
def test_what_k3s_noted_is_held_against_what_runs(running, status):
    given = (
        "--kube-apiserver-arg=profiling=false",
        "--kube-apiserver-arg=feature-gates=A=true,B=true",
        "--kube-apiserver-arg=v+=2",
    )
    found = judged(cluster(k3s("k3s-1", *given)), host("k3s-1", ("kube-apiserver", running)))
    assert seen(found["cluster-manifests-in-force"]) == {"node/k3s-1/process/kube-apiserver": status}


def test_a_server_whose_etcd_is_not_seen_is_an_error_beside_the_others():
    other = k3s("k3s-2")
    other["metadata"]["labels"]["node-role.kubernetes.io/etcd"] = "true"
    found = judged(cluster(k3s("k3s-1"), other), host("k3s-1", ("kubelet", []), ("etcd", ["--cert-file=/a", "--key-file=/b"])))
    assert seen(found["k8s-etcd-client-tls"]) == {"node/k3s-1/process/etcd": "pass", "node/k3s-2/process/etcd": "error"}


def test_the_only_api_server_says_more_than_what_k3s_was_given():
    found = judged(cluster(k3s("k3s-1"), flags=FLAGZ))
    assert seen(found[ANONYMOUS]) == {"node/k3s-1/process/kube-apiserver": "pass"}
    two = judged(cluster(k3s("k3s-1"), k3s("k3s-2"), flags=FLAGZ))
    assert two[ANONYMOUS].status is Status.ERROR, "of two, only one has answered"


def test_what_the_api_server_says_of_itself_stands_in_for_flags_that_nothing_else_shows():
    found = judged(cluster(node("k3s-1"), flags=FLAGZ))
    assert found[ANONYMOUS].status is Status.PASS
    assert "/flagz" in found[ANONYMOUS].observations[0].source
    assert found["k8s-apiserver-authorization-node"].status is Status.PASS
    assert found["k8s-apiserver-profiling"].status is Status.FAIL
    assert found["k8s-apiserver-node-restriction-plugin"].status is Status.FAIL
    assert found["k8s-scheduler-profiling"].status is Status.ERROR


@pytest.mark.parametrize(("args", "status"), [
    (["--anonymous-auth=false", "--authorization-mode=Node", "--authorization-mode=RBAC", "--request-timeout=60s"], "pass"),
    (["--anonymous-auth=0", "--profiling"], "pass"),
    (["--anonymous-auth=true"], "fail"),
    (["--tls-min-version=VersionTLS13"], "fail"),
    (["--some-flag-it-does-not-tell=1"], "pass"),
])  # fmt: skip
def test_the_manifest_is_held_against_what_the_api_server_says(args, status):
    found = judged(cluster(node("cp-1"), pods=[mirror("kube-apiserver", "cp-1", args)], flags=FLAGZ))
    assert seen(found["cluster-manifests-in-force"]) == {"node/cp-1/process/kube-apiserver": status}


def test_an_answer_of_one_of_two_api_servers_is_held_against_neither():
    pods = [mirror("kube-apiserver", n, ["--anonymous-auth=true"]) for n in ("cp-1", "cp-2")]
    assert judged(cluster(node("cp-1"), node("cp-2"), pods=pods, flags=FLAGZ))["cluster-manifests-in-force"].observations == ()


def test_a_kubelet_by_its_configuration_in_force():
    found = judged(cluster(node("node1"), configs={"node1": CONFIGZ}))
    assert found["k8s-kubelet-anonymous-auth"].status is Status.PASS
    assert "configz of node/node1" in found["k8s-kubelet-anonymous-auth"].observations[0].source
    assert found["k8s-kubelet-rotate-certificates"].status is Status.FAIL, "false is left out of the answer"
    assert found["k8s-kubelet-config-mode"].status is Status.ERROR
    assert judged(cluster(node("node1"), configs={"node1": LOOSE}))["k8s-kubelet-anonymous-auth"].status is Status.FAIL


@pytest.mark.parametrize(("cert", "key", "status"), [
    ("/var/lib/kubelet/pki/kubelet.crt", "/var/lib/kubelet/pki/kubelet.key", "error"),
    ("/data/kubelet/pki/kubelet.crt", "/data/kubelet/pki/kubelet.key", "error"),
    ("/etc/pki/tls/node.crt", "/etc/pki/tls/node.key", "pass"),
    ("", "", "fail"),
])  # fmt: skip
def test_the_pair_that_a_kubelet_signs_itself_looks_like_one_that_was_set(cert, key, status):
    """A kubelet without a certificate makes one and names it in the configuration that it tells."""
    config = {**CONFIGZ, "tlsCertFile": cert, "tlsPrivateKeyFile": key}
    finding = judged(cluster(node("node1"), configs={"node1": config}))["k8s-kubelet-serving-certificate"]
    assert finding.status == status
    rotated = judged(cluster(node("node1"), configs={"node1": {**config, "serverTLSBootstrap": True}}))
    assert rotated["k8s-kubelet-serving-certificate"].status is Status.PASS


def test_flags_that_a_kubelets_configuration_does_not_hold_are_not_known_to_be_unset():
    finding = judged(cluster(node("node1"), configs={"node1": CONFIGZ}))["k8s-kubelet-hostname-override"]
    assert finding.status is Status.ERROR
    assert "not known to be unset" in finding.observations[0].actual


def test_what_a_kubelets_answer_leaves_out_is_empty_whatever_the_default_is():
    assert not {"rotateCertificates", "readOnlyPort", "tlsCipherSuites"} & set(CONFIGZ)
    found = judged(cluster(node("node1"), configs={"node1": CONFIGZ}))
    assert found["k8s-kubelet-read-only-port"].status is Status.PASS, "0 is left out"
    for key in ("k8s-kubelet-rotate-certificates", "k8s-kubelet-ciphers"):
        assert found[key].status is Status.FAIL, key


@pytest.mark.parametrize("path", ["authentication.anonymous.enabled", "authentication", "authorization.mode", "podPidsLimit"])
def test_an_answer_without_what_every_kubelet_tells_decides_nothing(path):
    config = json.loads(json.dumps(CONFIGZ))
    *above, last = path.split(".")
    below = config
    for part in above:
        below = below[part]
    del below[last]
    found = judged(cluster(node("node1"), configs={"node1": config}))
    assert not [f.control for f in found.values() if f.status is Status.PASS]
    assert "which every kubelet tells" in found["k8s-kubelet-read-only-port"].observations[0].actual


@pytest.mark.parametrize("flags", [{"x": "y"}, {k: v for k, v in FLAGZ.items() if k != "token-auth-file"}])
def test_an_answer_without_what_every_api_server_tells_decides_nothing(flags):
    found = judged(cluster(node("n-1"), flags=flags))
    assert not [f.control for f in found.values() if f.status is Status.PASS]
    assert "which every API server tells" in found[ANONYMOUS].observations[0].actual


def test_a_flag_that_is_not_shown_to_anybody_is_not_known():
    found = judged(cluster(node("n-1"), flags={**FLAGZ, "token-auth-file": "CLASSIFIED", "authorization-mode": "CLASSIFIED"}))
    for key in ("k8s-apiserver-token-auth-file", "k8s-apiserver-authorization-not-always-allow"):
        assert found[key].status in (Status.ERROR, Status.FAIL), key


def configured(data: dict[str, Any], mtime: int = 1500) -> dict[str, Any]:
    document = {"path": "/var/lib/kubelet/config.yaml", "data": data, "mtime": mtime}
    return {"config:kubelet --config --config-dir/*.conf": [{"pid": 100, "documents": [document]}]}


@pytest.mark.parametrize(("file", "args", "status"), [
    ({"readOnlyPort": 0, "streamingConnectionIdleTimeout": "4h"}, [], "pass"),
    ({"authentication": {"anonymous": {"enabled": False}}}, [], "pass"),
    ({"authentication": {"anonymous": {"enabled": True}}}, [], "fail"),
    ({"readOnlyPort": 10255}, [], "fail"),
    ({"maxPods": 50}, ["--max-pods=110"], "pass"),
])  # fmt: skip
def test_a_kubelets_files_are_held_against_what_is_in_force(file, args, status):
    one = host("node1", ("kubelet", ["--config=/var/lib/kubelet/config.yaml", *args]), **configured(file))
    found = judged(cluster(node("node1"), configs={"node1": CONFIGZ}), one)
    assert seen(found["cluster-kubelets-in-force"]) == {"node/node1/process/kubelet": status}


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
