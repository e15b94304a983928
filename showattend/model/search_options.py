"""The options of caption search, with their checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from showattend.config import CallConfig, SearchConfig, from_dict, settings, to_dict
from showattend.exceptions import ConfigError
from showattend.system.checks import real_number, whole_number
from showattend.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class SearchOptions(CallConfig):
    """The options of caption search: the settings of `showattend.config.settings`, and two more.

    Attributes:
        prefix: Numbers of words that every caption begins with, ``<unk>`` allowed; they have maps
            too.
        banned: Numbers of words that do not occur after the prefix.

    Raises:
        ConfigError: A value is invalid; the message names it and the values that are allowed.
    """

    prefix: tuple[int, ...] = ()
    banned: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        checked: dict[str, Any] = {
            name: (whole_number if isinstance(each.default, int) else real_number)(
                name, getattr(self, name), each.least, each.most
            )
            for name, each in settings().items()
        }
        checked |= {name: word_numbers(name, getattr(self, name)) for name in ("prefix", "banned")}
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
        given = to_dict(from_dict(CallConfig, dict(section), where, "search."))
        try:
            return cls(**given)
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
