"""Judging: order, guards, crashes, purity."""

import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.catalogue import packaged
from auditor.engine import judge, needs
from auditor.model import (
    STATUS_ORDER,
    Benchmark,
    Control,
    Evidence,
    Fact,
    Facts,
    Observation,
    Outcome,
    Problem,
    Reason,
    Remediation,
    Severity,
    Status,
    Target,
    worst,
)
from checks import check_types
from checks.manual import Manual

PASS, FAIL, ERROR, MANUAL, NONE = Status.PASS, Status.FAIL, Status.ERROR, Status.MANUAL, Status.NOT_APPLICABLE


@dataclass(frozen=True)
class Ask:
    name: str

    @property
    def key(self) -> str:
        return self.name


@dataclass(frozen=True)
class Says:
    """A check that says what it is told to."""

    statuses: tuple[Status, ...] = ()
    reason: str = ""
    facts: frozenset[Fact] = frozenset()

    def needs(self) -> frozenset[Fact]:
        return self.facts

    def evaluate(self, facts: Facts) -> Outcome:
        return Outcome(
            tuple(Observation(f"thing/{n}", s, "this", "that", "there") for n, s in enumerate(self.statuses)), self.reason
        )


@dataclass(frozen=True)
class Crashes(Says):
    error: Exception = field(default_factory=lambda: ZeroDivisionError("division by zero"))

    def evaluate(self, facts: Facts) -> Outcome:
        raise self.error


@dataclass(frozen=True)
class Reads(Says):
    """Passes when its fact is there, and says the problem when it isn't."""

    def evaluate(self, facts: Facts) -> Outcome:
        (fact,) = self.facts
        answer = facts.get(fact)
        return Outcome((Observation("thing/x", ERROR if isinstance(answer, Problem) else PASS, "", str(answer)),))


def control(check: Any, guard: Any = None, target: str = "node", id_: str = "1") -> Control:
    return Control(
        id_, f"key-{id_}", f"title {id_}", 1, "automated", Severity.HIGH, target, "why", Remediation("how"), check, guard
    )


def benchmark(*controls: Control, name: str = "b") -> Benchmark:
    return Benchmark(name, "1", "B", controls, len(controls), "0")


def finding(check: Any, guard: Any = None, **facts: Any) -> Any:
    (found,) = judge([benchmark(control(check, guard))], Evidence(Target("t", "ssh"), "", facts))
    return found


def test_a_finding_carries_its_control_and_evidence() -> None:
    found = finding(Says((PASS, PASS)))
    assert (found.target, found.benchmark, found.version, found.id, found.control, found.title) == (
        "t",
        "b",
        "1",
        "1",
        "key-1",
        "title 1",
    )
    assert (found.level, found.assessment, found.severity, found.status) == (1, "automated", Severity.HIGH, PASS)
    assert found.observations[0] == Observation("thing/0", PASS, "this", "that", "there")


@given(st.lists(st.sampled_from(list(Status)), max_size=6))
def test_the_worst_observation_decides_and_stands_first(statuses: list[Status]) -> None:
    found = finding(Says(tuple(statuses), "nothing to see"))
    assert found.status is worst(statuses)
    assert [o.status for o in found.observations] == sorted(statuses, key=STATUS_ORDER.index)
    assert len(found.observations) == len(statuses)


def test_worst_is_fail_error_manual_pass() -> None:
    assert worst([]) is NONE
    assert worst([PASS, NONE]) is PASS
    assert worst([PASS, MANUAL]) is MANUAL
    assert worst([MANUAL, ERROR, PASS]) is ERROR
    assert worst([ERROR, FAIL]) is FAIL


def test_observations_of_one_status_are_in_the_order_of_their_subjects() -> None:
    forward = [Observation(f"file//{n}", PASS) for n in "abc"]

    @dataclass(frozen=True)
    class Shuffled(Says):
        def evaluate(self, facts: Facts) -> Outcome:
            return Outcome((forward[1], forward[2], forward[0]))

    assert list(finding(Shuffled()).observations) == forward


@pytest.mark.parametrize(
    ("guard", "status", "reason"),
    [
        (Says((PASS,)), FAIL, ""),
        (Says((PASS, NONE)), FAIL, ""),
        (Says((FAIL,)), NONE, "does not apply: thing/0: that (applies when this)"),
        (Says((FAIL,), "not in swarm mode"), NONE, "not in swarm mode"),
        (Says((), "no engine here"), NONE, "no engine here"),
        (Says((ERROR,)), ERROR, ""),
        (Says((PASS, ERROR)), FAIL, ""),  # the check speaks of the subject that the guard lets through, and fails
        (Says((MANUAL,)), MANUAL, ""),
        (Crashes(), ERROR, ""),
    ],
)
def test_guard(guard: Says, status: Status, reason: str) -> None:
    found = finding(Says((FAIL,)), guard)
    assert (found.status, found.reason) == (status, reason)
    if status is NONE:
        assert found.observations == ()
        assert found.reason


def test_what_a_guard_rules_out_is_not_even_looked_at() -> None:
    assert finding(Crashes(), Says((FAIL,))).status is NONE


