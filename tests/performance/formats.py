"""What the formats cost: CPU, memory and size for 100 and 1,000 targets of 117 findings. Run as ``python -m tests.performance.formats``.

They are written from a stored run, as ``auditor report`` does. A format is linear when ten times the targets take about ten times the
CPU and bytes, and flat when they take the same memory. ``all`` is every format but PDF in one process.
"""

from __future__ import annotations

import gc
import multiprocessing
import resource
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support import sample_run


def _save(hosts: int, folder: str) -> None:
    """In a process of its own too: making such a run takes more than reading it."""
    from auditor.store import Store

    with Store(f"sqlite:///{folder}/history.sqlite") as store:
        store.save(sample_run.large(hosts))


def _measure(connection: Any, format_: str, folder: str) -> None:
    """In a process of its own, so that peaks don't mix."""
    import reports
    from auditor.store import Store

    gc.set_threshold(50_000)  # as the command line does
    with Store(f"sqlite:///{folder}/history.sqlite") as store:
        run = store.open("latest", Path(folder))
    before = resource.getrusage(resource.RUSAGE_SELF)
    formats = [f for f in reports.FORMATS if f != "pdf"] if format_ == "all" else [format_]
    paths = reports.write(run, Path(folder) / "out", formats)
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    connection.send((spent, before.ru_maxrss >> 10, after.ru_maxrss >> 10, len(paths), sum(p.stat().st_size for p in paths)))


def measure(hosts: int, format_: str) -> tuple[float, int, int, int, int]:
    """Return CPU seconds, MB before and at the peak, files and bytes of one format."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    with TemporaryDirectory() as folder:
        saving = context.Process(target=_save, args=(hosts, folder))
        saving.start()
        saving.join()
        process = context.Process(target=_measure, args=(there, format_, folder))
        process.start()
        there.close()
        result: tuple[float, int, int, int, int] = here.recv()
        process.join()
    return result


def main() -> None:
    """Measure the formats that are named, else all but PDF, each and together, and print."""
    import reports

    print(
        f"{'format':<13}{'targets':>8}{'CPU s':>8}{'MB before':>11}{'peak MB':>9}{'files':>7}{'MB':>8}{'CPU x':>7}{'size x':>8}{'peak x':>8}"
    )
    for format_ in sys.argv[1:] or [*(f for f in reports.FORMATS if f != "pdf"), "all"]:
        small = None
        for hosts in (100, 1000):
            cpu, before, peak, files, size = measure(hosts, format_)
            times = f"{cpu / small[0]:>7.1f}{size / small[1]:>8.1f}{peak / small[2]:>8.2f}" if small else ""
            print(f"{format_:<13}{hosts:>8}{cpu:>8.2f}{before:>11}{peak:>9}{files:>7}{size / 1e6:>8.2f}{times}", flush=True)
            small = (max(cpu, 0.001), size, peak)


if __name__ == "__main__":
    main()
