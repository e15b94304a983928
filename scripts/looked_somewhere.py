"""How much of a photograph holds half of a word's attention: what the fifth of `focus` rests on.

    python scripts/looked_somewhere.py PHOTOS... [--model everyday] [--photos 200]

Captions photographs and prints, for content and for function words, the quantiles of
`showattend.visualize.focus.half_area`, and how well thresholds tell the two apart.
"""

from __future__ import annotations

import argparse

import numpy as np

from showattend.captioner import Captioner
from showattend.exceptions import ImageError
from showattend.images.finding import find_images
from showattend.text.tokenizer import FUNCTION_WORDS
from showattend.visualize.focus import SOMEWHERE, half_area

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--model")
    parser.add_argument("--photos", type=int, default=200, help="at most, evenly chosen")
    options = parser.parse_args()
    found, _ = find_images(options.paths, recursive=True)
    found = found[:: max(len(found) // options.photos, 1)][: options.photos]
    areas: dict[str, list[float]] = {"content": [], "function": []}
    for _, caption in Captioner.from_pretrained(options.model).stream(found):
        if isinstance(caption, ImageError):
            continue
        for word, attention in zip(caption.words, caption.attention, strict=True):
            areas["function" if word in FUNCTION_WORDS else "content"].append(half_area(attention))
    print(f"{len(found)} photographs, model {options.model or 'everyday'}")
    for kind, values in areas.items():
        shown = ", ".join(f"{value:.3f}" for value in np.quantile(values, QUANTILES))
        print(f"{kind} words ({len(values)}): quantiles {QUANTILES}: {shown}")
    for threshold in (0.10, 0.15, SOMEWHERE, 0.25, 0.30):
        content, function = (
            float(np.mean(np.array(areas[kind]) <= threshold)) for kind in ("content", "function")
        )
        print(
            f"up to {threshold:.2f}: {content:.0%} of content words, {function:.0%} of function "
            f"words, difference {content - function:.2f}"
        )


if __name__ == "__main__":
    main()
