"""The HTML report: one file, no network request, readable without script."""

from __future__ import annotations

import base64
import hashlib

from auditor.model import AuditRun
from auditor.past import Past
from reports.columns import columns, script_json
from reports.environment import asset, environment
from reports.trend import by_age, oldest
from reports.view import build

#: How many pieces of evidence of a control, and how many of one piece's observations, stand in the page itself. The table of
#: findings holds all of them.
GROUPS, OBSERVATIONS, NAMES = 12, 25, 12


def hashed(content: str) -> str:
    """Return how a policy names a script or a style by what it holds."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def policy(script: str, style: str) -> str:
    """Return the content security policy: this one script, this one style, nothing from anywhere, no text ever parsed as markup."""
    return (
        f"default-src 'none'; script-src {hashed(script)}; style-src {hashed(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def render(run: AuditRun, past: Past | None = None) -> bytes:
    """Return the report as UTF-8."""
    from markupsafe import Markup  # comes with Jinja2, which is loaded only when a report is written

    view, past = build(run), past or Past()
    script, style = asset("report.js"), asset("report.css")
    # The three texts below are ours or escaped for the element they stand in.
    page = environment().get_template("report.html.j2").render(
        view=view, policy=policy(script, style), script=Markup(script), style=Markup(style),  # noqa: S704
        data=Markup(script_json(columns(view, past))), groups=GROUPS, observations=OBSERVATIONS, names=NAMES,  # noqa: S704
        past=past, ages=by_age(view, past), trended=any(len(p) > 1 for p in past.trend.values()), oldest=oldest,
    )  # fmt: skip
    return page.encode("utf-8")
