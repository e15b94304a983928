"""Captions in a notebook: the interactive page in a frame, and a picture if scripts are off."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from showattend.caption import Caption
from showattend.visualize.figure import figure_bytes
from showattend.visualize.page import GalleryPage, longest_side, page_html

HEIGHT, GALLERY_HEIGHT = 720, 560
"""The height of the frame in pixels; its lower right corner can be dragged."""
_LONGEST = 720  # of the photo in pixels: a notebook is about as wide, and keeps all of its outputs


def caption_form(caption: Caption) -> str:
    """A caption as the interactive viewer, self-contained.

    The viewer runs in a frame that may run scripts and nothing else: it can neither read the
    notebook nor contact another machine. Without scripts the figure is shown.

    Raises:
        UserError: The caption does not know its image.
        ImageError: The image cannot be opened (any more).
    """
    figure = base64.b64encode(figure_bytes(caption, ".jpg")).decode()
    text = html.escape(caption.text)
    page = page_html([caption, *caption.alternatives], longest=_LONGEST)
    return (
        f"{_frame(page, text, HEIGHT)}"
        "<noscript><style>.showattend-frame { display: none; }</style>"
        f'<img alt="{text}" style="max-width: 100%" src="data:image/jpeg;base64,{figure}">'
        "</noscript>"
    )


def gallery_form(captions: Sequence[Caption]) -> str:
    """Captions of several photos as a gallery, self-contained, in a frame like `caption_form`'s.

    Without scripts the frame still shows the photos with their captions.

    Raises:
        UserError: There are no captions, or one does not know its image.
        ImageError: An image cannot be opened (any more).
    """
    page = GalleryPage(longest=min(_LONGEST, longest_side(len(captions))))
    for caption in captions:
        page.add([caption, *caption.alternatives])
    said = f"{len(captions):,} caption{'' if len(captions) == 1 else 's'}"
    return _frame(page.html(), said, GALLERY_HEIGHT)


class PageFile:
    """A page that a command wrote, such as ``errors --output worst.html``, shown in a notebook.

    Args:
        path: The file.
        height: The height of the frame, in pixels.
    """

    def __init__(self, path: str | Path, height: int = HEIGHT) -> None:
        self.path, self.height = Path(path), height

    def _repr_html_(self) -> str:
        return _frame(
            self.path.read_text(encoding="utf-8"), html.escape(self.path.name), self.height
        )


def _frame(page: str, title: str, height: int) -> str:
    style = f"width: 100%; height: {height}px; border: 0; resize: vertical; overflow: auto"
    return (
        f'<iframe class="showattend-frame" title="{title}" sandbox="allow-scripts" '
        f'style="{style}" srcdoc="{html.escape(page)}"></iframe>'
    )
