"""Checks of values given by users; errors say in one line what is wrong."""

from __future__ import annotations

import math
import numbers
import operator
from typing import Any

from showattend.exceptions import ConfigError, shown


def whole_number(name: str, value: Any, least: int, most: int) -> int:
    """Check and convert a whole number.

    Args:
        name: Its name in messages.
        value: The value given.
        least: Smallest allowed value.
        most: Largest allowed value.

    Raises:
        ConfigError: It is not a whole number (2.5, True, text), or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ConfigError(f"{name} is {shown(value)}; it must be a whole number")
    return int(_in_range(name, operator.index(value), least, most))


def real_number(
    name: str, value: Any, least: float, most: float, *, above_least: bool = False
) -> float:
    """Check and convert a number.

    Args:
        name: Its name in messages.
        value: The value given.
        least: Lower end of the range.
        most: Upper end of the range.
        above_least: Exclude the lower end itself.

    Raises:
        ConfigError: It is not a finite number (NaN, infinity, True, text), or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ConfigError(f"{name} is {shown(value)}; it must be a number")
    try:
        number = float(value)
    except OverflowError:  # a whole number of over 308 digits
        number = math.inf
    if not math.isfinite(number):
        raise ConfigError(f"{name} is {number}; it must be a finite number")
    if above_least and number <= least:
        raise ConfigError(f"{name} is {value}; it must be more than {least:g}")
    return _in_range(name, number, least, most)


def _in_range(name: str, value: float, least: float, most: float) -> float:
    if value < least:
        raise ConfigError(f"{name} is {value}; it must be {least:g} or more")
    if value > most:
        raise ConfigError(f"{name} is {value}; it must be {most:g} or less")
    return value
