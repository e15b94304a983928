"""A photo with its captions and maps as one HTML file; a gallery of them; the shell of any page.

The viewer (``viewer.js``, ``viewer.css``) is written into the file. A page loads nothing else; its
Content-Security-Policy forbids it, and allows no script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from showattend.caption import Caption
from showattend.exceptions import UserError
from showattend.system.files import write_text
from showattend.text.tokenizer import pieces
from showattend.visualize.focus import ATTENTION, SOMEWHERE, bright_of, half_area, shown_of
from showattend.visualize.heat import positions_of, thumbnail_of
from showattend.visualize.raw import plain_numbers

LONGEST_SIDE = 1024
"""The longer side of a page's photo, in pixels."""
LONGEST_SIDE_IN_GALLERY = 720
_SIDES = ((100, LONGEST_SIDE_IN_GALLERY), (400, 560), (float("inf"), 420))  # up to this many photos

_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Crect width='16' height='16' rx='3' fill='%23161514'/%3E"
    "%3Ccircle cx='9.5' cy='6.5' r='4' fill='%23f57d15'/%3E%3C/svg%3E"
)


def write_page(
    path: str | Path,
    captions: Sequence[Caption],
    *,
    title: str | None = None,
    words: Sequence[str] | None = None,
) -> None:
    """Write a photo with its captions and maps into one self-contained HTML file.

    Args:
        path: The file.
        captions: Candidates of one photo, best first.
        title: The headline; the photo's name by default.
        words: Only these words' maps, with the first of them shown initially; they are words of the
            best candidate, and of the others that have them.

    Raises:
        UserError: There is no caption, a word is not in the best one, the file cannot be written,
            or the caption does not know its image.
        ImageError: The image cannot be opened (any more).
    """
    write_text(Path(path), page_html(captions, title=title, words=words))


def page_html(
    captions: Sequence[Caption],
    *,
    title: str | None = None,
    words: Sequence[str] | None = None,
    longest: int = LONGEST_SIDE,
) -> str:
    """The page of one photo, as text; for arguments and errors see ``write_page``.

    Its longer side has ``longest`` pixels at most.
    """
    photo = photo_values(captions)
    if words is not None:
        positions_of(captions[0], words)  # it must have them; the others need not
        wanted = {word.strip().lower() for word in words}
        for values, caption in zip(photo["captions"], captions, strict=True):
            values["only"] = [t for t, word in enumerate(caption.words) if word.lower() in wanted]
    said = html.escape(captions[0].text)
    body = f"""\
<div id="viewer">
<figure class="stage">{_img(captions, 0, longest, said)}</figure>
<p class="sentence" dir="auto">{marked(captions[0])}</p>
{noted(captions[0])}
</div>
<noscript><p class="quiet">The maps are drawn by JavaScript, which is off here.</p></noscript>
{_data([photo])}"""
    title = title or photo["name"]
    foot = ""
    if shown_of(captions[0]) != ATTENTION:
        title = f"{title}: {shown_of(captions[0])}"
        foot = f"<p>{html.escape(bright_of(captions[0]))}</p>"
    return shell(title, body, scripts=[asset("viewer.js"), asset("pages.js")], foot=foot)


class Remark(NamedTuple):
    """A gallery's remark on some words of a caption, or on all of it.

    Attributes:
        kind: A short label, by which readers can filter photos.
        text: One line.
        start: Index of the first word.
        stop: Index after the last word; as ``start`` for a remark on the whole caption.
    """

    kind: str
    text: str
    start: int = 0
    stop: int = 0


