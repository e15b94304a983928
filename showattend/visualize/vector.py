"""The pictures of an SVG: the photo once, as JPEG, and the light over it as shapes.

A panel is the photo in its cold tone under the photo in its hot tone, which is masked by a stack of
areas of growing heat. So a panel looks as `paint` would draw it, in `BANDS` steps, and a figure of
any number of panels holds one image.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from showattend.visualize.heat import LUMA, TONES, Heat, Tone, glow
from showattend.visualize.outlines import contours, sample_size

if TYPE_CHECKING:
    from PIL import Image

BANDS = 20  # steps of heat
SAMPLED = 112  # samples of heat along each side of the grid
SHARPER = 2  # pixels kept of the photo, as a multiple of the largest panel, for zooming in


@dataclass(frozen=True)
class Placed:
    """A photo on a sheet.

    Attributes:
        axes: The axes if matplotlib draws the picture.
        box: Left, top, width and height in pixels.
        photo: The photo.
        heat: The map over it; None for the plain photo.
        look: Options of `paint`.
    """

    axes: Any
    box: tuple[int, int, int, int]
    photo: Image.Image
    heat: Heat | None = None
    look: dict[str, Any] = field(default_factory=dict)


def with_pictures(svg: bytes, placed: Sequence[Placed], scale: float) -> bytes:
    """Insert photos over the background of an SVG.

    Args:
        svg: The SVG as written by matplotlib.
        placed: The pictures, all of one photo.
        scale: The SVG's units per pixel.
    """
    if not placed:
        return svg
    text = svg.decode()
    background = text.index("</g>", text.index('<g id="patch_1">')) + len("</g>\n")
    content = "\n".join(_pictures(placed))
    pictures = f'<g id="pictures" transform="scale({scale:g})">\n{content}\n</g>\n'
    return (text[:background] + pictures + text[background:]).encode("utf-8", "backslashreplace")


def one_below_the_other(svgs: Sequence[bytes]) -> bytes:
    """Figures as one SVG, aligned left; a photo in all of them is stored once.

    Args:
        svgs: Figures made by `with_pictures`.
    """
    parts, photo = [], ""
    width = height = 0.0
    for number, svg in enumerate(svgs):
        text = svg.decode()
        head = text[: text.index(">", text.index("<svg")) + 1]
        body = text[len(head) : text.rindex("</svg>")]
        size = re.search(r'viewBox="0 0 (\S+) (\S+)"', head)
        assert size is not None
        w, h = map(float, size.groups())
        if number == 0:
            first = head
            photo = next(iter(_PHOTO.findall(body)), "")
        elif photo and photo in body:
            body = body.replace(photo, "").replace('href="#photo"', 'href="#e0-photo"')
        # The figures use the same ids, which must differ in one file.
        body = re.sub(r'( id="|href="#|url\(#)(?!e0-photo")', rf"\g<1>e{number}-", body)
        parts.append(f'<svg y="{height:g}" width="{w:g}" height="{h:g}">{body}</svg>\n')
        width, height = max(width, w), height + h
    size_text = f'width="{width:g}pt" height="{height:g}pt" viewBox="0 0 {width:g} {height:g}"'
    first = re.sub(r'\b(width|height|viewBox)="[^"]*"\s*', "", first)
    first = first.replace("<svg", f"<svg {size_text}")
    return f"{first}\n{''.join(parts)}</svg>\n".encode()


_PHOTO = re.compile(r'<image id="photo" [^>]*/>')


def _pictures(placed: Sequence[Placed]) -> list[str]:
    content, size = _jpeg(placed)
    tones: dict[Tone, str] = {}
    drawn = []
    for number, each in enumerate(placed):
        left, top, width, height = each.box
        place = f"translate({left} {top}) scale({width / size[0]:.6g} {height / size[1]:.6g})"
        drawn.append(f'<g transform="{place}">')
        if each.heat is None:
            drawn.append('<use xlink:href="#photo"/>')
        else:
            drawn += _panel(each, f"heat{number}", size, tones)
        drawn.append("</g>")
    width, height = size
    image = (
        f'<image id="photo" width="{width}" height="{height}" preserveAspectRatio="none" '
        f'xlink:href="data:image/jpeg;base64,{content}"/>'
    )
    filters = [_filter(tone, name) for tone, name in tones.items()]
    return ["<defs>", image, *filters, "</defs>", *drawn]


def _jpeg(placed: Sequence[Placed]) -> tuple[str, tuple[int, int]]:
    """The photo in base64, and its (width, height)."""
    from PIL import Image

    photo = placed[0].photo
    width, height = max((each.box[2:] for each in placed), key=lambda size: size[0] * size[1])
    if width >= 4 * photo.width and height >= 4 * photo.height:  # a tiny photo keeps its pixels
        photo = photo.resize((width, height), Image.Resampling.NEAREST)
    elif photo.width > SHARPER * width:
        photo = photo.resize((SHARPER * width, SHARPER * height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    photo.convert("RGB").save(file, "JPEG", quality=90, subsampling=0)
    return base64.b64encode(file.getvalue()).decode(), photo.size


def _panel(placed: Placed, name: str, size: tuple[int, int], tones: dict[Tone, str]) -> list[str]:
    """The photo in the light of a map, in pixels of the photo's (width, height)."""
    assert placed.heat is not None
    sampled = sample_size(placed.heat.geometry, SAMPLED)
    values = placed.heat.at(sampled)
    steps = [(k - 0.5) / BANDS for k in range(1, BANDS + 1)]
    areas = [_path(curves, sampled, size) for curves in contours(values, steps)]
    style = placed.look.get("style", "heat")
    cold, hot = (tones.setdefault(tone, f"tone{len(tones)}") for tone in TONES[style])
    panel = [f'<use xlink:href="#photo" filter="url(#{cold})"/>']
    if areas[0]:
        paths = [f'<path id="{name}.{k}" d="{area}"/>' for k, area in enumerate(areas, 1) if area]
        greys = [3 * (k / BANDS,) for k in range(1, len(paths) + 1)]
        box = f'maskUnits="userSpaceOnUse" x="0" y="0" width="{size[0]}" height="{size[1]}"'
        hot_photo = f'<use xlink:href="#photo" filter="url(#{hot})"/>'
        panel += ["<defs>", *paths, "</defs>", f'<mask id="{name}" {box}>']
        panel += _stack(name, greys, [1.0] * len(paths))
        panel += ["</mask>", f'<g mask="url(#{name})">{hot_photo}</g>']
        if style == "heat":
            panel += _stack(name, *_glow(len(paths), placed.look))
    return panel


