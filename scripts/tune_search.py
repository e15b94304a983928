"""Choose beam size, length penalty and n-gram blocking of a model on validation data.

    python scripts/tune_search.py runs/flickr8k --annotations captions_val.json --images DIR

Encodes every image once, searches with every combination, and prints BLEU-4 and CIDEr (without
Java, by the tokenizer and the counts that training validates with) and how the captions are
worded, best CIDEr first. The winner belongs into the config's `search` section.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import torch

from showattend.captioner import Captioner
from showattend.encoders import encode
from showattend.evaluation.evaluate import read_references
from showattend.evaluation.metrics import CiderValidator
from showattend.evaluation.wording import wording
from showattend.search import SearchOptions, search


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a shipped model's name, a directory or a file")
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 3, 5, 8])
    parser.add_argument("--length-penalties", type=float, nargs="+", default=[0.4, 0.7, 1.0])
    parser.add_argument("--block-ngrams", type=int, nargs="+", default=[0, 3])
    args = parser.parse_args()

    captioner = Captioner.from_pretrained(args.model)
    records = read_references(args.annotations, args.images)
    validator = CiderValidator({record.image_id: record.captions for record in records})
    batches = []
    with torch.inference_mode():
        for start in range(0, len(records), 32):
            images = [
                torch.from_numpy(captioner.preprocessing.load_pixels(record.path)[0])
                for record in records[start : start + 32]
            ]
            pixels = torch.stack(images).permute(0, 3, 1, 2).to(captioner.device)
            batches.append(
                encode(captioner.encoder, pixels, captioner.preprocessing, captioner.dtype)
            )

    rows = []
    for beam, penalty, block in itertools.product(
        args.beams, args.length_penalties, args.block_ngrams
    ):
        if beam == 1 and penalty != args.length_penalties[0]:
            continue  # greedy search ranks nothing by length
        options = SearchOptions(beam_size=beam, length_penalty=penalty, block_ngrams=block)
        found = [
            captioner.vocabulary.decode(hypotheses[0].words)
            for batch in batches
            for hypotheses in search(captioner.decoder, batch, options)
        ]
        ids = [record.image_id for record in records]
        scores = validator.score(dict(zip(ids, found, strict=True)))
        rows.append((scores["CIDEr"], scores["BLEU-4"], beam, penalty, block, wording(found)))
        print(".", end="", flush=True)
    print("\nbeam  penalty  block  CIDEr   BLEU-4  length  distinct  words  bad endings")
    for cider, bleu, beam, penalty, block, style in sorted(rows, key=lambda row: -row[0]):
        print(
            f"{beam:4d}  {penalty:7.1f}  {block:5d}  {cider:.4f}  {bleu:.4f}  "
            f"{style['length']:6.1f}  {style['distinct']:8.3f}  {style['words']:5.0f}  "
            f"{style['bad_endings']:.4f}"
        )


if __name__ == "__main__":
    main()
