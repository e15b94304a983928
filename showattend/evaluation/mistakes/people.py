"""Whether a caption mentions people, and how often a model invents them or leaves them out.

A caption names people if it has a noun for a person ("man", "skiers"). It hints at them if it has
none but may mean one: a hand or a lap, "he" in a caption without an animal, a ball game, a crowded
street, a statue or a painting of people. Otherwise it mentions none.

The model gets the benefit of the doubt: a photograph counts as one without people only if no human
caption names or hints at any, and the model invents people only if it names one. Words that only
look like people are ignored: "a kid's bedroom", "a baby elephant", "a crowd of sheep", "a pitcher
of water", "a snowman", "nobody", "a passenger train".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import sqrt
from typing import Any, Literal

from showattend.evaluation.grounding.nouns import listed, plurals
from showattend.evaluation.mistakes.lexicon import Lexicon, Span, lexicons
from showattend.evaluation.mistakes.people_words import (
    ANIMALS,
    BALL_GAMES,
    BEFORE_NOUNS,
    FOLLOWERS,
    GROUPS,
    HINTING,
    HINTS,
    KIN,
    LIKENESSES,
    PARTS,
    PASSED_OVER,
    PEOPLE,
    WEAK_HINTS,
)
from showattend.evaluation.mistakes.wordlists import OBJECTS, WIDER_OBJECTS
from showattend.evaluation.scores.metrics import ImageId
from showattend.text.tokenizer import tokenize

Mention = Literal["named", "hinted", "none"]

_FOLLOWERS = frozenset(listed(FOLLOWERS))
_LIKENESSES = frozenset(listed(LIKENESSES))
_PARTS = frozenset(listed(PARTS))
_BALL_GAMES = frozenset(listed(BALL_GAMES))
_YOUNG = frozenset(("juvenile", "young", "younger", "newborn"))
_POSSESSIVES = frozenset(("its", "'s", "her", "his", "their"))
_OWNERS = _POSSESSIVES | {"and", "&", "with"}
_BETWEEN_KIN = _OWNERS | _YOUNG | {"a", "an", "the", "small", "little"}


@dataclass(frozen=True)
class Rate:
    """A proportion with its uncertainty.

    Attributes:
        count: The number of hits.
        of: The number of trials.
        share: count / of; None if there are no trials.
        interval: The lower and upper end of its 95 % score interval (Wilson); None without trials.
    """

    count: int
    of: int
    share: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class PeopleReport:
    """People invented, and people left out.

    Attributes:
        put_in: Captions that name a person, among photographs for which no human caption mentions
            one.
        left_out: Captions that mention nobody, among photographs for which every human caption
            names a person.
        put_in_captions: The (image, caption) pairs counted in ``put_in``.
        left_out_captions: The (image, caption) pairs counted in ``left_out``.
        human_put_in: ``put_in`` for the human captions, each judged by the others of its
            photograph; None if no photograph has two.
        human_left_out: ``left_out`` for the human captions.
    """

    put_in: Rate
    left_out: Rate
    put_in_captions: tuple[tuple[ImageId, str], ...]
    left_out_captions: tuple[tuple[ImageId, str], ...]
    human_put_in: Rate | None
    human_left_out: Rate | None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PeopleReport:
        """Rebuild a report from its plain values, also after JSON."""
        own: dict[str, Any] = {}
        for key in ("put_in", "left_out", "human_put_in", "human_left_out"):
            own[key] = values[key] and _rate_from(values[key])
        for key in ("put_in_captions", "left_out_captions"):
            own[key] = tuple((image, said) for image, said in values[key])
        return cls(**own)


def _rate_from(values: Mapping[str, Any]) -> Rate:
    interval = values["interval"]
    return Rate(**{**values, "interval": interval and (interval[0], interval[1])})


def rate(count: int, of: int) -> Rate:
    """Compute a proportion with its 95 % interval."""
    if not of:
        return Rate(count, of, None, None)
    z, share = 1.959964, count / of
    middle = share + z * z / (2 * of)
    half = z * sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    low, high = (middle - half) / scale, (middle + half) / scale
    return Rate(count, of, share, (max(low, 0.0), min(high, 1.0)))


def find_people(
    references: Mapping[ImageId, Sequence[str]], candidates: Mapping[ImageId, str]
) -> PeopleReport:
    """Count the captions that invent people, and those that leave them out.

    Args:
        references: The human captions of each image, at least one.
        candidates: One caption per image.
    """
    said = {image: mentions_people(caption) for image, caption in candidates.items()}
    human = {image: [mentions_people(each) for each in references[image]] for image in candidates}
    without = [image for image, found in human.items() if set(found) == {"none"}]
    peopled = [image for image, found in human.items() if set(found) == {"named"}]
    put_in = tuple((each, candidates[each]) for each in without if said[each] == "named")
    left_out = tuple((each, candidates[each]) for each in peopled if said[each] == "none")
    rounds = [
        (one, {*found[:k], *found[k + 1 :]})
        for found in human.values()
        for k, one in enumerate(found)
        if len(found) > 1
    ]
    alone = [one for one, others in rounds if others == {"none"}]
    among = [one for one, others in rounds if others == {"named"}]
    return PeopleReport(
        put_in=rate(len(put_in), len(without)),
        left_out=rate(len(left_out), len(peopled)),
        put_in_captions=put_in,
        left_out_captions=left_out,
        human_put_in=rate(alone.count("named"), len(alone)) if rounds else None,
        human_left_out=rate(among.count("none"), len(among)) if rounds else None,
    )


def mentions_people(caption: str) -> Mention:
    """Whether a caption names people, hints at them, or mentions none.

    Args:
        caption: The text of the caption.
    """
    words = tokenize(caption)
    # The last part of a compound is its head: rock-climber, baby-stroller.
    words = [word.rpartition("-")[2] or word for word in words]
    spans = _lexicon().find(words)
    hinted = not _animals(spans) and any("weak hint" in span.concepts for span in spans)
    for span in spans:
        mention = _in_context(words, span, spans)
        if mention == "named":
            return "named"
        hinted = hinted or mention == "hinted"
    return "hinted" if hinted else "none"


def _animals(spans: Sequence[Span]) -> list[Span]:
    return [span for span in spans if "animal" in span.concepts]


def _in_context(words: Sequence[str], span: Span, spans: Sequence[Span]) -> Mention:
    """What a noun of the lexicon means in its context."""
    if not span.concepts & {"person", "hint"}:
        return "none"
    before, after = words[max(0, span.start - 5) : span.start], words[span.stop : span.stop + 4]
    if {"no", "without", "nobody"} & set(before[-2:]) or before[-2:] == ["empty", "of"]:
        return "none"
    if "person" not in span.concepts:
        return "hinted"
    if after[:1] in (["'s"], ["'"]):
        return "named" if _PARTS & set(after) else "none"
    if _is_attribute(span.concepts, after):
        return "none"
    if "group" in span.concepts and any(each.stop == span.start for each in _animals(spans)):
        return "none"
    if words[span.start] in ("pitcher", "pitchers", "batter", "batters"):
        rest = {*words[: span.start], *words[span.stop :]}
        return "named" if _BALL_GAMES & rest else "none"
    if _is_likeness(before):
        return "hinted"
    if "kin" in span.concepts:
        return _kin(words, span, spans)
    return "named"


def _is_attribute(concepts: frozenset[str], after: Sequence[str]) -> bool:
    """Whether the noun modifies the words after it: a baby zebra, a crowd of sheep."""
    if not after:
        return False
    if "group" in concepts:
        return after[0] == "of" or bool(_kind("object").named(after[:1]))
    if "before nouns" not in concepts or after[0] in _FOLLOWERS:
        return False
    return not (after[0].endswith(("ing", "ed", "ly")) or _kind("activity").named(after[:1]))


def _kind(name: str) -> Lexicon:
    return next(each for each in lexicons() if each.name == name)


def _is_likeness(before: Sequence[str]) -> bool:
    """Whether the words before say that it is a picture or figure: "a statue of a tall man"."""
    if before and before[-1] in _LIKENESSES:
        return True
    if len(before) > 1 and before[-2] in _LIKENESSES and before[-1] not in _FOLLOWERS:
        return True
    pairs = pairwise(before)
    return any(
        one in _LIKENESSES and link in ("of", "depicting", "showing", "resembling")
        for one, link in pairs
    )


def _kin(words: Sequence[str], span: Span, spans: Sequence[Span]) -> Mention:
    """Whether a word such as "mother" or "baby" means people or the animals in the caption."""
    animals = _animals(spans)
    if not animals:
        return "named"
    # "A mother and her baby elephant": the words for kin end in an animal.
    kin = {each.start for each in spans if "kin" in each.concepts}
    at, rows = span.stop, 0
    while at < len(words) and (words[at] in _BETWEEN_KIN or at in kin):
        rows += at in kin or words[at] in _YOUNG
        at += 1
    if rows and any(each.start == at for each in animals):
        return "none"
    if span.start < animals[0].start:
        return "named"
    before = words[max(0, span.start - 2) : span.start]
    theirs = before[-1] in _OWNERS or not _POSSESSIVES.isdisjoint(before)
    return "none" if theirs else "hinted"


@lru_cache(maxsize=1)
def _lexicon() -> Lexicon:
    people = ["person", "man", "woman", "child", "boy", "girl", "baby"]
    tables = {
        "person": ",".join([*people, *(OBJECTS[each] for each in people), PEOPLE, BEFORE_NOUNS]),
        "kin": KIN,
        "before nouns": BEFORE_NOUNS,
        "group": GROUPS,
        "hint": HINTS,
        "weak hint": WEAK_HINTS,
        "animal": ",".join(
            [*(f"{each}, {OBJECTS[each]}" for each in listed(WIDER_OBJECTS["animal"])), ANIMALS]
        ),
    }
    words = {concept: set(_forms(nouns)) for concept, nouns in tables.items()}
    words["hint"] |= set(listed(HINTING))
    words["before nouns"] = {*listed(BEFORE_NOUNS), *listed(KIN)}  # singular only
    words["person"] |= words["kin"] | words["group"]
    words["person"] -= words["hint"] | words["weak hint"]
    return Lexicon("people", words, passed_over=_forms(PASSED_OVER))


def _forms(nouns: str) -> list[str]:
    """Expand nouns to singular and plural."""
    found = []
    for noun in listed(nouns):
        *before, last = noun.split()
        found += [" ".join((*before, form)) for form in (last, *plurals(last))]
    return found