def _stack(name: str, colours: Sequence[Iterable[float]], covers: Sequence[float]) -> list[str]:
    """A panel's stacked areas, each with its colour and opacity."""
    stack = []
    for k, (colour, cover) in enumerate(zip(colours, covers, strict=True), 1):
        hexed = "".join(f"{round(255 * min(max(float(part), 0), 1)):02x}" for part in colour)
        opacity = "" if cover == 1 else f' fill-opacity="{cover:.3f}"'
        stack.append(f'<use xlink:href="#{name}.{k}" fill="#{hexed}"{opacity}/>')
    return stack


def _glow(count: int, look: dict[str, Any]) -> tuple[list[np.ndarray], list[float]]:
    """Colours and opacities of areas whose stack looks like the glow at each one's heat."""
    heat = np.arange(1, count + 1, dtype=np.float32) / BANDS
    colours, covers = glow(heat, look.get("colormap", "inferno"), look.get("alpha", 0.55))
    tints, opacities = [], []
    below, reached = np.zeros(3), 0.0  # the glow under this area, and its coverage
    for colour, cover in zip(colours, covers, strict=True):
        kept = (1 - cover) / max(1 - reached, 1e-6)
        tints.append((cover * colour - kept * below) / max(1 - kept, 1e-6))
        opacities.append(float(1 - kept))
        below, reached = cover * colour, float(cover)
    return tints, opacities


def _path(curves: Sequence[np.ndarray], sampled: tuple[int, int], size: tuple[int, int]) -> str:
    """Closed curves as a path, in pixels of the photo."""
    factor = np.array(size) / sampled
    parts = []
    for curve in curves:
        points = " ".join(f"{x:.1f} {y:.1f}" for x, y in curve[:-1] * factor)
        parts.append(f"M{points}Z")
    return "".join(parts)


def _filter(tone: Tone, name: str) -> str:
    """A tone of `paint` as a matrix of colours."""
    rows = []
    for channel in range(3):
        parts = [
            tone.grey * LUMA[other] + (tone.own if other == channel else 0) for other in range(3)
        ]
        rows.append(" ".join(f"{part:.6g}" for part in (*parts, 0, tone.more)))
    return (
        f'<filter id="{name}" x="0" y="0" width="1" height="1" '
        'color-interpolation-filters="sRGB">'
        f'<feColorMatrix values="{" ".join(rows)} 0 0 0 1 0"/></filter>'
    )
