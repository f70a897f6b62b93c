"""The pages of a run, as a reviewer opens them: from disk, without network."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from taxi_nb.pipeline.record import RunRecord, Status
from taxi_nb.pipeline.report.site import write_live_page, write_single_file
from tests.browsing import Sites, Visit, visit

pytestmark = pytest.mark.slow


class Addresses(HTMLParser):
    """The ids of a page, where its links lead, and what it would load."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif "src" in given or tag == "link":
            self.loads.append(given.get("src") or given.get("href", ""))


def test_every_link_leads_to_a_file_and_a_place_that_are_there(sites: Sites) -> None:
    found = {page: Addresses(page) for page in sites.pages()}
    followed = 0
    for page, addresses in found.items():
        assert len(addresses.ids) == len(set(addresses.ids)), page
        for link in addresses.links:
            if link.startswith(("http://127.0.0.1", "mailto:")):
                continue
            path, place = urldefrag(link)
            target = (page.parent / unquote(path)).resolve() if path else page
            assert target.is_file(), f"{page.name}: {link}"
            if place:
                assert place in Addresses(target).ids, f"{page.name}: {link}"
            followed += 1
    assert followed > 50


def test_nothing_is_loaded_from_elsewhere(sites: Sites, tab: Visit) -> None:
    for page in sites.pages():
        for address in Addresses(page).loads:
            assert address.startswith("data:") or not re.match(r"\w+:|//", address), page
        tab.open(page).mouse.wheel(0, 50_000)
        tab.page.wait_for_load_state("networkidle")
    assert len(tab.requests) > 10
    assert not [url for url in tab.requests if not url.startswith(("file:", "data:"))]
    # A load that the page's policy refuses would be complained about.
    assert tab.complaints == []


def test_the_front_page_says_what_a_reviewer_asks_first(sites: Sites, tab: Visit) -> None:
    page = tab.open(sites.second / "index.html")
    expect(page.get_by_role("heading", level=1)).to_have_text("Pipeline good ok")
    expect(page.get_by_role("note").first).to_contain_text("sample (synthetic)")
    answers = page.locator(".answers")
    best = r"better of 02_train\[better\]\s+validation RMSE 3\.450"
    expect(answers).to_contain_text(re.compile(best))
    since = r"3\.350 → 3\.450: not known to be of the same data"
    expect(answers).to_contain_text(re.compile(since))
    expect(answers).to_contain_text("None: no step decided about a model.")
    expect(answers).to_contain_text(
        re.compile(r"better of 02_train\[better\]\s+validation RMSE 3\.450")
    )
    expect(answers).to_contain_text(
        re.compile(r"3\.350 → 3\.450: not known to be of the same data")
    )
    expect(answers).to_contain_text(re.compile(r"Parameters: seed 1.*2"))
    for text in ("Started", "Took", "By", "Commit", "params/good.yaml", "--set seed=2"):
        expect(page.locator("#run").get_by_text(text, exact=True)).to_be_visible()
    address = page.get_by_role("link", name=re.compile(", run [0-9a-f]{8}$")).first
    assert re.search(r"/#/experiments/\d+/runs/\w{32}$", address.get_attribute("href") or "")
    steps = page.locator("#steps .step")
    # Those of a matrix are one, and the table has their numbers.
    expect(steps).to_have_count(3)
    expect(steps.nth(1)).to_contain_text(
        "3 steps of one notebook; their numbers stand in the table"
    )
    steps.nth(1).get_by_text("02_train[good]").click()
    steps.nth(1).get_by_text(re.compile(r"\d metrics and 2 parameters of its own")).first.click()
    expect(steps.nth(1)).to_contain_text("valid_rmse4.700")
    picture = steps.first.get_by_role("img", name="A figure")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 100


def test_models_are_sorted_by_their_error_and_by_any_column(sites: Sites, tab: Visit) -> None:
    page = tab.open(sites.second / "index.html")
    names = page.locator("#models tbody th")
    assert names.all_inner_texts() == ["better", "good", "worse"]
    error = page.locator("#models").get_by_role("columnheader", name="validation RMSE")
    assert error.get_attribute("aria-sort") == "ascending"
    error.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert error.get_attribute("aria-sort") == "descending"
    # As numbers: as text 12.2 would come before 3.45.
    assert names.all_inner_texts() == ["worse", "good", "better"]
    page.locator("#models").get_by_role("button", name="Model").click()
    assert names.all_inner_texts() == ["better", "good", "worse"]
    assert error.get_attribute("aria-sort") is None


