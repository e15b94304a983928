"""Chromium for the tests of web pages, which are skipped if it, playwright or axe-core is missing.

Chromium is the one on the PATH, or what CHROMIUM names; axe-core what ``npm install axe-core`` put
into node_modules beside the tests, or what SHOWATTEND_AXE names.
"""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
DESK, PHONE, NARROW = (1280, 860), (390, 844), (320, 640)

PACKED = """(array) => {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192)
    text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}"""
"""JavaScript that makes base64 of a typed array: quicker than JSON by far."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless Chromium, one per module because of playwright's event loop."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is absent")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("chromium is absent (CHROMIUM names it)")
    arguments = [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
    ]
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens an address in a new tab, and checks at the end that nothing went wrong in any tab.

    No error and no warning in the console but of a ``refusal`` that the test wants ("status of
    503"), and no request but to the address's own origin.
    """
    contexts, problems = [], []

    def open_tab(
        address: str,
        *,
        size: tuple[int, int] = DESK,
        dark: bool = False,
        refusal: str | None = None,
        motion: bool = False,
        **options: Any,
    ) -> Any:
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            reduced_motion="no-preference" if motion else "reduce",
            has_touch=size != DESK,
            is_mobile=size != DESK,
            **options,
        )
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(20_000)
        origin = "/".join(address.split("/")[:3])  # of a file: file:///

        def requested(request: Any) -> None:
            if not request.url.startswith((origin, "data:", "blob:")):
                problems.append(f"request to {request.url}")

        def said(message: Any) -> None:
            # The browser reports 4xx answers, which the tests of errors expect.
            known = "status of 4" in message.text or (refusal and refusal in message.text)
            if message.type in ("error", "warning") and not known:
                problems.append(message.text)

        tab.on("request", requested)
        tab.on("console", said)
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.goto(address)
        return tab

    yield open_tab
    for context in contexts:
        context.close()
    assert problems == []


def findings(tab: Any) -> list[str]:
    """The findings of axe-core in a page; skips if axe is missing."""
    named = os.environ.get("SHOWATTEND_AXE")
    path = Path(named) if named else ROOT / "node_modules" / "axe-core" / "axe.min.js"
    if not path.is_file():
        pytest.skip("axe-core is absent (npm install axe-core, or SHOWATTEND_AXE names axe.min.js)")
    tab.evaluate(
        path.read_text(encoding="utf-8") + "; null"
    )  # as a tool, so that no policy forbids
    result = tab.evaluate("() => axe.run()")
    assert result["passes"], "axe has looked at nothing"
    return [
        f"{each['id']}: {node['html'][:200]}"
        for each in result["violations"]
        for node in each["nodes"]
    ]


def pixels_of(tab: Any, canvas: str = "canvas") -> np.ndarray:
    """The pixels of a canvas [height, width, 3] after it has been drawn."""
    tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    width, height, data = tab.evaluate(
        f"""(name) => {{
          const canvas = document.querySelector(name);
          const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return [canvas.width, canvas.height, ({PACKED})(image.data)];
        }}""",
        canvas,
    )
    flat = np.frombuffer(base64.b64decode(data), np.uint8)
    return flat.reshape(height, width, 4)[:, :, :3].astype(float)


def fits(tab: Any) -> bool:
    """Whether a page is no wider than its window."""
    return tab.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def fits_in(tab: Any, box: str) -> bool:
    """Whether what is in a box that scrolls is no wider than the box, as in a dialog."""
    return tab.locator(box).evaluate("(each) => each.scrollWidth <= each.clientWidth")
