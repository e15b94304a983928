"""How often a model fills a gap with the word that was there.

    python scripts/fill_gaps.py MODEL captions_val.json IMAGES [--captions 50] [--output FILE]

Hides one word in each of N human captions of validation photographs, as ``a ___ catches a ball``,
and lets `Captioner.fill` list five candidates: search for a model that writes from left to right, a
prediction from both sides for a masked one. Prints how often the hidden word is the first candidate
and how often it is among the five, for content and for function words. Photographs, captions and
words are selected with a fixed seed; words that the model does not know are never hidden. Other
words than the hidden one may be right too. --output keeps the figures and all gaps as a record,
without the captions' text.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from showattend.captioner import Captioner
from showattend.data.records import Record
from showattend.evaluation.evaluate import caption_inputs, read_references
from showattend.exceptions import UserError
from showattend.model.score_settings import caption_settings
from showattend.system.files import write_json
from showattend.system.provenance import file_digest, remember_command, stamp
from showattend.text.tokenizer import FUNCTION_WORDS, tokenize
from showattend.text.vocabulary import Vocabulary

SEED = 0
FIRST, FEW = 1, 5
KINDS = ("content", "function")


class Hidden(NamedTuple):
    """A caption with one word hidden."""

    record: Record
    place: int  # of the word in the sentence
    sentence: str  # with ___ in that place
    word: str


def hide(records: Sequence[Record], known: Vocabulary, most: int) -> list[Hidden]:
    """Hide a word in one caption of each of at most ``most`` photographs, all drawn at random."""
    draw = random.Random(SEED)
    found: list[Hidden] = []
    for record in draw.sample(list(records), len(records)):
        words = list(tokenize(draw.choice(record.captions)))
        places = [t for t, word in enumerate(words) if word in known]
        if len(found) == most:
            break
        if places:
            place = draw.choice(places)
            sentence = " ".join([*words[:place], "___", *words[place + 1 :]])
            found.append(Hidden(record, place, sentence, words[place]))
    return found


def measure(captioner: Captioner, hidden: Sequence[Hidden]) -> dict[str, Any]:
    """Fill the gaps; count where the hidden words are among the candidates.

    Returns:
        gaps: For each, image, place in the caption, kind, candidates with probabilities, and rank
        from 1 or None; counts: for each kind of word, and all, the number of gaps, of first and of
        five.

    Raises:
        UserError: There is no caption with a word that the model knows.
    """
    if not hidden:
        raise UserError("no caption has a word that the model knows")
    gaps, counts = (
        [],
        {kind: dict.fromkeys(("gaps", "first", "five"), 0) for kind in ("all", *KINDS)},
    )
    for record, place, sentence, word in hidden:
        (gap,) = captioner.fill(record.path, sentence, candidates=FEW).gaps
        listed = [each for each, _ in gap.candidates]
        rank = listed.index(word) + 1 if word in listed else None
        kind = KINDS[word in FUNCTION_WORDS]
        gaps.append(
            {
                "image_id": record.image_id,
                "place": place,
                "kind": kind,
                "candidates": [list(each) for each in gap.candidates],
                "rank": rank,
            }
        )
        for each in (counts["all"], counts[kind]):
            each["gaps"] += 1
            each["first"] += rank == FIRST
            each["five"] += rank is not None
    return {"counts": counts, "gaps": gaps}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a shipped model's name, a directory or a file")
    parser.add_argument("annotations", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--captions", type=int, default=50, help="maximum, one per photograph")
    parser.add_argument("--output", type=Path, help="keep the figures as a record (.json)")
    args = parser.parse_args(arguments)
    remember_command(sys.argv[1:] if arguments is None else arguments, "fill_gaps.py")
    try:
        records = read_references(args.annotations, args.images, "val")
        captioner = Captioner.from_pretrained(args.model, device="cpu", precision="fp32")
        hidden = hide(records, captioner.vocabulary, args.captions)
        found = measure(captioner, hidden)
        settings = caption_settings(captioner)
        data = {"annotations": file_digest(args.annotations)}
        made = stamp(captioner.device, data=data, **caption_inputs(captioner, settings))
        if args.output:
            write_json(args.output, found | {"settings": settings, "provenance": made})
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for kind, each in found["counts"].items():
        if each["gaps"]:
            print(
                f"{kind}: {each['gaps']} hidden words, {each['first']} were the first candidate "
                f"({each['first'] / each['gaps']:.0%}), {each['five']} among the first five "
                f"({each['five'] / each['gaps']:.0%})"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
