"""Fuzzing as long as one likes: ``python -m tests.performance.fuzz [SECONDS [SEED]]`` (60 seconds; the seed is drawn and printed).

Every parser of outside data gets mutations of real inputs, and streams of hosts are judged after a random loss. It prints how many
inputs were tried and ends with 1 when one of them did what none may: raise an undeclared error, take seconds, or make a verdict kinder.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter

from auditor.model import Problem, Reason
from tests.fuzz.mutations import Mutation, mutated
from tests.fuzz.parsers import Parser, parsers
from tests.fuzz.verdicts import kinder, verdicts
from tests.support import streams

#: Seconds that no input may take; kubeconfigs go through a foreign library, which is slow on deep nesting.
TOO_LONG = 5.0


def _mutations(chance: random.Random) -> list[Mutation]:
    many = chance.choice((1, 1, 2, 3, 4))
    return [(chance.randrange(28), chance.randrange(1000), chance.randrange(61), chance.randrange(1000)) for _ in range(many)]


def _parse(parser: Parser, chance: random.Random) -> str:
    """Try one mutation; return what was wrong, empty for nothing."""
    mutations = _mutations(chance)
    data = mutated(chance.choice(parser.seeds), mutations, parser.frame)
    start = time.perf_counter()
    try:
        parser.try_one(data)
    except Exception as error:  # noqa: BLE001 - what is looked for
        return f"{type(error).__name__}: {error!s:.200} after {mutations}"
    taken = time.perf_counter() - start
    return f"took {taken:.1f} s after {mutations}" if taken > TOO_LONG else ""


def _lose(name: str, chance: random.Random) -> str:
    """Judge a recorded stream that lost something; return which verdict became kinder."""
    stream = streams.recorded(name)
    frames = stream.frames
    at = chance.randrange(1, len(frames))
    if chance.random() < 0.2:
        cut = chance.randrange(len(stream.stderr))
        lost, facts = f"standard error cut at {cut}", stream.facts(stderr=stream.stderr[:cut])
    elif chance.random() < 0.5 or frames[at].startswith(b"p "):
        lost, facts = (
            "cut",
            stream.facts(stream.stdout[: chance.randrange(len(stream.stdout))], lost=Problem(Reason.TIMEOUT, "cut")),
        )
    else:
        lost, facts = f"without {frames[at][:50]!r}", stream.facts(streams.joined(frames[:at] + frames[at + 1 :]))
    return "; ".join(f"{lost}: {k}" for k in kinder(verdicts(stream.facts()), verdicts(facts)))


def main(seconds: float = 60, seed: int | None = None) -> int:
    """Fuzz for some seconds, print the counts, return the exit code."""
    seed = random.SystemRandom().randrange(10**9) if seed is None else seed
    chance = random.Random(seed)
    tried: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for parser in parsers():
            for _ in range(5):
                tried[parser.name] += 1
                if said := _parse(parser, chance):
                    wrong[f"{parser.name}: {said}"] += 1
        for name in streams.NAMES:
            tried[f"verdicts on what is left of a stream: {name}"] += 1
            if said := _lose(name, chance):
                wrong[said] += 1
    for name, count in sorted(tried.items()):
        print(f"{count:9,}  {name}")
    print(f"{tried.total():9,}  inputs tried in {seconds:g} s (seed {seed}); {wrong.total()} did what none may")
    for said, count in wrong.most_common(30):
        print(f"{count:9,}  {said}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if sys.argv[1:] else 60, int(sys.argv[2]) if sys.argv[2:] else None))
