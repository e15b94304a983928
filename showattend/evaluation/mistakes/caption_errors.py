"""What captions get wrong: the things they name, against what the human captions name.

The words are looked up in a table (``lexicon.py``), so that this needs no tagger and no model. A
concept that a caption names is

- supported, when at least one reference names it, or a kind of it ("person" for "man");
- contradicted, when none does and a reference names a rival ("man" where they say "woman", "two"
  where they say "three");
- undecided, when they name only something wider ("man" where all say "person");
- unconfirmed, when they name nothing of the sort: it may be there, and nobody mentioned it.

A concept is wanted when more than half of the references name it, or a kind of it. A person's
caption is judged by the other references of its image, which are one fewer; the captions under
test are judged by the same ones for that comparison, once for each that is left out.

People are counted on their own besides (``people.py``): how often a caption puts one where nobody
mentions any, and how often it leaves them out where everybody does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from showattend.evaluation.mistakes.lexicon import Lexicon, lexicons
from showattend.evaluation.mistakes.people import PeopleReport, find_people, mentions_people
from showattend.evaluation.scores.metrics import ImageId
from showattend.evaluation.scores.wording import wording
from showattend.exceptions import DataError
from showattend.text.tokenizer import tokenize

VERDICTS = ("supported", "contradicted", "undecided", "unconfirmed")
LISTED = 12
"""The entries of each list of a report."""
LEAST_RATIO = 3.0
"""A phrase is overused from so many times the references' share on."""


@dataclass(frozen=True)
class Figures:
    """How captions fare on one kind of words.

    Attributes:
        captions: How many captions were judged (each as often as it met another set of references).
        naming: How many name at least one concept of the kind.
        mentions: How many concepts they name in all.
        supported: How many of those are supported.
        contradicted: How many are contradicted.
        undecided: How many the references name only by something wider.
        unconfirmed: How many have nothing to confirm or contradict them.
        wanted: How many concepts more than half of the references name.
        found: How many of those the captions name.
        wider: How many of those they name only by something wider.
    """

    captions: int
    naming: int
    mentions: int
    supported: int
    contradicted: int
    undecided: int
    unconfirmed: int
    wanted: int
    found: int
    wider: int

    def share(self, verdict: str) -> float | None:
        """The share of the mentions with a verdict of `VERDICTS`; None without mentions."""
        return getattr(self, verdict) / self.mentions if self.mentions else None

    @property
    def recall(self) -> float | None:
        """The share of the wanted concepts that the captions name."""
        return self.found / self.wanted if self.wanted else None


@dataclass(frozen=True)
class KindReport:
    """One kind of words: figures, and the lists of what goes wrong.

    Attributes:
        kind: "object", "count", "colour" or "activity".
        model: The captions under test, against all references.
        model_equal: The same captions against the references that ``human`` met; None where
            every image has one reference only.
        human: Each human caption against the others of its image.
        confusions: (said, instead, times): contradicted concepts of ``model``, and the rival that
            most references name.
        wrong: (concept, wrong, said): of the times it is said, those without support
            (contradicted or unconfirmed).
        missed: (concept, missed, wanted): of the times it is wanted, those it is not named.
    """

    kind: str
    model: Figures
    model_equal: Figures | None
    human: Figures | None
    confusions: tuple[tuple[str, str, int], ...]
    wrong: tuple[tuple[str, int, int], ...]
    missed: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Phrase:
    """Words in a row that the captions use far more than people do.

    Attributes:
        words: The phrase.
        count: Captions that hold it.
        share: Their share.
        human_count: Human captions that hold it.
        human_share: Their share.
    """

    words: str
    count: int
    share: float
    human_count: int
    human_share: float


@dataclass(frozen=True)
class ErrorReport:
    """What a set of captions gets wrong.

    Attributes:
        images: How many images were judged.
        references: Human captions an image, on average.
        kinds: The four kinds of words.
        people: People put in where nobody is, and left out where somebody is.
        phrases: Overused phrases, those with the largest surplus first.
        wording: What ``wording`` says of the captions.
        human_wording: The same of as many human captions, one an image: the mean over the first
            of each image, the second, and so on while every image has one.
        verbatim: The share of captions that stand word for word in the training captions; None
            where none were given.
        human_verbatim: The same of the human captions.
    """

    images: int
    references: float
    kinds: tuple[KindReport, ...]
    people: PeopleReport
    phrases: tuple[Phrase, ...]
    wording: Mapping[str, float]
    human_wording: Mapping[str, float]
    verbatim: float | None
    human_verbatim: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return asdict(self)


