"""How the HTML report looks in a real browser: light, dark, on a phone, printed, to who can't see it well, and how soon."""

import base64
import dataclasses
from pathlib import Path

import pytest

from auditor.registers import Change, Registers
from reports import as_html
from tests.support import sample_run
from tests.support.browser import CHROMIUM
from tests.support.pdf import squeezed

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.live, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]


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
@pytest.mark.parametrize(("name", "place", "width"), [
    ("small", "", 400), ("small", "#finding=cis-docker%401.6.0%3A5.4%3Aweb-1", 1280), ("few", "#status=fail&page=2", 1280),
    ("noted", "#by=subject&see=prod", 1280), ("hostile", "", 1280),
])  # fmt: skip
def test_accessibility_has_no_violation(visit, name, place, width, scheme):
    axe = pytest.importorskip("axe_core_python")
    page = visit(name, place, color_scheme=scheme, viewport={"width": width, "height": 720})
    page.evaluate("document.querySelectorAll('details').forEach((d, i) => { if (i < 15) d.open = true })")
    # What isn't laid out yet has no place, and would seem to stand before something else.
    page.evaluate("document.querySelectorAll('section').forEach(s => { s.style.contentVisibility = 'visible' })")
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [(v["id"], v["help"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found["violations"]] == []


#: Where each text that shows stands on the page: its words, its colour, the least contrast that WCAG 2 asks for it, and its place.
TEXTS = """() => {
    const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), range = document.createRange();
    const shows = { contentVisibilityAuto: true, opacityProperty: true, visibilityProperty: true };
    while (walker.nextNode()) {
        const node = walker.currentNode, element = node.parentElement;
        if (!node.data.trim() || !element.checkVisibility(shows)) continue;
        const style = getComputedStyle(element), size = parseFloat(style.fontSize);
        const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
        range.selectNodeContents(node);
        for (const r of range.getClientRects())
            if (r.width > 3 && r.height > 3)
                found.push([node.data.trim().slice(0, 60), style.color, least, r.x + scrollX, r.y + scrollY, r.width, r.height]);
    }
    return found;
}"""
UNSEEN = """() => {
    const style = new CSSStyleSheet();
    style.replaceSync("*, ::before, ::after { color: transparent !important; text-decoration: none !important }");
    document.adoptedStyleSheets = [style];
}"""
#: The least contrast of texts with what a picture of the page without any text shows behind them; and those with too little.
CONTRAST = """async ([picture, top, texts]) => {
    const bytes = Uint8Array.from(atob(picture), (c) => c.charCodeAt(0)), image = await createImageBitmap(new Blob([bytes]));
    const pen = new OffscreenCanvas(image.width, image.height).getContext("2d", { willReadFrequently: true });
    pen.drawImage(image, 0, 0);
    const part = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const light = (c) => 0.2126 * part(c[0]) + 0.7152 * part(c[1]) + 0.0722 * part(c[2]) + 0.05;
    let least = 21, measured = 0;
    const low = [];
    for (const [words, color, wanted, x, y, width, height] of texts) {
        if (y < top || y + height > top + image.height || x < 0 || x + width > image.width) continue;
        const ink = light(color.match(/[0-9.]+/g).map(Number)), seen = new Map();
        const data = new Uint32Array(pen.getImageData(x, y - top, Math.ceil(width), Math.ceil(height)).data.buffer);
        for (const pixel of data) seen.set(pixel, (seen.get(pixel) || 0) + 1);
        for (const [pixel, n] of seen) {
            if (n < data.length / 10) continue;  // the edge of something
            const paper = light([pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255]);
            const contrast = Math.max(ink, paper) / Math.min(ink, paper);
            least = Math.min(least, contrast);
            if (contrast < wanted) low.push([words, color, contrast]);
        }
        measured++;
    }
    return [measured, least, low];
}"""
SLICE = 4000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_drawn_behind_it(visit, browser, scheme):
    """Measured on pictures of the page: axe takes texts that are not drawn yet for ones before whatever is where they seem to be.

    Wider pages have the same colours; on a phone tables become cards, so that labels come to stand elsewhere.
    """
    width = 400
    page = visit("noted", color_scheme=scheme, viewport={"width": width, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach((d, i) => { if (i < 5) d.open = true })")
    page.evaluate("document.querySelectorAll('section').forEach(s => { s.style.contentVisibility = 'visible' })")
    texts = page.evaluate(TEXTS)
    page.evaluate(UNSEEN)
    blank = browser.new_page()
    count = 0
    for top in range(0, page.evaluate("document.documentElement.scrollHeight"), SLICE):
        place = {"x": 0, "y": top, "width": width, "height": SLICE}
        picture = base64.b64encode(page.screenshot(full_page=True, clip=place)).decode()
        measured, least, low = blank.evaluate(CONTRAST, [picture, top, texts])
        assert low == []
        assert measured == 0 or least > 4.5
        count += measured
    blank.close()
    assert count > 0.9 * len(texts) > 500


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