class GalleryPage:
    """Many photos with their captions and maps, gathered one by one into one HTML page.

    Only a photo's part of the page is kept, so memory grows with the page, not the photos.

    Args:
        longest: The photos' longer side in pixels, at most; see ``longest_side``.
    """

    def __init__(self, longest: int = LONGEST_SIDE_IN_GALLERY) -> None:
        self._longest = longest
        self._cards: list[str] = []
        self._values: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self._cards)

    def add(
        self,
        captions: Sequence[Caption],
        name: str | None = None,
        *,
        remarks: Sequence[Remark] = (),
        people: Sequence[str] = (),
    ) -> None:
        """Add a photo.

        Args:
            captions: Its candidates, best first.
            name: Its name; that of its file by default.
            remarks: Remarks on the best candidate.
            people: Human captions of the photo.

        Raises:
            UserError: It has no caption, or the caption does not know its image.
            ImageError: The image cannot be opened (any more).
        """
        values = photo_values(captions, short=True)
        values["name"] = name or values["name"]
        words = captions[0].words
        values["remarks"] = [
            {**each._asdict(), "words": " ".join(words[each.start : each.stop])} for each in remarks
        ]
        values["people"] = list(people)
        kinds = "".join(
            f'<span class="kind">{html.escape(kind)}</span>'
            for kind in dict.fromkeys(each.kind for each in remarks)
        )
        picture = _img(captions, len(self), self._longest, "")
        self._values.append(values)
        self._cards.append(
            f'<li><button type="button" class="card">{picture}'
            f'<span dir="auto">{marked(captions[0]) or "(no words)"}</span>'
            f"{f'<span>{kinds}</span>' if kinds else ''}"
            f'<span class="name">{html.escape(values["name"])}</span></button></li>'
        )

    def html(
        self, title: str | None = None, *, kinds: Mapping[str, str] | None = None, note: str = ""
    ) -> str:
        """The page, as text.

        Args:
            title: The headline; the number of photos by default.
            kinds: The kinds of remarks with their meanings, listed above the photos.
            note: A line at the end of the page.

        Raises:
            UserError: There are no photos.
        """
        if not self._cards:
            raise UserError("there is nothing to show in the gallery")
        count = f"{len(self):,} photo{'' if len(self) == 1 else 's'}"
        newline = "\n"
        said = Counter(
            kind for each in self._values for kind in {one["kind"] for one in each["remarks"]}
        )
        legend = "".join(
            f'<li><button type="button" data-kind="{html.escape(kind)}" aria-pressed="false">'
            f"{html.escape(kind)} ({said[kind]})</button> {html.escape(meaning)}</li>"
            for kind, meaning in (kinds or {}).items()
        )
        body = f"""\
{f'<ul class="legend">{legend}</ul>' if legend else ""}
<div class="finder" role="search">
<label for="find">Find in captions and names</label> <input type="search" id="find">
<span class="quiet" id="found" role="status">{count}</span>
</div>
<ul class="cards">
{newline.join(self._cards)}
</ul>
<dialog aria-labelledby="shown">
<div class="top"><h2 id="shown"></h2><div class="buttons">
<button type="button" id="previous">Previous</button>
<button type="button" id="next">Next</button>
<button type="button" id="close">Close</button>
</div></div>
<div class="place"></div>
</dialog>
{_data(self._values)}"""
        foot = f"<p>{html.escape(note)}</p>" if note else ""
        scripts = [asset("viewer.js"), asset("pages.js")]
        return shell(title or count, body, scripts=scripts, foot=foot)


def longest_side(photos: int) -> int:
    """The longer side, in pixels, of each of this many photos in a page: the more, the smaller."""
    return next(side for most, side in _SIDES if photos <= most)


def photo_values(captions: Sequence[Caption], *, short: bool = False) -> dict[str, Any]:
    """A photo's captions for the viewer: plain values, no pixels.

    Args:
        captions: Candidates of one photo, best first.
        short: Whether to round maps to what can be seen, which halves the text.

    Raises:
        UserError: There is no caption.
        ValueError: The captions are of different photos.
    """
    if not captions:
        raise UserError("there is no caption to show")
    geometry = captions[0].geometry
    if any(each.geometry != geometry for each in captions):
        raise ValueError("the captions of one page must be of one photo")
    image = captions[0].image
    return {
        "name": Path(image).name if isinstance(image, str | Path) else "A photograph",
        "geometry": geometry.to_dict(),
        "unsure_below": captions[0].unsure_below,
        "somewhere": SOMEWHERE,
        "familiarity": captions[0].familiarity,
        "note": captions[0].note,
        "captions": [_caption_values(each, short) for each in captions],
    }


def marked(caption: Caption) -> str:
    """The caption's sentence as HTML, with unsure words marked visibly and for screen readers."""
    shown = []
    for part, value, unsure in zip(
        pieces(caption.words), caption.confidences, caption.unsure, strict=True
    ):
        text = html.escape(part)
        if unsure:
            blank, text = text[: len(text) - len(text.lstrip())], text.lstrip()
            text = (
                f'{blank}<span class="unsure" title="probability {value:.2f}">{text}'
                '<span class="heard"> (unsure)</span></span>'
            )
        shown.append(text)
    return "".join(shown)


