"""What reports cost: CPU, memory, pages and size. Run as ``python -m tests.performance.reports [--fleet]``."""

from __future__ import annotations

import io
import multiprocessing
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support import sample_run

#: How many containers a host of the fleet has: with them 117,000 findings hold 315,000 observations.
CONTAINERS = 8


def _measure(connection: Any, hosts: int, format_: str, folder: str) -> None:
    """In a process of its own, so that peaks don't mix. Children are counted: the PDF is laid out in one."""
    import reports

    run = sample_run.large(hosts, containers=CONTAINERS if format_ == "html" else 0)
    both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    cpu = [sum(resource.getrusage(w)[:2]) for w in both]
    format_, _, mode = format_.partition(" ")
    paths = reports.write(run, Path(folder), [format_], reports.Options(pdf=(mode or "by-control",)))
    after = [resource.getrusage(w) for w in both]
    spent = sum(a.ru_utime + a.ru_stime - b for a, b in zip(after, cpu, strict=True))
    pages = 0
    if format_ == "pdf":
        import pypdf

        pages = sum(len(pypdf.PdfReader(io.BytesIO(path.read_bytes())).pages) for path in paths)
    connection.send((spent, max(a.ru_maxrss for a in after) // 1024, pages, sum(path.stat().st_size for path in paths)))


def measure(hosts: int, format_: str, folder: str) -> tuple[float, int, int, int]:
    """Return CPU seconds, peak MB of the larger process, pages and bytes of one format: ``pdf`` may name one of the `PDF_MODES`."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_measure, args=(there, hosts, format_, folder))
    process.start()
    there.close()
    result: tuple[float, int, int, int] = here.recv()
    process.join()
    return result


def in_a_browser(path: Path, say: Callable[[str], None]) -> None:
    """Print how soon a report is ready in Chromium and what a filter takes."""
    chromium = shutil.which("chromium")
    if chromium is None:
        say("  in a browser: chromium is not installed")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-quic"])
        page = browser.new_page()
        for attempt in ("first", "second", "third"):
            start = time.perf_counter()
            page.goto(f"file://{path}")
            page.wait_for_selector("html[data-ready=yes]")
            say(f"  in a browser, {attempt} time: ready after {time.perf_counter() - start:.2f} s")
        for place in ("q=front", "q=front 4.2", "status=fail", "status=fail&severity=critical&sort=target", "group=dc1&level=1",
                      "subject=container/", "by=control", "by=target&status=fail", "by=subject", "see=cache"):  # fmt: skip
            again = [page.evaluate("h => { const t = performance.now(); location.hash = h; dispatchEvent(new Event('hashchange'));"
                               " document.body.offsetHeight; return performance.now() - t }", wanted)
                     for wanted in (place, "q=none", place)]  # fmt: skip
            say(f"  in a browser, #{place}: {again[0]:.0f} ms, again {again[2]:.0f} ms")
        browser.close()


def main() -> None:
    """Measure and print."""
    cases = [(1, "html"), (1000, "html"), (1000, "json"), (1, "pdf"), (50, "pdf"), (60, "pdf summary"), (20, "pdf per-target")] + (
        [(250, "pdf"), (500, "pdf"), (1000, "pdf"), (1000, "pdf summary")] if "--fleet" in sys.argv else []
    )
    print(f"{'report':<16}{'targets':>8}{'CPU s':>8}{'peak MB':>9}{'pages':>7}{'MB':>8}")
    for hosts, format_ in cases:
        with TemporaryDirectory() as folder:
            cpu, peak, pages, size = measure(hosts, format_, folder)
            print(f"{format_:<16}{hosts:>8}{cpu:>8.2f}{peak:>9}{pages or '':>7}{size / 1e6:>8.2f}", flush=True)
            if format_ == "html" and hosts > 1:
                in_a_browser(Path(folder) / "report.html", print)


if __name__ == "__main__":
    main()
