"""Expectations, and checks put together from others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.facts.host import Processes
from auditor.model import Evidence, Observation, Outcome, Status, Target
from checks.combine import All, AnyOf, First
from checks.expectation import Expect
from checks.manual import Manual


def evidence():
    return Evidence(Target("t", "ssh"))


# Combining


class Said:
    """A check with a fixed answer."""

    def __init__(self, *statuses, reason=""):
        self.outcome = Outcome(tuple(Observation(f"x/{i}", s) for i, s in enumerate(statuses)), reason)

    def needs(self):
        return frozenset({Processes()})

    def evaluate(self, facts):
        return self.outcome


PASS, FAIL, ERROR, MANUAL, NA = (
    Said(Status.PASS),
    Said(Status.FAIL),
    Said(Status.ERROR),
    Said(Status.MANUAL),
    Said(reason="nothing here"),
)


@pytest.mark.parametrize(
    ("kind", "checks", "status"),
    [
        (All, (PASS, PASS), Status.PASS),
        (All, (PASS, FAIL), Status.FAIL),
        (All, (PASS, ERROR), Status.ERROR),
        (All, (PASS, NA), Status.PASS),
        (All, (NA, NA), Status.NOT_APPLICABLE),
        (AnyOf, (FAIL, PASS), Status.PASS),
        (AnyOf, (ERROR, PASS), Status.PASS),
        (AnyOf, (FAIL, ERROR), Status.ERROR),
        (AnyOf, (FAIL, MANUAL), Status.MANUAL),
        (AnyOf, (FAIL, NA), Status.FAIL),
        (AnyOf, (NA, NA), Status.NOT_APPLICABLE),
        (AnyOf, (Said(Status.PASS, Status.FAIL), Said(Status.FAIL, Status.PASS)), Status.FAIL),
        (First, (FAIL, PASS), Status.FAIL),
        (First, (PASS, FAIL), Status.PASS),
        (First, (ERROR, PASS), Status.PASS),
        (First, (ERROR, FAIL), Status.FAIL),
        (First, (NA, FAIL), Status.FAIL),
        (First, (MANUAL, ERROR), Status.ERROR),
        (First, (NA, ERROR), Status.ERROR),
        (First, (NA, MANUAL), Status.MANUAL),
        (First, (NA, NA), Status.NOT_APPLICABLE),
        (First, (Said(Status.PASS, Status.ERROR), FAIL), Status.FAIL),
    ],
)
def test_several_checks_as_one(kind, checks, status):
    check = kind(checks=checks)
    outcome = check.evaluate(evidence())
    assert outcome.status is status
    assert bool(outcome.reason) == (status is Status.NOT_APPLICABLE)
    assert check.needs() == {Processes()}


def test_a_question_for_a_person_is_manual():
    outcome = Manual(question="Who may log in?", subject="node/a").evaluate(evidence())
    assert [(o.subject, o.status, o.expected) for o in outcome.observations] == [("node/a", Status.MANUAL, "Who may log in?")]
    assert Manual(question="Who?").needs() == frozenset()


# Expectations


@pytest.mark.parametrize(
    ("expect", "holds", "fails"),
    [
        (Expect(equals=False), [False], [True, None, 0, "false", []]),
        (Expect(equals=0), [0], [1, None, False, "0"]),
        (Expect(not_equals="AlwaysAllow"), ["Webhook", ""], ["AlwaysAllow", None, True, 1, ["Webhook"]]),
        (Expect(one_of=("a", "b")), ["a"], ["c", None, ["a"]]),
        (Expect(at_most=600), [600, 0, -1], [601, None, "600", True]),
        (Expect(at_least=30), [30], [29, None, "31", True]),
        (Expect(contains=("a", "b")), [["b", "a", "c"]], [["a"], "a", None, []]),
        (Expect(contains_any=("a", "b")), [["b"], "a"], [["c"], None, []]),
        (Expect(contains_none=("a",)), [["b"], [], "b"], [["a"], "a", None, [1], [["a"]], {"a": 1}]),
        (Expect(subset_of=("a", "b")), [["a"], []], [["a", "c"], None, [1]]),
        (Expect(set=True), ["x", 0, False], [None, "", []]),
        (Expect(set=False), [None, "", []], ["x", 0, False]),
    ],
)
def test_operators(expect, holds, fails):
    assert [expect.holds(v) for v in holds] == [True] * len(holds)
    assert [expect.holds(v) for v in fails] == [False] * len(fails)
    assert expect.describe()


@given(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.text()), st.dictionaries(st.text(), st.integers()))
)
def test_no_value_breaks_an_operator(value):
    for expect in (Expect(equals="a"), Expect(at_most=1), Expect(contains_none=("a",)), Expect(subset_of=(1,)), Expect(set=True)):
        assert expect.holds(value) in (True, False)


def test_expectations_that_python_takes_for_equal_are_not() -> None:
    """0 and False are equal to Python and have one hash, so nothing may be kept by an expectation's value."""
    assert Expect(equals=0).holds(0)
    assert not Expect(equals=0).holds(False)
    assert Expect(equals=False).holds(False)
    assert not Expect(equals=False).holds(0)
    assert (Expect(equals=0).describe(), Expect(equals=False).describe()) == ("0", "false")
