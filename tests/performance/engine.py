"""Evaluation alone: the Docker benchmark's number of controls on a host with 100 containers.

Run as ``python -m tests.performance.engine``. The evidence is a real host's, with its containers and images repeated.
"""

from __future__ import annotations

import copy
import dataclasses
import statistics
import sys
import time
from collections import Counter
from itertools import cycle, islice
from typing import Any

from auditor.engine import judge, needs
from auditor.model import Benchmark, Evidence
from tests.support.collecting import benchmarks, collect, spec
from tests.support.engine import DockerHost
from tests.support.host import why_not

CONTROLS, CONTAINERS, ROUNDS = 117, 100, 30


def grown(evidence: Evidence, count: int) -> Evidence:
    """Return the evidence of a host with that many containers, and as many images."""
    facts: dict[str, Any] = copy.deepcopy(dict(evidence.facts))
    for key, name in (("engine:containers", "Name"), ("engine:images", "RepoTags")):
        (engine,) = facts[key]
        repeated = []
        for number, element in enumerate(islice(cycle(engine["data"]), count)):
            # The images that the containers run keep their identity.
            identity = element["Id"] if name == "RepoTags" and number < len(engine["data"]) else f"{number:064x}"
            label: Any = f"/{element[name].strip('/')}-{number}" if name == "Name" else [f"shop/image-{number}:1"]
            repeated.append({**copy.deepcopy(element), "Id": identity, name: label})
        engine["data"] = repeated
    return dataclasses.replace(evidence, facts=facts)


def repeated(source: Benchmark, count: int) -> Benchmark:
    """Return a benchmark of that many controls, made of the ones there are."""
    chosen = islice(cycle(source.controls), count)
    controls = tuple(dataclasses.replace(c, id=f"9.{i}", key=f"{c.key}-{i}") for i, c in enumerate(chosen))
    return dataclasses.replace(source, controls=controls)


def main() -> None:
    """Print the time of one evaluation, and which verdicts it came to."""
    if reason := why_not():
        sys.exit(reason)
    (docker,) = (b for b in benchmarks() if b.name == "cis-docker")
    with DockerHost() as host:
        (evidence,) = collect(spec(host), facts=needs([docker], "host")).values()
    for count in (6, CONTAINERS):
        large, benchmark = grown(evidence, count), repeated(docker, CONTROLS)
        times = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            findings = judge([benchmark], large)
            times.append((time.perf_counter() - start) * 1000)
        verdicts = ", ".join(f"{n} {status}" for status, n in sorted(Counter(str(f.status) for f in findings).items()))
        seen = sum(len(f.observations) for f in findings)
        median = statistics.median(times)
        print(
            f"{CONTROLS} controls, {count:3} containers: {median:6.2f} ms (best {min(times):.2f}); {seen} observations; {verdicts}"
        )
    print("aim: under 20 ms with 100 containers")


if __name__ == "__main__":
    main()
