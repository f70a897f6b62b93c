"""The picture in the README: what a browser of 1200 x 1000 shows first of the newest run's page.

    python -m benchmarks.picture [RUN]

Writes docs/run-page.png; the default pipeline is to have run. It needs Chromium, as the tests with
a browser do.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from taxi_nb.project import project_root

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def main(run: str = "latest") -> None:
    """Open the page and take the picture."""
    page = project_root() / "runs" / run / "index.html"
    if not page.is_file():
        sys.exit(f"there is no {page}: make run-notebooks makes it")
    found = os.environ.get("TAXI_NB_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        sys.exit("no Chromium on PATH: install it, or name one in TAXI_NB_BROWSER")
    picture = Path(__file__).parents[1] / "docs" / "run-page.png"
    # Chromium's sandbox refuses root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        tab = browser.new_page(viewport={"width": 1200, "height": 1000}, color_scheme="light")
        tab.goto(page.resolve().as_uri())
        tab.screenshot(path=picture)
        browser.close()
    with Image.open(picture) as taken:
        taken.convert("RGB").quantize(256).save(picture, optimize=True)
    print(picture)


if __name__ == "__main__":
    main(*sys.argv[1:2])
