"""A cluster and its control-plane node in one audit: the node over SSH, the cluster over its API, one report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.apiserver import ApiServer
from tests.support.auditing import Result, auditor, host_entry
from tests.support.kube_node import APISERVER, CONFIGZ, KUBELET_CONFIG, STATIC, KubeNode

pytestmark = pytest.mark.live

PROFILING = "k8s-apiserver-profiling"


@pytest.fixture(scope="module")
def node(needs_hosts: None) -> Iterator[KubeNode]:
    with KubeNode() as host:
        yield host


@pytest.fixture
def server(node: KubeNode, tmp_path: Path) -> Iterator[ApiServer]:
    """The recorded cluster, whose one node is the test host: its mirror pods say what its manifests say."""
    api = ApiServer(tmp_path / "api")
    api.show_node(node.hostname, {c: node.components[c] for c in STATIC}, "v1.33.2")
    api.configz(node.hostname, **CONFIGZ)
    with api:
        yield api


def audit(folder: Path, node: KubeNode, api: ApiServer, *options: str, **cluster: Any) -> Result:
    path = folder / "inventory.yaml"
    keys = {"name": "prod", "kubeconfig": str(api.kubeconfig()), "nodes": ["cp"], **cluster}
    path.write_text(yaml.safe_dump({"hosts": [host_entry(node, "cp")], "clusters": [keys]}))
    return auditor(folder, "audit", "-i", str(path), "-o", str(folder / "out"), "--format", "json", "--no-store", *options)


def test_both_sides_give_one_verdict_for_every_control(node: KubeNode, server: ApiServer, tmp_path: Path) -> None:
    result = audit(tmp_path, node, server, nodes_proxy=True)
    assert result.code == 0, result.stderr
    found = result.findings("prod")
    assert {f["version"] for f in found.values() if f["benchmark"] == "cis-kubernetes"} == {"1.12"}
    assert len([f for f in found.values() if f["benchmark"] == "cis-kubernetes"]) == 131
    own = result.statuses("cp")
    for key, status in own.items():
        if key.startswith("k8s-"):
            assert found[key]["status"] == status, key
    assert not [key for key, f in found.items() if f["status"] == "error" and key not in own]
    assert result.observed("prod", "k8s-apiserver-manifest-mode") == {
        "node/cp-1/file//etc/kubernetes/manifests/kube-apiserver.yaml": "pass"
    }
    (profiling,) = found[PROFILING]["observations"]
    assert profiling["source"].endswith("the API says the same")
    assert {k: f["status"] for k, f in found.items() if f["benchmark"] == "cluster-consistency"} == {
        "cluster-nodes-known": "pass", "cluster-manifests-in-force": "pass", "cluster-kubelets-in-force": "pass",
        "cluster-nodes-alike": "not_applicable",
    }  # fmt: skip
    assert set(result.observed("prod", "cluster-manifests-in-force")) == {f"node/cp-1/process/{c}" for c in STATIC}


def test_a_manifest_that_changed_without_a_restart_is_a_finding_of_its_own(
    node: KubeNode, server: ApiServer, tmp_path: Path
) -> None:
    server.show_node(node.hostname, {"kube-apiserver": [*APISERVER, "--profiling=false"]})
    result = audit(tmp_path, node, server)
    (finding,) = result.findings("prod")[PROFILING]["observations"]
    assert finding["status"] == "fail"
    assert ", but false (--profiling of process/kube-apiserver (mirror pod kube-system/kube-apiserver-cp-1))" in finding["actual"]
    apart = result.findings("prod")["cluster-manifests-in-force"]
    assert apart["status"] == "fail"
    failed = [o for o in apart["observations"] if o["status"] == "fail"]
    assert [o["subject"] for o in failed] == ["node/cp-1/process/kube-apiserver"]
    assert failed[0]["actual"] == (
        "--profiling: process not given, manifest false: the manifest changed and the program was not restarted"
    )


def test_a_kubelet_whose_file_changed_is_found_out(node: KubeNode, server: ApiServer, tmp_path: Path) -> None:
    server.configz(node.hostname, authentication={"anonymous": {"enabled": True}})
    assert "enabled: false" in KUBELET_CONFIG
    result = audit(tmp_path, node, server, nodes_proxy=True)
    assert result.statuses("cp")["k8s-kubelet-anonymous-auth"] == "pass", "the host alone can't know"
    assert result.statuses("prod")["k8s-kubelet-anonymous-auth"] == "fail"
    (apart,) = result.findings("prod")["cluster-kubelets-in-force"]["observations"]
    assert apart["status"] == "fail"
    assert "authentication.anonymous.enabled: false in its files, true in force" in apart["actual"]


def test_kubelets_are_asked_over_the_api_only_when_the_inventory_says_so(node: KubeNode, server: ApiServer, tmp_path: Path) -> None:
    audit(tmp_path, node, server)
    assert not [path for _, path in server.requests if "/proxy/" in path]
    assert ("auditor", "/version") in server.requests


def test_the_bundles_judged_later_give_the_same(node: KubeNode, server: ApiServer, tmp_path: Path) -> None:
    first = audit(tmp_path, node, server, nodes_proxy=True)
    again = tmp_path / "again"
    again.mkdir()
    second = auditor(again, "evaluate", str(first.folder / "evidence"), "-o", str(again / "out"), "--format", "json")
    assert second.code == 0, second.stderr
    by_target = [sorted(r.document["findings"], key=lambda f: (f["target"], f["benchmark"], f["id"])) for r in (first, second)]
    assert by_target[0] == by_target[1]


def test_a_node_that_cannot_be_reached_leaves_the_api_side(node: KubeNode, server: ApiServer, tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    lost = {**host_entry(node, "cp"), "address": "127.0.0.1", "ssh": {"user": "root", "port": 1, "connect_timeout": 2}}
    path.write_text(
        yaml.safe_dump({"hosts": [lost], "clusters": [{"name": "prod", "kubeconfig": str(server.kubeconfig()), "nodes": ["cp"]}]})
    )
    result = auditor(tmp_path, "audit", "-i", str(path), "-o", str(tmp_path / "out"), "--format", "json", "--no-store")
    assert result.code == 3
    found = result.statuses("prod")
    assert found[PROFILING] == "fail"
    assert found["k8s-apiserver-manifest-mode"] == "error"
    assert found["cluster-nodes-known"] == "error"
