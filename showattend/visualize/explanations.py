"""Several explanations of one caption in one file, one below the other, for comparison."""

from __future__ import annotations

import inspect
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageColor

from showattend.caption import Caption
from showattend.exceptions import UserError
from showattend.system.files import write_bytes, write_text
from showattend.visualize.figure import draw_figure
from showattend.visualize.focus import sharpest
from showattend.visualize.formats import PAGE, check_output
from showattend.visualize.heat import positions_of
from showattend.visualize.page import GalleryPage
from showattend.visualize.raw import maps_bytes, raw_maps
from showattend.visualize.sheet import content_of, pages_of, pixels_of
from showattend.visualize.summary import MOST, draw_summary
from showattend.visualize.theme import theme_named
from showattend.visualize.vector import one_below_the_other

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PIXELS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
VECTORS = (".svg", ".pdf")
MAPS = (".npz", ".json")


def check_explanations(path: str | Path, options: Mapping[str, Any]) -> str:
    """The suffix of a file for several explanations, checked early.

    Args:
        path: The file to be written.
        options: See `check_output`.

    Raises:
        UserError: There is no such form, it shows only one explanation, or an option is wrong.
    """
    suffix = check_output(path, options)
    able = (*PIXELS, *VECTORS, PAGE, *MAPS)
    if suffix not in able:
        raise UserError(
            f"{path}: a {suffix} file shows one explanation; name one, or use {', '.join(able)}"
        )
    if suffix == PAGE and options:
        raise UserError(
            f"{path}: a page of all explanations has no {next(iter(options))}; leave it out"
        )
    return suffix


def save_explanations(captions: Sequence[Caption], path: str | Path, **options: Any) -> None:
    """Write several explanations of one caption (`Captioner.explain_all`) into one file.

    A figure (.png, .jpg, .svg) has them one below the other, with the same words: the sharpest of
    the first. A PDF has a page for each, and a page (.html) a card. A file of maps (.npz, .json)
    holds the first as ``attention`` and all of them as ``explanations`` [E, T, H, W], with
    ``explanation_names`` [E].

    Args:
        captions: The same caption E times, with its image.
        path: The file.
        options: Those of ``draw_figure``, or ``words`` for the maps.

    Raises:
        UserError: See `check_explanations`; or as ``draw_figure``.
    """
    path = Path(path)
    suffix = check_explanations(path, options)
    if suffix == PAGE:
        page = GalleryPage()
        for caption in captions:
            page.add([caption], caption.explanation)
        write_text(path, page.html(captions[0].text))
    elif suffix in MAPS:
        write_bytes(path, maps_bytes(_all_maps(captions, **options), suffix))
    elif suffix == ".svg":
        figures = _figures(captions, options)
        svgs = [content_of(each, suffix, captions[0].text) for each in figures]
        write_bytes(path, one_below_the_other(svgs))
    elif suffix == ".pdf":
        write_bytes(path, pages_of(_figures(captions, options), captions[0].text))
    else:
        back = theme_named(options.get("theme", _default("theme"))).back
        write_bytes(path, _stacked(_figures(captions, options), PIXELS[suffix], back))


def _all_maps(captions: Sequence[Caption], words: Sequence[str] | None = None) -> dict[str, Any]:
    each = [raw_maps(caption, words) for caption in captions]
    names = np.array([caption.explanation for caption in captions], dtype=np.str_)
    maps = np.stack([values["attention"] for values in each])
    return {**each[0], "explanations": maps, "explanation_names": names}


def _figures(captions: Sequence[Caption], options: Mapping[str, Any]) -> Iterator[Figure]:
    """A figure of each explanation, all with the same words."""
    chosen, draw = dict(options), draw_figure
    if chosen.get("words") is None and chosen.get("layout", "summary") == "summary":
        chosen.pop("layout", None)
        sharp = sharpest(captions[0], positions_of(captions[0], None), MOST)
        draw = partial(draw_summary, places=sharp or None)
    for caption in captions:
        yield draw(caption, **chosen)


def _default(option: str) -> Any:
    return inspect.signature(draw_figure).parameters[option].default


def _stacked(figures: Iterable[Figure], form: str, back: str) -> bytes:
    """The figures one below the other, as the content of a file."""
    pictures = [pixels_of(each) for each in figures]
    width = max(picture.shape[1] for picture in pictures)
    height = sum(picture.shape[0] for picture in pictures)
    sheet = Image.new("RGB", (width, height), ImageColor.getrgb(back))
    y = 0
    for picture in pictures:
        sheet.paste(Image.fromarray(picture), (0, y))
        y += picture.shape[0]
    file = io.BytesIO()
    more: dict[str, Any] = {"quality": 90, "subsampling": 0} if form == "JPEG" else {}
    sheet.save(file, form, **more)
    return file.getvalue()
