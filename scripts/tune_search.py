r"""Choose how to search with a model, and how to average a run, on validation data.

    python scripts/tune_search.py runs/flickr8k --annotations captions_val.json --images DIR
    python scripts/tune_search.py runs/flickr8k --annotations captions_val.json --images DIR \
        --train captions_train.json --start-shares 0 0.2 0.4 --rare-words 0 0.15 --beams 3

Encodes every image once, searches with every combination, and prints BLEU-4 and CIDEr (without
Java, by the tokenizer and the counts that training validates with) and how the captions are
worded, best CIDEr first. The winner belongs into the config: beam size, length penalty and n-gram
blocking into its `search` section, the start's share into `self_critical`, rare words' tau into
`train`. The last two need the folder of a run that has averaged self-critical runs.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import torch

from showattend.captioner import Captioner
from showattend.decoders.lstm import LSTMDecoder
from showattend.encoders import encode
from showattend.evaluation.evaluate import read_references
from showattend.evaluation.metrics import CiderValidator
from showattend.evaluation.wording import wording
from showattend.search import SearchOptions, search
from showattend.text import Vocabulary, tokenize
from showattend.training.average import Merger


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a shipped model's name, a directory or a file")
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--size", type=int, help="pixels a side; default: the model's own")
    parser.add_argument("--train", type=Path, help="training captions, for --rare-words")
    parser.add_argument("--start-shares", type=float, nargs="+", default=[])
    parser.add_argument("--rare-words", type=float, nargs="+", default=[0.0])
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 3, 5, 8])
    parser.add_argument("--length-penalties", type=float, nargs="+", default=[0.4, 0.7, 1.0])
    parser.add_argument("--block-ngrams", type=int, nargs="+", default=[0, 3])
    args = parser.parse_args()
    if any(args.rare_words) and args.train is None:
        parser.error("--rare-words counts words: give --train")

    captioner = Captioner.from_pretrained(args.model, size=args.size)
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
    for name, decoder in variants(captioner, args):
        for beam, penalty, block in itertools.product(
            args.beams, args.length_penalties, args.block_ngrams
        ):
            if beam == 1 and penalty != args.length_penalties[0]:
                continue  # greedy search ranks nothing by length
            options = SearchOptions(beam_size=beam, length_penalty=penalty, block_ngrams=block)
            found = [
                captioner.vocabulary.decode(hypotheses[0].words)
                for batch in batches
                for hypotheses in search(decoder, batch, options)
            ]
            ids = [record.image_id for record in records]
            scores = validator.score(dict(zip(ids, found, strict=True)))
            chosen = f"{name}  {beam:4d}  {penalty:7.2f}  {block:5d}"
            rows.append((scores["CIDEr"], scores["BLEU-4"], chosen, wording(found)))
            print(".", end="", flush=True)
    print("\nstart  rare  beam  penalty  block  CIDEr   BLEU-4  length  distinct  words  bad ends")
    for cider, bleu, chosen, style in sorted(rows, key=lambda row: -row[0]):
        print(
            f"{chosen}  {cider:.4f}  {bleu:.4f}  {style['length']:6.1f}  {style['distinct']:8.3f}  "
            f"{style['words']:5.0f}  {style['bad_endings']:.4f}"
        )


def variants(captioner: Captioner, args: argparse.Namespace) -> Iterator[tuple[str, LSTMDecoder]]:
    """The decoders to try, each with its start's share and tau; without shares, the model's own."""
    counts = torch.zeros(len(captioner.vocabulary), dtype=torch.long)
    for record in read_references(args.train, split="train") if args.train else ():
        for words in filter(None, map(tokenize, record.captions)):
            for number in (*captioner.vocabulary.encode(words), Vocabulary.END):
                counts[number] += 1
    runs = len(list(Path(args.model).glob("run_*.safetensors")))
    for share, tau in itertools.product(args.start_shares or [None], args.rare_words):
        decoder = deepcopy(captioner.decoder).float()
        if share is not None:
            tried = {"decoder": decoder}
            Merger(Path(args.model), runs, share).merge(tried)
        if tau:
            decoder.favour_rare_words(counts, tau)
        shown = "    -" if share is None else f"{share:5.2f}"
        yield f"{shown}  {tau:4.2f}", decoder.to(captioner.dtype)


if __name__ == "__main__":
    main()
