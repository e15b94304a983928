"""Compare the speed of the self-critical reward with pycocoevalcap.

    python scripts/benchmark/reward.py captions_train.json [--batch N] [--rounds N]

The candidates are training captions, nine in ten of them paired with another image's references.
They are scored in batches on one core, as in training, and the references are prepared once.
pycocoevalcap's CIDEr scores one caption per image, and prepares references and document frequencies
in every call. Both count the same words, without ``<end>``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from measuring import Spread, alternate
from pycocoevalcap.cider.cider import Cider

from showattend.evaluation.evaluate import read_references
from showattend.text.tokenizer import tokenize
from showattend.training.cider_d import CiderD


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations", type=Path, help="training captions")
    parser.add_argument("--batch", type=int, default=160, help="captions at once: 32 images of 5")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    records = read_references(args.annotations)
    references = [[tokenize(text) for text in record.captions] for record in records]
    images = [image for image, own in enumerate(references) for _ in own]
    captions = [
        references[image if k % 10 == 0 else (image + 1) % len(references)][0]
        for k, image in enumerate(images)
    ]
    started = time.perf_counter()
    cider = CiderD(references)
    prepared = time.perf_counter() - started
    first = np.flatnonzero(np.diff(images, prepend=-1))
    gts = {i: [" ".join(each) for each in image] for i, image in enumerate(references)}
    res = {images[k]: [" ".join(captions[k])] for k in first}

    def ours() -> np.ndarray:
        starts = range(0, len(captions), args.batch)
        cuts = [slice(start, start + args.batch) for start in starts]
        return np.concatenate([cider.score(images[cut], captions[cut]) for cut in cuts])

    def official() -> np.ndarray:
        return np.asarray(Cider().compute_score(gts, res)[1])

    off = float(np.abs(ours()[first] - official()).max())
    seconds = alternate({"ours": ours, "official": official}, args.rounds, warm=0)
    rate = Spread.of([len(captions) / each for each in seconds["ours"]])
    theirs = Spread.of([len(first) / each for each in seconds["official"]])
    print(f"| {len(references):,} images | captions per second, one core | references |")
    print("|---|---:|---|")
    print(f"| `CiderD`, {args.batch} captions at once | {_shown(rate)} | once, {prepared:.2f} s |")
    print(f"| pycocoevalcap's `Cider` | {_shown(theirs)} | in every call |")
    print(f"\nLargest difference of a score: {off:.1e}; ratio {rate.median / theirs.median:.1f}.")


def _shown(spread: Spread) -> str:
    return f"{spread.median:,.0f} ({spread.low:,.0f} to {spread.high:,.0f})"


if __name__ == "__main__":
    main()
