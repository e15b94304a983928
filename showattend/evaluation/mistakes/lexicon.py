"""The content words of captions: objects, counts, colours and activities, as concepts.

A concept is a thing that several words name: "dog" is named by puppy, poodle and dogs too. The
tables are in ``wordlists.py``; plurals and inflections are made from them. Two relations hold
between concepts:

- One is wider than another: whoever says "boy" has named a child and a person too.
- Two are rivals: what is one of them is not the other (man and woman, soccer and tennis). Of
  objects, those listed are; a dog and a bench are not, they stand side by side. Of counts, colours
  and activities, any two are unless one is the wider.

There is no part-of-speech tagger here. A word with two senses belongs to the one that captions use
more ("orange" is a colour, "slide" a thing, "slides" what one does on it), or to none ("light",
"back"). A word may name concepts of several kinds: a "surfer" is a person, and surfs; of one kind
too: a crowd is more than a few.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from showattend.evaluation.grounding.nouns import listed, plurals
from showattend.evaluation.mistakes.wordlists import (
    ACTIVITIES,
    COLOURS,
    COUNTS,
    NOT_ACTIVITIES,
    NOT_COLOURS,
    NOT_COUNTS,
    NOT_OBJECTS,
    OBJECTS,
    RIVAL_OBJECTS,
    WIDER_ACTIVITIES,
    WIDER_COLOURS,
    WIDER_COUNTS,
    WIDER_OBJECTS,
)


class Span(NamedTuple):
    """A stretch of a caption up to the word before ``stop``, and the concepts it names."""

    start: int
    stop: int
    concepts: frozenset[str]


class Lexicon:
    """The concepts of one kind, and which words name them.

    Args:
        name: Of the kind.
        words: The phrases that name each concept, every form of them.
        wider: For a concept, those that are kinds of it.
        rivals: Groups of concepts of which a thing is at most one; None is all of them.
        passed_over: Phrases that hold a word of the table and mean something else.

    Attributes:
        name: As given.
        concepts: Their names, in the table's order.
    """

    def __init__(
        self,
        name: str,
        words: Mapping[str, Iterable[str]],
        *,
        wider: Mapping[str, Iterable[str]] | None = None,
        rivals: Iterable[Iterable[str]] | None = None,
        passed_over: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.concepts = tuple(words)
        parents: dict[str, str] = {}
        for parent, kinds in (wider or {}).items():
            parents |= dict.fromkeys(kinds, parent)
        self._above: dict[str, frozenset[str]] = {}
        for concept in words:
            above, parent_of = set(), parents.get(concept)
            while parent_of is not None:
                above.add(parent_of)
                parent_of = parents.get(parent_of)
            self._above[concept] = frozenset(above)
        self._groups = None if rivals is None else [frozenset(group) for group in rivals]
        self._phrases: dict[tuple[str, ...], set[str]] = {}
        for concept, phrases in words.items():
            for phrase in phrases:
                self._phrases.setdefault(tuple(phrase.split()), set()).add(concept)
        for phrase in passed_over:
            self._phrases[tuple(phrase.split())] = set()
        self._longest = max(map(len, self._phrases))

    def named(self, words: Sequence[str]) -> frozenset[str]:
        """The concepts that a caption names in so many words; the longest phrase wins.

        Args:
            words: The caption's tokens.
        """
        return frozenset().union(*(span.concepts for span in self.find(words)))

    def find(self, words: Sequence[str]) -> list[Span]:
        """Where a caption names concepts, from left to right; the longest phrase wins.

        Args:
            words: The caption's tokens.
        """
        found = []
        start = 0
        while start < len(words):
            for length in range(min(self._longest, len(words) - start), 0, -1):
                concepts = self._phrases.get(tuple(words[start : start + length]))
                if concepts is not None:
                    if concepts:
                        found.append(Span(start, start + length, frozenset(concepts)))
                    break
            start += length
        return found

    def above(self, concept: str) -> frozenset[str]:
        """The concepts that this one is a kind of: the nearest, its own, and so on."""
        return self._above[concept]

    def implied(self, concepts: Iterable[str]) -> frozenset[str]:
        """The concepts with all that they are kinds of: a boy is a child and a person."""
        return frozenset().union(*({each} | self._above[each] for each in concepts))

    def are_rivals(self, one: str, other: str) -> bool:
        """Whether what is the one cannot be the other."""
        first, second = self.implied([one]), self.implied([other])
        if one in second or other in first:
            return False
        if self._groups is None:
            return True
        return any(
            a != b and a not in second and b not in first
            for group in self._groups
            for a in group & first
            for b in group & second
        )


def _nouns(table: Mapping[str, str]) -> dict[str, list[str]]:
    """Every noun of a table in the singular and the plural."""
    forms: dict[str, list[str]] = {}
    for concept, nouns in table.items():
        forms[concept] = []
        for noun in (concept, *listed(nouns)):
            *before, last = noun.split()
            forms[concept] += [" ".join((*before, form)) for form in (last, *plurals(last))]
    return forms


def _inflected(verb: str) -> list[str]:
    """A verb's regular forms: jump, jumps, jumping, jumped; hug, hugs, hugging, hugged."""
    stem = verb
    if verb.endswith("e"):
        stem = verb[:-1]
    elif re.fullmatch(r"[^aeiou]*[aeiou][bdgklmnprt]", verb):
        stem = verb + verb[-1]
    past = verb[:-1] + "i" if re.search(r"[^aeiou]y$", verb) else stem
    return [verb, *plurals(verb), stem + "ing", past + "ed"]


def _verbs(table: Mapping[str, str]) -> dict[str, list[str]]:
    """Every verb of a table in its forms, and the other words behind the bar."""
    forms = {}
    for concept, entry in table.items():
        verbs, _, others = entry.partition("|")
        regular = [form for verb in listed(verbs) for form in _inflected(verb)]
        forms[concept] = regular + listed(others)
    return forms


def _lists(table: Mapping[str, str]) -> dict[str, list[str]]:
    return {name: listed(words) for name, words in table.items()}


@lru_cache(maxsize=1)
def lexicons() -> tuple[Lexicon, ...]:
    """The four kinds of content words: object, count, colour, activity."""
    return (
        Lexicon(
            "object",
            _nouns(OBJECTS),
            wider=_lists(WIDER_OBJECTS),
            rivals=[listed(group) for group in RIVAL_OBJECTS],
            passed_over=listed(NOT_OBJECTS),
        ),
        Lexicon(
            "count",
            {name: [name, *listed(words)] for name, words in COUNTS.items()},
            wider=_lists(WIDER_COUNTS),
            passed_over=listed(NOT_COUNTS),
        ),
        Lexicon(
            "colour",
            {name: [name, *listed(words)] for name, words in COLOURS.items()},
            wider=_lists(WIDER_COLOURS),
            passed_over=listed(NOT_COLOURS),
        ),
        Lexicon(
            "activity",
            _verbs(ACTIVITIES),
            wider=_lists(WIDER_ACTIVITIES),
            passed_over=listed(NOT_ACTIVITIES),
        ),
    )
