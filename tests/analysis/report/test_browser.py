"""The report in a real browser: it opens quietly, and what it can do it does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from reported import Made

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def visit(made: Made) -> Iterator[Open]:
    """Opens the page; at the end nothing was asked for but it, and nothing was complained of."""
    from playwright.sync_api import sync_playwright

    said: list[str] = []
    asked: set[str] = set()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def opened(**options: Any) -> Any:
            context = browser.new_context(**options)
            context.set_default_timeout(10_000)
            page = context.new_page()
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda request: asked.add(request.url))
            page.goto(made.path.as_uri())
            if options.get("java_script_enabled", True):
                page.wait_for_selector("html[data-ready]")
            return page

        yield opened
        browser.close()
    assert said == []
    files = {url.partition("#")[0] for url in asked if not url.startswith(("data:", "about:"))}
    assert files == {made.path.as_uri()}


@pytest.fixture(scope="module")
def desk(visit: Open) -> Any:
    """The page on a desktop; a test leaves it as it found it."""
    return visit(viewport={"width": 1280, "height": 900}, color_scheme="dark")


@pytest.fixture(scope="module")
def phone(visit: Open) -> Any:
    """The page on a phone."""
    return visit(viewport={"width": 390, "height": 844}, has_touch=True)


@pytest.fixture(scope="module")
def plain(visit: Open) -> Any:
    """The page where no script runs."""
    return visit(java_script_enabled=False)


def rows(page: Any, table: str) -> list[str]:
    return page.locator(f"{table} tbody th").all_inner_texts()


BOX_3 = "section.table:has(#table-3) .box"
TABLE_3 = f"{BOX_3} table"


def test_html_in_strings_is_text(desk: Any) -> None:
    assert desk.evaluate("window.hacked") is None
    assert desk.locator("script").count() == 3
    assert desk.locator('img[src="x"]').count() == 0
    card = desk.locator(".card .made").first
    assert "<script>window.hacked=1</script>'{{7*7}}" in card.inner_text()
    assert "<img src=x onerror=" in desk.locator(".claims tbody th").first.inner_text()


def stand(page: Any, names: list[str]) -> None:
    """Wait until Table 3's rows stand so: DataTables sorts after the event that asks for it."""
    for _ in range(250):
        if [name.split()[0] for name in rows(page, TABLE_3)] == names:
            return
        page.wait_for_timeout(20)
    assert [name.split()[0] for name in rows(page, TABLE_3)] == names


def test_a_column_sorts_by_its_numbers_and_says_so(desk: Any) -> None:
    stand(desk, ["none", "QFL", "DFL", "both"])
    head = desk.locator(f"{TABLE_3} thead tr:nth-child(2) th", has_text="ours AP").first
    head.click()
    stand(desk, ["none", "DFL", "QFL", "both"])
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("[role=button]").focus()
    desk.keyboard.press("Enter")
    stand(desk, ["both", "QFL", "DFL", "none"])
    assert head.get_attribute("aria-sort") == "descending"
    desk.keyboard.press("Enter")
    stand(desk, ["none", "QFL", "DFL", "both"])  # the paper's order again
    assert head.get_attribute("aria-sort") is None


def test_claims_filter_by_verdict_and_by_text(desk: Any) -> None:
    desk.select_option("#claims-ours", "refuted")
    assert desk.locator("#claims-list tbody tr").count() == 1
    assert desk.locator("details.claim:visible").count() == 1
    assert desk.locator("#claims-count").inner_text() == "1 of 3 claims"
    desk.select_option("#claims-ours", "")
    desk.select_option("#claims-printed", "holds")  # and not "holds in part"
    assert [text.split()[1] for text in rows(desk, "#claims-list")] == ["claim-0"]
    desk.select_option("#claims-printed", "")
    desk.fill("#claims-text", "claim-2")
    assert [text.split()[1] for text in rows(desk, "#claims-list")] == ["claim-2"]
    desk.fill("#claims-text", "")
    assert desk.locator("details.claim:visible").count() == 3


def test_claims_without_a_p_stand_last_whichever_way_it_sorts(desk: Any) -> None:
    head = desk.locator("#claims-list thead th", has_text="p, corrected")
    for order in ((0, 1, 2), (1, 0, 2), (0, 1, 2)):  # 0.004, 0.03, none; then as declared
        head.click()
        names = [f"claim-{i}" for i in order]
        for _ in range(250):
            if (found := [text.split()[1] for text in rows(desk, "#claims-list")]) == names:
                break
            desk.wait_for_timeout(20)
        assert found == names


def test_every_stop_of_a_head_is_to_be_seen(desk: Any) -> None:
    stops = desk.locator("thead [tabindex='0']:visible")
    sizes = [stop.bounding_box() for stop in stops.all()]
    assert len(sizes) > 10
    assert all(size["width"] > 5 and size["height"] > 10 for size in sizes)
    assert desk.locator(f"{TABLE_3} thead [tabindex='0']").count() == 2  # its rows, and our AP


def test_tables_and_runs_filter_by_text(desk: Any) -> None:
    desk.fill("input[data-of=tables]", "RetinaNet")
    assert desk.locator("section.table:visible h3").all_inner_texts()[0].startswith("Table 1(b)")
    assert not desk.locator(TABLE_3).is_visible()
    before = desk.locator(".card:visible").count()
    desk.fill("#runs-text", "gaussian")
    assert 0 < desk.locator(".card:visible").count() < before
    desk.fill("input[data-of=tables]", "")
    desk.fill("#runs-text", "")
    assert desk.locator(TABLE_3).is_visible()


