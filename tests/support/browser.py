"""A real browser for the HTML report: the runs whose reports are opened, and what is read from a page."""

from __future__ import annotations

import csv
import dataclasses
import io
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from auditor.model import AuditRun, Observation, Status
from tests.support import sample_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
             "--disable-sync"]  # fmt: skip


def noted() -> AuditRun:
    """What a run can say beside its findings: notices, and a cluster's findings on its nodes."""
    run = sample_run.small()
    info = sample_run.INFO[*sample_run.KUBERNETES, "1.2.1"]
    seen = [Observation(f"node/{n}/process/kube-apiserver", Status.FAIL, "false", "true", "flag") for n in ("cp-1", "cp-2")]
    on_nodes = sample_run.finding("prod", sample_run.KUBERNETES, info, [*seen, Observation("node/cp-1", Status.PASS)])
    notices = ("cis-kubernetes 1.12.0 was published for an older Kubernetes than prod's.",)
    return dataclasses.replace(run, findings=(*run.findings, on_nodes), notices=notices)


RUNS: Mapping[str, Callable[[], AuditRun]] = {"small": sample_run.small, "noted": noted, "few": lambda: sample_run.large(8, 13, 4), "hostile": sample_run.hostile, "fleet": lambda: sample_run.large(60, 40),
        "empty": lambda: sample_run.run_of_parts([], [], ())}  # fmt: skip


def rows(page: Any) -> list[str]:
    """Return the lines of the table of findings."""
    return [" ".join(r.inner_text().split()) for r in page.locator("#table tbody tr").all()]


def saved(page: Any) -> list[list[str]]:
    """Return what the button saves, read as a spreadsheet would."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    return list(csv.reader(io.StringIO(Path(download.value.path()).read_text("utf-8-sig"), newline="")))


@contextmanager
def visiting(browser: Any, files: Mapping[str, str]) -> Iterator[Callable[..., Any]]:
    """Give a function that opens a report; at the end, fail on any request, console message, error or dialog that one made."""
    contexts: list[Any] = []
    seen: list[str] = []

    def open_(name: str = "small", place: str = "", **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: seen.append(f"console: {m.text}"))
        page.on("pageerror", lambda e: seen.append(f"error: {e}"))
        page.on("dialog", lambda d: (seen.append(f"dialog: {d.message}"), d.dismiss()))
        page.on(
            "request",
            lambda r: r.url.split("#")[0] == files[name] or r.url.startswith("data:image/svg") or seen.append(f"request: {r.url}"),
        )
        page.on("popup", lambda p: seen.append(f"popup: {p.url}"))
        page.goto(files[name] + place)
        if options.get("java_script_enabled", True):
            page.wait_for_selector("html[data-ready=yes]")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert seen == []
