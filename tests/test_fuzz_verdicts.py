"""Lost evidence never makes a verdict kinder: every control on recorded hosts, the demo, and every evidence case."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from auditor import evidence
from auditor.engine import judge
from auditor.facts.kubernetes import KINDS
from auditor.model import Benchmark, Evidence, Finding, Problem, Reason, Target
from tests.fuzz.parsers import ROOT
from tests.fuzz.verdicts import broken, kinder, losses, partial_losses, verdicts
from tests.support import streams
from tests.test_cases import CASES, CONTROLS

pytestmark = pytest.mark.slow

DEMO = sorted((ROOT / "auditor" / "demo").glob("*.evidence.json"))
#: A frame with one of these is a part of what it is about; a whole program is left out of the rule (see `tests.fuzz.verdicts`).
CHANCE = random.Random(6)


@pytest.mark.parametrize("name", streams.NAMES)
def test_a_stream_that_ends_early_or_lacks_a_frame(name: str) -> None:
    stream = streams.recorded(name)
    before = verdicts(stream.facts())
    assert not list(broken(before))
    frames = stream.frames
    cuts = [CHANCE.randrange(len(stream.stdout)) for _ in range(25)] + [
        len(streams.joined(frames[:i])) for i in range(1, len(frames), 4)
    ]
    for cut in cuts:
        found = list(kinder(before, verdicts(stream.facts(stream.stdout[:cut], lost=Problem(Reason.TIMEOUT, "cut")))))
        assert not found, (cut, found)
    for i in range(1, len(frames), 2):
        if not frames[i].startswith(b"p "):
            found = list(kinder(before, verdicts(stream.facts(streams.joined(frames[:i] + frames[i + 1 :])))))
            assert not found, (frames[i][:60], found)
    for cut in range(0, len(stream.stderr), max(1, len(stream.stderr) // 10)):
        found = list(kinder(before, verdicts(stream.facts(stderr=stream.stderr[:cut]))))
        assert not found, (cut, found)


@pytest.mark.parametrize("path", DEMO, ids=lambda p: p.name)
def test_a_lost_answer_of_the_demo(path: Any) -> None:
    found = evidence.load(path)
    before = verdicts(found.facts, found.target.transport)
    chosen = [*losses(found.facts), *partial_losses(found.facts)]
    for what, facts in CHANCE.sample(chosen, 60):
        worse = list(kinder(before, verdicts(facts, found.target.transport)))
        assert not worse, (what, worse)


def _judged(key: str, facts: dict[str, Any]) -> list[Finding]:
    benchmark, control = CONTROLS[key]
    only = Benchmark(benchmark.name, benchmark.version, "", (control,), 1, "")
    return judge([only], Evidence(Target("t", "kubernetes" if control.target == "cluster" else "ssh"), "", facts))


def _lost(facts: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    addons = {f"objects:{name}" for name, kind in KINDS.items() if kind.addon}
    for what, left in [*losses(facts), *partial_losses(facts)]:
        key = what.split(" ")[0]
        answer = left.get(key, Problem(Reason.ABSENT, ""))
        # An addon whose kind isn't served isn't there: then there are no such objects, which is no loss.
        if not (key in addons and isinstance(answer, Problem) and answer.reason is Reason.ABSENT):
            yield what, left


@pytest.mark.parametrize("key", sorted(CONTROLS))
def test_a_lost_answer_of_any_case(key: str) -> None:
    """Each case of a control with each of its answers lost."""
    for name, case in CASES:
        if name != key or "parameters" in case:
            continue
        facts = {k: evidence.decode_answer(a) for k, a in case["facts"].items()}
        before = _judged(key, facts)
        for what, left in _lost(facts):
            worse = list(kinder(before, _judged(key, left)))
            assert not worse, (case["name"], what, worse)
