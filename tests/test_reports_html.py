"""The HTML report, read as a browser would: one file that loads nothing, hides nothing and runs nothing but its own script."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from auditor.model import Status
from reports import as_html
from reports.text import visible
from reports.view import build
from tests.support import sample_run


class Page(HTMLParser):
    """Elements, attributes and texts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.text = ""
        self.inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in self.raw:
            self.inside = tag
            self.raw[tag].append("")

    def handle_endtag(self, tag):
        if tag == self.inside:
            self.inside = ""

    def handle_data(self, data):
        if self.inside:
            self.raw[self.inside][-1] += data
        else:
            self.text += data


def page(run) -> Page:
    return Page(as_html.render(run).decode("utf-8"))


@pytest.fixture(scope="module")
def small() -> Page:
    return page(sample_run.small())


@pytest.fixture(scope="module")
def hostile() -> Page:
    return page(sample_run.hostile())


def policy_of(found: Page) -> str:
    return next(a["content"] or "" for t, a in found.elements if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")


@pytest.mark.parametrize("name", ["small", "hostile"])
def test_loads_nothing_and_runs_only_its_own_script(name, request):
    found = request.getfixturevalue(name)
    policy = policy_of(found)
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    data, script = found.raw["script"]
    for kind, content in (("script-src", script), ("style-src", found.raw["style"][0])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}';" in policy
    json.loads(data)
    assert len(found.raw["style"]) == 1
    for tag, attributes in found.elements:
        assert tag not in {"iframe", "object", "embed", "img", "base", "video", "audio", "source", "applet", "frame"}
        for key, value in attributes.items():
            assert not key.startswith("on"), (tag, key)
            assert key not in {"style", "src", "srcset", "action", "formaction", "background"}, (tag, key)
            if key == "href":
                assert (value or "").startswith(("#", "data:image/svg+xml,")), (tag, value)


def test_hostile_evidence_is_shown_as_text_and_nothing_else(small, hostile):
    expected = {t for t, _ in small.elements} | {"strong", "figure", "figcaption", "text"}
    assert {t for t, _ in hostile.elements} <= expected
    html = as_html.render(sample_run.hostile(1000)).decode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b-\u200f\ufffe\uffff]", html)
    for text in sample_run.HOSTILE:
        assert visible(text) in hostile.text


def test_hostile_data_can_not_leave_its_element(hostile):
    html = as_html.render(sample_run.hostile(1000)).decode()
    data = html.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert not set("<>&") & set(data)
    assert visible(sample_run.HOSTILE[1]) in json.loads(data)["strings"]


def test_a_huge_text_is_cut_and_says_so(hostile):
    run = sample_run.hostile()
    longest = max(len(o.actual) for f in run.findings for o in f.observations)
    assert longest > 5_000_000
    assert len(as_html.render(run)) < 1_000_000
    assert f"4,000 of {longest:,} characters are shown; all of them are in results.json" in hostile.text
    assert "END-OF-BIG" not in hostile.text


def test_danger_stands_before_any_score(small):
    text = small.text
    assert text.index("Dangerous failures") < text.index("score = 100 x pass")
    assert text.index("The engine's TCP port asks clients for a certificate") < text.index("40.0 %")


def test_says_what_it_must(small):
    run = sample_run.small()
    text = " ".join(small.text.split())
    for words in (
        run.id, run.started, run.finished, run.operator, run.auditor_version,
        "6 targets asked = 3 audited + 1 unreachable + 1 failed + 1 excluded",
        "cis-docker 1.6.0 covers 12 of the 117 controls of the document. A score here says nothing about the other 105.",
        "score = 100 x pass / (pass + fail + error)", "coverage = 100 x (pass + fail) / (pass + fail + error + manual)",
        "4 pass of 10 (4 pass + 6 fail + 0 error), 2 manual, 0 not applicable", "mean of 2 targets",
        "connect to 10.0.0.37 port 22: Connection refused", "Severity is ours", "Not affiliated with",
        "denied: roles is forbidden", "Redaction.",
    ):  # fmt: skip
        assert words in text, words
    for target in run.targets:
        assert target.name in text
        assert not target.evidence_sha256 or target.evidence_sha256 in text
    for f in run.findings:
        assert f.title in text
        for o in f.observations:
            assert {o.subject, o.actual, o.source, o.expected} <= set(re.split("\n", small.text)) or o.actual in text
    for b in run.benchmarks:
        assert b.sha256 in text
        for c in b.controls:
            assert c.rationale in text
            assert c.remediation in text


def test_the_columns_hold_every_finding():
    run = sample_run.large(30, 40)
    (text, _script) = page(run).raw["script"]
    data = json.loads(text)
    s, e, o, r = data["strings"], data["evidence"], data["observations"], data["results"]
    found = set()
    for t, c, v in zip(*data["findings"].values(), strict=True):
        seen = tuple(
            (s[o["subject"][i]], data["statuses"][r["status"][n]], s[r["expected"][n]], s[r["actual"][n]], s[r["source"][n]])
            for i in range(e["start"][v], e["start"][v + 1])
            for n in (o["result"][i],)
        )
        control = data["controls"][c]
        found.add(
            (
                s[data["targets"][t][0]],
                data["benchmarks"][control[0]],
                s[control[1]],
                data["statuses"][e["status"][v]],
                s[e["reason"][v]],
                seen,
            )
        )
    assert found == {
        (f.target, f"{f.benchmark}@{f.version}", f.id, f.status.value, f.reason,
         tuple((x.subject, x.status.value, x.expected, x.actual, x.source) for x in f.observations))
        for f in run.findings
    }  # fmt: skip
    assert len(s) == len(set(s))


def test_a_fleet_says_what_the_page_leaves_out():
    run = sample_run.large(200, 20)
    text = " ".join(page(run).text.split())
    view = build(run)
    worst = view.dangerous[0]
    fails = worst.of(Status.FAIL)
    left = sum(len(g.targets) for g in fails[as_html.GROUPS :])
    assert left
    assert f"{left:,} more targets fail" in text
    assert "more pieces of evidence" in text


def test_links_lead_somewhere(small):
    ids = [a["id"] for _, a in small.elements if a.get("id")]
    assert len(ids) == len(set(ids))
    for _, attributes in small.elements:
        href = attributes.get("href") or ""
        if href.startswith("#"):
            assert href[1:] in ids


def test_an_empty_run_has_a_page():
    assert "0 targets asked" in page(sample_run.run_of_parts([], [], ())).text
