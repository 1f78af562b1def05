"""Finding one's way in the HTML report in a real browser: no request, no error, usable by keyboard and without script."""

import pytest

from tests.support.browser import CHROMIUM, RUNS, rows, saved

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.live, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]


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