@dataclass(frozen=True)
class Fault:
    """One thing a caption gets wrong.

    Attributes:
        kind: "people" where it puts one in and no reference mentions any, else "object", "count",
            "colour" or "activity".
        said: The concept it names; None where it leaves one out.
        instead: What the references say: the rivals, most named first, or what is left out.
    """

    kind: str
    said: str | None
    instead: tuple[str, ...]

    @property
    def tag(self) -> str:
        """A short label: "count: two / three", "object: beach / not named", "missing: dog"."""
        if self.said is None:
            return f"missing: {', '.join(self.instead)}"
        return f"{self.kind}: {self.said} / {', '.join(self.instead) or 'not named'}"


def find_errors(
    references: Mapping[ImageId, Sequence[str]],
    candidates: Mapping[ImageId, str],
    *,
    train: Iterable[str] | None = None,
) -> ErrorReport:
    """Analyse captions.

    Args:
        references: The human captions of each image.
        candidates: A caption an image; images of the references without one are left out.
        train: The captions that the model was trained on, to count those it repeats.

    Raises:
        DataError: No image has both a caption and references, or a caption has no references.
    """
    lost = [image for image in candidates if not references.get(image)]
    if lost:
        raise DataError(f"{len(lost)} captions have no human ones (image {lost[0]}, for example)")
    if not candidates:
        raise DataError("there are no captions to look at")
    said = [tokenize(caption) for caption in candidates.values()]
    human = [[tokenize(each) for each in references[image]] for image in candidates]
    everyone = [words for each in human for words in each]
    rounds = [wording([each[k] for each in human]) for k in range(min(len(each) for each in human))]
    known = None if train is None else {tuple(tokenize(each)) for each in train}
    return ErrorReport(
        images=len(said),
        references=len(everyone) / len(said),
        kinds=tuple(_kind(lexicon, said, human) for lexicon in lexicons()),
        people=find_people(references, candidates),
        phrases=_overused(said, everyone),
        wording=wording(said),
        human_wording={
            name: sum(each[name] for each in rounds) / len(rounds) for name in rounds[0]
        },
        verbatim=None if known is None else _known_share(said, known),
        human_verbatim=None if known is None else _known_share(everyone, known),
    )


def find_faults(caption: str, references: Sequence[str]) -> list[Fault]:
    """What one caption gets wrong: people put in, concepts contradicted, left out, unconfirmed.

    Args:
        caption: The caption.
        references: The human captions of its image.
    """
    wrong, missing, unsure = [], [], []
    put_in = mentions_people(caption) == "named"
    if put_in and all(mentions_people(each) == "none" for each in references):
        wrong.append(Fault("people", "somebody", ("nobody",)))
    for lexicon in lexicons():
        judged = _Judged(
            lexicon,
            lexicon.named(tokenize(caption)),
            [lexicon.named(tokenize(each)) for each in references],
        )
        for concept, verdict in judged.verdicts.items():
            if verdict == "contradicted":
                wrong.append(Fault(lexicon.name, concept, tuple(judged.rivals(concept))))
            elif verdict == "unconfirmed":
                unsure.append(Fault(lexicon.name, concept, ()))
        missing += [
            Fault(lexicon.name, None, (concept,))
            for concept, how in judged.wanted.items()
            if how == "missed"
        ]
    return [*wrong, *missing, *unsure]


# One caption against some references -------------------------------------------------------------


class _Judged:
    """The concepts of one kind that a caption names, each with its verdict, and those wanted."""

    def __init__(
        self, lexicon: Lexicon, said: frozenset[str], references: Sequence[frozenset[str]]
    ) -> None:
        self.lexicon = lexicon
        self.votes = Counter(concept for each in references for concept in sorted(each))
        implied = Counter(concept for each in references for concept in lexicon.implied(each))
        self.verdicts = {concept: self._verdict(concept, implied) for concept in sorted(said)}
        common = {concept for concept, votes in implied.items() if 2 * votes > len(references)}
        common -= {wider for concept in common for wider in lexicon.above(concept)}
        covered = lexicon.implied(said)
        self.wanted: dict[str, str] = {}
        for concept in sorted(common):
            if concept in covered:
                self.wanted[concept] = "found"
            else:
                wider = lexicon.above(concept) & said
                self.wanted[concept] = "wider" if wider else "missed"

    def _verdict(self, concept: str, implied: Mapping[str, int]) -> str:
        if concept in implied:
            return "supported"
        if self.rivals(concept):
            return "contradicted"
        return "undecided" if self.lexicon.above(concept) & set(self.votes) else "unconfirmed"

    def rivals(self, concept: str) -> list[str]:
        """The rivals that references name, those of most references first."""
        named = [other for other in self.votes if self.lexicon.are_rivals(concept, other)]
        return sorted(named, key=lambda other: (-self.votes[other], other))


