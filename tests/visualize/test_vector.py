"""SVG: the photo once, the heat on the right pixels, and the same picture as in PNG."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path as FilePath
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.path import Path
from PIL import Image

from showattend.visualize import figure_bytes
from showattend.visualize.figure import draw_figure
from showattend.visualize.heat import STYLES, fitted, paint
from showattend.visualize.vector import BANDS
from tests.browser import chromium as chromium
from tests.browser import visit as visit
from tests.visualize.drawing import CELLS, caption_of, landing, shaded
from tests.visualize.pages import Visit

SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"


@dataclass
class Shown:
    """A picture in an SVG: its left, top, width and height, and its areas of growing heat."""

    box: tuple[float, float, float, float]
    areas: list[list[np.ndarray]]  # in shares of the picture

    def heat(self, size: tuple[int, int]) -> np.ndarray:
        """Read back at the pixels of a (width, height)."""
        y, x = np.mgrid[: size[1], : size[0]]
        points = np.stack([x.ravel() + 0.5, y.ravel() + 0.5], 1) / size
        heat = np.zeros(len(points), np.float32)
        for curves in self.areas:
            inside = sum(Path(curve, closed=True).contains_points(points) for curve in curves)
            heat += np.asarray(inside) % 2 / BANDS
        return heat.reshape(size[::-1])


def read(content: bytes) -> tuple[Image.Image, list[Shown]]:
    root = ElementTree.fromstring(content)
    (image,) = root.iter(f"{SVG}image")
    kind, _, data = image.attrib[LINK].partition(",")
    assert kind == "data:image/jpeg;base64"
    size = int(image.attrib["width"]), int(image.attrib["height"])
    photo = Image.open(io.BytesIO(base64.b64decode(data)))
    assert photo.size == size
    (group,) = (each for each in root.iter(f"{SVG}g") if each.attrib.get("id") == "pictures")
    assert group.attrib["transform"] == "scale(0.72)"
    found = []
    for each in group.findall(f"{SVG}g"):
        place = re.fullmatch(
            r"translate\((\S+) (\S+)\) scale\((\S+) (\S+)\)", each.attrib["transform"]
        )
        assert place
        x, y, across, down = map(float, place.groups())
        areas = []
        for path in each.iter(f"{SVG}path"):
            parts = [part for part in path.attrib["d"].split("M") if part]
            numbers = [np.array(part.rstrip("Z").split(), float).reshape(-1, 2) for part in parts]
            areas.append([np.concatenate([each, each[:1]]) / size for each in numbers])
        found.append(Shown((x, y, across * size[0], down * size[1]), areas))
    return photo, found


@pytest.mark.parametrize(
    "size",
    [
        (320, 200), (60, 360), (900, 100), (40, 40),
        pytest.param((1500, 1000), marks=pytest.mark.slow),
    ],
)  # fmt: skip
@pytest.mark.parametrize("style", STYLES)
def test_the_heat_is_where_the_cell_is(size: tuple[int, int], style: str) -> None:
    caption = caption_of(shaded(*size), CELLS)
    options = {"layout": "grid", "style": style}
    figure = draw_figure(caption, **options)  # type: ignore[arg-type]
    width, height = figure.get_size_inches() * figure.dpi
    photo, (plain, *panels) = read(figure_bytes(caption, ".svg", **options))
    assert not plain.areas
    for axes, shown in zip(figure.axes, [plain, *panels], strict=True):
        x0, y0, x1, y1 = axes.get_position().extents
        expected = (x0 * width, (1 - y1) * height, (x1 - x0) * width, (y1 - y0) * height)
        assert shown.box == pytest.approx(expected, abs=0.05)
    drawn = round(plain.box[2]), round(plain.box[3])
    base = fitted(photo, drawn)
    assert np.abs(base.astype(int) - fitted(Image.fromarray(shaded(*size)), drawn)).mean() < 3
    assert max(photo.size) <= max(2 * max(drawn), 480), "no larger than it is of use"
    for cell, shown in zip(CELLS, panels, strict=True):
        panel = paint(base, shown.heat(drawn), style=style)
        assert np.abs(landing(base, panel, cell, style=style)).max() <= 1


@pytest.mark.parametrize("layout", ["summary", "grid", "strip", "word"])
def test_one_photo_in_every_layout(layout: str) -> None:
    photo, shown = read(figure_bytes(caption_of(shaded(90, 60), CELLS), ".svg", layout=layout))
    assert photo.format == "JPEG"
    assert len(shown) == {"summary": 5, "word": 5}.get(layout, 6)
    _, pictures = read(figure_bytes(caption_of(shaded(90, 60), []), ".svg", layout=layout))
    assert len(pictures) == 1


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("layout", ["summary", "grid"])
def test_a_browser_shows_what_the_png_shows(
    style: str, layout: str, visit: Visit, tmp_path: FilePath
) -> None:
    caption = caption_of(shaded(320, 200), CELLS[:3])
    caption.attention[1] = 0.5 * caption.attention[1] + 0.5 / 49
    options = {"layout": layout, "style": style}
    with Image.open(io.BytesIO(figure_bytes(caption, ".png", **options))) as opened:
        wanted = np.asarray(opened.convert("RGB")).astype(float)
    height, width = wanted.shape[:2]
    path = tmp_path / "figure.svg"
    path.write_bytes(figure_bytes(caption, ".svg", **options))
    page = tmp_path / "page.html"
    page.write_text(
        f'<!DOCTYPE html><title>x</title><body style="margin:0"><img src="figure.svg" '
        f'style="display:block" width="{width}" height="{height}">'
    )
    tab = visit(page.as_uri(), size=(width, height))
    tab.wait_for_function("() => document.images[0].complete")
    with Image.open(io.BytesIO(tab.screenshot())) as opened:
        shown = np.asarray(opened.convert("RGB")).astype(float)
    difference = np.abs(shown - wanted)
    assert difference.mean() < 2.5
    assert np.quantile(difference, 0.98) < 16, "but for the edges of letters"
