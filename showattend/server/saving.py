"""A caption on the page as a file: a figure, an animation, or a page of its own."""

from __future__ import annotations

from dataclasses import replace

from showattend.caption import Caption
from showattend.captioner import Captioner
from showattend.exceptions import UserError
from showattend.images.geometry import Geometry
from showattend.images.photo_file import PhotoFile
from showattend.text.tokenizer import tokenize
from showattend.visualize.formats import FORMS
from showattend.visualize.heat import thumbnail_of
from showattend.visualize.page import page_html

KINDS = {"png": "image/png", "gif": "image/gif", "html": "text/html; charset=utf-8"}
"""The files that can be saved, with their content types."""
LONGEST_SIDE = 1600
"""The longest side of the photo in a figure, in pixels; larger ones are shrunk before drawing."""
MOST_WORDS = 60


def draw(captioner: Captioner, photo: PhotoFile, text: str, kind: str, most: int) -> bytes:
    """Draw captions of a photo as ``attend --caption --output`` does.

    Args:
        captioner: The model, on which the captions are forced.
        photo: The photo.
        text: The captions, one per line; a page shows all of them, the others the first.
        kind: One of `KINDS`.
        most: The most captions.

    Raises:
        ImageError: The photo cannot be opened.
        UserError: There is no caption, there are too many, or one is too long or has no words.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not 1 <= len(lines) <= most:
        raise UserError(f"give 1 to {most} captions, one per line, not {len(lines)}")
    if any(len(tokenize(line)) > MOST_WORDS for line in lines):
        raise UserError(f"a caption to draw has at most {MOST_WORDS} words")
    captions = captioner.attend_all(photo, lines if kind == "html" else lines[:1])
    small = _shrunk(captions)
    if kind == "html":
        return page_html(small, title=photo.name).encode()
    return FORMS[f".{kind}"](small[0], f".{kind}")


def _shrunk(captions: list[Caption]) -> list[Caption]:
    """The same captions of a photo shrunk to what a figure can show."""
    photo = thumbnail_of(captions[0], LONGEST_SIDE)
    old = captions[0].geometry
    x, y = (new / side for new, side in zip(photo.size, old.image_size, strict=True))
    left, top, right, bottom = old.box
    geometry = Geometry(photo.size, (x * left, y * top, x * right, y * bottom))
    return [replace(each, image=photo, geometry=geometry) for each in captions]