# Many captions -----------------------------------------------------------------------------------


def _kind(
    lexicon: Lexicon, said: Sequence[Sequence[str]], human: Sequence[Sequence[Sequence[str]]]
) -> KindReport:
    pairs = [
        (lexicon.named(words), [lexicon.named(each) for each in others])
        for words, others in zip(said, human, strict=True)
    ]
    judged = [_Judged(lexicon, concepts, others) for concepts, others in pairs]
    equal, people = [], []
    for concepts, others in pairs:
        for left_out in range(len(others) if len(others) > 1 else 0):
            rest = [*others[:left_out], *others[left_out + 1 :]]
            equal.append(_Judged(lexicon, concepts, rest))
            people.append(_Judged(lexicon, others[left_out], rest))
    confusions: Counter[tuple[str, str]] = Counter()
    times: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for each in judged:
        for concept, verdict in each.verdicts.items():
            times[concept] += 1
            wrong[concept] += verdict in ("contradicted", "unconfirmed")
            if verdict == "contradicted":
                confusions[concept, each.rivals(concept)[0]] += 1
        for concept, how in each.wanted.items():
            wanted[concept] += 1
            missed[concept] += how == "missed"
    return KindReport(
        kind=lexicon.name,
        model=_figures(judged),
        model_equal=_figures(equal) if equal else None,
        human=_figures(people) if people else None,
        confusions=tuple((*pair, count) for pair, count in _most(confusions)),
        wrong=tuple((concept, count, times[concept]) for concept, count in _most(wrong)),
        missed=tuple((concept, count, wanted[concept]) for concept, count in _most(missed)),
    )


def _most(counts: Counter[Any]) -> list[tuple[Any, int]]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(name, count) for name, count in ranked[:LISTED] if count]


def _figures(judged: Sequence[_Judged]) -> Figures:
    verdicts = Counter(verdict for each in judged for verdict in each.verdicts.values())
    wanted = Counter(how for each in judged for how in each.wanted.values())
    return Figures(
        captions=len(judged),
        naming=sum(bool(each.verdicts) for each in judged),
        mentions=verdicts.total(),
        **{verdict: verdicts[verdict] for verdict in VERDICTS},
        wanted=wanted.total(),
        found=wanted["found"],
        wider=wanted["wider"],
    )


def _overused(said: Sequence[Sequence[str]], human: Sequence[Sequence[str]]) -> tuple[Phrase, ...]:
    """Phrases of 3 and 4 words in at least 1 % of the captions (and 5), overused by people's use.

    A phrase of 3 words goes without saying where one of 4 that holds it is nearly as frequent.
    """
    ours, theirs = _phrase_counts(said), _phrase_counts(human)
    least = max(5, len(said) / 100)
    found = {
        words: Phrase(" ".join(words), count, count / len(said), theirs[words],
                      theirs[words] / len(human))
        for words, count in ours.items()
        if count >= least
        and count / len(said) >= LEAST_RATIO * max(theirs[words], 1) / len(human)
    }  # fmt: skip
    for words, phrase in list(found.items()):
        for part in (words[:-1], words[1:]) if len(words) == 4 else ():
            if part in found and phrase.count >= 0.8 * found[part].count:
                del found[part]
    surplus = sorted(
        found.values(),
        key=lambda phrase: (phrase.human_share - phrase.share, phrase.words),
    )
    return tuple(surplus[: 2 * LISTED])


def _phrase_counts(captions: Iterable[Sequence[str]]) -> Counter[tuple[str, ...]]:
    """In how many captions each row of 3 or 4 words stands."""
    counts: Counter[tuple[str, ...]] = Counter()
    for words in captions:
        counts.update(
            {
                tuple(words[start : start + length])
                for length in (3, 4)
                for start in range(len(words) - length + 1)
            }
        )
    return counts


def _known_share(captions: Sequence[Sequence[str]], known: set[tuple[str, ...]]) -> float:
    return sum(tuple(words) in known for words in captions) / max(len(captions), 1)
