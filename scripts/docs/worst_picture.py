"""The README's picture of a wrong caption, explained: assets/worst.jpg.

    python scripts/docs/worst_picture.py          # needs playwright and Chromium

Captions the photographs in assets/photos, writes the page of their errors as `showattend errors
--output worst.html` does, opens a card in Chromium and saves a picture of it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from showattend.captioner import Captioner
from showattend.cli import main as showattend

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "assets" / "photos"
CARD, WORD = "rocket.jpg", "ship"
SIZE = (1240, 1400)
EDGE = 18


def worst_page(out: Path) -> Path:
    """Write the captions and the page of their errors into a folder; return the page."""
    results, page = out / "results.json", out / "worst.html"
    captioner = Captioner.from_pretrained(device="cpu")
    said = {path.name: captioner.caption(path).text for path in sorted(PHOTOS.glob("*.jpg"))}
    results.write_text(json.dumps(said), encoding="utf-8")
    command = ["errors", "--annotations", PHOTOS / "captions.jsonl", "--results", results]
    if showattend([str(each) for each in [*command, "--output", page]]):
        raise SystemExit("the page of errors was not written")
    return page


def shot(browser: Any, page: Path, card: str, word: str) -> bytes:
    """Open a photograph's card, choose a wrong word, and take a picture of the dialog.

    Args:
        browser: A Chromium started by playwright.
        page: The page of errors.
        card: The name of the photograph.
        word: The word.

    Returns:
        The content of a PNG file.
    """
    tab = browser.new_page(
        viewport={"width": SIZE[0], "height": SIZE[1]},
        device_scale_factor=1.5,
        reduced_motion="reduce",
    )
    try:
        tab.goto(page.as_uri())
        tab.locator(f".card:has-text('{card}')").click()
        tab.locator("dialog .about button", has_text=word).click()
        tab.wait_for_selector("dialog .word.shown")
        tab.evaluate("() => document.activeElement.blur()")
        tab.evaluate("() => { document.querySelector('dialog').style.borderRadius = 0; }")
        whole, about = (tab.locator(each).bounding_box() for each in ("dialog", "dialog .about"))
        top = whole["y"] + 1  # without the dialog's border
        clip = {
            "x": whole["x"] + 1,
            "y": top,
            "width": whole["width"] - 2,
            "height": about["y"] + about["height"] + EDGE - top,
        }
        content: bytes = tab.screenshot(clip=clip)
    finally:
        tab.close()
    return content


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description="The README's picture of an explained error.")
    parser.add_argument("--output", type=Path, default=ROOT / "assets" / "worst.jpg")
    wanted = parser.parse_args()
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if program is None:
        raise SystemExit("chromium is absent (CHROMIUM names it)")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        content = shot(browser, worst_page(Path(folder)), CARD, WORD)
        browser.close()
    with Image.open(io.BytesIO(content)) as picture:
        picture.convert("RGB").save(wanted.output, quality=88, optimize=True)


if __name__ == "__main__":
    main()