def test_code_is_folded_until_it_is_asked_for(sites: Sites, tab: Visit) -> None:
    page = tab.open(sites.second / "01_look.html")
    code = page.get_by_text("import matplotlib.pyplot")
    expect(code).to_be_hidden()
    page.get_by_text("Cell 4, code").click()
    expect(code).to_be_visible()
    switch = page.get_by_role("button", name="Show all code")
    switch.click()
    expect(page.get_by_text("plt.show()")).to_be_visible()
    page.get_by_role("button", name="Hide all code").click()
    expect(code).to_be_hidden()


def test_a_notebooks_page_leads_through_it_and_to_its_neighbours(sites: Sites, tab: Visit) -> None:
    page = tab.open(sites.second / "01_look.html")
    page.get_by_role("navigation", name="Contents").get_by_role(
        "link", name="A table", exact=True
    ).click()
    expect(page.get_by_role("heading", name="A table")).to_be_in_viewport()
    expect(page.locator("math[display=block] msqrt")).to_be_visible()
    expect(page.get_by_text("☑ made")).to_be_visible()
    expect(page.locator("pre.stdout")).to_contain_text("100%")
    expect(page.locator("pre.stdout")).not_to_contain_text("50%")
    assert page.locator(".made").get_by_text("seed = 2").count() == 1
    page.get_by_role("link", name="02_train[good]").click()
    expect(page).to_have_title(re.compile(r"02_train\[good\]"))
    page.get_by_role("link", name="01_look").click()
    page.get_by_role("link", name="Pipeline good").click()
    assert page.url.endswith("/index.html")


