"""Every control against its evidence cases (tests/cases), and no control without them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from auditor.catalogue import decode_definition, packaged
from auditor.engine import judge
from auditor.evidence import decode_answer
from auditor.model import Benchmark, Evidence, Target
from auditor.yamltree import compose
from checks import check_types

FOLDER = Path(__file__).parent / "cases"


LIBRARY = packaged(check_types())


def benchmarks() -> list[Benchmark]:
    return [LIBRARY.load(f"{name}@{version}") for name, versions in LIBRARY.names().items() for version in versions]


BENCHMARKS = benchmarks()
CONTROLS = {c.key: (b, c) for b in BENCHMARKS for c in b.controls}


def load_cases() -> list[tuple[str, dict[str, Any]]]:
    cases = []
    for path in sorted(FOLDER.glob("*.yaml")):
        for key, listed in yaml.load(path.read_text(), Loader=yaml.CSafeLoader).items():
            cases.extend((key, case) for case in listed)
    return cases


CASES = load_cases()


@pytest.mark.parametrize(("key", "case"), [pytest.param(k, c, id=f"{k}: {c['name']}") for k, c in CASES])
def test_case(key: str, case: dict[str, Any]) -> None:
    benchmark, control = CONTROLS[key]
    if "parameters" in case:
        where, node = LIBRARY.definitions[key]
        chosen = compose(yaml.safe_dump(case["parameters"]), "parameters")
        control = replace(control, check=decode_definition(where, node, check_types(), chosen).check)
    transport = "kubernetes" if control.target == "cluster" else "ssh"
    facts = {name: decode_answer(answer) for name, answer in case["facts"].items()}
    only = Benchmark(benchmark.name, benchmark.version, "", (control,), 1, "")
    (finding,) = judge([only], Evidence(Target("t", transport), "", facts))
    seen = [f"{o.subject}: {o.status}: {o.actual}" for o in finding.observations]
    assert finding.status == case["expect"], (finding.reason, seen)
    assert finding.reason or finding.observations
    for subject, status in case.get("observations", {}).items():
        assert [o.status for o in finding.observations if o.subject == subject] == [status], seen
    for subject, text in case.get("actual", {}).items():
        assert any(text in o.actual for o in finding.observations if o.subject == subject), seen


#: Controls that can't pass on facts alone, and why. They show a person what was found instead.
NEVER_PASS = {
    "k8s-users-without-certificates": "who logs in is in the audit log",
    "k8s-users-without-service-account-tokens": "who logs in is in the audit log",
}
#: Controls that can't fail on facts alone, and why.
NEVER_FAIL = {
    "cluster-nodes-alike": "a difference may be meant",
    "k8s-users-without-certificates": "who logs in is in the audit log",
    "k8s-users-without-service-account-tokens": "who logs in is in the audit log",
    "k8s-users-without-bootstrap-tokens": "tokens are objects of the cluster, which a host doesn't know",
}


@pytest.mark.parametrize("key", sorted(CONTROLS))
def test_every_control_has_cases(key: str) -> None:
    verdicts = {case["expect"] for k, case in CASES if k == key}
    assert {"manual" if key in NEVER_PASS else "pass", "manual" if key in NEVER_FAIL else "fail", "error"} <= verdicts
    assert key not in NEVER_PASS or "pass" not in verdicts
    assert key not in NEVER_FAIL or "fail" not in verdicts


def test_no_case_without_control() -> None:
    assert {key for key, _ in CASES} <= set(CONTROLS)
