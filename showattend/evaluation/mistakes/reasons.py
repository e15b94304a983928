"""Why a caption says a wrong word: habit, another thing, or another place.

There are three kinds of error, checked in this order:

- *habit*: the word barely depends on the photo. Given the same words before it, this photo makes
  the word less than `LEAST_GAIN` times as likely as other photos do on average.
- *mistook*: the model looked at an object and called it something else. The peak of the word's map
  lies on an object in the photo.
- *misplaced*: the peak lies on no named object, or the map has no clear peak.

Objects are known from masks (`showattend.evaluation.grounding`), or else from human captions: they
are forced on the model, and the cells that hold half of a noun's attention are taken for the noun's
place. That is the model's own view, and it can be wrong.

Shape suffixes: K photos, T words, H and W the grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from showattend.caption import Caption
from showattend.evaluation.mistakes.caption_errors import Judged
from showattend.evaluation.mistakes.lexicon import Lexicon, lexicons
from showattend.evaluation.mistakes.people import mentions_people
from showattend.text.tokenizer import tokenize

if TYPE_CHECKING:
    from showattend.captioner import Captioner
    from showattend.given import Looked

HABIT, MISTOOK, MISPLACED = "language habit", "took it for something else", "wrong place"
KINDS = {
    HABIT: "the word barely depends on the photo: other photos make it about as likely",
    MISTOOK: "the model looked at an object in the photo, and called it something else",
    MISPLACED: "the model looked where nobody names an object, or nowhere in particular",
}
"""The kinds of error, and their meanings."""
LEAST_GAIN = 2.0
"""A word is a habit if the photo does not make it this many times as likely as others do."""
MUCH = 1000
"""Larger factors are reported as "over" this many."""


@dataclass(frozen=True)
class WrongWord:
    """A word of a caption that is wrong.

    Attributes:
        start: Index of its first word.
        stop: Index after its last word.
        instead: What people say about the photo, or what is annotated; may be empty.
        at: The object on which the word's peak lies, if masks show it; None for none.
        masked: Whether masks were used.
    """

    start: int
    stop: int
    instead: tuple[str, ...] = ()
    at: str | None = None
    masked: bool = False


class Reason(NamedTuple):
    """The reason for a wrong word.

    Attributes:
        wrong: The word.
        kind: One of `KINDS`.
        gain: The factor by which this photo makes the word likelier than others do on average.
        at: The object that the model looked at; None for none.
        pointed: Whether its map points to a place.
    """

    wrong: WrongWord
    kind: str
    gain: float
    at: str | None
    pointed: bool


class Place(NamedTuple):
    """Where the model looks for an object that people name.

    Attributes:
        name: The word that people use.
        core: The cells that hold half of the attention [H, W] bool.
    """

    name: str
    core: np.ndarray


@dataclass
class Case:
    """A photograph whose caption is to be explained.

    Attributes:
        looked: Its features.
        words: The words of the caption.
        wrong: Its wrong words.
        references: The human captions.
        reasons: The reason for each wrong word; set by `explain`.
    """

    looked: Looked
    words: tuple[str, ...]
    wrong: Sequence[WrongWord]
    references: Sequence[str] = ()
    reasons: list[Reason] = field(default_factory=list)


def wrong_words(words: Sequence[str], references: Sequence[str]) -> list[WrongWord]:
    """The words of a caption that human captions contradict, or do not mention.

    A span that names several concepts is wrong if none of them is supported or undecided.

    Args:
        words: The caption's tokens.
        references: The human captions of its photo.
    """
    verdicts: dict[tuple[int, int], list[tuple[str, tuple[str, ...]]]] = {}
    invents = mentions_people(" ".join(words)) == "named" and all(
        mentions_people(each) == "none" for each in references
    )
    for lexicon in lexicons():
        others = [lexicon.named(tokenize(each)) for each in references]
        judged = Judged(lexicon, lexicon.named(words), others)
        for span in lexicon.find(words):
            for concept in sorted(span.concepts):
                verdict = judged.verdicts[concept]
                if invents and lexicon.name == "object" and _is_person(concept, lexicon):
                    verdict = "contradicted"
                found = verdicts.setdefault((span.start, span.stop), [])
                found.append((verdict, tuple(judged.rivals(concept))))
    return [
        WrongWord(*span, instead=tuple(dict.fromkeys(name for _, names in found for name in names)))
        for span, found in sorted(verdicts.items())
        if all(verdict in ("contradicted", "unconfirmed") for verdict, _ in found)
    ]


def _is_person(concept: str, lexicon: Lexicon) -> bool:
    return "person" in {concept, *lexicon.above(concept)}


def explain(
    captioner: Captioner, cases: Sequence[Case], others: Sequence[Looked], somewhere: float
) -> list[Caption]:
    """Find the reasons for captions' wrong words, and store them in the cases.

    Args:
        captioner: The model, on which the captions are forced.
        cases: The photographs with their captions.
        others: Other photographs, which show how likely the words are anyway. One that is also a
            case (the same object) is not compared with itself.
        somewhere: The largest share of the grid that half of a map may take for the map to point
            to a place.

    Returns:
        The caption of each case, with its maps.
    """
    captions = [captioner.attend(case.looked, case.words) for case in cases]
    usual_KNT = [
        [each.log_probs for each in captioner.attend_all(one, [case.words for case in cases])]
        for one in others
    ]
    for n, (case, caption) in enumerate(zip(cases, captions, strict=True)):
        others_KT = [
            found[n] for one, found in zip(others, usual_KNT, strict=True) if one is not case.looked
        ]
        places = [] if _have_masks(case) else places_of(captioner, case, somewhere)
        case.reasons = [
            reason_of(wrong, caption, others_KT, places, somewhere) for wrong in case.wrong
        ]
    return captions


def gain_of(
    here_T: Sequence[float], others_KT: Sequence[Sequence[float]], start: int, stop: int
) -> float:
    """The factor by which a photo makes some words likelier than other photos do on average.

    Consecutive words count as one: their probabilities are multiplied.

    Args:
        here_T: Log-probabilities of a caption's words given the photo and the words before.
        others_KT: The same given each of the other photos; infinity is returned if there is none.
        start: Index of the first word.
        stop: Index after the last word.
    """
    if not others_KT:
        return math.inf
    here = math.fsum(here_T[start:stop])
    usual_K = [math.fsum(each[start:stop]) for each in others_KT]
    # The mean of such small probabilities is computed in logarithms.
    most = max(usual_K)
    usual = most + math.log(sum(math.exp(each - most) for each in usual_K) / len(usual_K))
    return math.exp(min(here - usual, 700.0))


def places_of(captioner: Captioner, case: Case, somewhere: float) -> list[Place]:
    """Where the model looks for the objects that people name in a photo.

    Args:
        captioner: The model.
        case: The photo with its human captions.
        somewhere: See `explain`; objects without a place are left out.
    """
    objects = lexicons()[0]
    said = [words for each in case.references if (words := tuple(tokenize(each)))]
    found = []
    for caption in captioner.attend_all(case.looked, said):
        for span in objects.find(caption.words):
            core = core_of(caption.attention[span.start : span.stop].mean(0))
            if core.mean() <= somewhere:
                found.append(Place(" ".join(caption.words[span.start : span.stop]), core))
    return found


def reason_of(
    wrong: WrongWord,
    caption: Caption,
    others_KT: Sequence[Sequence[float]],
    places: Sequence[Place],
    somewhere: float,
) -> Reason:
    """Classify a wrong word.

    Args:
        wrong: The word.
        caption: Its caption, with maps.
        others_KT: The log-probabilities of its words given other photos.
        places: The result of `places_of`; not used with masks.
        somewhere: See `explain`.
    """
    map_HW = caption.attention[wrong.start : wrong.stop].mean(0)
    gain = gain_of(caption.log_probs, others_KT, wrong.start, wrong.stop)
    at, pointed = wrong.at, bool(core_of(map_HW).mean() <= somewhere)
    if not wrong.masked:
        peak = np.unravel_index(int(map_HW.argmax()), map_HW.shape)
        hit = [each for each in places if each.core[peak]]
        # The most compact place around the peak is the best guess of what is there.
        at = min(hit, key=lambda each: each.core.sum()).name if hit and pointed else None
    kind = HABIT if gain < LEAST_GAIN else MISPLACED if at is None else MISTOOK
    return Reason(wrong, kind, gain, at, pointed)


def core_of(map_HW: np.ndarray) -> np.ndarray:
    """The fewest cells that hold half of a map's attention [H, W] bool, the strongest first."""
    flat = map_HW.ravel().astype(np.float64)
    order = np.argsort(-flat, kind="stable")
    count = int(np.searchsorted(np.cumsum(flat[order]), flat.sum() / 2)) + 1
    core = np.zeros(flat.size, bool)
    core[order[:count]] = True
    return core.reshape(map_HW.shape)


def sentence_of(reason: Reason, photos: int) -> str:
    """Describe the reason for a word in one line.

    Args:
        reason: The reason.
        photos: The number of other photos with which its probability was compared.
    """
    instead = reason.wrong.instead
    parts = []
    if reason.kind != HABIT and reason.at is not None:
        parts.append(f"looked at “{reason.at}”")
    elif reason.kind != HABIT:
        there = "that is annotated" if reason.wrong.masked else "that people name"
        parts.append(f"looked at nothing {there}" if reason.pointed else "looked at no one place")
    if photos:
        much = reason.gain >= MUCH
        times = f"over {MUCH:,}" if much else f"{reason.gain:.{0 if reason.gain >= 9.95 else 1}f}"
        many = "another photo" if photos == 1 else f"{photos} other photos"
        parts.append(f"{times} times as likely as with {many}")
    if instead:
        names = ", ".join(f"“{each}”" for each in instead[:3])
        parts.append(f"{'annotated:' if reason.wrong.masked else 'people say'} {names}")
    elif not reason.wrong.masked:
        parts.append("nobody names it")
    return "; ".join(parts)


def _have_masks(case: Case) -> bool:
    return all(each.masked for each in case.wrong)