def test_a_figure_shows_its_runs_to_the_mouse(desk: Any, made: Made) -> None:
    desk.locator(f"{TABLE_3} a.run").nth(7).hover()
    tip = desk.locator("#tip")
    tip.wait_for(state="visible")
    said = tip.inner_text()
    assert "Table 3, QFL: against none, quality joint in place of centerness-branch" in said
    assert all(part in said for part in ("c0ffeec0ff", "a processor", "73.50"))
    assert [id in said for id in made.ids] == ["-joint-dirac-s" in id for id in made.ids]
    assert tip.locator("svg.curve polyline").count() == 2
    assert desk.locator("#tip .here").first.inner_text().startswith("AP")
    tip.hover()  # it can be reached and read
    desk.wait_for_timeout(350)
    assert tip.is_visible()
    desk.keyboard.press("Escape")
    assert not tip.is_visible()


def test_a_figure_shows_its_runs_to_the_keyboard(desk: Any) -> None:
    desk.mouse.move(0, 0)  # off every number
    link = desk.locator(f"{TABLE_3} a.run")
    desk.locator(BOX_3).focus()
    for _ in range(30):
        desk.keyboard.press("Tab")
        if desk.evaluate("document.activeElement.matches('a.run')"):
            break
    assert link.first.evaluate("e => e === document.activeElement")
    assert "a baseline" in desk.locator("#tip").inner_text()
    assert link.first.get_attribute("aria-describedby") == "tip"
    desk.keyboard.press("ArrowDown")
    assert "Table 3, QFL" in desk.locator("#tip .title").inner_text()
    desk.keyboard.press("ArrowRight")
    assert desk.locator("#tip th.here").inner_text() == "AP"
    desk.keyboard.press("Escape")
    assert not desk.locator("#tip").is_visible()
    desk.keyboard.press("Enter")
    assert desk.url.endswith("#cell-table-3-qfl")


def test_a_tap_shows_the_runs_on_a_phone(phone: Any) -> None:
    phone.locator(f"{TABLE_3} a.run").first.tap()
    tip = phone.locator("#tip")
    assert tip.is_visible()
    box = tip.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    assert box["y"] + box["height"] <= 844
    phone.locator("h2#tables").tap()
    assert not tip.is_visible()


def test_a_phone_scrolls_tables_and_not_the_page(phone: Any) -> None:
    unfold = "for (const d of document.querySelectorAll('details')) d.open = {}"
    phone.evaluate(unfold.format("true"))
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    box = phone.locator(BOX_3)
    assert box.evaluate("e => e.scrollWidth > e.clientWidth")
    name = box.locator("tbody th").first
    before = name.bounding_box()["x"]
    box.evaluate("e => e.scrollBy(200, 0)")
    assert name.bounding_box()["x"] == before


def test_the_theme_follows_the_system_until_it_is_chosen(desk: Any) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = desk.evaluate(paper)
    toggle = desk.locator("#theme")
    assert toggle.get_attribute("aria-pressed") == "true"
    toggle.click()
    light = desk.evaluate(paper)
    assert light != dark
    assert toggle.get_attribute("aria-pressed") == "false"
    toggle.click()
    desk.emulate_media(color_scheme="light")
    assert desk.evaluate(paper) == dark


def test_paper_has_everything_unfolded(desk: Any) -> None:
    desk.emulate_media(media="print")
    assert not desk.locator("nav.bar").is_visible()
    assert not desk.locator(".filters").first.is_visible()
    assert desk.locator("details:not([open]) .body").first.bounding_box()["height"] > 0
    desk.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert desk.locator("details:not([open])").count() == 0
    desk.evaluate("dispatchEvent(new Event('afterprint'))")
    assert desk.locator("details[open]").count() == 0
    desk.emulate_media(media="screen")


def test_it_reads_without_scripts(plain: Any) -> None:
    assert rows(plain, TABLE_3)[0].startswith("none")
    assert plain.locator(".needs-js:visible").count() == 0
    plain.locator(f"{TABLE_3} a.run").nth(7).click()
    assert plain.url.endswith("#cell-table-3-qfl")
    assert plain.locator("#cell-table-3-qfl").is_visible()
    plain.locator("details.claim summary").first.click()
    assert plain.locator("details.claim svg.strip").first.is_visible()


def test_a_link_into_a_folded_claim_opens_it(desk: Any) -> None:
    desk.locator("#claims-list tbody a").first.click()
    assert desk.locator("details.claim[open]").count() == 1
    desk.locator("#open-all").click()
    assert desk.locator("details.claim[open]").count() == 3
    desk.locator("#open-all").click()
    assert desk.locator("details.claim[open]").count() == 0


def test_the_skip_link_is_the_first_stop(desk: Any, made: Made) -> None:
    desk.goto("about:blank")
    desk.goto(made.path.as_uri())
    desk.keyboard.press("Tab")
    assert desk.evaluate("document.activeElement.className") == "skip"
    desk.keyboard.press("Enter")
    assert desk.evaluate("document.activeElement.id") == "main"
