"""The built book in a real browser: axe finds nothing, no page scrolls sideways, sliders move.

Needs the extra "browser" (``pip install -e '.[browser]'``), a Chromium or Chrome on the path, and
the book in `_build/html` (``make html``), or in the folder that SAECERT_BOOK names.
"""

import os
import re
import shutil
from pathlib import Path

import pytest
from checks import ROOT

HOW = "pip install -e '.[browser]' in .venv, to look at the book in a browser"
sync = pytest.importorskip("playwright.sync_api", reason=HOW)
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=HOW)

BOOK = Path(os.environ.get("SAECERT_BOOK") or ROOT / "_build/html").resolve()
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
OWN = ("book", "notebooks")
PAGES = sorted(
    path.relative_to(BOOK).as_posix() for name in OWN for path in (BOOK / name).rglob("*.html")
)
MODES = {
    "light": (1280, "light"),
    "dark": (1280, "dark"),
    "phone": (390, "light"),
    "night": (390, "dark"),
}
SLIDERS = ("notebooks/03_convergence.html", "notebooks/11_layers.html")
LATENTS = "notebooks/26_latents.html"
TAGS = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
CONTRAST = {"type": "rule", "values": ["color-contrast"]}
RULES = {"light": {"runOnly": TAGS}, "dark": {"runOnly": CONTRAST}}
"""What axe looks for: a dark page differs in its colours, one on a phone in its width."""
UNCOLOURED = {"rules": {"color-contrast": {"enabled": False}}}
LARGE = {name: UNCOLOURED for name in PAGES if "/api/" in name and "records" not in name}
"""Tens of thousands of elements in the colours of the other pages, half a minute to look at."""
ALONE = """() => {
  const range = document.createRange();
  const alone = (one) => {
    const next = one.nextSibling;
    if (next?.nodeType !== Node.TEXT_NODE || !/^[.,;:!?)\\]]/.test(next.data)) return false;
    range.setStart(next, 0);
    range.setEnd(next, 1);
    const last = [...(one.querySelector("mjx-container") ?? one).getClientRects()].at(-1);
    return last && range.getBoundingClientRect().top >= last.bottom - 3;
  };
  const all = document.querySelectorAll("article span.math, article code.literal");
  return [...all].filter(alone).map((one) => one.parentElement.innerText.slice(0, 60));
}"""
"""Formulas and code whose punctuation begins the next line."""
EMPTY = """() => {
  const range = document.createRange();
  const own = (text) => text.data.trim() && !text.parentElement.closest(".headerlink");
  const bottom = (heading) => {
    let last = 0;
    const texts = document.createTreeWalker(heading, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      if (!own(texts.currentNode)) continue;
      range.selectNodeContents(texts.currentNode);
      for (const box of range.getClientRects()) last = Math.max(last, box.bottom);
    }
    return last;
  };
  const all = [...document.querySelectorAll("article :is(h1, h2, h3, h4)")];
  return all.filter((one) => one.getBoundingClientRect().bottom - bottom(one) > 14)
    .map((one) => one.innerText.slice(0, 60));
}"""
"""Headings with an empty line below them."""
CUT = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  const drawn = async () => (await frame(), await frame());
  const kinds = "figure img, .pst-scrollable-table-container, .cell_output .output, pre";
  const scrolls = (one) => ["auto", "scroll"].includes(getComputedStyle(one).overflowX);
  const wide = (one) => one.clientWidth && one.scrollWidth - one.clientWidth > 6 && scrolls(one);
  const shadows = (one) => ["::before", "::after"].map(
    (side) => Number(getComputedStyle(one.parentElement, side).opacity));
  document.querySelectorAll("details").forEach((one) => (one.open = true));
  await drawn();
  const boxes = [...document.querySelectorAll(`article :is(${kinds})`)]
    .map((one) => (one.tagName === "IMG" ? one.parentElement : one)).filter(wide);
  const before = boxes.map(shadows);
  boxes.forEach((one) => (one.scrollLeft = one.scrollWidth));
  await drawn();
  return boxes.map((one, i) => [one.tagName, before[i], shadows(one)]);
}"""
"""What is wider than the screen: its shadows at the left and at the right, and at its end."""
NEXT = r'<a class="right-next"\s+href="([^"#]+)"'
PREVIOUS = r'<a class="left-prev"\s+href="([^"#]+)"'
DARK = ("book/index.html", "book/notation.html", "notebooks/00_primer.html", *SLIDERS, LATENTS)
"""Pages that have between them every kind of element; the others are not looked at in the dark."""
STILL = "*, ::before, ::after { transition: none !important; animation: none !important; }"

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason=f"no browser on the path: {', '.join(NAMES)}"),
    pytest.mark.skipif(not PAGES, reason=f"no book in {BOOK}: make html"),
]


@pytest.fixture(scope="module")
def browser():
    with sync.sync_playwright() as running:
        # pages read from disk ask for their fonts as from another place; what nobody sees is slow
        switches = ["--no-sandbox", "--allow-file-access-from-files"]
        switches += ["--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows"]
        options = {"executable_path": BROWSER, "args": switches}
        started = running.chromium.launch(**options)
        yield started
        started.close()


def opened(browser, name, mode="light", **options):
    """A page of the book, and what its scripts complain of."""
    width, scheme = MODES[mode]
    size = {"width": width, "height": 900}
    context = browser.new_context(viewport=size, color_scheme=scheme, **options)
    page = context.new_page()
    page.set_default_timeout(120_000)  # a busy machine takes its time for the largest page
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("requestfailed", lambda request: faults.append(request.url))
    path, _, place = name.partition("#")
    page.goto((BOOK / path).as_uri() + (f"#{place}" if place else ""))
    return page, faults


def violations(page, name, mode):
    """What axe complains of on a page, and the first place of each."""
    if mode not in RULES:
        return
    options = {**RULES[mode], **LARGE.get(name, {}), "resultTypes": ["violations"]}
    for found in axe.Axe().run(page, options=options).response["violations"]:
        where = [" ".join(map(str, node["target"])) for node in found["nodes"]]
        yield f"{found['id']}: {len(where)}, such as {where[0]}"


@pytest.mark.parametrize("mode", ["light", "dark", "phone"])
def test_axe_finds_nothing_and_nothing_scrolls_sideways(browser, mode):
    complaints = []
    for name in DARK if mode == "dark" else PAGES:
        page, faults = opened(browser, name, mode)
        page.add_style_tag(content=STILL)
        # what is folded is read, too
        page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        complaints += [f"{name}: {fault}" for fault in (*faults, *violations(page, name, mode))]
        complaints += [f"{name}: alone on a line, behind {text}" for text in page.evaluate(ALONE)]
        complaints += [f"{name}: an empty line under {text}" for text in page.evaluate(EMPTY)]
        wide, room = page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        complaints += [f"{name}: {wide} pixels wide in {room}"] if wide > room else []
        page.context.close()
    assert complaints == []


@pytest.mark.parametrize("mode", ["phone", "night"])
def test_on_a_phone_what_is_cut_off_shows_it(browser, mode):
    page, faults = opened(browser, "notebooks/02_four_terms.html", mode)
    page.locator(".saecert-more-right").first.wait_for()
    cut = page.evaluate(CUT)
    assert {"DIV", "PRE"} <= {kind for kind, *_ in cut}
    assert [one for one in cut if one[1:] != [[0, 1], [1, 0]]] == []
    assert page.locator("figure .saecert-more-left img").count() == 1
    assert not faults
    page.context.close()


def test_on_a_phone_every_meaning_is_on_the_screen(browser):
    page, _ = opened(browser, "book/notation.html", "phone")
    cells = page.locator("#notation table").locator("th, td")
    boxes = cells.evaluate_all("all => all.map((one) => one.getBoundingClientRect().toJSON())")
    shown = [box for box in boxes if box["width"]]
    assert len(shown) > 400
    assert all(box["left"] >= 0 and box["right"] <= MODES["phone"][0] for box in shown)
    page.context.close()


@pytest.mark.parametrize("name", ["book/index.html", "book/how_to_read.html"])
def test_on_a_phone_formulas_fit_titles_are_small_and_commands_keep_their_lines(browser, name):
    page, _ = opened(browser, name, "phone")
    page.locator("div.math mjx-math").first.wait_for()
    formulas = page.locator("div.math mjx-container").evaluate_all(
        "all => all.map((one) => [one.firstChild.getBoundingClientRect().width, one.clientWidth])"
    )
    assert formulas
    assert all(wide <= room for wide, room in formulas), formulas
    sizes = [
        page.locator(f"article {tag}").first.evaluate(
            "one => parseFloat(getComputedStyle(one).fontSize)"
        )
        for tag in ("h1", "h2", "p")
    ]
    assert 28 > sizes[0] > sizes[1] > sizes[2]
    kept = page.locator("div.highlight pre").evaluate_all(
        "all => all.map((one) => getComputedStyle(one).whiteSpace)"
    )
    assert set(kept) == {"pre"}
    page.context.close()


def test_a_wide_screen_cuts_nothing_of_the_first_page(browser):
    page, _ = opened(browser, "book/index.html")
    page.wait_for_load_state("load")
    assert page.locator("figure .saecert-scrolls img").first.is_visible()
    assert page.locator(".saecert-more-right, .saecert-more-left").count() == 0
    page.context.close()


@pytest.mark.parametrize(
    ("words", "place"),
    [("loss+recovered", "08_tails"), ("certify", "book/api/certificates.html#saecert.certify")],
)
def test_search_finds_what_a_page_is_about(browser, words, place):
    page, faults = opened(browser, "search.html")
    page.goto((BOOK / "search.html").as_uri() + f"?q={words}")
    page.locator("#search-results li a").first.wait_for()
    page.locator("p.search-summary", has_text="found").wait_for()
    found = [link.get_attribute("href") for link in page.locator("#search-results li a").all()]
    assert any(place in link for link in found), found
    assert not faults
    page.context.close()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("saecert.certify", "api/certificates.html"),
        ("saecert.Certificate.save", "api/certificates.html"),
        ("module-saecert.shards", "api/records.html"),
        ("certifying", "api.html"),
    ],
)
def test_links_to_places_of_the_api_lead_there_as_before(browser, old, new):
    page, faults = opened(browser, f"book/api.html#{old}")
    page.wait_for_url(f"**/{new}#{old}")
    assert page.evaluate("document.getElementById(location.hash.slice(1)) !== null")
    # what the first page was still loading when it was left is given up
    assert [fault for fault in faults if not fault.startswith("file:")] == []
    page.context.close()


def test_next_and_previous_lead_through_the_whole_book():
    seen = ["book/index.html"]
    while onward := re.search(NEXT, (BOOK / seen[-1]).read_text(encoding="utf-8")):
        path = (BOOK / seen[-1]).parent / onward[1]
        (back,) = re.findall(PREVIOUS, path.read_text(encoding="utf-8"))
        assert (path.parent / back).resolve() == BOOK / seen[-1]
        seen.append(path.resolve().relative_to(BOOK).as_posix())
    assert sorted(seen) == PAGES


@pytest.mark.parametrize("name", SLIDERS)
@pytest.mark.parametrize("mode", ["light", "dark", "phone"])
def test_sliders_are_moved_by_keys_and_say_what_they_show(browser, name, mode):
    page, faults = opened(browser, name, mode)
    root = page.locator(".saecert-sliders")
    said = root.locator("output")
    for slider in root.locator("input").all():
        before, text = said.inner_text(), slider.get_attribute("aria-valuetext")
        assert page.locator(f"label[for='{slider.get_attribute('id')}']").is_visible()
        slider.focus()
        at_start = slider.input_value() == "0"
        page.keyboard.press("ArrowRight" if at_start else "ArrowLeft")
        assert slider.get_attribute("aria-valuetext") != text
        assert said.inner_text() != before
        assert slider.get_attribute("aria-valuetext") in said.inner_text()
    told = [one.get_attribute("aria-label") for one in root.locator("svg[role=img]").all()]
    assert told in ([], [said.inner_text()])
    assert all(one.bounding_box()["width"] <= MODES[mode][0] for one in root.locator("svg").all())
    assert root.locator("svg circle.s0").first.is_visible()
    assert not faults
    page.context.close()


@pytest.mark.parametrize("name", SLIDERS)
def test_without_script_and_in_print_the_fixed_figure_is_left(browser, name):
    page, _ = opened(browser, name, java_script_enabled=False)
    assert page.locator(".saecert-sliders").count() == 1
    assert not page.locator(".saecert-sliders").is_visible()
    assert page.locator("figure img").first.is_visible()
    page.context.close()
    page, _ = opened(browser, name)
    assert page.locator(".saecert-sliders").is_visible()
    page.emulate_media(media="print")
    assert not page.locator(".saecert-sliders").is_visible()
    assert page.locator("figure img").first.is_visible()
    page.context.close()
