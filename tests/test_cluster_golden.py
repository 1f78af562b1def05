"""The verdicts about the recorded cluster, each looked at by hand. CIS_AUDITOR_GOLDEN=write writes them anew."""

import dataclasses
import json
import os
from pathlib import Path

from auditor import correlate
from auditor.catalogue import packaged
from auditor.engine import judge
from auditor.facts.kubernetes import KINDS
from auditor.model import Benchmark, Evidence, Problem, Reason, Target
from auditor.results import finding_document
from auditor.transports.kubernetes import collect_cluster
from checks import check_types
from tests.support.apiserver import PODS, ApiServer, serving
from tests.support.cluster import Spec, collect, controls, judged, recorded

GOLDEN = Path(__file__).parent / "golden"


def compare(name: str, findings) -> None:
    seen = json.dumps([finding_document(f) for f in findings.values()], indent=1, sort_keys=True) + "\n"
    path = GOLDEN / name
    if os.environ.get("CIS_AUDITOR_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(seen)
    assert seen == path.read_text()


def test_recorded_cluster(tmp_path: Path):
    compare("cluster-kubernetes-1.36.json", judged(recorded(tmp_path)))


def test_nodes_of_the_recorded_cluster_over_the_api_alone(tmp_path: Path):
    """Every control about nodes, with what static pods and the kubelet's own configuration show."""
    library = packaged(check_types())
    benchmark = library.load("cis-kubernetes@2.0.1")
    wanted = frozenset(f.key for f in correlate.needs([benchmark]))
    with serving(tmp_path) as server:
        facts = collect_cluster(Spec(str(server.kubeconfig()), nodes_proxy=True), wanted)
    about_nodes = dataclasses.replace(benchmark, controls=tuple(c for c in benchmark.controls if c.target == "node"))
    found = correlate.judge([about_nodes], Evidence(Target("cluster", "kubernetes"), "", facts), [])
    assert len(found) == 97
    compare("nodes-kubernetes-1.36.json", {f.id: f for f in found})


def test_recorded_cluster_for_an_account_that_may_not_list_pods_and_rolebindings(tmp_path: Path):
    with ApiServer(tmp_path) as server:
        server.denied["limited"] = {PODS, "/apis/rbac.authorization.k8s.io/v1/rolebindings"}
        compare("cluster-limited-account.json", judged(collect(server, "token-limited")))


def test_no_verdict_hangs_on_what_was_judged_before_nor_on_what_its_control_does_not_ask_for(tmp_path: Path):
    """What was lost with one kind alone is an error of the controls that need it, and of no other."""
    everything, known = recorded(tmp_path), controls()

    def found(facts, *chosen):
        judging = judge([Benchmark("policies", "1", "", chosen, len(chosen), "")], Evidence(Target("c", "kubernetes"), "", facts))
        return {f.control: [f.status, *map(str, f.observations)] for f in judging}

    whole = found(everything, *known.values())
    for fact in sorted(everything):
        facts = {**everything, fact: Problem(Reason.DENIED, "no")}
        lost = found(facts, *known.values())
        for key, control in known.items():
            needed = {f.key for check in (control.check, control.applies_when) if check is not None for f in check.needs()}
            assert found(facts, control)[key] == lost[key], (fact, key)
            assert fact in needed or lost[key] == whole[key], (fact, key)
            assert len(set(lost[key])) == len(lost[key]), (fact, key)


def test_only_what_the_controls_need_is_asked_for(tmp_path: Path):
    chosen = controls().values()
    needed = {fact.key for c in chosen for check in (c.check, c.applies_when) if check is not None for fact in check.needs()}
    kinds = {key.removeprefix("objects:") for key in needed if key.startswith("objects:")}
    with ApiServer(tmp_path) as server:
        collect(server, "token-auditor", *kinds)
        asked = {path for _, path in server.requests}
        served = {k for k in kinds if not KINDS[k].addon or KINDS[k].path in server.lists}
        assert asked == {KINDS[k].path for k in served} | {"/version", "/apis"}
        assert server.requests.total() == len(served) + 2
        assert not [path for path in asked if "secrets" in path]


def test_evidence_without_any_answer_is_an_error_for_every_control():
    assert {f.status.value for f in judged(Evidence(Target("cluster", "kubernetes")).facts).values()} == {"error"}
