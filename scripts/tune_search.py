r"""Choose a model's search settings, and the average of a run, on validation data.

    python scripts/tune_search.py runs/flickr8k --annotations captions_val.json --images DIR
    python scripts/tune_search.py runs/flickr8k --annotations captions_val.json --images DIR \
        --train captions_train.json --start-shares 0 0.2 0.4 --rare-words 0 0.15 --beams 3

Encodes every image once, searches with every combination, and prints BLEU-4, CIDEr (both without
Java, as in training's own validation) and wording statistics, the best CIDEr first. Put the winner
in the config: beam size, length penalty and n-gram blocking in `search`, the start's share in
`self_critical`, tau for rare words in `train`. --start-shares needs the folder of a run with
finished self-critical training; --rare-words needs weights that are not adjusted yet, so use it
with --start-shares or another model.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch

from showattend.captioner import Captioner
from showattend.config import Config, from_dict
from showattend.decoding.beam import search
from showattend.evaluation.evaluate import read_references
from showattend.evaluation.scores.metrics import CiderValidator
from showattend.evaluation.scores.wording import wording
from showattend.exceptions import ConfigError, UserError
from showattend.model.decoders.lstm import LSTMDecoder
from showattend.model.decoders.protocol import favour_rare_words
from showattend.model.encoder import encode
from showattend.model.score_settings import caption_settings, describe_settings
from showattend.text.tokenizer import tokenize
from showattend.text.vocabulary import Vocabulary
from showattend.training.average import Merger
from showattend.training.phases import ADJUSTED, SELF_CRITICAL, plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a shipped model's name, a directory or a file")
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--images", type=Path)
    parser.add_argument(
        "--size", type=int, help="side of the input in pixels; default: the model's"
    )
    parser.add_argument("--train", type=Path, help="training captions, for --rare-words")
    parser.add_argument("--start-shares", type=float, nargs="+", default=[])
    parser.add_argument("--rare-words", type=float, nargs="+", default=[0.0])
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 3, 5, 8])
    parser.add_argument("--length-penalties", type=float, nargs="+", default=[0.4, 0.7, 1.0])
    parser.add_argument("--block-ngrams", type=int, nargs="+", default=[0, 3])
    args = parser.parse_args(arguments)
    if any(args.rare_words) and args.train is None:
        parser.error("--rare-words counts words: give --train")
    try:
        tune(args)
    except UserError as error:
        print(f"tune_search: {error}", file=sys.stderr)
        return 2
    return 0


def tune(args: argparse.Namespace) -> None:
    """Try every combination and print the table.

    Raises:
        UserError: A file cannot be read, or the options do not suit the model.
    """
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
                continue  # the penalty has no effect on greedy search
            options = replace(
                captioner.search,
                n_best=1,
                beam_size=beam,
                length_penalty=penalty,
                block_ngrams=block,
            )
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
    own = caption_settings(captioner)
    shared = {key: own[key] for key in ("min_length", "max_length", "size", "precision")}
    print(f"\nAll: {describe_settings(shared | {'images': len(records)})}")
    print("start  rare  beam  penalty  block  CIDEr   BLEU-4  length  distinct  words  bad ends")
    for cider, bleu, chosen, style in sorted(rows, key=lambda row: -row[0]):
        print(
            f"{chosen}  {cider:.4f}  {bleu:.4f}  {style['length']:6.1f}  {style['distinct']:8.3f}  "
            f"{style['words']:5.0f}  {style['bad_endings']:.4f}"
        )


def variants(captioner: Captioner, args: argparse.Namespace) -> Iterator[tuple[str, LSTMDecoder]]:
    """Yield the decoders to try with their share and tau; without shares, the model's own."""
    counts = torch.zeros(len(captioner.vocabulary), dtype=torch.long)
    for record in read_references(args.train, split="train") if args.train else ():
        for words in filter(None, map(tokenize, record.captions)):
            for number in (*captioner.vocabulary.encode(words), Vocabulary.END):
                counts[number] += 1
    merge = averaging(captioner, Path(args.model)) if args.start_shares else None
    history = captioner.record.get("history", [])
    if merge is None and any(args.rare_words) and history and history[-1].get("phase") == ADJUSTED:
        raise ConfigError(
            f"{args.model}: already adjusted for rare words; give --start-shares too, which uses "
            "the weights from before the adjustment"
        )
    for share, tau in itertools.product(args.start_shares or [None], args.rare_words):
        decoder = deepcopy(captioner.decoder).float()
        if merge is not None:
            merge.start_share = share
            merge.merge({"decoder": decoder})
        if tau:
            favour_rare_words(decoder, counts, tau)
        own = share is None and not tau  # the model's scores unchanged
        shown = "    -" if share is None else f"{share:5.2f}"
        yield f"{shown}  {' own' if own else f'{tau:4.2f}'}", decoder.to(captioner.dtype)


def averaging(captioner: Captioner, folder: Path) -> Merger:
    """Prepare the average of a run's self-critical runs; the start's share is set later.

    Raises:
        ConfigError: This is not the folder of such a run, or a file of weights is missing.
    """
    path = folder / "training.json"
    try:
        config = from_dict(Config, json.loads(path.read_text("utf-8"))["config"], str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{captioner.name}: --start-shares need the folder of a run, with its training.json"
        ) from error
    runs = sum(phase.name == SELF_CRITICAL for phase in plan(config))
    merger = Merger(folder, runs, 0.0)
    absent = [file.name for file in (merger.start, *merger.files) if not file.is_file()]
    if not runs or absent:
        reason = f"{', '.join(absent)} missing" if runs else "no self-critical training"
        raise ConfigError(f"{folder}: there is nothing to average ({reason})")
    return merger


if __name__ == "__main__":
    sys.exit(main())
