"""How long the command takes to answer ``--help``, and what CPU an audit's start and end take, against Python alone.

The audit is that of recorded evidence (``--demo``): everything but the conversation with targets. Modules are compiled beforehand.

Run as ``python -m tests.performance.cli``.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 15
AUDIT = ["audit", "--demo", "--no-store", "--quiet", "--format", "json", "--output"]
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "auditor --help": [sys.executable, "-m", "auditor", "--help"],
    "auditor audit --help": [sys.executable, "-m", "auditor", "audit", "--help"],
    "auditor --version": [sys.executable, "-m", "auditor", "--version"],
    "audit, one benchmark": [sys.executable, "-m", "auditor", *AUDIT, "--benchmark", "cis-docker"],
    "audit, all benchmarks": [sys.executable, "-m", "auditor", *AUDIT],
}


def milliseconds(argv: list[str]) -> tuple[float, float]:
    """Return how long one run takes, and how much CPU."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder:
        command = [*argv[: argv.index("--output") + 1], folder, *argv[argv.index("--output") + 1 :]] if "--output" in argv else argv
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(command, check=True, capture_output=True, env=environment)
        wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall * 1000, (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def main() -> None:
    """Print the median of each, measured in turns."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS + 1):
        for name, argv in COMMANDS.items():
            found[name].append(milliseconds(argv))
    walls = {name: statistics.median(w for w, _ in times[1:]) for name, times in found.items()}
    base = walls["python -c pass"]
    for name, wall in walls.items():
        used = statistics.median(c for _, c in found[name][1:])
        print(f"{name:21} {wall:7.1f} ms  (+{wall - base:.1f} ms)  {used:7.1f} ms CPU")
    print("aim: auditor --help at most 150 ms more than Python alone")


if __name__ == "__main__":
    main()
