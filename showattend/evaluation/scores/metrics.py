"""Caption metrics: the official COCO scores, and a fast in-process subset for validation.

pycocoevalcap, the reference implementation of BLEU, METEOR, ROUGE-L and CIDEr for captions (Chen et
al. 2015, "Microsoft COCO Captions"), computes them. Scores are fractions, as it returns them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from showattend.evaluation.scores import java
from showattend.exceptions import DataError
from showattend.system.matching import normal
from showattend.text.scripts import UNSPACED, other_script
from showattend.text.tokenizer import tokenize

METRICS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")

ImageId = Any  # any hashable; Mapping is invariant in its key type


@dataclass(frozen=True)
class Scores:
    """The metrics of a set of captions.

    Attributes:
        metrics: The score of the whole set by name, in the order of ``METRICS``, without METEOR if
            Java is missing.
        per_image: The same for each image. (BLEU is a corpus score; it is rough for one sentence.)
        tokens: The tokens of each candidate that were scored, joined by spaces.
        bleu: The BLEU counts of each image (`statistics.BLEU_COUNTS`).
        reference_words: The mean number of tokens of each image's references.
        tokenizer: "PTB", or "showattend" if Java is missing.
        missing: One line for each omission, with the remedy.
    """

    metrics: dict[str, float]
    per_image: dict[ImageId, dict[str, float]]
    tokens: dict[ImageId, str]
    bleu: dict[ImageId, list[int]]
    reference_words: dict[ImageId, float]
    tokenizer: str
    missing: list[str]


def score_captions(
    references: Mapping[ImageId, Sequence[str]],
    candidates: Mapping[ImageId, str],
    allow_missing: bool = False,
) -> Scores:
    """Score one caption per image with BLEU-1 to 4, METEOR, ROUGE-L and CIDEr.

    References and candidates are tokenized with the PTB tokenizer, as in the official evaluation.
    References in another script than Latin are tokenized by the package, without METEOR.
    Without Java, the package's own tokenizer is used (it agrees on over 99.5 % of tokens), METEOR
    is left out, and ``Scores.missing`` says so.

    Args:
        references: The human captions of each image, as written.
        candidates: The caption to score for each image, as written; may be empty.
        allow_missing: Score only the images that have a candidate, instead of requiring all.

    Raises:
        DataError: References and candidates are for different images, an image has no reference,
            or there is nothing to score.
    """
    ids = _matching_ids(references, candidates, allow_missing)
    counts = [len(references[i]) for i in ids]
    flat = [text for i in ids for text in references[i]] + [candidates[i] for i in ids]
    flat = list(map(normal, flat))
    missing: list[str] = []
    script = other_script(text for i in ids for text in references[i])
    try:
        if script is None:
            java.begin_meteor()
            tokens, tokenizer = java.tokenize_ptb(flat), "PTB"
        else:
            tokens, tokenizer = [" ".join(tokenize(text)) for text in flat], "showattend"
            missing.append(_other_language(script))
    except java.JavaError as error:
        tokens, tokenizer = [" ".join(tokenize(text)) for text in flat], "showattend"
        missing.append(f"no METEOR, and not the official tokenizer: {error}")
    refs: list[list[str]] = []
    start = 0
    for count in counts:
        refs.append(tokens[start : start + count])
        start += count
    hyps = tokens[start:]
    with ThreadPoolExecutor(1) as beside:  # METEOR's own process does the work
        meteor = None if missing else beside.submit(java.meteor, refs, hyps)
        metrics, per_image = _count(refs, hyps)
        try:
            if meteor is not None:
                metrics["METEOR"], per_image["METEOR"] = meteor.result()
        except java.JavaError as error:
            missing.append(f"no METEOR: {error}")
    names = [name for name in METRICS if name in metrics]
    if len(ids) == 1:
        missing.append(
            "CIDEr of one image is 0 by definition, since it weighs words by the number of images "
            "that have them; score at least a few dozen"
        )
    return Scores(
        metrics={name: metrics[name] for name in names},
        per_image={i: {name: per_image[name][k] for name in names} for k, i in enumerate(ids)},
        tokens=dict(zip(ids, hyps, strict=True)),
        bleu={i: _bleu_counts(ref, hyp) for i, ref, hyp in zip(ids, refs, hyps, strict=True)},
        reference_words={
            i: sum(len(text.split()) for text in ref) / len(ref)
            for i, ref in zip(ids, refs, strict=True)
        },
        tokenizer=tokenizer,
        missing=missing,
    )


class CiderValidator:
    """BLEU-4 and CIDEr of freely decoded captions, for validation during training.

    Runs in-process and without Java: the references are tokenized once with the package's
    tokenizer, and the candidates are already lists of words.
    """

    def __init__(self, references: Mapping[ImageId, Sequence[str | Sequence[str]]]) -> None:
        """Tokenize the references.

        Args:
            references: The human captions of each image: strings as written, or lists of tokens.

        Raises:
            DataError: There is no image, or an image has no reference.
        """
        self._references = {
            i: [
                normal(" ".join(tokenize(text) if isinstance(text, str) else text))
                for text in texts
            ]
            for i, texts in references.items()
        }
        _matching_ids(self._references, self._references, allow_missing=False)

    def score(self, candidates: Mapping[ImageId, Sequence[str]]) -> dict[str, float]:
        """Score one caption for each image.

        Args:
            candidates: The words of each image's caption, without special tokens; may be empty.

        Returns:
            "BLEU-4" and "CIDEr" as fractions.

        Raises:
            DataError: Candidates and references are for different images.
        """
        ids = _matching_ids(self._references, candidates, allow_missing=False)
        refs = [self._references[i] for i in ids]
        metrics, _ = _count(refs, [normal(" ".join(candidates[i])) for i in ids], rouge=False)
        return {name: metrics[name] for name in ("BLEU-4", "CIDEr")}


def _matching_ids(
    references: Mapping[ImageId, Sequence[object]],
    candidates: Mapping[ImageId, object],
    allow_missing: bool,
) -> list[ImageId]:
    """The ids to score in the order of the references, as in the official scores."""
    unknown = [i for i in candidates if i not in references]
    if unknown:
        raise DataError(
            f"{len(unknown)} captions are for images that have no references (for example "
            f"{_some(unknown)}); check that both files are of the same data set and split"
        )
    ids = [i for i in references if i in candidates]
    absent = [i for i in references if i not in candidates]
    if absent and not allow_missing:
        raise DataError(
            f"{len(absent)} of {len(references)} images have no caption to score (for example "
            f"{_some(absent)})"
        )
    bare = [i for i in ids if not references[i]]
    if bare:
        raise DataError(f"{len(bare)} images have no reference caption (for example {_some(bare)})")
    if not ids:
        raise DataError("there is no caption to score")
    return ids


def _other_language(script: str) -> str:
    units = "characters" if script in UNSPACED.values() else "words"
    return (
        f"no METEOR: it is made for English, and the references are in {script} script; the other "
        f"scores compare {units}, and are comparable only with scores made in the same way"
    )


def _some(ids: Sequence[ImageId]) -> str:
    return ", ".join(str(i) for i in ids[:3])


def _bleu_counts(references: Sequence[str], candidate: str) -> list[int]:
    """The BLEU counts of one image: `statistics.BLEU_COUNTS`."""
    from pycocoevalcap.bleu.bleu_scorer import cook_refs, cook_test

    found = cook_test(candidate, cook_refs(list(references)), eff=None)
    length = found["testlen"]
    closest = min((abs(words - length), words) for words in found["reflen"])[1]
    return [length, closest, *found["correct"]]


def _count(
    refs: Sequence[Sequence[str]], hyps: Sequence[str], rouge: bool = True
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Compute the metrics that do not need Java, for the whole set and for each image."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    if not any(ref for image in refs for ref in image):
        raise DataError("the reference captions are all empty")
    gts = {k: list(image) for k, image in enumerate(refs)}
    res = {k: [hyp] for k, hyp in enumerate(hyps)}
    bleu, bleu_each = Bleu(4).compute_score(gts, res, verbose=0)
    metrics = {f"BLEU-{n}": score for n, score in enumerate(bleu, 1)}
    per_image = {f"BLEU-{n}": scores for n, scores in enumerate(bleu_each, 1)}
    metrics["CIDEr"], per_image["CIDEr"] = Cider().compute_score(gts, res)
    if rouge:
        metrics["ROUGE-L"], per_image["ROUGE-L"] = Rouge().compute_score(gts, res)
    return (
        {name: float(score) for name, score in metrics.items()},
        {name: [float(score) for score in scores] for name, scores in per_image.items()},
    )
