"""Picture of the report for the README: its first screen, and a table with the runs of a cell.

Needs a Chromium and the test requirements: ``python tools/report_picture.py``.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "results" / "report" / "laptop.html"
WIDTH, HEIGHT, GAP = 1280, 860, 16
COLOURS = 96  # of the palette: a third of the size, without a visible difference
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def main() -> int:
    """Write ``results/report/laptop.png``; return the exit code."""
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        print(f"report_picture: none of {', '.join(CHROMIUM)} is installed", file=sys.stderr)
        return 2
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(REPORT.as_uri())
        page.wait_for_selector("html[data-ready]")
        shots = [_shot(page), _table(page)]
        browser.close()
    both = Image.new("RGB", (2 * WIDTH + GAP, HEIGHT), "white")
    for i, shot in enumerate(shots):
        both.paste(shot, (i * (WIDTH + GAP), 0))
    out = REPORT.with_suffix(".png")
    both.quantize(COLOURS, dither=Image.Dither.NONE).save(out, optimize=True)
    print(f"written: {out.relative_to(ROOT)} ({out.stat().st_size // 1000} kB)")
    return 0


def _table(page: Page) -> Image.Image:
    """Return Table 1(a) in dark mode, with the runs of its last row on ATSS."""
    page.emulate_media(color_scheme="dark")
    page.locator("#table-1a").evaluate("e => e.scrollIntoView()")
    page.locator("section.table:has(#table-1a) .box").nth(1).locator("tr").last.locator(
        "a.run"
    ).first.hover()
    page.wait_for_selector("#tip:visible")
    return _shot(page)


def _shot(page: Page) -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


if __name__ == "__main__":
    sys.exit(main())
