"""The HTML report in a real browser: no request, no error, usable by keyboard, without script, in the dark, on a phone."""

import csv
import dataclasses
import io
import shutil
from pathlib import Path

import pytest

from auditor.model import Observation, Status
from auditor.registers import Change, Registers
from reports import as_html
from tests.support import sample_run
from tests.support.pdf import squeezed

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.live, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
             "--disable-sync"]  # fmt: skip


def noted():
    """What a run can say beside its findings: notices, and a cluster's findings on its nodes."""
    run = sample_run.small()
    info = sample_run.INFO[*sample_run.KUBERNETES, "1.2.1"]
    seen = [Observation(f"node/{n}/process/kube-apiserver", Status.FAIL, "false", "true", "flag") for n in ("cp-1", "cp-2")]
    on_nodes = sample_run.finding("prod", sample_run.KUBERNETES, info, [*seen, Observation("node/cp-1", Status.PASS)])
    notices = ("cis-kubernetes 1.12.0 was published for an older Kubernetes than prod's.",)
    return dataclasses.replace(run, findings=(*run.findings, on_nodes), notices=notices)


RUNS = {"small": sample_run.small, "noted": noted, "few": lambda: sample_run.large(8, 13, 4), "hostile": sample_run.hostile, "fleet": lambda: sample_run.large(60, 40),
        "empty": lambda: sample_run.run_of_parts([], [], ())}  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        started = p.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    folder: Path = tmp_path_factory.mktemp("reports")
    for name, run in RUNS.items():
        (folder / f"{name}.html").write_bytes(as_html.render(run()))
    return {name: f"file://{folder}/{name}.html" for name in RUNS}


@pytest.fixture
def visit(browser, files):
    """Open a report; at the end, fail on any request, console message, error or dialog that it made."""
    contexts, seen = [], []

    def open_(name="small", place="", **options):
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


def rows(page) -> list[str]:
    return [" ".join(r.inner_text().split()) for r in page.locator("#table tbody tr").all()]


