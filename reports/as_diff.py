"""The difference of two runs as one HTML page, without script and without any request."""

from __future__ import annotations

from auditor.diff import Difference, Kind
from auditor.difftext import delta, summary, title_of, whole_targets
from reports.as_html import hashed
from reports.environment import asset, environment

#: How many changes of a kind stand in the page.
SHOWN = 500


def render(difference: Difference) -> bytes:
    """Return the page as UTF-8."""
    from markupsafe import Markup  # comes with Jinja2, which is loaded only when a report is written

    style = asset("report.css")
    policy = f"default-src 'none'; style-src {hashed(style)}; img-src data:; base-uri 'none'; form-action 'none'"
    page = environment().get_template("diff.html.j2").render(
        d=difference, policy=policy, style=Markup(style), title_of=title_of, delta=delta, summary=summary(difference),  # noqa: S704
        shown=SHOWN, whole_targets=whole_targets, opened=(Kind.NEW, Kind.WORSE, Kind.LOST, Kind.FIXED, Kind.BETTER),
    )  # fmt: skip
    return page.encode("utf-8")
