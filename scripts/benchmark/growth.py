"""How the cost of an image grows with the grid, the vocabulary, the beam and the batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from measuring import Spread, alternate
from rows import Sizes, our_step, speaking

from showattend.decoding.beam import search
from showattend.model.search_options import SearchOptions
from showattend.system.device import keep_freed_memory
from showattend.system.files import write_json
from showattend.system.provenance import portable, stamp

BASE = Sizes(images=16, searched=16, feature=1280, locations=49, vocabulary=2533)
"""Flickr8k with EfficientNet-Lite0; one size is varied at a time."""

VARIED: dict[str, tuple[int, ...]] = {
    "locations": (25, 49, 100, 196, 400),
    "vocabulary": (1000, 2533, 5000, 10000, 20000, 40000),
    "beams": (1, 3, 5, 10, 20),
    "images": (1, 4, 16, 64),
}
TITLES = {
    "locations": "cells of the grid",
    "vocabulary": "words of the vocabulary",
    "beams": "beams",
    "images": "images at once",
}
QUICK = replace(BASE, images=2, searched=2, feature=8, locations=4, vocabulary=30, hidden=8)


def cost(sizes: Sizes, what: str, repeats: int) -> float:
    """Milliseconds per image of a training step, or of a search of ``longest`` words."""
    if what == "training":
        work = our_step(sizes.decoder().train(), sizes.batch())
        count = sizes.images
    else:
        decoder, features = speaking(sizes)
        options = SearchOptions(
            beam_size=sizes.beams, max_length=sizes.longest, min_length=sizes.longest
        )
        count = sizes.searched

        def work() -> Any:
            return search(decoder, features, options)

    return 1000 * Spread.of(alternate({"": work}, repeats)[""]).median / count


def grow(
    out: Path, about: Mapping[str, Any], *, quick: bool = False, output: Path | None = None
) -> dict[str, Any]:
    """Measure, and write growth.json and growth.png.

    Args:
        out: Their folder.
        about: The machine, from `measuring.machine`.
        quick: Whether to use tiny sizes.
        output: Another file for the content of growth.json.

    Returns:
        For each varied size its values, and milliseconds per image of search and training.
    """
    keep_freed_memory()
    found: dict[str, Any] = {}
    for name, values in VARIED.items():
        values = values[:2] if quick else values
        curves: dict[str, list[float]] = {"search": [], "training": []}
        for value in values:
            sizes = replace(QUICK if quick else BASE, **{name: value})
            if name == "images":
                sizes = replace(sizes, searched=value)
            for what, curve in curves.items():
                if (name, what) != ("beams", "training"):  # training has no beams
                    curve.append(cost(sizes, what, 1 if quick else 3))
        found[name] = {"values": values} | {k: curve for k, curve in curves.items() if curve}
    content = portable(
        {
            "about": dict(about),
            "provenance": stamp(torch.get_default_device()),
            "milliseconds an image": found,
        }
    )
    for path in filter(None, (out / "growth.json", output)):
        write_json(path, content)
    draw(found, out / "growth.png")
    return found


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Draw one panel per size, on logarithmic axes."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    figure = Figure(figsize=(8, 5.6), layout="constrained")
    colours = {"search": "#0b6e99", "training": "#c0562f"}
    top = max(max(curve) for each in found.values() for k, curve in each.items() if k != "values")
    least = min(min(curve) for each in found.values() for k, curve in each.items() if k != "values")
    for axes, (name, each) in zip(figure.subplots(2, 2).flat, found.items(), strict=True):
        values = each["values"]
        for what, colour in colours.items():
            if what in each:
                axes.plot(values, each[what], "o-", color=colour, label=what, markersize=4)
        axes.set(xscale="log", yscale="log", xlabel=TITLES[name], ylim=(least / 1.5, top * 1.5))
        axes.xaxis.set_major_locator(FixedLocator(values))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        if name in ("locations", "beams"):
            axes.set_ylabel("milliseconds per image")
    figure.axes[0].legend(frameon=False)
    figure.savefig(path, dpi=110)
