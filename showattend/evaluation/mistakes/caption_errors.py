"""What captions get wrong, by comparing the things they name with those in human captions.

Words are looked up in a table (``lexicon.py``); no tagger and no model is needed. A concept that a
caption names is

- supported if at least one reference names it or a kind of it ("person" is supported by "man");
- contradicted if none does and a reference names a rival ("man" against "woman", "two" against
  "three");
- undecided if the references name only something wider ("man" against "person");
- unconfirmed if the references name nothing related. It may be there without being mentioned.

A concept is wanted if more than half of the references name it or a kind of it. Human captions are
judged by the other references of their image, which are one fewer. For a fair comparison, the
captions under test are also judged with one reference left out, once for each.

People are also counted separately (``people.py``): how often a caption invents one, and how often
it leaves them out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from showattend.evaluation.mistakes.lexicon import Lexicon, lexicons
from showattend.evaluation.mistakes.people import PeopleReport, find_people, mentions_people
from showattend.evaluation.scores.metrics import ImageId
from showattend.evaluation.scores.wording import wording
from showattend.exceptions import DataError
from showattend.text.tokenizer import tokenize

VERDICTS = ("supported", "contradicted", "undecided", "unconfirmed")
LISTED = 12
"""Maximum number of entries in each list of a report."""
LEAST_RATIO = 3.0
"""A phrase is overused if its share is at least this many times that in the references."""


@dataclass(frozen=True)
class Figures:
    """Counts for one kind of words.

    Attributes:
        captions: Number of captions judged, counted once per set of references.
        naming: Number of captions that name at least one concept of the kind.
        mentions: Number of concepts named.
        supported: Number of mentions that are supported.
        contradicted: Number of mentions that are contradicted.
        undecided: Number of mentions for which the references name only something wider.
        unconfirmed: Number of mentions that nothing confirms or contradicts.
        wanted: Number of concepts that more than half of the references name.
        found: Number of wanted concepts that the captions name.
        wider: Number of wanted concepts for which the captions name only something wider.
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
        """The fraction of mentions with one of `VERDICTS`; None if there are no mentions."""
        return getattr(self, verdict) / self.mentions if self.mentions else None

    @property
    def recall(self) -> float | None:
        """The fraction of wanted concepts that the captions name; None if there are none."""
        return self.found / self.wanted if self.wanted else None


@dataclass(frozen=True)
class KindReport:
    """Counts and lists of mistakes for one kind of words.

    Attributes:
        kind: "object", "count", "colour" or "activity".
        model: The captions under test against all references.
        model_equal: The same captions against the same references as ``human``; None if every
            image has only one reference.
        human: Each human caption against the others of its image.
        confusions: (said, instead, times): the contradicted concepts of ``model``, with the rival
            that most references name.
        wrong: (concept, wrong, said): how often a concept is contradicted or unconfirmed, and how
            often it is said.
        missed: (concept, missed, wanted): how often a wanted concept is not named, and how often
            it is wanted.
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
    """A phrase that the captions use far more often than people do.

    Attributes:
        words: The phrase.
        count: Number of captions that contain it.
        share: Fraction of captions that contain it.
        human_count: Number of human captions that contain it.
        human_share: Fraction of human captions that contain it.
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
        images: Number of images judged.
        references: Mean number of human captions per image.
        kinds: The four kinds of words.
        people: People invented and people left out.
        phrases: Overused phrases, those with the largest surplus first.
        wording: The result of ``wording`` for the captions.
        human_wording: The same for equally many human captions, one per image: the mean over the
            first of each image, the second, and so on while every image has one.
        verbatim: The fraction of captions that are copies of a training caption; None if no
            training captions were given.
        human_verbatim: The same for the human captions.
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
        """Convert to plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ErrorReport:
        """The inverse of `to_dict`, also after JSON; ignores other keys, such as a provenance."""
        own = {each.name: values[each.name] for each in fields(cls)}
        own["kinds"] = tuple(_kind_from(each) for each in own["kinds"])
        own["phrases"] = tuple(Phrase(**each) for each in own["phrases"])
        return cls(**own | {"people": PeopleReport.from_dict(own["people"])})


def _kind_from(values: Mapping[str, Any]) -> KindReport:
    own: dict[str, Any] = {"kind": values["kind"]}
    for key in ("model", "model_equal", "human"):
        own[key] = values[key] and Figures(**values[key])
    for key in ("confusions", "wrong", "missed"):
        own[key] = tuple(tuple(each) for each in values[key])
    return KindReport(**own)


@dataclass(frozen=True)
class Fault:
    """One mistake in a caption.

    Attributes:
        kind: "people" if it invents a person, otherwise "object", "count", "colour" or "activity".
        said: The concept that it names; None if it leaves one out.
        instead: What the references say: the rivals, most frequent first, or what is left out.
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
        candidates: One caption per image; images without one are left out.
        train: The model's training captions, to count copies of them.

    Raises:
        DataError: There are no captions, or a caption has no references.
    """
    lost = [image for image in candidates if not references.get(image)]
    if lost:
        raise DataError(f"{len(lost)} captions have no human ones (image {lost[0]}, for example)")
    if not candidates:
        raise DataError("there are no captions to analyse")
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
    """Find the mistakes in one caption: invented people, then contradicted and missing concepts.

    Args:
        caption: The caption.
        references: The human captions of its image.
    """
    wrong, missing, unsure = [], [], []
    put_in = mentions_people(caption) == "named"
    if put_in and all(mentions_people(each) == "none" for each in references):
        wrong.append(Fault("people", "somebody", ("nobody",)))
    for lexicon in lexicons():
        judged = Judged(
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


class Judged:
    """The concepts of one kind that a caption names, with verdicts, and those that are wanted."""

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
        """The rivals that references name, the most frequent first."""
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
    judged = [Judged(lexicon, concepts, others) for concepts, others in pairs]
    equal, people = [], []
    for concepts, others in pairs:
        for left_out in range(len(others) if len(others) > 1 else 0):
            rest = [*others[:left_out], *others[left_out + 1 :]]
            equal.append(Judged(lexicon, concepts, rest))
            people.append(Judged(lexicon, others[left_out], rest))
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


def _figures(judged: Sequence[Judged]) -> Figures:
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
    """Overused phrases of 3 and 4 words that occur in at least 1 % of the captions and in 5.

    A phrase of 3 words is left out if a phrase of 4 that contains it is nearly as frequent.
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
    """Count the captions that contain each sequence of 3 or 4 words."""
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
