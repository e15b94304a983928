"""Compare squashing, cropping and padding photographs to the encoder's square.

    python scripts/compare_fits.py data/coco_subset/dataset.jsonl --out runs/fits

Uses only photographs that are not square, since others have already lost their shape. They are
divided into folds. For each fold and each fit, the shipped model with that fit is trained further
on the other folds and captions this one, so that no photograph is captioned by a model that has
seen it. Prints the scores over all photographs, with 95 % intervals of the difference to squash
(paired bootstrap over images). Finished runs are kept in --out and not repeated.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from showattend import Captioner
from showattend.config import load_config
from showattend.evaluation.scores.metrics import Scores, score_captions
from showattend.model import checkpoint
from showattend.model.checkpoint import FILE_NAME, Checkpoint
from showattend.model.score_settings import caption_settings, describe_settings
from showattend.training.state import FILE_NAME as STATE_NAME
from showattend.training.trainer import train

FITS = ("squash", "crop", "pad")
BEAM = 5
SHOWN = ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr")


def seen_as(model: Checkpoint, fit: str, config: str) -> Checkpoint:
    """The model with another fit, and with the config's input size."""
    seen = {"fit": fit, "size": load_config(config).encoder.size or model.preprocessing["size"]}
    encoder = model.config["encoder"] | seen
    return replace(
        model,
        config=model.config | {"encoder": encoder},
        preprocessing=model.preprocessing | seen,
    )


def not_square(path: Path) -> list[dict[str, Any]]:
    """The records of a data set whose photographs are not square, in random order."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    kept = []
    for record in records:
        file = path.parent / record["image"]
        with Image.open(file) as image:
            if image.width != image.height:
                kept.append(record | {"image": str(file.resolve())})
    return [kept[i] for i in np.random.default_rng(0).permutation(len(kept))]


def caption(model: Checkpoint, records: list[dict[str, Any]]) -> dict[str, str]:
    """Caption photographs with a model."""
    captioner = Captioner.from_checkpoint(model)
    files = [Path(record["image"]) for record in records]
    said = captioner.caption(files, beam_size=BEAM)
    return {str(r["image_id"]): each.text for r, each in zip(records, said, strict=True)}


def trained(
    records: list[dict[str, Any]], fit: str, fold: int, folds: int, given: argparse.Namespace
) -> dict[str, str]:
    """Train on all folds but one, and caption that one."""
    out: Path = given.out / f"{fit}-{fold}"
    data = given.out / f"fold-{fold}.jsonl"
    split = [r | {"split": "val" if i % folds == fold else "train"} for i, r in enumerate(records)]
    data.write_text("".join(json.dumps(record) + "\n" for record in split), encoding="utf-8")
    start = given.out / f"start-{fit}"
    checkpoint.save(start, seen_as(checkpoint.load(given.model), fit, given.config))
    config = load_config(
        given.config,
        [
            f"data.path={data}", f"train.out={out}", f"train.init_from={start}",
            f"encoder.fit={fit}", f"train.epochs={given.epochs}", f"train.lr={given.lr}",
            f"train.validate_from={given.epochs}", "train.patience=0", "data.crops=0",
        ],
    )  # fmt: skip
    train(config, resume=(out / STATE_NAME).is_file())
    held_out = [record for record in split if record["split"] == "val"]
    return caption(checkpoint.load(out / FILE_NAME), held_out)


def difference(one: Scores, other: Scores, times: int = 2000) -> tuple[float, float]:
    """Compute a 95 % interval of the difference in CIDEr with a paired bootstrap over images."""
    pairs = [one.per_image[i]["CIDEr"] - other.per_image[i]["CIDEr"] for i in one.per_image]
    drawn = np.random.default_rng(0).integers(0, len(pairs), (times, len(pairs)))
    low, high = np.percentile(np.asarray(pairs)[drawn].mean(1), [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="dataset.jsonl of `showattend prepare`")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument(
        "--model", default=None, help="the model to start from; default: the shipped one"
    )
    parser.add_argument("--config", default="configs/coco_subset.yaml")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--lr", type=float, default=3e-4)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    records = not_square(given.data)
    references = {str(record["image_id"]): record["captions"] for record in records}
    first = seen_as(checkpoint.load(given.model), FITS[0], given.config)
    how = caption_settings(Captioner.from_checkpoint(first), beam_size=BEAM)
    print(
        f"{len(records)} photographs that are not square, {given.folds} folds; "
        f"{describe_settings(how)}\n"
    )
    print("| model | fit | " + " | ".join(SHOWN) + " | CIDEr minus squash's |")
    print("|---|---|" + "---:|" * (len(SHOWN) + 1))
    for name in ("as it is", "trained further"):
        squash: Scores | None = None
        for fit in FITS:
            if name == "as it is":
                said = caption(seen_as(checkpoint.load(given.model), fit, given.config), records)
            else:
                said = {}
                for fold in range(given.folds):
                    said |= trained(records, fit, fold, given.folds, given)
            scores = score_captions(references, said)
            interval = ""
            if squash is None:
                squash = scores
            else:
                low, high = difference(scores, squash)
                interval = f"{low:+.3f} to {high:+.3f}"
            figures = " | ".join(f"{scores.metrics.get(key, float('nan')):.3f}" for key in SHOWN)
            print(f"| {name} | {fit} | {figures} | {interval} |", flush=True)


if __name__ == "__main__":
    main()
