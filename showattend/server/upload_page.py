"""The server's page: an upload area, the viewer, and controls for the caption."""

from __future__ import annotations

import json
from importlib import resources

from showattend.server.examples import SHOWN, examples
from showattend.server.limits import Limits
from showattend.visualize.page import asset, shell


def page(*, model: str, limits: Limits, beam_size: int, most: int) -> str:
    """Build the page as HTML.

    Args:
        model: The model's name.
        limits: The limits on uploads, which the page checks before uploading.
        beam_size: The model's default beam size.
        most: The most beams or samples.
    """
    settings = {
        "model": model,
        "megabytes": limits.megabytes,
        "beam_size": beam_size,
        "most": most,
        "examples": [{"name": name, "alt": SHOWN[name]} for name in examples()],
    }
    text = json.dumps(settings).replace("<", "\\u003c")
    data = f'<script type="application/json" id="settings">{text}</script>'
    return shell(
        "Show, attend and tell",
        f"{_file('page.html')}\n{data}",
        scripts=[asset("viewer.js"), _file("photos.js"), _file("page.js")],
        styles=[_file("page.css")],
        foot=_file("foot.html"),
        policy="connect-src 'self'",
    )


def _file(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")
