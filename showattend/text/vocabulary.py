"""The words that a model knows, each with its number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import ClassVar

from showattend.exceptions import DataError
from showattend.text.printable import is_word
from showattend.text.tokenizer import Tokenizer, tokenize


class Vocabulary:
    """The words a model knows, each with its number; the four specials come first.

    Args:
        words: The words without the specials, in the order of their numbers (from 4 on).

    Raises:
        DataError: A word occurs twice, is a special's name, or is not a word
            (`showattend.text.printable.is_word`).
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

    @classmethod
    def from_captions(
        cls, captions: Iterable[str], min_count: int = 5, tokenizer: Tokenizer = tokenize
    ) -> Vocabulary:
        """Count the words of training captions, and keep those seen often enough.

        Args:
            captions: The training captions, and no others: a model cannot know words that only
                validation captions hold.
            min_count: A word seen less often is read as ``<unk>``.
            tokenizer: Splits a caption into words; another language brings its own.

        Raises:
            DataError: No word is frequent enough.
        """
        counts = Counter(token for caption in captions for token in tokenizer(caption))
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
        """The number of tokens, specials included: the size of the model's output."""
        return len(self._tokens)

    def __contains__(self, word: object) -> bool:
        """Whether the word has a number of its own; a special is not a word."""
        return self._ids.get(word, 0) > self.UNK  # type: ignore[call-overload]

    def __eq__(self, other: object) -> bool:
        """Equal when every word has the same number in both."""
        return isinstance(other, Vocabulary) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self.words):,} words: {', '.join(self.words[:5])}, ...)"

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """The numbers of tokens (T,); an unknown one is ``UNK``. No start or end is added."""
        if isinstance(tokens, str):
            raise TypeError("encode takes a list of tokens: tokenize the text first")
        return [max(self._ids.get(token, self.UNK), self.UNK) for token in tokens]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The words of numbers up to ``END``; ``PAD`` and ``START`` are passed over.

        Raises:
            DataError: A number that this vocabulary does not have.
        """
        words: list[str] = []
        for number in map(int, ids):
            if number == self.END:
                break
            if not 0 <= number < len(self):
                raise DataError(
                    f"word number {number} is not in this vocabulary of {len(self):,}: "
                    "the captions come from another model"
                )
            if number not in (self.PAD, self.START):
                words.append(self._tokens[number])
        return words

    def to_list(self) -> list[str]:
        """The words without the specials, for a JSON file."""
        return list(self.words)

    @classmethod
    def from_list(cls, words: Sequence[str]) -> Vocabulary:
        """What :meth:`to_list` gave, as a vocabulary again."""
        return cls(words)
