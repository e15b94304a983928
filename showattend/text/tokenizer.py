"""Words: the tokenizer, the vocabulary, and a token list turned back into a sentence.

The tokenizer gives the tokens that the caption metrics score (pycocoevalcap's ``PTBTokenizer``,
which needs Java), so that a model is trained on the words it is judged by.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, ClassVar

from showattend.errors import DataError

Tokenizer = Callable[[str], list[str]]

# What people type, in the signs that the tokenizer knows.
_PLAIN_SIGNS = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "‛": "'",
        "´": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "«": '"',
        "»": '"',
        "‐": "-",
        "‑": "-",
        "–": " -- ",
        "—": " -- ",
        "―": " -- ",
        "…": " ... ",
    }
)
# The scorer's PUNCTUATIONS, and mixtures of them such as "?!". Brackets are in that list too; the
# scorer misses them only because it lower-cases -LRB- before it looks.
_DROPPED = frozenset("'`\".?!,:;-()[]{}")
# Abbreviations that keep their full stop; "no." only before a number.
_ABBREVIATION = re.compile(
    r"(?:mr|mrs|ms|dr|prof|gen|sgt|capt|st|ave|blvd|rd|mt|ft|jr|sr|co|inc|ltd|corp|etc|vs)\."
    r"|(?:[^\W\d]\.)+"
)
# A caption of letters and hyphens, once its commas are gone, needs no tokenizer: splitting gives
# the same tokens 20 times as fast (tested), and 98 captions in a hundred are of this kind.
_SIMPLE = re.compile(r"(?!.*--)[a-z \-]*\.?")
_COMMA = re.compile(r"(?<!\d),|,(?!\d)")  # but not that of 1,000
_SPLIT_WORDS = frozenset(("cannot", "gimme", "gonna", "gotta", "lemme", "wanna"))


@lru_cache(maxsize=1)
def _nltk_tokenizer() -> Any:
    from nltk.tokenize import NLTKWordTokenizer  # a third of a second: only when needed

    return NLTKWordTokenizer()


def _split_full_stops(text: str) -> str:
    """Set full stops within the text apart: the tokenizer expects one sentence at a time."""
    pieces = text.split()
    for i, piece in enumerate(pieces):
        word = piece.rstrip("\"')]}")
        if not word.endswith(".") or _ABBREVIATION.fullmatch(word.lstrip("\"'([{")):
            continue
        if word == "no." and i + 1 < len(pieces) and pieces[i + 1][0].isdigit():
            continue
        pieces[i] = f"{word.rstrip('.')} . {piece[len(word) :]}"
    return " ".join(pieces)


def tokenize(text: str) -> list[str]:
    """Split English text into lower-case tokens without punctuation.

    Agrees with pycocoevalcap's ``PTBTokenizer`` on more than 99.9 % of the tokens of the Flickr8k
    and COCO captions: "A man's dog doesn't run." gives ``a man 's dog does n't run``.

    Args:
        text: Any text; empty text gives no tokens.

    Returns:
        The tokens, in order.
    """
    text = _COMMA.sub(" ", text.lower()).strip()
    if _SIMPLE.fullmatch(text) and not _ABBREVIATION.fullmatch(text.rpartition(" ")[2]):
        tokens = text.rstrip(".").split()
        if _SPLIT_WORDS.isdisjoint(tokens):
            return [token for token in tokens if token != "-"]
    text = _split_full_stops(text.translate(_PLAIN_SIGNS))
    # The tokenizer takes the last full stop off its word; this one keeps it off "t.v.".
    tokens = _nltk_tokenizer().tokenize(f"{text} .")
    return [token for token in tokens if not _DROPPED.issuperset(token)]


FUNCTION_WORDS = frozenset({
    "a", "an", "the", "this", "that", "these", "those", "some", "any", "each", "other", "another",
    "there", "it", "its", "he", "she", "they", "him", "her", "them", "his", "their", "who",
    "which", "what", "whose", "'s", "n't", "no", "of", "in", "on", "at", "by", "to", "for",
    "from", "with", "without", "into", "onto", "over", "under", "above", "below", "near",
    "behind", "beside", "between", "among", "through", "around", "across", "along", "against",
    "during", "while", "after", "before", "toward", "towards", "inside", "outside", "up", "down",
    "out", "off", "away", "as", "and", "or", "but", "so", "than", "then", "when", "where", "if",
    "next", "front", "be", "is", "are", "was", "were", "been", "being", "am", "has", "have",
    "having", "had", "do", "does", "did", "doing", "can", "could", "will", "would", "may",
    "might", "must", "very", "also", "just", "together", "i", "you", "we", "my", "your", "our",
})  # fmt: skip
"""English words that say how a caption is put together rather than what the photo shows."""


def sentence(words: Sequence[str]) -> str:
    """Write tokens as a sentence: ``a man 's dog`` gives "A man's dog."."""
    return "".join(pieces(words))


def pieces(words: Sequence[str]) -> list[str]:
    """The parts of `sentence`, one a word: each with the blank before it, the last with the stop.

    Args:
        words: Tokens, none of them empty.

    Returns:
        T texts; joined, they are the sentence.
    """
    parts: list[str] = []
    for word in words:
        joined = word == "n't" or (word.startswith("'") and len(word) > 1)
        parts.append(word if joined or not parts else f" {word}")
    if not parts:
        return []
    text = re.sub(r"\bi\b(?=$|[ '])", "I", "".join(parts))  # as long as before
    ends = itertools.accumulate(map(len, parts), initial=0)
    parts = [text[start:end] for start, end in itertools.pairwise(ends)]
    parts[0] = parts[0][:1].upper() + parts[0][1:]
    if not parts[-1].endswith("."):
        parts[-1] += "."
    return parts


class Vocabulary:
    """The words a model knows, each with its number; the four specials come first.

    Args:
        words: The words without the specials, in the order of their numbers (from 4 on).

    Raises:
        DataError: A word occurs twice, is empty, or is a special's name.
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
            if not isinstance(word, str) or not word:
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
        kept = [word for word, count in counts.items() if count >= min_count]
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
