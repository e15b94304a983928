"""An animation of a caption: the photo, then where the model looked for each word."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from showattend.caption import Caption
from showattend.exceptions import UserError
from showattend.text.tokenizer import pieces
from showattend.visualize.focus import bright_of, everywhere, looked
from showattend.visualize.fonts import right_to_left
from showattend.visualize.heat import (
    SENTINEL,
    chance_of,
    details_of,
    fitted,
    full_heat,
    heat_of,
    paint,
    photo_of,
    positions_of,
    sentinel_of,
)
from showattend.visualize.sheet import INK, QUIET, Sheet, pixels_of

BUDGET = 2_000_000
"""The most bytes of an animation; quality is reduced first, then size."""

SMALLEST, LARGEST = 32, 2048  # the allowed range of the longer side
NARROWEST = 320  # page: a caption wants room
THINNEST = 6  # side of a photo that is a line
MARGIN, SAID, NOTE = 14, 20, 14  # pixels of a page 640 wide; font sizes
SPACING = 1.5  # of lines
PALE, DARK = "#b4b4b9", 28  # words that are not shown now; the line under the one that is
FIRST, EACH, LAST = 1500, 900, 2000  # milliseconds: the photo, a word, the last word
QUALITIES = (85, 60)  # of WebP: then the picture gets smaller
COLOURS = (256, 128)  # of GIF: likewise
GREYS = 12  # of them, for the letters
SAMPLE = 50_000  # pixels that the colours of a GIF are chosen by
LEVELS = 64  # levels of heat: hardly distinguishable, and unchanged pixels cost nothing


def animation_bytes(
    caption: Caption,
    suffix: str = ".gif",
    *,
    words: Sequence[str] | None = None,
    scale: str = "word",
    style: str = "heat",
    details: bool = False,
    size: int = 640,
    colormap: str = "inferno",
    alpha: float = 0.55,
) -> bytes:
    """A caption as a looping animation of at most 2 MB.

    The first frame is the photo; each other one is the photo under the map of a word, which is dark
    in the caption below, with its probability. The picture is at the top of the frame, centred if
    it is narrower.

    Args:
        caption: The caption, with its image.
        suffix: .gif or .webp.
        words: Step through these words only.
        scale: "word" or "common", as for a figure.
        style: "heat" or "light", as for a figure.
        details: Also show the gate β and the entropy of each word.
        size: The photo's longer side, in pixels.
        colormap: One of matplotlib's colour maps, for the style "heat".
        alpha: How much its colour covers the photo, in [0, 1].

    Raises:
        UserError: An unknown word, scale, style or colour map, a number out of its range, or a
            caption that does not know its image.
    """
    if not SMALLEST <= size <= LARGEST:
        raise UserError(f"the size is {size} pixels; it must lie in {SMALLEST} to {LARGEST}")
    encode, coarsest = (_gif, COLOURS[-1]) if suffix == ".gif" else (_webp, QUALITIES[-1])
    quality = COLOURS[0] if suffix == ".gif" else QUALITIES[0]
    look = {"style": style, "colormap": colormap, "alpha": alpha}
    asked = size
    while True:
        walk = draw_walk(caption, words=words, scale=scale, size=size, look=look, details=details)
        times = [FIRST, *[EACH] * (len(walk.frames) - 1)]
        times[-1] = LAST
        content = encode(walk, times, quality)
        if len(content) > BUDGET and quality != coarsest:
            quality = coarsest
            content = encode(walk, times, quality)
        if len(content) <= BUDGET:
            return content
        if size == SMALLEST:
            raise UserError(f"no animation of {asked} pixels fits 2 MB; choose fewer words")
        smaller = min(0.9, math.sqrt(0.95 * BUDGET / len(content)))
        size = max(SMALLEST, round(size * smaller))


@dataclass(frozen=True)
class Walk:
    """The frames of an animation.

    Attributes:
        frames: Each [height, width, 3] uint8: the photo, then one per word.
        photo: Left, top, right, bottom of the photo in each.
    """

    frames: list[np.ndarray]
    photo: tuple[int, int, int, int]


def draw_walk(
    caption: Caption,
    *,
    words: Sequence[str] | None,
    scale: str,
    size: int,
    look: dict[str, Any],
    details: bool = False,
) -> Walk:
    """Draw the frames.

    Args:
        caption: The caption, with its image.
        words: See ``animation_bytes``.
        scale: See ``animation_bytes``.
        size: See ``animation_bytes``.
        look: Options of ``paint``.
        details: See ``animation_bytes``.

    Raises:
        UserError: See ``animation_bytes``.
    """
    positions = positions_of(caption, words)
    photo = photo_of(caption)
    factor = size / max(photo.size)
    width, height = (max(round(side * factor), THINNEST) for side in photo.size)
    base = fitted(photo, (width, height))
    bar = _Bar(caption, max(width, min(NARROWEST, size)), scale, details)
    left = (bar.width - width) // 2
    frames = []
    for t in [None, *positions]:
        frame = np.full((height + bar.height, bar.width, 3), 255, np.uint8)
        picture = base
        if t is not None:
            heat = np.rint(heat_of(caption, t, (width, height), scale) * LEVELS) / LEVELS
            picture = paint(base, heat.astype(np.float32), **look)
        frame[:height, left : left + width] = picture
        frame[height:] = bar.draw(t)
        frames.append(frame)
    return Walk(frames, (left, 0, left + width, height))


@dataclass(frozen=True)
class _Place:
    """A word in the bar: its extent, its line, and the part of it that is shown."""

    left: float
    right: float
    line: int
    word: str


class _Bar:
    """The caption under the photo, with one word darker than the others, and its figures."""

    def __init__(self, caption: Caption, width: int, scale: str, details: bool) -> None:
        self.caption, self.width, self.details = caption, width, details
        self.unit = min(max(width / 640, 0.85), 2.0)
        self.shared = caption.explanation
        if scale == "common" and caption.words:
            common = f"scale: common, full at {full_heat(caption, 0, scale):.0%} in a cell"
            self.shared = " · ".join(filter(None, (self.shared, common)))
        sheet = self._sheet()
        room = width - 2 * self._px(MARGIN)
        notes = [sheet.letters.shortage, "" if caption.sentinel is None else SENTINEL]
        self.below = [line for note in notes for line in sheet.wrapped(note, NOTE, room)]
        self.places = self._place(sheet)
        lines = 1 + max((place.line for place in self.places), default=0)
        self.line = self._px(SAID * SPACING)
        self.top = self._px(MARGIN * 0.6)
        self.said = self.top + lines * self.line  # height of the words' part
        self.height = self.said + self._px((1 + len(self.below)) * NOTE * SPACING + MARGIN)
        # Each word is drawn once dark and once pale; frames are assembled from those.
        self.dark, self.pale = self._words(INK), self._words(PALE)

    def draw(self, t: int | None) -> np.ndarray:
        """The bar while word ``t`` is shown: [height, width, 3] uint8."""
        bar = np.empty((self.height, self.width, 3), np.uint8)
        bar[: self.said] = self.dark if t is None else self.pale
        bar[self.said :] = self._notes(t)
        if t is not None:
            place = self.places[t]
            left, right = max(math.floor(place.left), 0), math.ceil(place.right)
            top = self.top + place.line * self.line
            rows, columns = slice(top, top + self.line), slice(left, right)
            bar[rows, columns] = self.dark[rows, columns]
            thick = self._px(2)
            bar[rows, columns][-thick - 1 : -1] = DARK
        return bar

    def _words(self, color: str) -> np.ndarray:
        sheet = self._sheet()
        sheet.set_height(self.said)
        for place in self.places:
            y = self.top + (place.line + 0.72) * self.line
            sheet.text(place.left, y, place.word, SAID, color)
        return pixels_of(sheet.figure)

    def _notes(self, t: int | None) -> np.ndarray:
        sheet = self._sheet()
        sheet.set_height(self.height - self.said)
        note = bright_of(self.caption)
        if t is not None:
            facts = [f"{t + 1} of {len(self.caption.words)}", chance_of(self.caption, t)]
            facts.append(sentinel_of(self.caption, t))
            if self.caption.unsure[t]:
                facts.append("unsure")
            if not looked(self.caption)[t]:
                facts.append(everywhere(self.caption))
            if self.details:
                facts.append(f"{details_of(self.caption, t)} bits")
            note = " · ".join(filter(None, (*facts, self.shared)))
        room = self.width - 2 * self._px(MARGIN)
        for number, text in enumerate([note, *self.below]):
            y = self._px((number * SPACING + 1.2) * NOTE)
            size = float(NOTE)
            while sheet.text_width(text, size) > room and size > 1:
                size *= 0.95  # not by a single division: small letters are relatively wider
            sheet.text(self._px(MARGIN), y, text, size, QUIET)
        return pixels_of(sheet.figure)

    def _place(self, sheet: Sheet) -> list[_Place]:
        """The place of each word; from the right if the caption is read so."""
        margin, blank = self._px(MARGIN), self._px(SAID * 0.32)
        room = self.width - 2 * margin
        from_right = right_to_left(self.caption.raw)
        places: list[_Place] = []
        x, line = 0.0, 0
        for piece in pieces(self.caption.words):
            shown = piece.strip()
            if not piece.startswith(" "):
                x = max(x - blank, 0.0)
            while len(shown) > 2 and sheet.text_width(shown, SAID) > room:
                shown = f"{shown[:-2]}…"
            wide = sheet.text_width(shown, SAID)
            if x and x + wide > room:
                x, line = 0.0, line + 1
            left = self.width - margin - x - wide if from_right else margin + x
            places.append(_Place(left, left + wide, line, shown))
            x += wide + blank
        return places

    def _sheet(self) -> Sheet:
        return Sheet(
            self.width,
            f"{self.caption.text} {self.caption.raw} {self.shared} {bright_of(self.caption)} "
            f"{everywhere(self.caption)} of unsure {SENTINEL} 0123456789%βH·.",
            self.unit,
        )

    def _px(self, length: float) -> int:
        return math.ceil(length * self.unit)


def _gif(walk: Walk, times: list[int], colours: int) -> bytes:
    # One colour table for the photo, and one for all frames with maps: pixels that do not change
    # from word to word cost nothing. No dithering, which would change everything.
    left, top, right, bottom = walk.photo
    pages = []
    greys = np.linspace(DARK, 255, GREYS).round().astype(np.uint8)  # the letters have their own
    for frames in (walk.frames[:1], walk.frames[1:]):
        if not frames:  # a caption without words
            continue
        photos = [frame[top:bottom, left:right] for frame in frames]
        table, matched = few_colours(photos, colours - GREYS)
        entries = [*table, *np.repeat(greys, 3).tolist()]
        for frame, numbers in zip(frames, matched, strict=True):
            light = (frame.astype(np.float32).mean(2) - DARK) / (255 - DARK) * (GREYS - 1)
            page = np.rint(light).clip(0, GREYS - 1).astype(np.uint8) + np.uint8(len(table) // 3)
            page[top:bottom, left:right] = numbers
            pages.append(Image.fromarray(page, "L"))
            pages[-1].putpalette(entries)
    return _moving(pages, times, "GIF", optimize=False, disposal=1)


def few_colours(pictures: Sequence[np.ndarray], count: int) -> tuple[list[int], np.ndarray]:
    """Choose colours for several pictures, and give each pixel the nearest of them.

    Pillow finds the nearest to within four levels.

    Args:
        pictures: P pictures of one size, each [H, W, 3] uint8.
        count: The most colours.

    Returns:
        The colours' red, green and blue values in sequence, and the number of each pixel's colour
        [P, H, W] uint8.
    """
    strip = Image.fromarray(np.concatenate(pictures))
    step = 1 + math.isqrt(strip.width * strip.height // SAMPLE)
    sample = Image.fromarray(np.asarray(strip)[::step, ::step])
    # k-means ends when less than a fiftieth of the pixels change their colour.
    table = sample.quantize(count, Image.Quantize.MAXCOVERAGE, kmeans=SAMPLE // 50)
    few = strip.quantize(palette=table, dither=Image.Dither.NONE)
    return table.getpalette() or [], np.asarray(few).reshape(len(pictures), *pictures[0].shape[:2])


def _webp(walk: Walk, times: list[int], quality: int) -> bytes:
    pages = [Image.fromarray(frame) for frame in walk.frames]
    return _moving(pages, times, "WEBP", quality=quality, method=4)


def _moving(pages: list[Image.Image], times: list[int], form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    first, *rest = pages
    first.save(
        file, form, save_all=True, append_images=rest, duration=times, loop=0, **options
    )  # fmt: skip
    return file.getvalue()
