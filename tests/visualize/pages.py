"""What the tests of the page share: captions of photos, pages opened, what they show."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from showattend.caption import Caption
from showattend.images.preprocessing import Preprocessing
from showattend.images.sources import ImageSource
from showattend.visualize.page import GalleryPage, write_page

GRID = (7, 7)
Visit = Callable[..., Any]


def caption_of(image: ImageSource, text: str, maps: np.ndarray | None = None, fit: str = "squash"):  # type: ignore[no-untyped-def]
    """A caption of an image; its maps are noise unless given."""
    words = text.split(" ") if text else []
    if maps is None:
        maps = np.random.default_rng(len(text)).random((len(words), *GRID), np.float32) ** 4
        maps /= maps.sum((1, 2), keepdims=True)
    _, geometry = Preprocessing(56, fit).load_pixels(image)
    return Caption(
        words=tuple(words),
        log_probs=tuple(-0.5 - 0.1 * t for t in range(len(words) + 1)),
        attention=maps,
        betas=np.linspace(0.3, 0.9, len(words), dtype=np.float32),
        geometry=geometry,
        score=-1.25,
        image=image,
    )


def gallery_html(photos: list[list[Caption]], title: str | None = None) -> str:
    page = GalleryPage()
    for captions in photos:
        page.add(captions)
    return page.html(title)


def one_hot(*cells: tuple[int, int]) -> np.ndarray:
    maps = np.zeros((len(cells), *GRID), np.float32)
    for t, cell in enumerate(cells):
        maps[t][cell] = 1
    return maps


def saved(path: Path, size: tuple[int, int], color: int | None = None) -> Path:
    """A photo: noise in large squares, or of one grey."""
    if color is None:
        noise = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR).save(path)
    else:
        Image.new("RGB", size, (color,) * 3).save(path)
    return path


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    return saved(tmp_path / "a photo.png", (320, 200))


@pytest.fixture
def candidates(photograph: Path) -> list[Caption]:
    return [
        caption_of(photograph, "a dog runs through the grass"),
        caption_of(photograph, "two dogs play"),
    ]


def opened(visit: Visit, path: Path, captions: list[Caption], **options: Any) -> Any:
    write_page(path, captions)
    tab = visit(path.as_uri(), **options)
    tab.wait_for_selector(".word, .sentence:has-text('(no words)')")
    return tab


def gap(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference (pytest.approx takes seconds for so many numbers)."""
    return float(np.abs(one - other).max())


def slide(tab: Any, name: str, value: int) -> None:
    tab.get_by_label(name).fill(str(value))


def shown(tab: Any) -> list[str]:
    return tab.locator(".word.shown").all_text_contents()


def shows(tab: Any, *words: str) -> None:
    """Check whose maps are shown, once the page has heard of the mouse, the finger or the key."""
    from playwright.sync_api import TimeoutError

    with contextlib.suppress(TimeoutError):
        tab.wait_for_function(
            """(words) => JSON.stringify(words) === JSON.stringify(
              [...document.querySelectorAll(".word.shown")].map((each) => each.textContent))""",
            arg=list(words),
            timeout=10_000,
        )
    assert shown(tab) == list(words)


class Parsed(HTMLParser):
    """What a page holds: its elements with their attributes, and the content of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] in ("script", "style") and data.strip():
            self.raw.append((self.elements[-1][1], data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def decoded(picture: dict[str, str | None]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode((picture["src"] or "").partition(",")[2])))
