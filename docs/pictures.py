"""The pictures of the README: the explorer and a report, as they are on the demo (`make pictures`).

Needs Playwright, Pillow and Chromium. They are committed, small: 64 colours.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from seal_store.report import write_report

HERE = Path(__file__).parent
DEMO = HERE / "demo"
VARIANT = "chr1:183538:AGTC:A"
SIZE = {"width": 1_000, "height": 780}


def keep(page: Any, name: str) -> None:
    """The part of a page that is seen, as a small PNG."""
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").quantize(64).save(HERE / name, optimize=True)


def main() -> None:
    """Write both."""
    report = DEMO / "report.html"
    write_report(DEMO / "scores.zarr", report, overwrite=True)
    command = [sys.executable, "-c", "from seal_store.cli import main; main()", "explore"]
    command += [str(DEMO / "store.zarr"), "--json", "--quiet", "--device", "cpu"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours
    try:
        assert server.stdout is not None
        address = json.loads(server.stdout.readline())["address"]
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            page = chromium.new_context(viewport=SIZE).new_page()
            page.goto(address)
            page.goto(f"{address.partition('/?')[0]}/variant?v={VARIANT}")
            page.locator("[data-drawn=yes]").first.wait_for()
            page.get_by_role("heading", level=1).scroll_into_view_if_needed()
            keep(page, "explorer.png")
            page.goto(report.as_uri())
            page.locator("#locus[data-drawn=yes]").wait_for()
            page.locator("#overview").evaluate("node => node.scrollIntoView()")
            keep(page, "report.png")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
