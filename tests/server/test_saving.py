"""Files of what the page shows: the same as the command line's, of photos of any size."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showattend.captioner import Captioner
from showattend.exceptions import UserError
from showattend.images.photo_file import PhotoFile
from showattend.server.saving import LONGEST_SIDE, MOST_WORDS, draw
from showattend.text.tokenizer import tokenize
from showattend.visualize.figure import figure_bytes
from tests.visualize.pages import Parsed


def test_a_figure_is_the_one_of_the_command_line(untrained: Captioner, photos: list[Path]) -> None:
    made = draw(untrained, PhotoFile(photos[0]), "a dog on grass", "png", 5)
    wanted = figure_bytes(untrained.attend(photos[0], "a dog on grass"), ".png")
    with Image.open(io.BytesIO(made)) as one, Image.open(io.BytesIO(wanted)) as other:
        assert one.size == other.size
        assert np.abs(np.asarray(one, float) - np.asarray(other, float)).max() <= 8


def test_a_page_has_every_caption_the_others_the_first(untrained: Captioner, photo: Path) -> None:
    said = "a dog\n\n  a man in red \n"
    page = Parsed(draw(untrained, PhotoFile(photo), said, "html", 5).decode())
    (data,) = [text for attributes, text in page.raw if attributes.get("id") == "photos"]
    assert "A dog." in data
    assert "A man in red." in data
    gif = draw(untrained, PhotoFile(photo), said, "gif", 5)
    with Image.open(io.BytesIO(gif)) as moving:
        assert moving.n_frames == 3


def test_a_large_photo_is_shrunk_before_it_is_drawn(
    untrained: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = io.BytesIO()
    Image.new("RGB", (4000, 1000), (90, 120, 30)).save(content, "JPEG")
    photo = PhotoFile.of(content.getvalue(), "wide.jpg")
    sizes = []

    def drawn(caption, suffix):  # type: ignore[no-untyped-def]
        sizes.append((caption.image.size, caption.geometry.image_size, caption.geometry.box))
        return b"made"

    monkeypatch.setitem(draw.__globals__["FORMS"], ".png", drawn)
    assert draw(untrained, photo, "a dog", "png", 5) == b"made"
    size = (LONGEST_SIDE, LONGEST_SIDE // 4)
    assert sizes == [(size, size, (0, 0, *size))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "give 1 to 2 captions"),
        (" \n ", "give 1 to 2 captions"),
        ("a\nb\nc", "give 1 to 2 captions, one per line, not 3"),
        ("dog " * (MOST_WORDS + 1), "at most 60 words"),
        ("!?", "has no words"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    text: str, message: str, untrained: Captioner, photo: Path
) -> None:
    with pytest.raises(UserError, match=message):
        draw(untrained, PhotoFile(photo), text, "html", 2)


def test_the_words_of_a_caption_are_read_back_as_they_are() -> None:
    """The page sends a caption's words with blanks between them."""
    words = ["a", "dog", "'s", "ball", "does", "n't", "move", "t-shirt", "<unk>", "two", "o'clock"]
    for word in (words, [*words, "i"]):
        text = " ".join(each for each in word if each != "<unk>")
        assert tokenize(text) == text.split()
