r"""Calibrate a model's warnings: which words are unsure, and which photos are unfamiliar.

    python scripts/calibrate.py flickr8k --beside \
        --training captions_train.json IMAGES --validation flickr8k captions_val.json IMAGES
    python scripts/calibrate.py runs/mine --write \
        --training everyday/captions_train.json everyday/images \
        --training flickr8k/captions_train.json flickr8k/images \
        --validation everyday everyday/captions_val.json everyday/images \
        --validation flickr8k flickr8k/captions_val.json flickr8k/images \
        --strange drawings path/to/drawings

Captions the validation photographs (--validation NAME CAPTIONS FOLDER) like `showattend caption` in
fp32, prints how many content words are absent from all human captions by their probability, and
chooses a threshold. Use the sets that the model was trained for; all have equal weight.

--training (CAPTIONS FOLDER) learns what is familiar from at most --photos of those photographs,
selected with a fixed seed. `showattend.caption.NOTE_BELOW` is the fraction of the validation
photographs that get a note. --strange (NAME FOLDER, or NAME CAPTIONS FOLDER) reports how many
photographs of other kinds get one.

--write stores the calibration in the model's file, without changing the weights; --beside stores
it in calibration.safetensors next to it. Both hold the figures and what they depend on; --output
keeps them as a record (.json).
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from showattend import __version__
from showattend.caption import Caption
from showattend.caption_forms import NOTE_BELOW
from showattend.captioner import Captioner
from showattend.data.records import Record
from showattend.evaluation.evaluate import caption_inputs, read_references
from showattend.evaluation.mistakes.confidence import (
    absent_words,
    choose_threshold,
    describe_confidence,
    to_markdown,
)
from showattend.evaluation.mistakes.notes import describe_notes, judge_captions, notes_to_markdown
from showattend.exceptions import DataError, UserError
from showattend.images.finding import find_images
from showattend.model import checkpoint as checkpoints
from showattend.model.calibration import Calibration
from showattend.model.encoder import encode
from showattend.model.familiarity import LEAST_PHOTOS, Familiarity, fit, residual
from showattend.model.score_settings import caption_settings
from showattend.system.files import write_json
from showattend.system.provenance import file_digest, portable, remember_command, stamp


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a shipped model's name, a directory or a file")
    parser.add_argument(
        "--validation", nargs=3, action="append", required=True,
        metavar=("NAME", "ANNOTATIONS", "IMAGES"),
    )  # fmt: skip
    parser.add_argument(
        "--training", nargs=2, action="append", default=[], metavar=("ANNOTATIONS", "IMAGES")
    )
    parser.add_argument("--photos", type=int, default=2000, help="training photographs to read")
    parser.add_argument("--strange", nargs="+", action="append", default=[], metavar="NAME ...")
    parser.add_argument("--beam-size", type=int, help="beam size; default: the model's")
    into = parser.add_mutually_exclusive_group()
    into.add_argument("--write", action="store_true", help="write into the model's file")
    into.add_argument("--beside", action="store_true", help="write calibration.safetensors")
    parser.add_argument("--output", type=Path, help="keep the figures as a record (.json)")
    args = parser.parse_args(arguments)
    remember_command(sys.argv[1:] if arguments is None else arguments, "calibrate.py")
    if any(len(each) not in (2, 3) for each in args.strange):
        parser.error("--strange takes NAME and FOLDER, or NAME, ANNOTATIONS and FOLDER")
    if args.strange and not args.training:
        parser.error("--strange needs --training")
    try:
        calibrate(args)
    except UserError as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    return 0


def calibrate(args: argparse.Namespace) -> None:
    """Measure, print, and write the calibration.

    Raises:
        UserError: A file cannot be read or written, or there are too few photographs.
    """
    path = checkpoints.find_model(args.model)
    captioner = Captioner.from_pretrained(args.model, precision="fp32")
    options: dict[str, Any] = {} if args.beam_size is None else {"beam_size": args.beam_size}
    sets = {
        name: read_references(Path(file), Path(images), "val")
        for name, file, images in args.validation
    }
    training = drawn(args, captioner) if args.training else None
    seen = {name: captioned(captioner, records, options) for name, records in sets.items()}

    words = {name: judged_words(seen[name][0], records) for name, records in sets.items()}
    unsure_below = choose_threshold(list(words.values()))
    found = {name: describe_confidence(*each, unsure_below) for name, each in words.items()}
    print(f"unsure below {unsure_below:.2f}\n\n{to_markdown(found)}\n")
    for name, each in found.items():
        print(f"{name}: area under the curve", "-" if each["auc"] is None else f"{each['auc']:.3f}")
    settings = {"showattend": __version__} | caption_settings(captioner, **options)
    files = {name: file_digest(Path(file)) for name, file, _ in args.validation}
    files |= {f"training {n}": file_digest(Path(file)) for n, (file, _) in enumerate(args.training)}
    made = stamp(captioner.device, data=files, **caption_inputs(captioner, settings))
    del settings["model"]  # may be a local path
    measured = {"settings": settings, "words": _rounded(found), "provenance": portable(made)}
    calibration = Calibration(unsure_below, captioner.calibration.familiarity, measured)
    if training is not None:
        settings |= {"training_photos": len(training), "note_below": NOTE_BELOW}
        means = [each for _, each in seen.values()]
        known = fit(training, means, captioner.preprocessing.size)
        notes = {name: noted(known, *seen[name], records) for name, records in sets.items()}
        notes |= {each[0]: strange(known, each, captioner, options) for each in args.strange}
        print(f"\n{notes_to_markdown(notes)}")
        measured["notes"] = _rounded(notes)
        calibration = replace(calibration, familiarity=known)
    if args.output:
        write_json(args.output, {"unsure_below": unsure_below, **measured, "provenance": made})
    if args.write or args.beside:
        captioner.calibration = calibration
        checkpoint = checkpoints.load(path)
        mine = captioner.to_checkpoint()
        checkpoint.calibration = mine.calibration
        checkpoint.weights |= {
            key: value
            for key, value in mine.weights.items()
            if key.startswith(checkpoints.FAMILIARITY)
        }
        if args.beside:
            print(f"wrote {checkpoints.save_calibration(path, checkpoint)}")
        else:
            print(f"wrote {checkpoints.save(path, checkpoint)}")


def drawn(args: argparse.Namespace, captioner: Captioner) -> np.ndarray:
    """Compute the mean annotation vectors [N, D] of randomly chosen training photographs.

    Raises:
        DataError: There are too few of them.
    """
    records = [
        record
        for file, images in args.training
        for record in read_references(Path(file), Path(images), "train")
    ]
    count = min(args.photos, len(records))
    if count < LEAST_PHOTOS:
        raise DataError(
            f"{count} training photographs are too few to learn what is familiar; "
            f"give {LEAST_PHOTOS} or more, or leave --training out"
        )
    chosen = sorted(random.Random(0).sample(range(len(records)), count))
    return mean_annotations(captioner, [records[i].path for i in chosen])


@torch.inference_mode()
def mean_annotations(captioner: Captioner, paths: Sequence[Path]) -> np.ndarray:
    """Compute the mean annotation vector of each photograph, [N, D], without captioning it."""
    found = []
    for start in range(0, len(paths), 16):
        batch = [captioner.preprocessing.load_pixels(path)[0] for path in paths[start : start + 16]]
        pixels = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).to(captioner.device)
        features = encode(captioner.encoder, pixels, captioner.preprocessing, captioner.dtype)
        found.append(features.flatten(1, 2).float().mean(1).cpu().numpy())
    return np.concatenate(found)


def captioned(
    captioner: Captioner, records: Sequence[Record], options: dict[str, Any]
) -> tuple[list[Caption], np.ndarray]:
    """Caption photographs; also return their mean annotation vectors [N, D]."""
    means: list[np.ndarray] = []
    watch: Callable[..., None] = lambda _, __, out: means.append(  # noqa: E731
        out.flatten(1, 2).float().mean(1).cpu().numpy()
    )
    handle = captioner.encoder.register_forward_hook(watch)
    try:
        captions = captioner.caption([record.path for record in records], **options)
    finally:
        handle.remove()
    return captions, np.concatenate(means)


def noted(
    known: Familiarity, captions: Sequence[Caption], means: np.ndarray, records: Sequence[Record]
) -> dict[str, Any]:
    """Compare the captions of a data set with and without the note."""
    judged = judge_captions([each.words for each in captions], [r.captions for r in records])
    return describe_notes(known(means), residual(means, known.basis), judged)


def strange(
    known: Familiarity, given: Sequence[str], captioner: Captioner, options: dict[str, Any]
) -> dict[str, Any]:
    """The same for photographs of other kinds, with or without human captions."""
    if len(given) == 3:
        records = read_references(Path(given[1]), Path(given[2]))
        return noted(known, *captioned(captioner, records, options), records)
    paths, problems = find_images([given[1]], recursive=True)
    if not paths:
        raise UserError(problems[0] if problems else f"{given[1]}: no images in this folder")
    means = mean_annotations(captioner, paths)
    return describe_notes(known(means), residual(means, known.basis), {})


def judged_words(
    captions: Sequence[Caption], records: Sequence[Record]
) -> tuple[list[float], list[bool]]:
    """The probabilities of all words that can be judged, and whether each is absent."""
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