def test_two_runs_can_be_compared(sites: Sites, tab: Visit) -> None:
    page = tab.open(sites.second / "index.html")
    against = page.locator("#against")
    expect(against.get_by_role("listitem").first).to_have_text(re.compile("^seed 1.*2 4 steps$"))
    group = against.locator("tbody", has_text="02_train[good]")
    expect(group).to_contain_text(re.compile(r"valid_rmse\s+4\.600\s+4\.700\s+\+0\.100"))
    # No step noted which data it used.
    expect(against.locator("td").get_by_text(re.compile("better|worse"))).to_have_count(0)
    expect(
        page.get_by_role("img", name=re.compile("valid_rmse of 3 steps over 2 runs"))
    ).to_be_visible()
    page.locator("#history").get_by_role("link", name=re.compile("Compare with")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Two runs of good")
    metrics = page.locator("#metrics tbody:visible")
    expect(metrics).to_have_count(3)
    page.get_by_role("searchbox", name="Filter").fill("[GOOD]")
    expect(metrics).to_have_count(1)
    page.get_by_role("searchbox", name="Filter").fill("rmse")
    expect(metrics).to_have_count(3)
    printed = page.locator(".change", has_text="the seed is")
    expect(printed.get_by_role("heading", level=4)).to_have_text("Cell 9")
    expect(printed.locator("del")).to_have_text(["1"])
    expect(printed.locator("ins")).to_have_text(["2"])
    expect(page.locator("#cells")).to_contain_text("4 notebooks show the same")


def test_figures_of_two_runs_can_be_laid_on_each_other(sites: Sites, tab: Visit) -> None:
    page = tab.open(sites.second / "against" / f"{sites.first.name}.html")
    pair = page.locator(".pair", has_text="A figure")
    pair.get_by_text("Overlay of A figure").click()
    pictures = pair.get_by_role("img")
    expect(pictures).to_have_count(4)
    for side in pictures.all():
        side.scroll_into_view_if_needed()
        page.wait_for_function("image => image.complete", arg=side.element_handle())
        assert side.evaluate("image => image.naturalWidth") > 100
    top = pictures.nth(3)
    expect(top).to_have_css("mix-blend-mode", "difference")
    assert pictures.nth(2).bounding_box() == top.bounding_box()
    pair.get_by_role("slider").fill("25")
    expect(top).to_have_css("mix-blend-mode", "normal")
    expect(top).to_have_css("opacity", "0.25")


def test_keys_lead_from_one_change_to_the_next(sites: Sites, tab: Visit) -> None:
    page = tab.open(sites.second / "against" / f"{sites.first.name}.html")
    changes = page.locator(".change")
    assert changes.count() >= 2
    for key, place in (("n", 0), ("n", 1), ("p", 0), ("p", 0)):
        page.keyboard.press(key)
        expect(changes.nth(place)).to_be_focused()
        expect(changes.nth(place)).to_be_in_viewport()
    changes.nth(0).get_by_role("link", name="next").click()
    expect(changes.nth(1)).to_be_in_viewport()


def test_all_pages_of_a_run_can_be_searched(sites: Sites, tab: Visit) -> None:
    page = tab.open(sites.second / "01_look.html")
    page.get_by_role("link", name="Search").click()
    page.get_by_label("Find").fill("SEED 100%")
    found = page.locator("[data-entry]:visible")
    expect(found).to_have_count(1)
    assert set(found.locator("mark").all_inner_texts()) == {"seed", "100%"}
    found.get_by_role("link", name="01_look, cell 9: A table").click()
    expect(page.locator(":target")).to_contain_text("the seed is 2")
    page.go_back()
    page.get_by_label("Find").fill("<script>")
    assert page.locator("[data-entry]:visible").count() >= 2
    assert tab.complaints == []


def test_a_figure_can_be_enlarged_and_left_again(sites: Sites, tab: Visit) -> None:
    page = tab.open(sites.second / "01_look.html")
    small = page.get_by_role("img", name="A figure")
    width = small.evaluate("image => image.width")
    page.get_by_role("button", name="Enlarge: A figure").press("Enter")
    large = page.get_by_role("dialog").get_by_role("img", name="A figure")
    assert large.evaluate("image => image.width") > 1.5 * width
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_code_and_tables_can_be_copied(sites: Sites, browser: Browser) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = visit(context).open(sites.second / "01_look.html")
    page.get_by_role("button", name="Show all code").click()
    page.get_by_role("button", name="Copy code of Cell 4, code").click()
    expect(page.get_by_role("status")).to_have_text("Copied")
    read = "navigator.clipboard.readText()"
    assert page.evaluate(read).startswith("import matplotlib.pyplot as plt\nimport pandas as pd")
    page.get_by_role("button", name="Copy output of Cell 8, code").click()
    page.wait_for_function(f"{read}.then(text => text.startsWith('\\ta_rather'))")
    assert page.evaluate(read).splitlines()[1].split("\t")[:3] == ["0", "0", "0"]
    context.close()


def test_a_wide_table_scrolls_by_key_with_its_first_column_in_place(
    sites: Sites, tab: Visit
) -> None:
    page = tab.open(sites.second / "01_look.html")
    table = page.get_by_role("region", name="Table 1: A table")
    table.focus()
    first = table.get_by_role("rowheader").first
    place = first.bounding_box()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("element => element.scrollLeft > 100", arg=table.element_handle())
    assert first.bounding_box() == place


def test_a_wide_table_keeps_its_columns_on_paper(sites: Sites, tab: Visit) -> None:
    page = tab.open(sites.second / "01_look.html")
    table = page.get_by_role("region", name="Table 1: A table")
    width = "element => [element.scrollWidth, element.clientWidth]"
    page.set_viewport_size({"width": 700, "height": 990})  # A4 between its margins.
    assert table.evaluate(width)[0] > 700
    page.emulate_media(media="print", color_scheme="dark")
    needed, given = table.evaluate(width)
    assert needed <= given <= 700
    # Ink on paper is dark, whatever the screen's colours.
    assert page.evaluate(CONTRAST)["page"] == "rgb(255, 255, 255)"


def test_the_first_run_says_that_it_is_the_first(sites: Sites, tab: Visit) -> None:
    page = tab.open(sites.first / "index.html")
    expect(page.locator("#against")).to_contain_text("first run")
    assert page.locator("#history svg.chart").count() == 0


def test_a_failed_run_leads_to_the_cell_that_failed(sites: Sites, tab: Visit) -> None:
    page = tab.open(sites.failed / "index.html")
    expect(page.get_by_role("alert")).to_contain_text("04_fails failed: cell 4: KeyError")
    expect(page.locator(".step.skipped")).to_contain_text("it needs 04_fails")
    picture = page.locator(".picture svg:visible")
    expect(picture).to_have_count(1)
    expect(picture.locator(".mark.failed")).to_be_visible()
    expect(picture.locator("text.label")).to_have_text("failed")
    page.get_by_role("link", name="Go to cell 4").click()
    cell = page.locator(":target")
    expect(cell).to_be_in_viewport()
    expect(cell).to_contain_text("Cell 4, code")
    expect(cell.get_by_text("inner('no such key')").first).to_be_visible()
    expect(cell.get_by_role("group", name="Error")).to_contain_text("return {}[x]")
    # What papermill puts into a failed notebook would shift the cells' numbers.
    expect(page.get_by_text("An Exception was encountered")).to_have_count(0)


def test_a_hostile_notebook_reaches_nothing_and_the_page_says_so(sites: Sites, tab: Visit) -> None:
    page = tab.open(sites.second / "03_hostile.html")
    page.mouse.wheel(0, 50_000)
    page.get_by_text("click", exact=True).click()
    page.get_by_text("link", exact=True).click()
    page.wait_for_timeout(300)
    expect(page).to_have_title(re.compile("^03_hostile · good"))
    assert tab.complaints == []
    assert not [url for url in tab.requests if "example.com" in url]
    expect(page.locator("main")).to_be_visible()
    expect(page.get_by_text("cover")).to_have_css("position", "static")
    expect(page.locator("form, input, meta[http-equiv=refresh]")).to_have_count(0)
    frames = page.locator("iframe")
    expect(frames).to_have_count(1)
    assert frames.get_attribute("sandbox") == ""
    expect(page.frame_locator("iframe").get_by_text("framed")).to_be_visible()
    note = page.get_by_role("note").filter(has_text="On this page").first
    for kind in ("6 scripts", "3 event handlers", "form field", "2 frames", "widget"):
        expect(note).to_contain_text(kind)
    front = tab.open(sites.second / "index.html")
    expect(front.get_by_text("Held back from outputs")).to_be_visible()


def test_the_policy_stops_a_script_that_the_sanitiser_would_let_through(
    sites: Sites, tab: Visit, tmp_path: Path
) -> None:
    text = (sites.second / "01_look.html").read_text()
    altered = tmp_path / "altered.html"
    injected = "<script>document.title = 'owned'</script><img src='https://example.com/x.png'>"
    altered.write_text(text.replace("</article>", f"{injected}</article>"))
    page = tab.open(altered)
    expect(page).not_to_have_title("owned")
    assert len([said for said in tab.complaints if "Content Security Policy" in said]) == 2


# Of text that is in part below something else axe-core cannot tell.
CONTRAST = """() => {
  const channels = color => color.match(/[\\d.]+/g).map(Number);
  const shade = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = channels(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const poor = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest("svg")) continue;
    const [a, b] = [shade(channels(getComputedStyle(element).color)), shade(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    seen += 1;
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)}: ${element.textContent.slice(0, 40)}`);
  }
  return {seen, poor, page: getComputedStyle(document.body).backgroundColor};
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_every_page_in_both_colour_schemes(
    sites: Sites, browser: Browser, scheme: str
) -> None:
    context = browser.new_context(color_scheme=scheme, offline=True)  # type: ignore[arg-type]
    tab = visit(context)
    for file in sites.pages():
        page = tab.open(file)
        if page.get_by_role("button", name="Show all code").count():
            page.get_by_role("button", name="Show all code").click()
        looked_at = Axe().run(page)
        assert looked_at.violations_count == 0, looked_at.generate_report()
        found = page.evaluate(CONTRAST)
        assert found["seen"] > 10
        assert found["poor"] == [], file.name
        assert found["page"] == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 31)"}[scheme]
    tab.page.get_by_role("button", name="Light" if scheme == "dark" else "Dark").click()
    assert tab.page.evaluate(CONTRAST)["page"] != found["page"]
    context.close()


def test_a_narrow_window_does_not_scroll_sideways(sites: Sites, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, offline=True)
    tab = visit(context)
    for file in sites.pages():
        page = tab.open(file)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, file.name
    context.close()


def test_headings_descend_and_every_picture_has_words(sites: Sites, tab: Visit) -> None:
    for file in sites.pages():
        page = tab.open(file)
        levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(h => +h.tagName[1])")
        assert levels.count(1) == 1, file.name
        assert all(b - a <= 1 for a, b in pairwise(levels)), file.name
        alts = page.locator("img").evaluate_all("all => all.map(image => image.alt)")
        assert all(alts), file.name
    page = tab.open(sites.second / "index.html")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()


def test_the_pages_can_be_read_without_a_script(sites: Sites, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = visit(context).open(sites.second / "01_look.html")
    assert page.locator("button:visible").count() == 0
    page.get_by_text("Cell 4, code").click()
    expect(page.get_by_text("import matplotlib.pyplot")).to_be_visible()
    context.close()


@pytest.mark.parametrize("width", [1400, 390])
def test_the_answers_stand_on_the_first_screen(sites: Sites, browser: Browser, width: int) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900 if width > 390 else 844}, offline=True
    )
    page = visit(context).open(sites.second / "index.html")
    for answer in page.locator(".answers > div").all():
        expect(answer).to_be_in_viewport(ratio=1)
    # A picture for each kind of window, and no script to choose it.
    expect(page.locator(".picture svg:visible")).to_have_count(1)
    context.close()


def test_a_page_that_loads_itself_again_keeps_the_readers_place(
    sites: Sites, tab: Visit, tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "going-on"
    shutil.copytree(sites.second, folder)
    ended = RunRecord.read(folder / "run.json")
    write_live_page(folder, replace(ended, status=Status.RUNNING, seconds=None))
    page = tab.open(folder / "index.html")
    status = page.get_by_role("status")
    expect(status).to_contain_text("5 of 5 steps are done")
    page.locator("#timings summary").click()
    page.evaluate("scrollTo(0, 400)")
    page.evaluate("window.isOld = true")
    first, *others = ended.steps
    first = replace(first, status=Status.RUNNING)
    write_live_page(folder, replace(ended, status=Status.RUNNING, steps=(first, *others)))
    expect(status).to_contain_text("4 of 5 steps are done", timeout=15_000)
    assert page.evaluate("window.isOld ?? false") is False
    # What is above may have grown a little.
    assert abs(page.evaluate("scrollY") - 400) < 40
    expect(page.locator("#timings")).to_have_attribute("open", "")
    page.get_by_role("button", name="Stop loading again").click()
    expect(page.get_by_role("button", name="Load again by itself")).to_be_visible()
    assert tab.complaints == []


def test_one_file_holds_all_of_it(sites: Sites, tab: Visit, tmp_path: Path) -> None:
    file = write_single_file(sites.second, tmp_path / "report.html")
    addresses = Addresses(file)
    assert all(load.startswith("data:") for load in addresses.loads)
    inside = [link for link in addresses.links if not link.startswith("http://127.0.0.1")]
    assert {link[1:] for link in inside} <= set(addresses.ids)
    page = tab.open(file)
    title = page.locator("h1:visible")
    expect(title).to_have_text("Pipeline good ok")
    page.locator("#steps").get_by_role("link", name="01_look", exact=True).click()
    expect(title).to_have_text("What do we see?")
    page.get_by_role("link", name="A table", exact=True).click()
    expect(title).to_have_text("What do we see?")
    page.get_by_role("link", name="Against the last good run").click()
    page.get_by_role("link", name=re.compile("figures side by side")).click()
    expect(title).to_have_text("Two runs of good")
    page.go_back()
    expect(title).to_have_text("Pipeline good ok")
    assert {url.split("#")[0] for url in tab.requests if not url.startswith("data:")} == {
        file.as_uri()
    }


def test_a_run_whose_neighbours_are_gone_still_gets_its_pages(
    sites: Sites, tab: Visit, tmp_path: Path
) -> None:
    alone = tmp_path / "runs" / "alone"
    shutil.copytree(sites.second, alone)
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "run.json").write_text("{")
    (alone / "01_look.ipynb").unlink()
    from taxi_nb.pipeline.report.site import write_site

    page = tab.open(write_site(alone))
    expect(page.locator("#against")).to_contain_text("first run")
    expect(page.locator(".step").first).to_contain_text("01_look")
