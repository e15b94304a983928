"""Files of every form: whole or not at all, repeatable, maps on the right pixels in vectors too."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showattend.caption import Caption
from showattend.exceptions import UserError
from showattend.visualize import FORMS, check_output, figure_bytes, save_figure
from showattend.visualize.figure import draw_figure
from tests.visualize.drawing import CELLS, caption_of, landing, plain, shaded

STARTS = {
    ".png": b"\x89PNG",
    ".jpg": b"\xff\xd8",
    ".jpeg": b"\xff\xd8",
    ".svg": b"<?xml",
    ".pdf": b"%PDF",
    ".gif": b"GIF89a",
    ".webp": b"RIFF",
    ".npz": b"PK",
    ".json": b"{",
}


def test_forms(tmp_path: Path) -> None:
    caption = caption_of(shaded(90, 60), [(0, 0), (3, 3)])
    assert set(STARTS) == set(FORMS)
    for suffix, start in STARTS.items():
        path = tmp_path / "new" / f"figure{suffix.upper()}"
        save_figure(caption, path)
        assert path.read_bytes().startswith(start)
        assert FORMS[suffix](caption, suffix) == path.read_bytes(), "repeatable"
    assert len(list((tmp_path / "new").iterdir())) == len(STARTS), "nothing left aside"


def test_pages_show_the_runners_up(tmp_path: Path) -> None:
    other = caption_of(shaded(90, 60), [(1, 1)], words="zebra")
    best = caption_of(shaded(90, 60), [(0, 0), (3, 3)], words="a dog")
    caption = Caption(**{**vars(best), "alternatives": (other,)})
    save_figure(caption, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "dog" in page
    assert "zebra" in page


def test_unknown_forms_are_refused(tmp_path: Path) -> None:
    caption = caption_of(plain(9, 6), [(0, 0)])
    for name in ("figure.docx", "figure"):
        with pytest.raises(UserError, match=r"\.png, \.jpg.*\.html") as caught:
            save_figure(caption, tmp_path / name)
        assert name in str(caught.value)
    assert check_output("a.PNG") == ".png"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.gif", {"layout": "grid"}, "a .gif file has no layout; only .png, .jpg"),
        ("a.npz", {"style": "heat"}, "a .npz file has no style"),
        ("a.html", {"style": "heat"}, "a .html file has no style"),
        ("a.html", {"words": ["dog"]}, "not in the caption: dog"),
        ("a.png", {"style": "dim"}, "no style 'dim'; choose from heat, light"),
        ("a.png", {"layout": "pile"}, "choose from summary, grid, strip, word, parts, matrix"),
        ("a.gif", {"scale": "log"}, "choose from word, common"),
        ("a.png", {"colour": "red"}, "no colour"),
    ],
)
def test_options_of_another_form_are_refused(
    name: str, options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        save_figure(caption_of(plain(9, 6), [(0, 0)]), tmp_path / name, **options)


def test_what_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caption = caption_of(plain(9, 6), [(0, 0)])
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        save_figure(caption, tmp_path / "file" / "figure.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        save_figure(caption, tmp_path / "folder.png")

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    target = tmp_path / "figure.png"
    target.write_bytes(b"the old one")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        save_figure(caption, target)
    assert target.read_bytes() == b"the old one"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder.png", "figure.png"}


# --- pixels, read back from the files -------------------------------------------------------------

Placed = tuple[np.ndarray, tuple[float, float, float, float]]
"""A picture and its left, top, width, height in pixels of the figure."""


def pictures_in_pdf(content: bytes) -> list[Placed]:
    streams = {}
    for match in re.finditer(
        rb"(\d+) 0 obj\n(<<(?:(?!endobj).)*?>>)\nstream\r?\n", content, re.DOTALL
    ):
        data = content[match.end() : content.index(b"endstream", match.end())]
        streams[int(match[1])] = (match[2], data)
    height = float(re.search(rb"/MediaBox \[ 0 0 [\d.]+ ([\d.]+) \]", content)[1])  # type: ignore[index]
    names = {
        name.decode(): int(number) for name, number in re.findall(rb"/(I\d+) (\d+) 0 R", content)
    }
    pages = [zlib.decompress(data) for head, data in streams.values() if b"/Subtype" not in head]
    drawn = re.findall(
        rb"q 1 0 0 1 (\S+) (\S+) cm (\S+) 0 0 (\S+) 0 (\S+) cm /(I\d+) Do", b"\n".join(pages)
    )
    found = []
    for *numbers, name in drawn:
        left, bottom, w, h, lift = (float(number) for number in numbers)
        assert h == -lift  # drawn upside down: the file holds the lowest row first
        head, data = streams[names[name.decode()]]
        if b"/DeviceRGB /BitsPerComponent 8" not in head:  # the key: a table of colours
            continue
        columns, rows = (
            int(re.search(rb"/%s (\d+)" % key, head)[1])  # type: ignore[index]
            for key in (b"Width", b"Height")
        )
        top = height - bottom - lift
        place = tuple(value * 100 / 72 for value in (left, top, w, lift))
        found.append((_png(columns, rows, data)[::-1], place))
    return found  # type: ignore[return-value]


def _png(width: int, height: int, data: bytes) -> np.ndarray:
    """The pixels of a PDF's picture: its rows are packed as a PNG's are."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    whole = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    with Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + whole)) as opened:
        return np.asarray(opened.convert("RGB"))


@pytest.mark.parametrize("size", [(320, 200), (100, 700), (900, 100)])
def test_pdf_shows_the_heat_where_the_cell_is(size: tuple[int, int]) -> None:
    caption = caption_of(shaded(*size), CELLS)
    figure = draw_figure(caption, layout="grid")
    width, height = figure.get_size_inches() * figure.dpi
    pictures = pictures_in_pdf(figure_bytes(caption, ".pdf", layout="grid"))
    for axes, (pixels, (left, top, w, h)) in zip(figure.axes, pictures, strict=True):
        x0, y0, x1, y1 = axes.get_position().extents
        expected = (x0 * width, (1 - y1) * height, (x1 - x0) * width, (y1 - y0) * height)
        assert (left, top, w, h) == pytest.approx(expected, abs=0.05)
        assert (w, h) == pytest.approx(pixels.shape[1::-1], abs=0.05), "a pixel is a pixel"
    photo, *panels = [pixels for pixels, _ in pictures]
    for cell, panel in zip(CELLS, panels, strict=True):
        assert np.abs(landing(photo, panel, cell)).max() <= 0.5


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_pixel_forms_hold_the_drawn_figure(suffix: str) -> None:
    caption = caption_of(shaded(320, 200), CELLS)
    figure = draw_figure(caption, layout="grid")
    with Image.open(io.BytesIO(figure_bytes(caption, suffix, layout="grid"))) as opened:
        page = np.asarray(opened.convert("RGB"))
    height, width = page.shape[:2]
    pictures = []
    for axes in figure.axes:
        x0, y0, x1, y1 = axes.get_position().extents
        rows = slice(round((1 - y1) * height), round((1 - y0) * height))
        pictures.append(page[rows, round(x0 * width) : round(x1 * width)])
    photo, *panels = pictures
    for cell, panel in zip(CELLS, panels, strict=True):
        assert np.abs(landing(photo, panel, cell)).max() <= 0.5