def saved(page) -> list[list[str]]:
    """What the button saves, read as a spreadsheet would."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    return list(csv.reader(io.StringIO(Path(download.value.path()).read_text("utf-8-sig"), newline="")))


@pytest.mark.parametrize("name", RUNS)
def test_opens_in_silence(visit, name):
    page = visit(name)
    assert page.locator("h1").inner_text() == "Configuration audit"
    for details in page.locator("details").all()[:60]:
        details.evaluate("d => { d.open = true }")
    page.wait_for_timeout(100)


def test_hostile_evidence_does_nothing(visit):
    page = visit("hostile")
    assert page.evaluate("typeof window.pwned") == "undefined"
    for number in range(6):
        page.locator("#table tbody tr a").nth(number * 7).click()
        page.locator("#detail h2").wait_for()
        page.keyboard.press("Escape")
    assert page.locator("#detail script, #detail img, #table script, main script, main img").count() == 0
    page.locator("#q").fill("<script>window")
    playwright.expect(page.locator("#found")).to_contain_text(" of ")
    assert len(rows(page)) > 0
    assert page.title().startswith("Audit report")


def test_worst_first(visit):
    listed = rows(visit())
    assert len(listed) == 22
    assert listed[0].startswith("Fail Critical 2.7")
    assert listed[-1].startswith("N/A")


def test_search_counts_and_lives_in_the_address(visit):
    page = visit()
    page.locator("#q").fill("sys_admin web-1")
    playwright.expect(page.locator("#found")).to_have_text("1 of 22 findings")
    assert rows(page)[0].startswith("Fail High 5.3")
    assert "q=sys_admin+web-1" in page.url
    page.locator("#q").fill("no such thing anywhere")
    playwright.expect(page.locator("#found")).to_have_text("0 of 22 findings")


def test_filters_live_in_the_address(visit):
    page = visit()
    page.locator("#filter").get_by_label("Error").check()
    page.locator("#filter").get_by_label("Critical").check()
    assert page.url.endswith("#status=error&severity=critical")
    assert [r.split(" The")[0] for r in rows(page)] == ["Error Critical 4.2.1"]
    page.get_by_role("button", name="Clear filters").click()
    page.locator("#target").select_option("prod")
    assert page.locator("#found").inner_text() == "5 of 22 findings"
    page.locator("#benchmark").select_option("cis-docker@1.6.0")
    assert page.locator("#found").inner_text() == "0 of 22 findings"


def test_an_address_brings_the_same_view_back(visit):
    page = visit(place="#status=fail&benchmark=cis-docker%401.6.0&sort=-control")
    assert page.locator("#filter").get_by_label("Fail", exact=True).is_checked()
    assert [r.split()[2] for r in rows(page)] == ["5.10", "5.4", "5.3", "2.7", "2.2", "1.1.3"]
    assert page.locator("th[aria-sort=descending]").inner_text().strip().startswith("Control")


def test_sorting_turns_and_returns(visit):
    page = visit()
    button = page.get_by_role("button", name="Target")
    targets = lambda: [r.locator("td").nth(3).inner_text() for r in page.locator("#table tbody tr").all()]  # noqa: E731
    button.click()
    assert targets() == sorted(targets())
    button.click()
    assert targets() == sorted(targets(), reverse=True)
    button.click()
    assert "sort" not in page.url


def test_lists_by_control_target_and_subject(visit):
    page = visit(place="#status=fail")
    page.get_by_label("List").select_option("target")
    assert page.locator("#found").inner_text() == "3 targets in 9 of 22 findings"
    assert rows(page)[0] == "web-1 docker-host Critical 6 0 0 0 0 6"
    page.get_by_label("List").select_option("control")
    assert rows(page)[0].startswith("2.7 The engine's TCP port asks clients for a certificate cis-docker@1.6.0 Critical 1")
    page.get_by_label("List").select_option("subject")
    assert page.url.endswith("#status=fail&by=subject")
    assert page.locator("#found").inner_text().startswith("8 subjects in 9 of 22 findings")
    assert rows(page)[:2] == ["daemon/dockerd Critical 2 0 0 0 0 1", "container/agent Critical 2 0 0 0 0 1"]
    page.get_by_role("button", name="Subject").click()
    assert [r.split()[0] for r in rows(page)] == sorted(r.split()[0] for r in rows(page))
    page.get_by_role("link", name="container/agent").click()
    assert {r.split()[2] for r in rows(page)} == {"5.4", "5.10"}
    assert "subject=container%2Fagent" in page.url


def test_a_subject_is_filtered_with_what_stands_below_it(visit):
    page = visit("noted", "#subject=node/cp-1")
    assert rows(page) == [
        "Fail High 1.2.1 The API server refuses anonymous requests prod node/cp-1/process/kube-apiserver true and 2 more"
    ]
    page = visit("noted", "#by=node")
    assert rows(page) == ["node/cp-1 High 1 0 0 1 0 1", "node/cp-2 High 1 0 0 0 0 1"]
    page.get_by_role("link", name="node/cp-2").click()
    assert page.locator("#found").inner_text() == "1 of 23 findings"
    page = visit("noted", "#subject=node/&by=subject")
    assert len(rows(page)) == 3


def test_groups_levels_and_ages_filter(visit):
    page = visit()
    page.locator("#group").select_option("prod")
    page.locator("#level").select_option("2")
    assert [r.split()[2] for r in rows(page)] == ["5.26", "5.3.2"]
    assert not page.locator("#age").is_visible()
    assert not page.locator("#mark").is_visible()


def test_numbers_lead_to_their_findings(visit):
    page = visit()
    page.locator(".distribution a[data-status=error][data-severity=critical]").click()
    assert [r.split(" The")[0] for r in rows(page)] == ["Error Critical 4.2.1"]


def test_notices_stand_before_every_verdict(visit):
    page = visit("noted")
    notice = page.get_by_role("heading", name="1 thing to know before any verdict")
    assert notice.is_visible()
    assert notice.bounding_box()["y"] < page.get_by_role("heading", name="Dangerous failures").bounding_box()["y"]


def test_nodes_stand_together_among_the_subjects(visit):
    page = visit("noted")
    nodes = page.locator("#subjects details", has_text="Nodes of clusters")
    nodes.locator("summary").click()
    assert [" ".join(r.inner_text().split()) for r in nodes.locator("tr.section").all()] == [
        "cp-1 of prod 1 failure, 1 of 2 subjects", "cp-2 of prod 1 failure, 1 of 1 subject"
    ]  # fmt: skip


def test_the_inventory_is_searched_by_itself(visit):
    page = visit("few")
    page.locator("#see").fill("cart 9.9")
    playwright.expect(page.locator("#counted")).to_have_text("0 of 80 seen")
    page.locator("#see").fill("cart 4.2")
    playwright.expect(page.locator("#counted")).to_have_text("4 of 80 seen")
    page.locator("#kind").select_option("image")
    assert page.url.endswith("#see=cart+4.2&kind=image")
    assert [" ".join(r.inner_text().split()) for r in page.locator("#seen tbody tr").all()] == [
        f"Image registry.example.net/shop/cart:4.2 {2 * 7919:012x}, linux/amd64 node-000{n}.dc{n % 3 + 1}.example.net" for n in (2, 7)
    ]  # fmt: skip
    page.locator("#inventory summary", has_text="Engines").click()
    assert "Docker 27.3.1" in page.locator("#inventory table", has_text="runc 1.1.14").inner_text()


def test_saves_what_is_filtered(visit):
    page = visit(place="#status=fail&target=web-1&severity=critical")
    head, *lines = saved(page)
    assert head[:5] == ["Status", "Severity", "Benchmark", "Control", "Title"]
    assert [(line[0], line[3], line[7], line[12], line[13], line[15]) for line in lines] == [
        ("fail", "2.7", "web-1", "daemon/dockerd", "fail", "not set"),
        ("fail", "5.4", "web-1", "container/agent", "fail", "true"),
        ("fail", "5.4", "web-1", "container/cache", "pass", "false"),
        ("fail", "5.4", "web-1", "container/web-1", "pass", "false"),
    ]
    page.get_by_label("List").select_option("subject")
    assert [line[0] for line in saved(page)] == ["Subject", "daemon/dockerd", "container/agent"]


def test_no_cell_that_is_saved_is_a_formula(visit):
    page = visit("hostile")
    cells = [c for line in saved(page) for c in line]
    assert not [c for c in cells if c.lstrip(" '\"")[:1] in {"=", "+", "-", "@"} and not c.startswith("'")]
    assert any(c.startswith("'=HYPERLINK(") for c in cells)


def test_pages(visit):
    page = visit("fleet")
    pages = page.locator("#pages")
    assert pages.locator(".page").inner_text() == "Page 1 of 48"
    pages.get_by_role("button", name="Next", exact=True).click()
    assert pages.locator(".page").inner_text() == "Page 2 of 48"
    assert "page=2" in page.url
    assert len(rows(page)) == 50


def test_a_deep_link_opens_its_finding(visit):
    page = visit(place="#finding=cis-docker%401.6.0%3A5.4%3Aweb-1")
    dialog = page.get_by_role("dialog", name="5.4 No container runs privileged")
    text = dialog.inner_text()
    for words in ("web-1", "container/agent", "HostConfig.Privileged", "2026-03-14T05:00:07Z", "without --privileged", "SHA-256"):
        assert words in text
    dialog.get_by_role("button", name="Close").click()
    assert not page.locator("#detail").is_visible()
    assert "finding=" not in page.url
    lost = visit(place="#finding=nothing%20here")
    assert "No such finding" in lost.locator("#detail").inner_text()


def test_a_link_to_a_control_opens_it(visit):
    page = visit()
    page.get_by_role("link", name="5.2.2 No pod runs a privileged container").first.click()
    assert page.locator("[id='c-cis-kubernetes-1.12.0-5.2.2'] details").get_attribute("open") is not None


def test_more_findings_of_a_control_lead_to_the_table(visit):
    page = visit("fleet")
    page.get_by_role("link", name="all of them in the table of findings").first.click()
    playwright.expect(page.locator("#found")).to_contain_text(" of ")
    assert "control=" in page.url
    assert {r.split()[2] for r in rows(page)} == {page.locator("#control").input_value().split(":")[1]}


def test_works_by_keyboard_alone(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    page.locator("#q").focus()
    page.keyboard.type("privileged agent")
    playwright.expect(page.locator("#found")).to_have_text("1 of 22 findings")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#table tbody') !== null"):
            break
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Close"
    page.keyboard.press("Escape")
    page.locator("#detail").wait_for(state="hidden")
    page.wait_for_url(lambda url: "finding=" not in url)  # a function of text would be refused by the page's own policy
    assert page.evaluate("document.activeElement.dataset.key") == "cis-docker@1.6.0:5.4:web-1"  # where it was opened
    page.get_by_label("List").focus()
    page.keyboard.type("by subject")
    playwright.expect(page.locator("#table th").first).to_have_text("Subject")
    button = page.locator("#table thead").get_by_role("button", name="Fail", exact=True)
    button.press("Enter")
    assert page.evaluate("document.activeElement.dataset.sort") == "fail"  # the head was made anew, the place kept
    assert page.locator("th[aria-sort=descending]").inner_text().strip().startswith("Fail")


def test_copies_the_remediation(visit):
    page = visit(place="#finding=cis-docker%401.6.0%3A3.5%3Aweb-1", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("dialog").get_by_role("button", name="Copy", exact=True).click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "chown root:root /etc/docker"


def test_light_and_dark(visit):
    background = "getComputedStyle(document.body).backgroundColor"
    dark, light = visit(color_scheme="dark"), visit(color_scheme="light")
    assert dark.evaluate(background) == "rgb(20, 22, 26)"
    assert light.evaluate(background) == "rgb(246, 246, 244)"
    button = light.get_by_role("button", name="Theme")
    button.click()
    button.click()
    assert button.inner_text() == "Theme: dark"
    assert light.evaluate(background) == "rgb(20, 22, 26)"
    light.reload()
    light.wait_for_selector("html[data-ready=yes]")
    assert light.evaluate(background) == "rgb(20, 22, 26)"


def test_works_without_script(visit):
    page = visit(java_script_enabled=False)
    assert not page.locator("#explorer").is_visible()
    assert page.locator("#findings").inner_text().count("need JavaScript") == 1
    subject = page.locator("#subjects tr", has_text="agent")
    assert subject.locator("td a:not(.script)").all_text_contents() == ["5.4", "5.10"]
    row = page.locator("[id='c-cis-docker-1.6.0-5.10']")
    row.locator("summary").click()
    for words in ("Start the container with --memory", "container/agent", "not set", "268435456", "HostConfig.Memory"):
        assert words in row.inner_text()
    assert page.get_by_text("6 targets asked = 3 audited").is_visible()
    assert page.get_by_role("button").count() == 0


def test_fits_a_phone(visit):
    for name in ("small", "hostile"):
        page = visit(name, viewport={"width": 360, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("script", [True, False])
def test_prints_with_everything_open_in_dark_ink_on_white(visit, script):
    page = visit(color_scheme="dark", java_script_enabled=script)
    page.emulate_media(media="print")
    assert not page.locator("#explorer").is_visible()
    assert not page.get_by_role("navigation").first.is_visible()
    text = squeezed(page.pdf(format="A4"))
    assert "Startthecontainerwith--memory" in text
    assert "268435456" in text
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("name", "place"), [("small", ""), ("small", "#finding=cis-docker%401.6.0%3A5.4%3Aweb-1"), ("few", "#status=fail&page=2"),
                                             ("noted", "#by=subject&see=prod"),
                                             ("hostile", "")])  # fmt: skip
def test_accessibility_has_no_violation(visit, name, place, scheme):
    axe = pytest.importorskip("axe_core_python")
    page = visit(name, place, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((d, i) => { if (i < 15) d.open = true })")
    # What isn't laid out yet has no place, and would seem to stand before something else.
    page.evaluate("document.querySelectorAll('section').forEach(s => { s.style.contentVisibility = 'visible' })")
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [(v["id"], v["help"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found["violations"]] == []


def test_a_thousand_targets_are_ready_soon(visit, browser, tmp_path):
    """117,000 findings: ready in seconds even on a busy machine; what it takes on an idle one is in tests/performance."""
    path = tmp_path / "large.html"
    path.write_bytes(as_html.render(sample_run.large()))
    page = browser.new_page()
    page.goto(f"file://{path}")
    page.wait_for_selector("html[data-ready=yes]", timeout=15_000)
    spent = page.evaluate("(() => { const t = performance.now(); location.hash = '#q=front'; return performance.now() - t })()")
    playwright.expect(page.locator("#found")).to_contain_text("of 115,830")
    assert spent < 2000
    page.close()


@pytest.mark.parametrize("width", [400, 900, 1280])
def test_registers_keep_words_whole_and_are_not_cut(browser, width, tmp_path):
    """A word of a register stands on one line; on a phone nothing hangs out of the page."""
    change = Change(
        "parameter",
        "docker-socket-users",
        "everywhere",
        "trusted: []",
        'trusted: ["alice"]',
        "Another team's benchmark covers it",
        "site.yaml:10",
    )
    run = dataclasses.replace(sample_run.small(), registers=Registers((change,)))
    (tmp_path / "r.html").write_bytes(as_html.render(run))
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(f"file://{tmp_path}/r.html")
    page.wait_for_selector("html[data-ready=yes]")
    broken = page.evaluate("""() => {
        const found = [], walker = document.createTreeWalker(document.querySelector("#registers .tailored"), NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) for (const m of walker.currentNode.data.matchAll(/[A-Za-z]+/g)) {
            const range = document.createRange();
            range.setStart(walker.currentNode, m.index); range.setEnd(walker.currentNode, m.index + m[0].length);
            if (new Set(Array.from(range.getClientRects(), (r) => Math.round(r.top))).size > 1) found.push(m[0]);
        }
        return found;
    }""")
    assert not broken
    if width == 400:
        assert page.evaluate("document.querySelector('#registers .tailored').scrollWidth") <= 400
    page.close()