def noted(caption: Caption) -> str:
    """The caption's note as HTML; empty if there is none."""
    return f'<p class="note">This photo is {html.escape(caption.note)}.</p>' if caption.note else ""


def picture(captions: Sequence[Caption], longest: int) -> str:
    """The photo as a data: address, upright, its longer side ``longest`` pixels at most.

    Raises:
        UserError: The caption does not know its image, or the image has another size by now.
        ImageError: The image cannot be opened (any more).
    """
    content = io.BytesIO()
    thumbnail_of(captions[0], longest).save(content, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def shell(
    title: str,
    body: str,
    *,
    scripts: Sequence[str],
    styles: Sequence[str] = (),
    foot: str = "",
    policy: str = "",
) -> str:
    """A whole page around a body, with the viewer's looks, that loads nothing from elsewhere.

    Args:
        title: The headline, as plain text.
        body: HTML.
        scripts: JavaScript, written into the page in this order.
        styles: More CSS.
        foot: HTML at the end of the page.
        policy: More of the Content-Security-Policy, such as ``connect-src 'self'``.
    """
    css = "\n".join((asset("viewer.css"), *styles))
    code = "\n".join(scripts)
    rules = (
        f"default-src 'none'; img-src data: blob:; style-src '{_hash(css)}'; "
        f"script-src '{_hash(code)}'; base-uri 'none'; form-action 'none'"
    )
    headline = html.escape(title)
    about = (
        "A small model looks at a photo once for each word; bright is where it looked. That shows "
        "where it looked, not why it chose the word."
    )
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{"; ".join(filter(None, (rules, policy)))}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{headline}</title>
<link rel="icon" href="{_ICON}">
<style>{css}</style>
</head>
<body>
<header class="top"><h1>{headline}</h1><button type="button" id="theme" hidden></button></header>
<main>
{body}
</main>
<footer>{foot or f"<p>{about}</p>"}</footer>
<script>{code}</script>
</body>
</html>
"""


def asset(name: str) -> str:
    """A file of the viewer."""
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _img(captions: Sequence[Caption], number: int, longest: int, alt: str) -> str:
    return f'<img data-photo="{number}" alt="{alt}" src="{picture(captions, longest)}">'


def _data(photos: list[dict[str, Any]]) -> str:
    """The captions as JSON in the page: none of their text can end the element."""
    text = json.dumps(photos, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="photos">{text}</script>'


_MAYBE_UNKNOWN = ("log_probs", "log_prob", "confidences", "confidence", "score")
"""Values that are null in a page if unknown (`Caption.from_maps`)."""


def _caption_values(caption: Caption, short: bool) -> dict[str, Any]:
    """As ``Caption.to_dict``, with numbers rounded, and those of a broken model made finite."""
    values = caption.to_dict(attention=True)
    for name in ("image", "geometry", "alternatives", "familiarity", "note"):
        values.pop(name, None)
    values["half_area"] = [half_area(each) for each in caption.attention]
    for name in ("log_probs", "log_prob", "confidences", "confidence", "score", "betas",
                 "attention", "half_area", "parts", "sentinel"):  # fmt: skip
        if values.get(name) is None:  # a model without a gate, with one map per word
            continue
        numbers = np.asarray(values[name], np.float64)
        finite = np.nan_to_num(numbers, posinf=1e9, neginf=-1e9).round(6)
        if name in _MAYBE_UNKNOWN:
            finite = np.where(np.isnan(numbers), np.nan, finite)
        values[name] = plain_numbers(finite)
    if short:
        values["attention"] = [_shorter(numbers) for numbers in values["attention"]]
        if "parts" in values:
            values["parts"] = [[_shorter(one) for one in parts] for parts in values["parts"]]
    return values


def _shorter(numbers: list[list[float]]) -> list[list[float]]:
    """A map in as many digits as are visible: 4 decimals, more for a fainter map.

    The brightest cells keep theirs, because the viewer prints them.
    """
    values = np.array(numbers)
    peak = values.max(initial=0)
    decimals = min(6, max(4, math.ceil(math.log10(100 / peak)))) if peak > 0 else 4
    rounded = values.round(decimals)
    return np.where(rounded == rounded.max(initial=0), values, rounded).tolist()


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
