"""The sheet of photographs: each on its place, words within their room, files that are whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showattend.errors import UserError
from showattend.visualize.gallery import (
    MARGIN,
    PHOTO,
    WIDTH,
    Card,
    _Sheet,
    draw_gallery,
    pixels_of,
    save_gallery,
)

LONG = "a caption that goes on and on " * 12 + "w" * 200


def photo(path: Path, color: tuple[int, int, int], size: tuple[int, int] = (40, 40)) -> Path:
    Image.new("RGB", size, color).save(path)
    return path


def box_of(pixels: np.ndarray, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, width and height of what has a colour."""
    ys, xs = np.nonzero((pixels == color).all(axis=2))
    return xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1


def test_photographs_stand_two_in_a_row(tmp_path: Path) -> None:
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    cards = [
        Card(photo(tmp_path / f"{k}.png", color, (80, 40) if k == 2 else (40, 40)), "a dog")
        for k, color in enumerate(colors)
    ]
    pixels = pixels_of(draw_gallery(cards, "Worst"))
    first, second, third = (box_of(pixels, color) for color in colors)
    assert first[0] == MARGIN
    assert first[2:] == second[2:] == (PHOTO, PHOTO)
    assert third[2:] == (PHOTO, PHOTO // 2)  # its shape is kept
    assert second[1] == first[1]
    assert second[0] > WIDTH / 2
    assert third[0] == first[0]
    assert third[1] >= first[1] + PHOTO


def test_long_words_wrap_and_nothing_overlaps(tmp_path: Path) -> None:
    red = photo(tmp_path / "red.png", (255, 0, 0))
    cards = [Card(red, LONG, (LONG, "$x$"), ("count: two / three",)), Card(red, "a dog", ())] * 2
    pixels = pixels_of(draw_gallery(cards, LONG))
    # Beside the left photographs, in the gap between the columns, and at the rim, nothing stands.
    dark = (pixels != 255).any(axis=2)
    assert not dark[:, WIDTH - MARGIN + 1 :].any()
    assert not dark[:, :MARGIN].any()
    assert not dark[-MARGIN:].any()
    photo_top = box_of(pixels, (255, 0, 0))[1]
    middle = WIDTH // 2
    assert not dark[photo_top:, middle - 10 : middle + 10].any()


def test_no_line_is_wider_than_its_room() -> None:
    sheet = _Sheet()
    lines = sheet.wrapped(LONG, 19, 300, "bold")
    assert len(lines) > 5
    assert max(sheet._width(line, 19, "bold") for line in lines) <= 300
    assert "".join(lines).replace(" ", "") == LONG.replace(" ", "")


def test_a_photograph_that_is_gone_leaves_a_grey_field(tmp_path: Path) -> None:
    pixels = pixels_of(draw_gallery([Card(tmp_path / "gone.jpg", "a dog")], "Worst"))
    field = pixels[-MARGIN - PHOTO :, : MARGIN + PHOTO]  # without the headline's grey edges
    assert box_of(field, (225, 225, 225)) == (MARGIN, 0, PHOTO, PHOTO)


def test_files(tmp_path: Path) -> None:
    cards = [Card(photo(tmp_path / "red.png", (255, 0, 0)), "a dog")]
    save_gallery(cards, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == WIDTH
    save_gallery(cards, tmp_path / "sheet.pdf")
    assert (tmp_path / "sheet.pdf").read_bytes().startswith(b"%PDF")


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to draw"):
        draw_gallery([], "Worst")
    with pytest.raises(UserError, match=r"\.png or \.pdf"):
        save_gallery([Card(tmp_path / "a.png", "a dog")], tmp_path / "sheet.gif")
    with pytest.raises(UserError, match="show fewer"):
        draw_gallery([Card(tmp_path / "gone.jpg", "a dog")] * 200, "Worst")
    with pytest.raises(UserError, match="cannot be written"):
        save_gallery([Card(tmp_path / "gone.jpg", "a dog")], tmp_path / "no" / "sheet.png")
