"""Photographs included in the package, to try the page with."""

from __future__ import annotations

from pathlib import Path

SHOWN = {
    "chelsea": "A cat that looks to the side",
    "coffee": "A cup of coffee with a spoon",
    "rocket": "A rocket on its launch pad at night",
}
"""The photographs on the first screen: their names, and what they show."""


def examples() -> dict[str, Path]:
    """The files of the example photographs by name; fewer if some are missing."""
    here = Path(__file__).parents[1]
    found: dict[str, Path] = {}
    for name in SHOWN:
        for root in (here, here.parent):  # an installed package, then a checkout
            file = root / "assets" / "photos" / f"{name}.jpg"
            if file.is_file():
                found.setdefault(name, file)
    return found
