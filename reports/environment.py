"""The templates' engine, shared by HTML and PDF: escapes everything, hides nothing, fails on a name that isn't there."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from auditor import score
from auditor.model import SEVERITY_ORDER, STATUS_ORDER, Counts, Status
from reports import text
from reports.view import STATUS_WORDS, count_of

if TYPE_CHECKING:
    from jinja2 import Environment


def asset(name: str) -> str:
    """Return the text of a packaged asset."""
    return resources.files("reports").joinpath("assets", name).read_text(encoding="utf-8")


def clip(value: str, limit: int = text.LONGEST) -> str:
    """Return visible text of at most ``limit`` characters of the original, with a note where it is cut."""
    shown = text.visible(value[:limit])
    return shown if len(value) <= limit else f"{shown} \N{HORIZONTAL ELLIPSIS} {text.cut_note(len(value), limit)}"


def _clip(value: str, limit: int = text.LONGEST) -> Any:
    """The filter: marked as done, so that the note isn't taken for more text to cut."""
    from markupsafe import escape  # comes with Jinja2

    assert not hasattr(value, "__html__"), "markup can't be cut"
    return escape(clip(value, limit))


def _finalize(value: Any) -> Any:
    """Every printed value passes here; only markup that a template made itself is left alone."""
    if value is None:
        return "\N{EM DASH}"
    return clip(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def digested(file: object) -> tuple[str, str]:
    """Return the name and the digest of a file that a run names as ``name (SHA-256 digest)``."""
    name, _, digest = str(file).partition(" (SHA-256 ")
    return name, digest.removesuffix(")")


def _shares(counts: Counts) -> list[tuple[Status, int, float, float]]:
    """Return (status, count, start, width) of a stacked bar in percent, good first, without empty parts."""
    parts, start = [], 0.0
    for status in (Status.PASS, Status.FAIL, Status.ERROR, Status.MANUAL, Status.NOT_APPLICABLE):
        n = count_of(counts, status)
        if n:
            width = 100 * n / counts.total
            parts.append((status, n, round(start, 3), round(width, 3)))
            start += width
    return parts


def _tally(counts: Counts) -> list[tuple[Status, int]]:
    """Return the statuses that occur, worst first, with their counts."""
    return [(s, n) for s in STATUS_ORDER if (n := count_of(counts, s))]


@cache
def environment() -> Environment:
    """Return the engine with its filters; templates come from the package alone."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # heavy: only when a report is written

    made = Environment(
        loader=PackageLoader("reports", "templates"), autoescape=True, undefined=StrictUndefined, finalize=_finalize,
        trim_blocks=True, lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    made.filters.update(
        clip=_clip,
        percent=text.percent,
        number=text.number,
        plural=text.plural,
        shares=_shares,
        tally=_tally,
        adjusted=score.is_adjusted,
        adjusted_score=score.adjusted_score_of,
        adjusted_coverage=score.adjusted_coverage_of,
    )
    made.globals.update(
        STATUSES=STATUS_ORDER, SEVERITIES=SEVERITY_ORDER, WORDS=STATUS_WORDS, WHOLE=text.WHOLE, LONGEST=text.LONGEST,
        SCORE_FORMULA=score.SCORE_FORMULA, COVERAGE_FORMULA=score.COVERAGE_FORMULA, FLEET_FORMULA=score.FLEET_FORMULA,
        ADJUSTED_SCORE_FORMULA=score.ADJUSTED_SCORE_FORMULA, ADJUSTED_COVERAGE_FORMULA=score.ADJUSTED_COVERAGE_FORMULA,
        plural=text.plural, digested=digested,
    )  # fmt: skip
    return made
