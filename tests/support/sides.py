"""A cluster and its nodes as evidence shows them: what tests of both sides together put in, and the findings."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from auditor import correlate
from auditor.catalogue import packaged
from auditor.model import Benchmark, Evidence, Finding, Problem, Reason, Target
from checks import check_types

RECORDED = Path(__file__).parents[1] / "recorded" / "kubernetes-1.36"


ANONYMOUS = "k8s-apiserver-anonymous-auth"


CONFIGZ = json.loads((RECORDED / "api_v1_nodes_node1_proxy_configz.json").read_text())["kubeletconfig"]


LOOSE = {**CONFIGZ, "authentication": {**CONFIGZ["authentication"], "anonymous": {"enabled": True}}}


SECURE = ["--anonymous-auth=false", "--authorization-mode=Node,RBAC", "--profiling=false"]


@functools.cache
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


FLAGZ = {"client-ca-file": "/ca.crt", "disable-admission-plugins": "[]", "tls-cert-file": "", "token-auth-file": "",
         "anonymous-auth": "false", "authorization-mode": "[Node,RBAC]", "enable-admission-plugins": "[]", "profiling": "true",
         "request-timeout": "1m0s", "tls-min-version": ""}  # fmt: skip


def k3s(name: str, *args: str) -> dict[str, Any]:
    return {**node(name, control_plane=True), "nodeArgs": ["server", *args]}
