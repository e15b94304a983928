"""The vocabulary of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from showattend.exceptions import DataError
from showattend.system.matching import normal
from showattend.text.printable import is_word
from showattend.text.tokenizer import Tokenizer, tokenize


class Vocabulary:
    """The words of a model with their numbers; the four special tokens come first.

    Args:
        words: The words without special tokens, in the order of their numbers, starting at 4.

    Raises:
        DataError: A word occurs twice, is the name of a special token, or is not a word
            (`showattend.text.printable.is_word`).
        TypeError: ``words`` is a single string.
    """

    PAD: ClassVar[int] = 0
    START: ClassVar[int] = 1
    END: ClassVar[int] = 2
    UNK: ClassVar[int] = 3
    SPECIALS: ClassVar[tuple[str, ...]] = ("<pad>", "<start>", "<end>", "<unk>")

    def __init__(self, words: Sequence[str]) -> None:
        if isinstance(words, str):
            raise TypeError("a vocabulary takes a list of words, not one string")
        self.words: tuple[str, ...] = tuple(words)
        self._tokens = self.SPECIALS + self.words
        self._ids = {word: i for i, word in enumerate(self._tokens)}
        for i, word in enumerate(self._tokens):
            if not is_word(word):
                raise DataError(f"the vocabulary's word {i - 4} is {word!r}, not a word")
            if self._ids[word] != i:
                raise DataError(f"the vocabulary holds the word {word!r} twice")
        for i, word in enumerate(self._tokens):  # accents may be encoded differently
            self._ids.setdefault(normal(word), i)

    @classmethod
    def from_captions(
        cls, captions: Iterable[str], min_count: int = 5, tokenizer: Tokenizer = tokenize
    ) -> Vocabulary:
        """Build a vocabulary from the words that occur often enough in training captions.

        Args:
            captions: The training captions only: a model cannot learn words that occur only in
                validation captions.
            min_count: Words that occur less often become ``<unk>``.
            tokenizer: Splits a caption into words; other languages need their own.

        Raises:
            DataError: No word is frequent enough.
        """
        counts = Counter(token for caption in captions for token in tokenizer(caption))
        return cls.from_counts(counts, min_count)

    @classmethod
    def from_counts(cls, counts: Mapping[str, int], min_count: int = 5) -> Vocabulary:
        """Keep the words seen often enough.

        Args:
            counts: How often training captions hold each word.
            min_count: See `from_captions`.

        Raises:
            DataError: No word is frequent enough.
        """
        counts = _together(counts)
        for special in cls.SPECIALS:
            counts.pop(special, None)
        kept = [word for word, count in counts.items() if count >= min_count and is_word(word)]
        if not kept:
            raise DataError(
                f"no word occurs {min_count} times in the training captions "
                f"({len(counts)} different words): lower min_count, or add captions"
            )
        return cls(sorted(kept, key=lambda word: (-counts[word], word)))

    def __len__(self) -> int:
        """The number of tokens including special ones, V: the size of the model's output."""
        return len(self._tokens)

    def __contains__(self, word: object) -> bool:
        """Whether the word is in the vocabulary; special tokens do not count."""
        return isinstance(word, str) and self._number(word) > self.UNK

    def __eq__(self, other: object) -> bool:
        """Equal when every word has the same number in both."""
        return isinstance(other, Vocabulary) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self.words):,} words: {', '.join(self.words[:5])}, ...)"

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """Convert T tokens to T numbers; unknown tokens become ``UNK``. Adds no start or end.

        Raises:
            TypeError: ``tokens`` is a single string.
        """
        if isinstance(tokens, str):
            raise TypeError("encode takes a list of tokens: tokenize the text first")
        return [max(self._number(token), self.UNK) for token in tokens]

    def _number(self, token: str) -> int:
        found = self._ids.get(token)
        return self._ids.get(normal(token), self.UNK) if found is None else found

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Convert numbers to words up to ``END``, skipping ``PAD`` and ``START``.

        Raises:
            DataError: A number is not in this vocabulary.
        """
        words: list[str] = []
        for number in map(int, ids):
            if number == self.END:
                break
            if not 0 <= number < len(self):
                raise DataError(
                    f"word number {number} is not in this vocabulary of {len(self):,}: "
                    "the captions are from another model"
                )
            if number not in (self.PAD, self.START):
                words.append(self._tokens[number])
        return words

    def to_list(self) -> list[str]:
        """The words without special tokens, for JSON."""
        return list(self.words)

    @classmethod
    def from_list(cls, words: Sequence[str]) -> Vocabulary:
        """The inverse of :meth:`to_list`."""
        return cls(words)


def _together(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts of words, whose accents may be encoded in several ways."""
    total: dict[str, int] = {}
    for word, count in counts.items():
        total[normal(word)] = total.get(normal(word), 0) + count
    return total
