"""Kinds of attention and of decoders: the options that each class declares.

An option is a keyword argument of the constructor whose annotation holds an `Option`:

    def __init__(self, *, hops: Annotated[int, Option("maps per step", 1, 1000)] = 4) -> None: ...

The options of a kind are the keys of the config's section, besides ``kind``. Type, default, bounds
and documentation are declared there and nowhere else.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, cast

from showattend.exceptions import ConfigError, shown


@dataclass(frozen=True)
class Option:
    """The declaration of an option, for the annotation of a constructor's argument.

    Args:
        help: Its documentation.
        least: The smallest value allowed; None for no bound.
        most: The largest value allowed; None for no bound.
        below: A bound that values must not reach; None for no bound.
        among: The values allowed; empty for any.
        training: Whether only training depends on it. Otherwise weights depend on it, and a model
            that training starts from must have the same value.
        default: Its default in configs; None for that of the constructor.
    """

    help: str
    least: float | None = None
    most: float | None = None
    below: float | None = None
    among: tuple[str, ...] = ()
    training: bool = False
    default: Any = None


class Declared(NamedTuple):
    """An option of a class."""

    type: type
    default: Any
    about: Option

    def check(self, name: str, value: Any) -> None:
        """Check a value of the option's type.

        Args:
            name: The option with its section, for the message.
            value: The value.

        Raises:
            ConfigError: The value is out of bounds.
        """
        about = self.about
        if about.among and value not in about.among:
            wanted = f"one of {', '.join(about.among)}"
        elif (
            (about.least is None or value >= about.least)
            and (about.most is None or value <= about.most)
            and (about.below is None or value < about.below)
        ):
            return
        elif about.below is not None:
            wanted = f"at least {about.least:g} and below {about.below:g}"
        elif about.most is not None:
            wanted = f"from {about.least:g} to {about.most:g}"
        else:
            wanted = f"{about.least:g} or more"
        raise ConfigError(f"{name} is {shown(value)}; it must be {wanted}")


def options_of(cls: type) -> Mapping[str, Declared]:
    """Return the options of a class by name.

    A constructor with ``**arguments`` passes them on, so the options of its base class are options
    of the class too, except those in its ``why_not``.
    """
    return _declared(cast(Any, cls))


@cache
def _declared(cls: type) -> Mapping[str, Declared]:
    found: dict[str, Declared] = {}
    for construct in _constructors(cls):
        parameters = inspect.signature(construct).parameters
        for name, hint in typing.get_type_hints(construct, include_extras=True).items():
            for about in getattr(hint, "__metadata__", ()):
                if isinstance(about, Option) and name not in found:
                    own = parameters[name].default
                    default = own if about.default is None else about.default
                    found[name] = Declared(hint.__origin__, default, about)
    why_not = getattr(cls, "why_not", {})
    return {name: declared for name, declared in found.items() if name not in why_not}


def takes(cls: type, argument: str) -> bool:
    """Whether a class's constructor has an argument of this name."""
    return any(argument in inspect.signature(each).parameters for each in _constructors(cls))


def _constructors(cls: type) -> Iterator[Callable[..., None]]:
    """Yield the constructor of a class, and those to which it passes its ``**arguments``."""
    for each in cls.__mro__:
        if (construct := vars(each).get("__init__")) is not None:
            yield construct
            kinds = [p.kind for p in inspect.signature(construct).parameters.values()]
            if inspect.Parameter.VAR_KEYWORD not in kinds:
                return


def check_options(section: str, cls: type, **values: Any) -> None:
    """Check options of a class that are constructed directly, not by `choose_options`.

    Raises:
        ConfigError: A value is out of bounds.
    """
    for name, value in values.items():
        options_of(cls)[name].check(f"{section}.{name}", value)


def all_options(registry: Mapping[str, type]) -> dict[str, Declared]:
    """Return the options of all kinds by name; of several with one name, the first."""
    found: dict[str, Declared] = {}
    for cls in registry.values():
        for name, declared in options_of(cls).items():
            found.setdefault(name, declared)
    return found


def users_of(registry: Mapping[str, type], name: str) -> list[str]:
    """Return the kinds that have an option."""
    return [kind for kind, cls in registry.items() if name in options_of(cls)]


def choose_options(
    section: str, registry: Mapping[str, type], kind: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all options of a kind: the given values, and defaults for the rest.

    An option of other kinds may be given too, with its default: earlier configs and models had
    the options of all kinds.

    Args:
        section: The name of the config's section, for messages.
        registry: The classes by kind.
        kind: The kind.
        given: Values by name.

    Raises:
        ConfigError: The kind or an option is unknown, a value is out of bounds, or the kind does
            not have an option.
    """
    if kind not in registry:
        raise ConfigError(
            f"{section}.kind is {shown(kind)}; it must be one of {', '.join(registry)}"
        )
    own = options_of(registry[kind])
    for name, value in given.items():
        if name in own:
            own[name].check(f"{section}.{name}", value)
            continue
        users = users_of(registry, name)
        if not users:
            known = ", ".join(all_options(registry))
            raise ConfigError(f"{section}.{name}: no such option; known: {known}")
        if value not in [options_of(registry[each])[name].default for each in users]:
            reason = getattr(registry[kind], "why_not", {}).get(name)
            raise ConfigError(
                f"{section}.{name} is {shown(value)}, which {section}.kind {kind} does not take"
                + (f": {reason}" if reason else "")
                + f"; leave it out, or use one of {', '.join(users)}"
            )
    return {name: given.get(name, declared.default) for name, declared in own.items()}
