"""The options of caption search, with their checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from showattend.checks import real_number, whole_number
from showattend.config import SearchConfig, from_dict, to_dict
from showattend.exceptions import ConfigError
from showattend.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class SearchOptions:
    """The options of caption search.

    Attributes:
        beam_size: The number of hypotheses kept per image; 1 is greedy search.
        n_best: The number of hypotheses returned.
        max_length: The most words of a caption.
        min_length: The fewest words of a caption.
        length_penalty: Hypotheses are ranked by log p / length ** length_penalty, where the length
            includes ``<end>``. 0 ranks by probability (favours short captions), 1 by the mean
            log-probability per word.
        block_ngrams: No n-gram of this many words occurs twice; 0 allows repetition.
        prefix: Word ids that every caption begins with, ``<unk>`` allowed; they have maps too.
        banned: Word ids that do not occur after the prefix.

    Raises:
        ConfigError: A value is invalid; the message names it and the values that are allowed.
    """

    beam_size: int = 5
    n_best: int = 1
    max_length: int = 30
    min_length: int = 1
    length_penalty: float = 0.7
    block_ngrams: int = 0
    prefix: tuple[int, ...] = ()
    banned: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        checked: dict[str, Any] = {
            "beam_size": whole_number("beam_size", self.beam_size, 1, 1000),
            "n_best": whole_number("n_best", self.n_best, 1, 1000),
            "max_length": whole_number("max_length", self.max_length, 1, 1000),
            "min_length": whole_number("min_length", self.min_length, 0, 1000),
            "length_penalty": real_number("length_penalty", self.length_penalty, 0, 10),
            "block_ngrams": whole_number("block_ngrams", self.block_ngrams, 0, 1000),
            "prefix": word_numbers("prefix", self.prefix),
            "banned": word_numbers("banned", self.banned),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)  # converts NumPy numbers to Python's
        if self.min_length > self.max_length:
            raise ConfigError(f"min_length {self.min_length} is over max_length {self.max_length}")
        if self.n_best > self.beam_size:
            raise ConfigError(
                f"n_best {self.n_best} is over beam_size {self.beam_size}; raise the beam size"
            )
        check_prefix(self.prefix, self.max_length)

    @classmethod
    def from_section(cls, section: Mapping[str, Any], where: str) -> SearchOptions:
        """Build the options from a model's search section.

        Args:
            section: Keys of the config's search section, and ``n_best``.
            where: The file that holds the section, for messages.

        Raises:
            ConfigError: A key is unknown, or a value is invalid.
        """
        values = dict(section)
        n_best = values.pop("n_best", 1)
        given = to_dict(from_dict(SearchConfig, values, where, "search."))
        try:
            return cls(**given, n_best=n_best)
        except ConfigError as error:
            raise ConfigError(f"{where}: search.{error}") from error

    def to_section(self) -> dict[str, Any]:
        """Return the section that `from_section` reads, without ``prefix`` and ``banned``.

        Those two belong to a single call, not to a model.
        """
        section = {each.name: getattr(self, each.name) for each in fields(SearchConfig)}
        return section | ({} if self.n_best == 1 else {"n_best": self.n_best})


def word_numbers(name: str, words: Iterable[int]) -> tuple[int, ...]:
    """Convert word numbers to a tuple of int.

    Args:
        name: The name of the option, for messages.
        words: The word numbers.

    Raises:
        ConfigError: ``words`` is not a list of word numbers.
    """
    if isinstance(words, str) or not isinstance(words, Iterable):
        raise ConfigError(f"{name} is {words!r}; it must be a list of word numbers")
    return tuple(whole_number(f"{name}[{i}]", each, 0, 2**31) for i, each in enumerate(words))


def check_words(words: Iterable[int], vocabulary_size: int) -> None:
    """Check that word numbers are in the vocabulary.

    Raises:
        ConfigError: One is not; the message names the first.
    """
    for word in words:
        if not 0 <= word < vocabulary_size:
            raise ConfigError(f"word number {word} is not in a vocabulary of {vocabulary_size:,}")


def check_prefix(prefix: tuple[int, ...], max_length: int) -> None:
    """Check a prefix.

    Raises:
        ConfigError: It holds a special word other than ``<unk>``, or leaves no room for another
            word.
    """
    if {Vocabulary.PAD, Vocabulary.START, Vocabulary.END} & set(prefix):
        raise ConfigError("the prefix must hold words only, no <pad>, <start> or <end>")
    if len(prefix) >= max_length:
        raise ConfigError(
            f"the prefix has {len(prefix)} words, and max_length is {max_length}; "
            "it must leave room for another word"
        )
