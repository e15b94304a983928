"""The share of a photograph that holds half of a word's attention: the basis for the fifth in
`focus`.

    python scripts/looked_somewhere.py PHOTOS... [--model everyday] [--photos 200] [--output FILE]

Captions photographs and prints, for content and for function words, the quantiles of
`showattend.visualize.focus.half_area`, and how well thresholds tell the two apart. --output keeps
them as a record.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from showattend.captioner import Captioner
from showattend.evaluation.evaluate import caption_inputs
from showattend.exceptions import ImageError, UserError
from showattend.images.finding import find_images
from showattend.model.score_settings import caption_settings
from showattend.system.files import write_json
from showattend.system.provenance import file_digest, joint_digest, remember_command, stamp
from showattend.text.tokenizer import FUNCTION_WORDS
from showattend.visualize.focus import SOMEWHERE, half_area

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
THRESHOLDS = (0.10, 0.15, SOMEWHERE, 0.25, 0.30)
KINDS = ("content", "function")


def measure(paths: Sequence[str], model: str | None, most: int) -> dict[str, Any]:
    """Caption photographs and summarise the half areas of their words.

    Args:
        paths: Files and folders of photographs.
        model: A model's name, folder or file; None is the default one.
        most: The most photographs, evenly spaced.

    Returns:
        photographs; words and quantiles by kind; thresholds, the fraction of each kind's words up
        to each; settings; provenance.

    Raises:
        UserError: There are no photographs, or no words of a kind.
    """
    found, problems = find_images(paths, recursive=True)
    found = found[:: max(len(found) // most, 1)][:most]
    areas: dict[str, list[float]] = {kind: [] for kind in KINDS}
    captioner = Captioner.from_pretrained(model, device="cpu", precision="fp32")
    for _, caption in captioner.stream(found):
        if isinstance(caption, ImageError):
            continue
        for word, attention in zip(caption.words, caption.attention, strict=True):
            areas[KINDS[word in FUNCTION_WORDS]].append(half_area(attention))
    if not all(areas.values()):
        raise UserError(problems[0] if problems else f"{paths[0]}: too few words to compare")
    settings = caption_settings(captioner)
    data = {"images": joint_digest(map(file_digest, found))}
    return {
        "photographs": len(found),
        "words": {kind: len(values) for kind, values in areas.items()},
        "quantiles": {
            kind: {str(quantile): float(np.quantile(values, quantile)) for quantile in QUANTILES}
            for kind, values in areas.items()
        },
        "thresholds": [
            {"up_to": up_to}
            | {kind: float(np.mean(np.array(areas[kind]) <= up_to)) for kind in KINDS}
            for up_to in THRESHOLDS
        ],
        "settings": settings,
        "provenance": stamp(captioner.device, data=data, **caption_inputs(captioner, settings)),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--model")
    parser.add_argument("--photos", type=int, default=200, help="maximum, evenly spaced")
    parser.add_argument("--output", type=Path, help="keep the figures as a record (.json)")
    args = parser.parse_args(arguments)
    remember_command(sys.argv[1:] if arguments is None else arguments, "looked_somewhere.py")
    try:
        found = measure(args.paths, args.model, args.photos)
        if args.output:
            write_json(args.output, found)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{found['photographs']} photographs, model {found['settings']['model']}")
    for kind in KINDS:
        shown = ", ".join(f"{key}: {value:.3f}" for key, value in found["quantiles"][kind].items())
        print(f"{kind} words ({found['words'][kind]}): quantiles {shown}")
    for each in found["thresholds"]:
        content, function = (each[kind] for kind in KINDS)
        print(
            f"up to {each['up_to']:.2f}: {content:.0%} of content words, {function:.0%} of "
            f"function words, difference {content - function:.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
