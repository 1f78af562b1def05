"""How long the command takes to answer ``--help``, against Python alone.

Run as ``python -m tests.performance.cli``.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 15
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "auditor --help": [sys.executable, "-m", "auditor", "--help"],
    "auditor audit --help": [sys.executable, "-m", "auditor", "audit", "--help"],
    "auditor --version": [sys.executable, "-m", "auditor", "--version"],
}


def milliseconds(argv: list[str]) -> float:
    """Return how long one run takes."""
    start = time.monotonic()
    subprocess.run(argv, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
    return (time.monotonic() - start) * 1000


def main() -> None:
    """Print the median of each, measured in turns."""
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS + 1):
        for name, argv in COMMANDS.items():
            found[name].append(milliseconds(argv))
    medians = {name: statistics.median(times[1:]) for name, times in found.items()}
    base = medians["python -c pass"]
    for name, median in medians.items():
        print(f"{name:21} {median:7.1f} ms  (+{median - base:.1f} ms)")
    print("aim: auditor --help at most 150 ms more than Python alone")


if __name__ == "__main__":
    main()
