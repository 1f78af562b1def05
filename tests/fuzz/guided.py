"""Fuzzing led by what is covered: ``pip install atheris``, then ``python -m tests.fuzz.guided [SECONDS] [PARSER...]`` (60 for all).

The same parsers and real inputs as `tests.performance.fuzz`, changed by libFuzzer towards lines that no input reached yet. Atheris is no
dependency of the tests and has no wheel for every Python: without it this says so and ends with 2. Each parser, or each whose name
begins with one that was given, has a process of its own and the same share of the time. Prints how many inputs were tried; ends with 1
when one did what none may.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]


def _one(name: str, seconds: str, corpus: str) -> None:
    """Fuzz one parser in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["auditor"]):
        from tests.fuzz.parsers import parsers
    parser = next(p for p in parsers() if p.name == name)
    for number, seed in enumerate(parser.seeds):
        (Path(corpus) / f"seed-{number}").write_bytes(seed)
    words = [
        f"-max_total_time={seconds}",
        "-print_final_stats=1",
        "-timeout=5",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={corpus}/",
    ]
    atheris.Setup(["guided", *words, corpus], parser.try_one)
    atheris.Fuzz()


def main(seconds: float, wanted: Sequence[str]) -> int:
    """Fuzz parsers, print the counts, return the exit code."""
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install atheris, or python -m tests.performance.fuzz without it", file=sys.stderr)
        return 2
    from tests.fuzz.parsers import parsers

    names = [p.name for p in parsers() if not wanted or p.name.startswith(tuple(wanted))]
    if not names:
        print(f"no such parser; there are: {', '.join(p.name for p in parsers())}", file=sys.stderr)
        return 2
    share = max(1, round(seconds / len(names)))
    total = 0
    wrong: dict[str, str] = {}
    for name in names:
        with TemporaryDirectory() as corpus:
            command = [sys.executable, "-m", "tests.fuzz.guided", "--one", name, str(share), corpus]
            done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, check=False)
            said = done.stderr.decode("utf-8", "replace") + done.stdout.decode("utf-8", "replace")
            tried = re.search(r"stat::number_of_executed_units: *(\d+)", said)
            total += int(tried[1]) if tried else 0
            covered = re.findall(r" cov: (\d+)", said) or ["0"]
            print(
                f"{int(tried[1]) if tried else 0:9,}  {name}: {int(covered[-1]):,} edges, {int(covered[0]):,} at first", flush=True
            )
            if done.returncode:
                wrong[name] = "\n".join(said.splitlines()[-40:])
    print(f"{total:9,}  inputs tried in about {share * len(names)} s; {len(wrong)} parsers did what none may")
    for name, why in wrong.items():
        print(f"== {name}\n{why}")
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        _one(*sys.argv[2:5])
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[2])
    options.add_argument("seconds", type=float, nargs="?", default=60)
    options.add_argument("parser", nargs="*", help="only those whose names begin so")
    given = options.parse_args()
    sys.exit(main(given.seconds, given.parser))
