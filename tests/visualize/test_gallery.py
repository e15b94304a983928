"""The sheet of photographs: each on its place, words within their room, files that are whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showattend.exceptions import UserError
from showattend.visualize.gallery import (
    MARGIN,
    MOST_CARDS,
    PHOTO,
    WIDTH,
    Card,
    draw_gallery,
    save_gallery,
)
from showattend.visualize.sheet import Sheet, pixels_of

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
    sheet = Sheet(WIDTH, LONG)
    lines = sheet.wrapped(LONG, 19, 300, bold=True)
    assert len(lines) > 5
    assert max(sheet.text_width(line, 19, bold=True) for line in lines) <= 300
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


def test_the_same_sheet_is_the_same_file(tmp_path: Path) -> None:
    cards = [Card(photo(tmp_path / "red.png", (255, 0, 0)), "a dog")]
    for suffix in (".png", ".pdf"):
        first, second = tmp_path / f"1{suffix}", tmp_path / f"2{suffix}"
        for path in (first, second):
            assert save_gallery(cards, path) == ""
        assert first.read_bytes() == second.read_bytes()


def test_letters_that_no_font_has_are_told(tmp_path: Path) -> None:
    card = Card(tmp_path / "gone.jpg", "a \U00012000 dog", ("\U00012001",), ("\U00012002",))
    shortage = save_gallery([card], tmp_path / "sheet.png")
    assert "no font on this machine has U+12000, U+12001, U+12002 (Cuneiform)" in shortage
    texts = [text.get_text() for text in draw_gallery([card], "Worst").texts]
    assert {"a ? dog", "“?”", "?"} <= set(texts)
    assert "U+12000" in texts[1], "below the headline"
    assert not any(letter in text for text in texts for letter in card.caption[2])


def test_as_many_as_are_promised_can_be_drawn(tmp_path: Path) -> None:
    card = Card(tmp_path / "gone.jpg", "a dog")
    assert draw_gallery([card] * MOST_CARDS, "Worst").get_size_inches()[1] > 158
    with pytest.raises(UserError, match=r"more than 16000; give a lower --worst$"):
        draw_gallery([card] * (MOST_CARDS + 1), "Worst", "give a lower --worst")


def test_an_old_sheet_stays_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    (tmp_path / "sheet.png").write_bytes(b"old")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        save_gallery([Card(tmp_path / "gone.jpg", "a dog")], tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to draw"):
        draw_gallery([], "Worst")
    with pytest.raises(UserError, match=r"\.png or \.pdf"):
        save_gallery([Card(tmp_path / "a.png", "a dog")], tmp_path / "sheet.gif")
    with pytest.raises(UserError, match="show fewer"):
        draw_gallery([Card(tmp_path / "gone.jpg", "a dog")] * 200, "Worst")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        save_gallery([Card(tmp_path / "gone.jpg", "a dog")], tmp_path / "file" / "sheet.png")