@pytest.mark.parametrize(
    "error",
    [KeyError("Id"), TypeError("x"), RecursionError(), AssertionError("odd"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")],
)
def test_a_crash_is_an_error_of_one_control(error: Exception) -> None:
    controls = (control(Says((PASS,)), id_="1"), control(Crashes(error=error), id_="2"), control(Says((FAIL,)), id_="3"))
    found = judge([benchmark(*controls)], Evidence(Target("t", "ssh")))
    assert [f.status for f in found] == [PASS, ERROR, FAIL]
    (observation,) = found[1].observations
    assert type(error).__name__ in observation.actual
    assert "key-2" in observation.source


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stop_is_no_crash(stop: type[BaseException]) -> None:
    with pytest.raises(stop):
        finding(Crashes(error=stop()))  # type: ignore[arg-type]


def test_missing_evidence_is_an_error_with_its_reason() -> None:
    check = Reads(facts=frozenset({Ask("engine:info")}))
    assert finding(check, **{"engine:info": []}).status is PASS
    denied = finding(check, **{"engine:info": Problem(Reason.DENIED, "permission denied")})
    assert (denied.status, denied.observations[0].actual) == (ERROR, "denied: permission denied")
    absent = finding(check)
    assert absent.status is ERROR
    assert absent.observations[0].actual.startswith("absent: ")


def test_clusters_and_engines_get_the_controls_of_their_kind_and_hosts_those_of_both_others() -> None:
    benchmarks = [benchmark(*(control(Says((PASS,)), target=t, id_=t) for t in ("docker-host", "node", "cluster")))]
    by = {t: [f.id for f in judge(benchmarks, Evidence(Target("t", t)))] for t in ("ssh", "local", "docker", "kubernetes")}
    assert by == {
        "ssh": ["docker-host", "node"],
        "local": ["docker-host", "node"],
        "docker": ["docker-host"],
        "kubernetes": ["cluster"],
    }


def test_findings_are_in_the_order_of_benchmarks_and_controls() -> None:
    benchmarks = [
        benchmark(*(control(Says((PASS,)), id_=i) for i in ("2", "1", "10")), name="z"),
        benchmark(control(Says((PASS,))), name="a"),
    ]
    assert [(f.benchmark, f.id) for f in judge(benchmarks, Evidence(Target("t", "ssh")))] == [
        ("z", "2"),
        ("z", "1"),
        ("z", "10"),
        ("a", "1"),
    ]


def test_needs_are_those_of_checks_and_guards() -> None:
    a, b, c = (frozenset({Ask(n)}) for n in "abc")
    benchmarks = [
        benchmark(control(Says(facts=a), Says(facts=b)), control(Says(facts=c), target="cluster"), control(Manual(question="?")))
    ]
    assert needs(benchmarks, "host") == a | b
    assert needs(benchmarks, "cluster") == c
    assert needs([], "host") == frozenset()


def test_the_same_evidence_gives_the_same_findings() -> None:
    controls = [control(Says(tuple(random.choices(list(Status), k=3))), id_=str(n)) for n in range(20)]
    evidence = Evidence(Target("t", "ssh"), "2025-01-01T00:00:00Z")
    once = judge([benchmark(*controls)], evidence)
    assert once == judge([benchmark(*controls)], evidence)
    assert once == judge([benchmark(*controls)], replace(evidence, collected_at="2030-01-01T00:00:00Z")), "the clock has no say"


def test_a_guard_lets_each_engine_through_by_itself() -> None:
    def seen(swarm: str, live_restore: bool, socket: str) -> dict:
        return {"engine": socket, "pid": 1, "data": {"Swarm": {"LocalNodeState": swarm}, "LiveRestoreEnabled": live_restore}}

    def judged(*engines: dict) -> tuple[str, list[str]]:
        benchmark = packaged(check_types()).load("cis-docker@1.6.0")
        found = judge([benchmark], Evidence(Target("t", "ssh"), "", {"engine:info": list(engines)}))
        finding = next(f for f in found if f.control == "docker-live-restore")
        return finding.status, [o.subject for o in finding.observations]

    in_swarm, alone = seen("active", False, "unix:///a"), seen("inactive", False, "unix:///b")
    assert judged(in_swarm) == ("not_applicable", [])
    assert judged(alone)[0] == "fail"
    assert judged(in_swarm, alone) == ("fail", ["daemon/dockerd@unix:///b"])
    assert judged(in_swarm, seen("inactive", True, "unix:///b"))[0] == "pass"
    broken = {"engine": "unix:///c", "pid": 2, "problem": {"reason": "denied", "detail": "no"}}
    assert judged(broken, seen("inactive", True, "unix:///b"))[0] == "error"


def test_what_is_remembered_of_a_target_changes_no_verdict() -> None:
    """The recorded evidence of every target that ships, each control judged by itself and all of them together."""
    from importlib.resources import as_file, files

    from auditor import engine, evidence

    library = packaged(check_types())
    with as_file(files("auditor") / "demo") as folder:
        bundles = evidence.load_all(folder)
    judged = 0
    for name in library.names():
        benchmark = library.load(name)
        for bundle in bundles:
            for finding in judge([benchmark], bundle):
                (control,) = (c for c in benchmark.controls if c.id == finding.id)
                alone = engine.outcome(control, bundle)
                assert engine.finding(benchmark, control, bundle.target.name, alone) == finding
                judged += 1
    assert judged > 200


def test_checks_remember_within_one_target_only() -> None:
    from auditor.engine import Remembered
    from checks.base import once

    made: list[int] = []

    def make() -> int:
        made.append(1)
        return len(made)

    one, other = (Remembered(Evidence(Target(name, "ssh"))) for name in ("one", "other"))
    assert [once(f, ("a",), make) for f in (one, one, other, one)] == [1, 1, 2, 1]
    assert once(one, ("b",), make) == 3
    plain = Evidence(Target("one", "ssh"))
    assert [once(plain, ("a",), make) for _ in range(2)] == [4, 5], "facts without a memory are asked every time"
    assert one.get(Ask("x")) == plain.get(Ask("x")) == Problem(Reason.ABSENT, "this evidence holds no answer to 'x'")
