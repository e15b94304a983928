"""A caption's picture, animation, page or maps as a file, in the form that its suffix names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from showattend.caption import Caption
from showattend.exceptions import UserError
from showattend.system.files import write_bytes
from showattend.visualize.animation import animation_bytes
from showattend.visualize.figure import draw_figure, figure_bytes
from showattend.visualize.heat import SCALES, STYLES
from showattend.visualize.layout import LAYOUTS
from showattend.visualize.raw import json_bytes, npz_bytes
from showattend.visualize.theme import THEMES

PAGE = ".html"
CHOICES = {"layout": LAYOUTS, "scale": SCALES, "style": STYLES, "theme": tuple(THEMES)}

FORMS: dict[str, Callable[..., bytes]] = {
    ".png": figure_bytes,
    ".jpg": figure_bytes,
    ".jpeg": figure_bytes,
    ".pdf": figure_bytes,
    ".svg": figure_bytes,
    ".gif": animation_bytes,
    ".webp": animation_bytes,
    ".npz": npz_bytes,
    ".json": json_bytes,
}
"""The functions that make a file's content, by its suffix: (caption, suffix, **options)."""


def check_output(path: str | Path, options: Mapping[str, Any] | None = None) -> str:
    """Check the suffix that selects a file's form, before any time is spent.

    Args:
        path: The file to be written.
        options: The requested options, by name.

    Raises:
        UserError: There is no such form, it does not support one of the options, or an option has
            an invalid value.
    """
    suffix = Path(path).suffix.lower()
    if suffix != PAGE and suffix not in FORMS:
        asked = f"no form {suffix}" if suffix else "the name has no suffix to choose a form"
        raise UserError(f"{path}: {asked}; use one of {', '.join([*FORMS, PAGE])}")
    for option, value in (options or {}).items():
        if option not in _options_of(suffix):
            able = ", ".join(form for form in [*FORMS, PAGE] if option in _options_of(form))
            raise UserError(f"{path}: a {suffix} file has no {option}; only {able} have")
        if option in CHOICES and value not in CHOICES[option]:
            there = ", ".join(CHOICES[option])
            raise UserError(f"no {option} {value!r}; choose from {there}")
    return suffix


def save_figure(caption: Caption, path: str | Path, **options: Any) -> None:
    """Show a caption in a file, in the form that its suffix names.

    Missing folders are created; the file appears complete or not at all.

    Args:
        caption: The caption, with its image (which .npz and .json can do without).
        path: A figure (.png, .jpg, .pdf, .svg), an animation (.gif, .webp), a page for the
            browser with the runners-up (.html), or the maps themselves (.npz, .json).
        options: Those of ``draw_figure``, ``animation_bytes``, or ``words`` for a page and the
            maps.

    Raises:
        UserError: An unknown suffix, an option that this form does not have, a file that cannot be
            written, or see the form's own function.
    """
    path = Path(path)
    suffix = check_output(path, options)
    if suffix == PAGE:
        from showattend.visualize.page import write_page

        write_page(path, [caption, *caption.alternatives], **options)
        return
    write_bytes(path, FORMS[suffix](caption, suffix, **options))


def _options_of(suffix: str) -> set[str]:
    """The names of a form's options."""
    if suffix == PAGE:
        return {"words"}
    make: Callable[..., Any] = draw_figure if FORMS[suffix] is figure_bytes else FORMS[suffix]
    return set(inspect.signature(make).parameters) - {"caption", "suffix", "_suffix"}
