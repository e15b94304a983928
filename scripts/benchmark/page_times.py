"""How long you wait on the page of `showattend serve`, in Chromium.

    python scripts/benchmark/page_times.py [--rounds N] [--output FILE]

Needs the extra serve, playwright, and Chromium.

Three waits, by the page's own clock, with the shipped model and a warm server:

- from the drop of a photograph to the first map over it;
- on a slow line, from the drop of a JPEG of 4 MB to its caption;
- on the same line, from the rejection of a word to other captions.

The slow line is Slow 3G in Chromium's developer tools: 400 kbit/s each way, and two seconds before
each answer begins.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from showattend.system.files import write_json
from showattend.system.provenance import portable, remember_command, stamp

ROOT = Path(__file__).parents[2]
PHOTOS = sorted((ROOT / "assets" / "photos").glob("*.jpg"))
LINE = {"offline": False, "latency": 2000, "downloadThroughput": 50_000, "uploadThroughput": 50_000}
"""Slow 3G: milliseconds, and bytes per second."""
LARGE = 4_000_000
SIDE = 4000

DROP = """async ([data, name, shown]) => {
  const bytes = Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
  const began = performance.now();
  document.getElementById("drop")
    .dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer }));
  while (!document.querySelector(shown)) await new Promise(requestAnimationFrame);
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done))); // painted
  return (performance.now() - began) / 1000;
}"""
"""Drops a file; returns the seconds until an element appears."""

REJECT = """async () => {
  const before = document.querySelector(".word");
  const began = performance.now();
  [...document.querySelectorAll(".doing button")].at(-1).click();
  while (document.querySelector(".word") === before) await new Promise(requestAnimationFrame);
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return (performance.now() - began) / 1000;
}"""
"""Presses the button that rejects the chosen word; returns the seconds until others appear."""


class Wait(NamedTuple):
    """A wait, measured several times.

    Attributes:
        what: A description.
        bar: The longest acceptable time, in seconds.
        seconds: The time measured in each round.
        received: The compressed bytes of the server's answer in each round.
    """

    what: str
    bar: float
    seconds: list[float]
    received: list[int]

    def __str__(self) -> str:
        low, high = min(self.seconds), max(self.seconds)
        middle, size = statistics.median(self.seconds), statistics.median(self.received) / 1000
        return (
            f"| {self.what} | {middle:.2f} ({low:.2f} to {high:.2f}) s | < {self.bar:g} s "
            f"| {size:.1f} kB |"
        )


def large_photo(path: Path = PHOTOS[0]) -> bytes:
    """A JPEG of 4 MB or a little more: an enlarged photograph with a camera's grain."""
    with Image.open(path) as opened:
        photo = opened.convert("RGB")
    scale = SIDE / max(photo.size)
    size = (round(photo.width * scale), round(photo.height * scale))
    smooth = np.asarray(photo.resize(size, Image.Resampling.BICUBIC), np.float32)
    grain = np.random.default_rng(0).standard_normal(smooth.shape[:2], np.float32)[:, :, None]
    for strength in range(4, 40, 2):
        made = Image.fromarray((smooth + strength * grain).clip(0, 255).astype(np.uint8))
        file = io.BytesIO()
        made.save(file, "JPEG", quality=90)
        if len(file.getvalue()) >= LARGE:
            return file.getvalue()
    raise AssertionError("no grain makes a file of 4 MB")


@contextmanager
def server(*options: str) -> Iterator[str]:
    """Run `showattend serve` on a free port; yields its address."""
    command = [sys.executable, "-m", "showattend", "serve", "--port", "0", *options]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as process:
        try:
            assert process.stderr is not None
            said = ""
            for line in process.stderr:
                said += line
                if found := re.search(r"open (http://\S+)", line):
                    yield found[1]
                    return
            raise SystemExit(f"the server did not start:\n{said}")
        finally:
            process.terminate()


def measure(browser: Any, address: str, rounds: int = 5) -> list[Wait]:
    """Measure the three waits.

    Args:
        browser: A Chromium started by playwright.
        address: The server's address.
        rounds: The number of rounds.
    """
    context = browser.new_context(reduced_motion="no-preference")
    try:
        tab = context.new_page()
        tab.set_default_timeout(60_000)
        tab.goto(address)
        tab.wait_for_selector("body[data-ready]")

        def drop(content: bytes, name: str, shown: str) -> tuple[float, int]:
            return _timed(tab, DROP, [base64.b64encode(content).decode(), name, shown])

        first = PHOTOS[0].read_bytes()
        drop(first, "first.jpg", ".word.shown")  # warms up the server and the page
        quick = [
            drop(path.read_bytes(), path.name, ".word.shown")
            for _, path in zip(range(rounds), PHOTOS * rounds, strict=False)
        ]
        line = context.new_cdp_session(tab)
        line.send("Network.enable")
        line.send("Network.emulateNetworkConditions", LINE)
        large = large_photo()
        slow, rejected = [], []
        for _ in range(rounds):
            slow.append(drop(large, "large.jpg", ".word"))
            tab.wait_for_selector(".sentence:not(.telling)")
            tab.locator(".word").nth(1).click()
            tab.wait_for_selector(".doing button")
            rejected.append(_timed(tab, REJECT))
    finally:
        context.close()
    return [
        _wait("from the drop of a photograph to the map over it", 1, quick),
        _wait("slow line: from the drop of a 4 MB photograph to its caption", 15, slow),
        _wait("slow line: from the rejection of a word to other captions", 3, rejected),
    ]


def _timed(tab: Any, program: str, *given: Any) -> tuple[float, int]:
    with tab.expect_response("**/api/caption") as waiting:
        seconds = tab.evaluate(program, *given)
    return seconds, waiting.value.request.sizes()["responseBodySize"]


def _wait(what: str, bar: float, found: list[tuple[float, int]]) -> Wait:
    seconds, sizes = zip(*found, strict=True)
    return Wait(what, bar, list(seconds), list(sizes))


def record(found: list[Wait]) -> dict[str, Any]:
    """Convert to plain values for JSON, with their provenance."""
    content = {"waits": [each._asdict() for each in found], "provenance": stamp()}
    return dict(portable(content))


def main() -> None:
    """Measure, and print the table's rows."""
    parser = argparse.ArgumentParser(description="How long you wait on the server's page.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="file for the record")
    wanted = parser.parse_args()
    remember_command(sys.argv[1:], "benchmark/page_times.py")
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        raise SystemExit("chromium is absent (CHROMIUM names it)")
    with server() as address, sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        found = measure(browser, address, wanted.rounds)
        browser.close()
    print("| | time | bar | answer |\n|---|---|---|---|", *found, sep="\n")
    if wanted.output:
        write_json(wanted.output, record(found))


if __name__ == "__main__":
    main()
