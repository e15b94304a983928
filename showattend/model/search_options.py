"""How captions are searched, checked once, wherever the values come from."""

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
    """How captions are searched: the settings of `showattend.config.settings`, and two more.

    Attributes:
        prefix: Numbers of words that every caption begins with, ``<unk>`` allowed; they keep their
            maps.
        banned: Numbers of words that do not occur after the prefix.
    """

    prefix: tuple[int, ...] = ()
    banned: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            ConfigError: Names the value and what it must be.
        """
        checked: dict[str, Any] = {
            name: (whole_number if isinstance(each.default, int) else real_number)(
                name, getattr(self, name), each.least, each.most
            )
            for name, each in settings().items()
        }
        checked |= {name: word_numbers(name, getattr(self, name)) for name in ("prefix", "banned")}
        for name, value in checked.items():
            object.__setattr__(self, name, value)  # NumPy's numbers become Python's
        if self.min_length > self.max_length:
            raise ConfigError(f"min_length {self.min_length} is over max_length {self.max_length}")
        if self.n_best > self.beam_size:
            raise ConfigError(
                f"n_best {self.n_best} is over beam_size {self.beam_size}; raise the beam size"
            )
        check_prefix(self.prefix, self.max_length)

    @classmethod
    def from_section(cls, section: Mapping[str, Any], where: str) -> SearchOptions:
        """The options that a model's search section holds.

        Args:
            section: Keys of the config's search section, and ``n_best``.
            where: What holds them, for messages.

        Raises:
            ConfigError: A key is unknown, or a value means nothing.
        """
        given = to_dict(from_dict(CallConfig, dict(section), where, "search."))
        try:
            return cls(**given)
        except ConfigError as error:
            raise ConfigError(f"{where}: search.{error}") from error

    def to_section(self) -> dict[str, Any]:
        """What `from_section` reads; ``prefix`` and ``banned`` are of one call, not of a model."""
        section = {each.name: getattr(self, each.name) for each in fields(SearchConfig)}
        return section | ({} if self.n_best == 1 else {"n_best": self.n_best})


def word_numbers(name: str, words: Iterable[int]) -> tuple[int, ...]:
    """Word numbers as a tuple.

    Raises:
        ConfigError: They are something else.
    """
    if isinstance(words, str) or not isinstance(words, Iterable):
        raise ConfigError(f"{name} is {words!r}; it must be a list of word numbers")
    return tuple(whole_number(f"{name}[{i}]", each, 0, 2**31) for i, each in enumerate(words))


def check_words(words: Iterable[int], vocabulary_size: int) -> None:
    """Refuse numbers of words that the decoder does not have.

    Raises:
        ConfigError: Names the first.
    """
    for word in words:
        if not 0 <= word < vocabulary_size:
            raise ConfigError(f"word number {word} is not in a vocabulary of {vocabulary_size:,}")


def check_prefix(prefix: tuple[int, ...], max_length: int) -> None:
    """Refuse first words that are none, or that leave no room for another.

    Raises:
        ConfigError: Says which.
    """
    if {Vocabulary.PAD, Vocabulary.START, Vocabulary.END} & set(prefix):
        raise ConfigError("the prefix must hold words only, no <pad>, <start> or <end>")
    if len(prefix) >= max_length:
        raise ConfigError(
            f"the prefix has {len(prefix)} words, and max_length is {max_length}; "
            "it must leave room for another word"
        )
