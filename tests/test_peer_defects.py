"""What kube-bench and Prowler get wrong (tests/peer_defects.yaml): our verdict on each, from the same facts."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from auditor import correlate
from auditor.facts.components import component
from auditor.model import Benchmark, Evidence, Problem, Reason, Target
from tests.test_cases import CONTROLS, LIBRARY
from tests.test_cases import test_case as check_case

FILE = Path(__file__).parent / "peer_defects.yaml"
DEFECTS = [
    (key, d) for key, listed in yaml.load(FILE.read_text(), Loader=yaml.CSafeLoader).items() if key != "_shared" for d in listed
]
NUMBERS = {c.key: c.id for c in LIBRARY.load("cis-kubernetes@1.12").controls}
#: What a peer's word would be here, were it right.
SAME = {"PASS": "pass", "FAIL": "fail"}


@pytest.mark.parametrize(("key", "defect"), [pytest.param(k, d, id=f"{d['peer']} {d['id']}: {d['name']}") for k, d in DEFECTS])
def test_defect(key: str, defect: dict[str, Any]) -> None:
    assert NUMBERS[key] == defect["id"]
    assert SAME.get(defect["says"]) != defect["expect"], "the peer is right then"
    if "pods" in defect:
        over_the_api(key, defect)
    else:
        check_case(key, defect)


def over_the_api(key: str, defect: dict[str, Any]) -> None:
    """Judge what the API shows of a control plane's static pods."""
    pods = [component(static_pod(**container)) for container in defect["pods"]]
    assert all(pods)
    absent = Problem(Reason.ABSENT, "not asked")
    node = {"metadata": {"name": "cp-1", "labels": {}}, "spec": {}, "status": {"addresses": [], "nodeInfo": {}}}
    facts = {"server": {"gitVersion": "v1.33.1"}, "objects:nodes": [node], "objects:components": pods, "apiserver_flags": absent,
             "kubelet_configs": absent}  # fmt: skip
    benchmark, control = CONTROLS[key]
    only = Benchmark(benchmark.name, benchmark.version, "", (control,), 1, "")
    (finding,) = correlate.judge([only], Evidence(Target("cluster", "kubernetes"), "", facts), [])
    program = defect["pods"][0].get("program", "kube-apiserver")
    found = [o for o in finding.observations if o.subject == f"node/cp-1/process/{program}"]
    # programs that can't be seen are errors of their own and no part of this
    statuses = {str(o.status) for o in found}
    assert defect["expect"] in statuses, found
    assert defect["expect"] == "fail" or statuses == {defect["expect"]}, found
    for subject, status in defect.get("observations", {}).items():
        assert [str(o.status) for o in found if o.subject == subject] == [status], found
    for subject, text in defect.get("actual", {}).items():
        assert any(text in o.actual for o in found if o.subject == subject), found


def static_pod(command: list[str], args: list[str] | None = None, program: str = "kube-apiserver") -> dict[str, Any]:
    """Return a mirror pod as the API shows it."""
    container = {"name": program, "command": command} | ({"args": args} if args else {})
    metadata = {"name": f"{program}-cp-1", "namespace": "kube-system", "annotations": {"kubernetes.io/config.mirror": "4d1f"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "cp-1"}]}  # fmt: skip
    return {"metadata": metadata, "spec": {"nodeName": "cp-1", "containers": [container]}, "status": {"hostIP": "10.0.0.1"}}


def test_both_peers_worst_defects_are_held() -> None:
    peers = Counter(d["peer"] for _, d in DEFECTS)
    assert set(peers) == {"kube-bench", "Prowler"}
    assert min(peers.values()) >= 25
    wrong_passes = [d for _, d in DEFECTS if d["says"] == "PASS"]
    assert len(wrong_passes) >= 25, "a wrong pass is the worst defect"
    assert all(d["because"] for _, d in DEFECTS)
