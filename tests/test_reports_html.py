"""The HTML report, read as a browser would: one file that loads nothing, hides nothing and runs nothing but its own script."""

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from auditor.model import Status
from reports import as_html
from reports.build import build
from reports.text import visible
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
        "Of the 117 controls of cis-docker 1.6.0, 12 were looked at. A score here says nothing about the other 105.",
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


def part(run, name: str) -> str:
    """The words of one section of the page."""
    html = as_html.render(run).decode("utf-8")
    inside = html.split(f'<section id="{name}"')[1].partition(">")[2].split("</section>")[0]
    return " ".join(Page(inside.replace("<", " <")).text.split())


def test_subjects_say_what_fails_on_them_and_where():
    text = part(sample_run.small(), "subjects")
    assert "agent Critical 5.4 Medium 5.10 0 web-1" in text
    assert "dockerd Critical 2.7 Medium 2.2 0 web-1" in text
    assert "kubelet nothing 2 cp-1" in text
    assert "Containers 2 of 3 with failures or errors" in text
    assert "since nothing fails with them: containers (1), " in text


def test_a_fleets_subjects_are_cut_and_say_so():
    run = sample_run.large(200, 20)
    failing = {o.subject for f in run.findings for o in f.observations if o.subject.startswith("container/") and o.status == "fail"}
    assert len(failing) > 40
    assert f"{len(failing) - 40} more with failures or errors are not in this list" in part(run, "subjects")


def test_the_inventory_says_what_was_seen_and_how_much_is_left_out():
    text = part(sample_run.small(), "inventory")
    for words in (
        "Hosts 2 with 1 system", "Engines 1 on 1 target", "Docker 27.3.1 containerd 1.7.22, runc 1.1.14, API 1.47 web-1",
        "Containers 3 on 1 target", "Images 900 on 1 target", "899 more were seen than the run recorded", "Clusters 1",
        "prod Kubernetes v1.33.2, 1 node prod", "Nodes of clusters 1 on 1 target", "shop 7 pods prod",
    ):  # fmt: skip
        assert words in text, (words, text)


def test_notices_are_the_first_thing_to_read():
    run = dataclasses.replace(sample_run.small(), notices=("The benchmark is older than prod.", "Another <b>thing</b>."))
    text = page(run).text
    start = text.index("2 things to know before any verdict")
    assert (
        start
        < text.index("The benchmark is older than prod.")
        < text.index("Another <b>thing</b>.")
        < text.index("critical and high failures")
    )


def test_the_page_stays_within_what_a_browser_opens_at_once():
    """A fleet's page holds a bounded number of elements; what it leaves out is in the table of findings."""
    found = page(sample_run.large(150, 117, 8))
    assert len(found.elements) < 40_000
