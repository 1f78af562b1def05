"""The HTML report: one file, no network request, readable without script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

from auditor.model import AuditRun
from auditor.past import Past
from reports.build import build
from reports.columns import columns, script_json
from reports.environment import asset, environment
from reports.exposure import ORDER, exposure
from reports.seen import listings, said
from reports.subjects import by_subject, severities
from reports.trend import by_age, oldest
from reports.view import count_of

#: How many pieces of evidence of a control, and how many of one piece's observations, stand in the page itself; how many names of
#: targets a line holds. The table of findings holds all of them.
GROUPS, OBSERVATIONS, NAMES = 12, 25, 12

#: The same where a run has more distinct observations than `MANY`: a browser takes its time for each element.
MANY, FEW_GROUPS, FEW_OBSERVATIONS = 5_000, 6, 6

#: Up to how many targets each names what fails on it by links; beyond, in plain words.
LINKED = 100


#: The parts of the page's script, in the order in which they run. They are one scope, so that the page has one script to allow.
SCRIPTS = ("data", "select", "groups", "csv", "detail", "table", "seen", "page")


def bundled() -> str:
    """Return the page's script."""
    parts = "\n".join(asset(f"script/{name}.js") for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


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


def render(run: AuditRun, past: Past | None = None, signer: str = "") -> bytes:
    """Return the report as UTF-8. ``signer`` is the fingerprint of the key that signs it."""
    return b"".join(parts(run, past, signer))


def parts(run: AuditRun, past: Past | None = None, signer: str = "") -> Iterator[bytes]:
    """Yield the report as `render` returns it, in parts."""
    from markupsafe import Markup  # comes with Jinja2, which is loaded only when a report is written

    view, past = build(run), past or Past()
    groups, observations = (FEW_GROUPS, FEW_OBSERVATIONS) if view.observations > MANY else (GROUPS, OBSERVATIONS)
    script, style = bundled(), asset("report.css")
    # The three texts below are ours or escaped for the element they stand in.
    page = environment().get_template("report.html.j2").generate(
        view=view, policy=policy(script, style), script=Markup(script), style=Markup(style),  # noqa: S704
        data=map(Markup, script_json(columns(view, past))), groups=groups, observations=observations, names=NAMES,
        past=past, ages=by_age(view, past), trended=any(len(p) > 1 for p in past.trend.values()), oldest=oldest,
        subjects=by_subject(view), severities=severities(view), listings=listings(view), said=said, count_of=count_of,
        signer=signer, linked=len(view.targets) <= LINKED, exposure=exposure(run.targets), order=ORDER,
    )  # fmt: skip
    for part in page:
        yield part.encode("utf-8")
