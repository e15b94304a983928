r"""Measure what a model's probabilities mean, and choose from where on a word is unsure.

    python scripts/calibrate.py flickr8k --validation flickr8k captions_val.json IMAGES
    python scripts/calibrate.py runs/mine --write \
        --validation everyday everyday/captions_val.json everyday/images \
        --validation flickr8k flickr8k/captions_val.json flickr8k/images

Captions the validation photographs (NAME, human captions, folder of the images) as `showattend
caption` does, in fp32, and prints how many of the words that say something are absent from all
human captions, by the probability that the model gave them. Give the sets that the model was made
for: each counts alike. With --write the threshold and these figures go into the model's file, whose
weights stay as they are; with --beside into calibration.safetensors beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from showattend import __version__
from showattend import checkpoint as checkpoints
from showattend.calibration import Calibration
from showattend.caption import Caption
from showattend.captioner import Captioner
from showattend.data.records import Record
from showattend.errors import UserError
from showattend.evaluation.confidence import (
    absent_words,
    choose_threshold,
    describe_confidence,
    to_markdown,
)
from showattend.evaluation.evaluate import read_references


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a shipped model's name, a directory or a file")
    parser.add_argument(
        "--validation", nargs=3, action="append", required=True,
        metavar=("NAME", "ANNOTATIONS", "IMAGES"),
    )  # fmt: skip
    parser.add_argument("--beam-size", type=int, help="hypotheses an image; the model's own")
    into = parser.add_mutually_exclusive_group()
    into.add_argument("--write", action="store_true", help="write into the model's file")
    into.add_argument("--beside", action="store_true", help="write calibration.safetensors")
    args = parser.parse_args(arguments)
    try:
        calibrate(args)
    except UserError as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    return 0


def calibrate(args: argparse.Namespace) -> None:
    """Measure, print, and write where asked.

    Raises:
        UserError: A file cannot be read or written.
    """
    path = checkpoints.find_model(args.model)
    captioner = Captioner.from_pretrained(args.model, precision="fp32")
    options: dict[str, Any] = {} if args.beam_size is None else {"beam_size": args.beam_size}
    sets = {}
    for name, file, images in args.validation:
        records = read_references(Path(file), Path(images))
        captions = captioner.caption([record.path for record in records], **options)
        sets[name] = judged_words(captions, records)
    unsure_below = choose_threshold(list(sets.values()))
    found = {name: describe_confidence(*each, unsure_below) for name, each in sets.items()}
    print(f"unsure below {unsure_below:.2f}\n\n{to_markdown(found)}\n")
    for name, each in found.items():
        print(f"{name}: area under the curve", "-" if each["auc"] is None else f"{each['auc']:.3f}")
    if args.write or args.beside:
        settings = {
            "showattend": __version__,
            "precision": "fp32",
            "size": captioner.preprocessing.size,
            "beam_size": args.beam_size or captioner.search.beam_size,
            "length_penalty": captioner.search.length_penalty,
            "block_ngrams": captioner.search.block_ngrams,
        }
        measured = {"settings": settings, "words": _rounded(found)}
        checkpoint = checkpoints.load(path)
        checkpoint.calibration = Calibration(unsure_below, measured).to_dict()
        if args.beside:
            print(f"wrote {checkpoints.save_calibration(path, checkpoint)}")
        else:
            print(f"wrote {checkpoints.save(path, checkpoint)}")
            if path.name == checkpoints.FILE_NAME:  # an older one would take its place
                path.with_name(checkpoints.CALIBRATION_NAME).unlink(missing_ok=True)


def judged_words(
    captions: Sequence[Caption], records: Sequence[Record]
) -> tuple[list[float], list[bool]]:
    """The probabilities of all words that can be judged, and which of them are absent."""
    judged = [
        (p, absent)
        for caption, record in zip(captions, records, strict=True)
        for p, absent in zip(
            caption.confidences, absent_words(caption.words, record.captions), strict=True
        )
        if absent is not None
    ]
    return [p for p, _ in judged], [absent for _, absent in judged]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
