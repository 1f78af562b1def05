"""Fixes of a cluster's objects, applied to a recorded cluster: by a stand-in for kubectl that knows patches, labels and jsonpath."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from typing import Any

import pytest

from auditor.engine import judge
from auditor.facts.kubernetes import WORKLOADS
from auditor.fixes.plan import Case, plan
from auditor.fixes.planners import PLANNERS
from auditor.fixes.steps import ByHand, Effect, Plan, Run, Step
from auditor.model import Benchmark, Evidence, Finding, Observation, Status, Target, TargetKind, TargetResult, TargetStatus
from checks.workloads import at, controller_of, id_of
from tests.support.cluster import controls, recorded

CONTEXT = "prod {{ 1 }}"
CONTROLS = controls()
PLURALS = {"serviceaccount": "serviceaccounts", "namespace": "namespaces", "networkpolicy": "networkpolicies",
           **{kind.lower(): plural for kind, (plural, _) in WORKLOADS.items()}}  # fmt: skip


def findings(facts: dict[str, Any]) -> dict[str, Finding]:
    benchmark = Benchmark("cis-kubernetes", "1", "", tuple(CONTROLS.values()), len(CONTROLS), "")
    return {f.control: f for f in judge([benchmark], Evidence(Target("prod", "kubernetes", CONTEXT), "", facts))}


def planned(facts: dict[str, Any], context: str = CONTEXT) -> Plan:
    evidence = Evidence(Target("prod", "kubernetes", context), "", facts)
    target = TargetResult("prod", TargetKind.CLUSTER, context, "kubernetes", (), (), TargetStatus.AUDITED, None, None)
    failed = [Case(CONTROLS[f.control], f, target, evidence) for f in findings(facts).values() if f.status is Status.FAIL]
    return plan("r1", target, failed, PLANNERS)


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return recorded(tmp_path_factory.mktemp("cluster"))


class Kubectl:
    """Does to recorded objects what kubectl does to an API server's, and makes the pods of what it changed anew."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = copy.deepcopy(facts)

    def run(self, argv: tuple[str, ...], stdin: str = "") -> str:
        program, context, verb, *rest = argv
        assert (program, context) == ("kubectl", f"--context={CONTEXT}")
        options = dict(w[2:].partition("=")[::2] for w in rest if w.startswith("--"))
        words = [w for w in rest if not w.startswith("--")]
        if verb == "create":
            document = json.loads(stdin)
            kind, metadata = document["kind"].lower(), document["metadata"]
            if self.find(kind, metadata["namespace"], metadata["name"]):
                raise FileExistsError(metadata["name"])
            self.facts[f"objects:{PLURALS[kind]}"].append(document)
            return ""
        kind, name, *more = words
        item = self.find(kind, options.get("namespace", ""), name)
        if verb == "get":
            assert item is not None or "ignore-not-found" in options
            return "".join(self.printed(item, t) for t in re.findall(r"\{[^}]*\}| ", options["output"].removeprefix("jsonpath=")))
        assert item is not None
        if verb == "label":
            assert "overwrite" in options
            item["metadata"].setdefault("labels", {}).update(dict(m.split("=") for m in more))
        else:
            assert verb == "patch"
            self.merge(item, json.loads(options["patch"]), strategic=options["type"] == "strategic")
            self.anew(kind, item)
        return ""

    def find(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        return next((i for i in self.facts[f"objects:{PLURALS[kind]}"] if id_of(i) == (namespace, name)), None)

    def merge(self, here: dict[str, Any], patch: dict[str, Any], *, strategic: bool) -> None:
        for key, value in patch.items():
            if isinstance(value, dict):
                self.merge(here.setdefault(key, {}), value, strategic=strategic)
            elif strategic and key in ("containers", "initContainers"):
                for entry in value:
                    self.merge(next(c for c in here[key] if c["name"] == entry["name"]), entry, strategic=True)
            else:
                here[key] = value

    def anew(self, kind: str, item: dict[str, Any]) -> None:
        """Give everything that the object owns its new template."""
        path = next((path for k, (_, path) in WORKLOADS.items() if k.lower() == kind), "")
        for plural, below in (("replicasets", "spec.template.spec"), ("jobs", "spec.template.spec"), ("pods", "spec")):
            for other in self.facts[f"objects:{plural}"] if path else ():
                owner = controller_of(other)
                if owner and (owner["kind"].lower(), id_of(other)[0], owner["name"]) == (kind, *id_of(item)):
                    at(other, below).update(copy.deepcopy(at(item, path)))
                    self.anew({"replicasets": "replicaset", "jobs": "job"}.get(plural, ""), other)

    def printed(self, item: dict[str, Any] | None, template: str) -> str:
        if template == " " or item is None:
            return template if template == " " else ""
        value: Any = item
        for key, name in re.findall(r'\.((?:\\.|[^.\[\\])+)(?:\[\?\(@\.name=="([^"]*)"\)\])?', template[1:-1]):
            value = value.get(key.replace("\\.", ".")) if isinstance(value, dict) else None
            if name and value is not None:
                value = next(c for c in value if c["name"] == name)
        return "" if value is None else value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def runs(made: Plan) -> list[tuple[Step, Run]]:
    return [(s, s.action) for s in made.steps if isinstance(s.action, Run)]


def test_each_step_does_what_it_says_once(facts: dict[str, Any]) -> None:
    """It isn't so before, it is afterwards, and the subject fails none of the step's controls any more for this reason."""
    made, kubectl = planned(facts), Kubectl(facts)
    assert len(runs(made)) > 15
    for step, action in runs(made):
        assert kubectl.run(action.shows) != action.wanted, step  # it fails for what is not there, but where that is expected
        assert not action.stdin or "--ignore-not-found" in action.shows
        kubectl.run(action.command, action.stdin)
        assert kubectl.run(action.shows) == action.wanted, step
    after = findings(kubectl.facts)
    left = {(o.subject, c) for c, f in after.items() for o in f.observations if o.status is Status.FAIL}
    by_hand = {(s.subject, c.split()[1]) for s in made.steps if isinstance(s.action, ByHand) for c in s.controls}
    expected = {(s.subject, c.split()[1]) for s, _ in runs(made) for c in s.controls} - by_hand
    assert left & expected == set()
    again = {(s.subject, s.action) for s, _ in runs(planned(kubectl.facts))}
    assert again == set()


def test_everything_is_off_by_default(facts: dict[str, Any]) -> None:
    for step, action in runs(planned(facts)):
        assert step.effect is Effect.WORKLOADS
        assert step.caution
        assert action.command[1] == f"--context={CONTEXT}"


def test_the_strictest_level_wins_and_is_never_lowered(facts: dict[str, Any]) -> None:
    labelled = copy.deepcopy(facts)
    for item in labelled["objects:namespaces"]:
        if id_of(item)[1] == "legacy":
            item["metadata"]["labels"] = {"pod-security.kubernetes.io/enforce": "restricted"}
    levels = {s.subject: a.wanted for s, a in runs(planned(facts)) if a.command[2] == "label"}
    assert levels == {"namespace/default": "baseline", "namespace/empty-team": "restricted", "namespace/legacy": "restricted",
                      "namespace/monitoring": "restricted", "namespace/ci": "restricted"}  # fmt: skip
    assert "namespace/legacy" not in {s.subject for s, a in runs(planned(labelled)) if a.command[2] == "label"}
    better = {a.wanted: a.also for _, a in runs(planned(facts)) if a.command[2] == "label"}
    assert better == {"baseline": ("restricted",), "restricted": ()}, "what was labelled since the audit isn't lowered either"


def test_a_policy_that_somebody_made_since_is_not_changed(facts: dict[str, Any]) -> None:
    """`kubectl apply` would add to its types and leave what it allows: tried on an API server."""
    kubectl = Kubectl(facts)
    _, action = next((s, a) for s, a in runs(planned(facts)) if a.stdin)
    theirs = json.loads(action.stdin)
    theirs["spec"] = {"podSelector": {"matchLabels": {"app": "x"}}, "policyTypes": ["Ingress"]}
    kubectl.run((*action.command[:2], "create", "--filename=-"), json.dumps(theirs))
    assert kubectl.run(action.shows) not in ("", action.wanted)
    with pytest.raises(FileExistsError):
        kubectl.run(action.command, action.stdin)


def test_no_label_is_set_that_means_nothing_to_the_api_server(facts: dict[str, Any]) -> None:
    old = {**facts, "server": {"gitVersion": "v1.20.2"}}
    made = planned(old)
    assert "label" not in {a.command[2] for _, a in runs(made)}
    left = {s.subject: s.words for s in made.steps if isinstance(s.action, ByHand)}
    assert "Kubernetes v1.20.2 doesn't check Pod Security" in left["namespace/legacy"]


def test_one_patch_a_workload(facts: dict[str, Any]) -> None:
    """So that its pods are made anew but once."""
    patches = [
        s.subject for s, a in runs(planned(facts)) if a.command[2] == "patch" and not s.subject.startswith("serviceaccount/")
    ]
    assert patches
    assert len(patches) == len(set(patches))


def deployment(container: dict[str, Any], **spec: Any) -> dict[str, Any]:
    metadata = {"name": "front", "namespace": "shop"}
    return {"metadata": metadata, "spec": {"template": {"spec": {"containers": [container], **spec}}}}


def steps_for(facts: dict[str, Any], control: str, subject: str, item: dict[str, Any]) -> tuple[Step, ...]:
    """Plan one failure of a workload that is made up."""
    seen = Observation(subject, Status.FAIL, "", "made up")
    finding = dataclasses.replace(findings(facts)[control], status=Status.FAIL, observations=(seen,))
    evidence = Evidence(Target("prod", "kubernetes", ""), "", {**facts, "objects:deployments": [item]})
    target = TargetResult("prod", TargetKind.CLUSTER, "", "kubernetes", (), (), TargetStatus.AUDITED, None, None)
    return plan("r1", target, [Case(CONTROLS[control], finding, target, evidence)], PLANNERS).steps


def test_without_a_context_it_is_the_current_one(facts: dict[str, Any]) -> None:
    (step,) = steps_for(facts, "k8s-pods-privilege-escalation", "deployment/shop/front", deployment({"name": "web"}))
    assert isinstance(step.action, Run)
    assert step.action.command[:4] == ("kubectl", "patch", "deployment", "front")


@pytest.mark.parametrize(
    ("control", "item"),
    [
        ("k8s-pods-privilege-escalation", deployment({"name": "web", "securityContext": {"privileged": True}})),
        ("k8s-pods-privilege-escalation", deployment({"name": "$(reboot)"})),
        ("k8s-pods-privilege-escalation", deployment({"name": "web", "securityContext": {"allowPrivilegeEscalation": False}})),
        ("k8s-pods-seccomp", deployment({"name": "web", "securityContext": {"privileged": True, "seccompProfile": {"type": "Unconfined"}}},
                                        securityContext={"seccompProfile": {"type": "RuntimeDefault"}})),
    ],
)  # fmt: skip
def test_what_a_patch_can_not_put_right_is_left_to_a_person(facts: dict[str, Any], control: str, item: dict[str, Any]) -> None:
    made = steps_for(facts, control, "deployment/shop/front", item)
    assert [type(s.action) for s in made] == [ByHand]


def test_a_container_of_its_own_mind_is_patched_too(facts: dict[str, Any]) -> None:
    """The pod's profile doesn't reach a container that has another."""
    item = deployment({"name": "web", "securityContext": {"seccompProfile": {"type": "Unconfined"}}})
    (step,) = steps_for(facts, "k8s-pods-seccomp", "deployment/shop/front", item)
    assert isinstance(step.action, Run)
    patch = json.loads(step.action.command[-1].removeprefix("--patch="))["spec"]["template"]["spec"]
    assert patch["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert patch["containers"] == [{"name": "web", "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}]


@pytest.mark.parametrize(
    "subject", ["deployment/shop/a b", "deployment/shop/$(reboot)", "deployment/shop/--all", "deployment/-n/front"]
)
def test_hostile_names_are_left_to_a_person(facts: dict[str, Any], subject: str) -> None:
    made = steps_for(facts, "k8s-pods-privilege-escalation", subject, deployment({"name": "web"}))
    assert [type(s.action) for s in made] == [ByHand]
