"""The content words of captions: objects, counts, colours and activities, as concepts.

Several words can name the same concept: "puppy", "poodle" and "dogs" all name the concept "dog".
The tables are in ``wordlists.py``; plurals and inflections are derived. There are two relations
between concepts:

- One is wider than another: "boy" implies "child" and "person".
- Two are rivals: nothing is both (man and woman, soccer and tennis). Objects are rivals only if
  listed as such; a dog and a bench can appear together. Counts, colours and activities are rivals
  unless one is wider than the other.

There is no part-of-speech tagger. A word with two senses is assigned to the one more common in
captions ("orange" is a colour, "slide" an object, "slides" an activity), or to none ("light",
"back"). A word may name concepts of several kinds ("surfer" is a person and an activity), or
several of one kind ("crowd" also means several).
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
    """A span of a caption, ``start`` to ``stop`` (exclusive), and the concepts that it names."""

    start: int
    stop: int
    concepts: frozenset[str]


class Lexicon:
    """The concepts of one kind, and which words name them.

    Args:
        name: The name of the kind.
        words: The phrases that name each concept, in every form.
        wider: For a concept, the concepts that are kinds of it.
        rivals: Groups of mutually exclusive concepts; None makes all concepts exclusive.
        passed_over: Phrases that contain a word of the table but mean something else.

    Attributes:
        name: The name of the kind.
        concepts: The names of the concepts, in the table's order.
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
        """The concepts that a caption names explicitly; longer phrases take precedence.

        Args:
            words: The caption's tokens.
        """
        return frozenset().union(*(span.concepts for span in self.find(words)))

    def find(self, words: Sequence[str]) -> list[Span]:
        """Find where a caption names concepts, from left to right, preferring longer phrases.

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
        """All concepts that this one is a kind of, directly or indirectly."""
        return self._above[concept]

    def implied(self, concepts: Iterable[str]) -> frozenset[str]:
        """The concepts and all wider ones: "boy" implies "child" and "person"."""
        return frozenset().union(*({each} | self._above[each] for each in concepts))

    def are_rivals(self, one: str, other: str) -> bool:
        """Whether nothing can be both."""
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
    """Expand every noun of a table to singular and plural."""
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
    """Expand every verb of a table to its forms; words after the bar are kept as they are."""
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
