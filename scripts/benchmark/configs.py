"""Measure how fast configs train on this machine, and estimate the time of whole runs.

    python scripts/benchmark/configs.py configs/ablation/*.yaml [--images N] [--out FILE]

Each config is trained for four short epochs on its own data set from the cache, with a fine-tuned
encoder trained from the start; the rate is from the second and third epoch. "Minutes" is computed
from it: all cross-entropy epochs over all training images, without validation, feature extraction
and self-critical epochs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from showattend.config import load_config
from showattend.data.readers import read_dataset
from showattend.training.inputs import dataset_file
from showattend.training.trainer import train

EPOCHS = 4


def rate(config: Path, images: int, folder: Path) -> float:
    """Images per second, each with all its captions."""
    changes = [
        f"train.out={folder / 'runs' / config.stem}", f"data.cache={folder / 'cache'}",
        f"data.train_images={images}", "data.val_images=32", f"train.epochs={EPOCHS}",
        "train.validate_from=99", "train.validate_beam=1", "train.patience=0",
        "train.finetune_after=0", "train.save_every=60", "train.rare_words=0",
        "self_critical.epochs=0",
    ]  # fmt: skip
    ends = [entry["seconds"] for entry in train(load_config(config, changes))["history"]]
    return (EPOCHS - 2) * images / (ends[-2] - ends[0])


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", type=Path, nargs="+")
    parser.add_argument("--images", type=int, default=640, help="images per epoch")
    parser.add_argument("--out", type=Path, help="also write the table here")
    args = parser.parse_args()
    rows = ["| config | images per second | epochs | minutes |", "|---|---:|---:|---:|"]
    with tempfile.TemporaryDirectory() as folder:
        for path in args.configs:
            config = load_config(path)
            found = rate(path, args.images, Path(folder))
            records = read_dataset(*dataset_file(config.data))
            whole = sum(record.split == "train" for record in records)
            minutes = config.train.epochs * whole / found / 60
            rows.append(f"| {path.stem} | {found:.1f} | {config.train.epochs} | {minutes:.0f} |")
            print(rows[-1], flush=True)
    print("\n".join(rows))
    if args.out:
        args.out.write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
