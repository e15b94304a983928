"""The options that kinds declare, and what is refused."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import pytest

from showattend.exceptions import ConfigError
from showattend.model.attention import ATTENTIONS
from showattend.model.decoders import DECODERS
from showattend.model.kinds import (
    Option,
    all_options,
    check_options,
    choose_options,
    options_of,
    takes,
    users_of,
)


class Base:
    def __init__(
        self,
        *,
        size: int,
        width: Annotated[int, Option("how wide it is", 1)] = 4,
        rate: Annotated[float, Option("how often", 0, below=1, training=True, default=0.5)] = 0.0,
        form: Annotated[str, Option("its form", among=("round", "flat"))] = "round",
        more: int = 3,
    ) -> None: ...


class Passing(Base):
    why_not: ClassVar[dict[str, str]] = {"form": "it has none"}

    def __init__(
        self, *, count: Annotated[int, Option("how many", 1, 9)] = 2, **sizes: Any
    ) -> None: ...


class Stopping(Base):
    def __init__(self, *, width: Annotated[int, Option("its width", 2)] = 6) -> None: ...


REGISTRY: dict[str, type] = {"base": Base, "passing": Passing, "stopping": Stopping}


def test_options_are_annotated_arguments_of_the_constructor_and_those_that_it_passes_on() -> None:
    assert list(options_of(Base)) == ["width", "rate", "form"]
    assert list(options_of(Passing)) == ["count", "width", "rate"]
    assert list(options_of(Stopping)) == ["width"]
    assert options_of(Base)["rate"].default == 0.5  # a config's, not the constructor's
    assert options_of(Base)["width"].type is int
    assert list(all_options(REGISTRY)) == ["width", "rate", "form", "count"]
    assert users_of(REGISTRY, "rate") == ["base", "passing"]
    assert takes(Passing, "more")
    assert not takes(Stopping, "more")


def test_what_is_not_given_has_its_default() -> None:
    assert choose_options("part", REGISTRY, "base", {"width": 7}) == {
        "width": 7, "rate": 0.5, "form": "round",
    }  # fmt: skip
    every = {name: declared.default for name, declared in all_options(REGISTRY).items()}
    assert choose_options("part", REGISTRY, "stopping", {**every, "width": 5}) == {"width": 5}


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("other", {}, "part.kind is 'other'; it must be one of base, passing, stopping"),
        ("base", {"width": 0}, "part.width is 0; it must be 1 or more"),
        ("base", {"rate": 1.0}, "part.rate is 1.0; it must be at least 0 and below 1"),
        ("base", {"rate": float("nan")}, "part.rate is nan; it must be at least 0 and below 1"),
        ("base", {"form": "square"}, "part.form is 'square'; it must be one of round, flat"),
        ("passing", {"count": 10}, "part.count is 10; it must be from 1 to 9"),
        (
            "passing",
            {"form": "flat"},
            "part.form is 'flat', which part.kind passing does not take: it has none; leave it "
            "out, or use one of base",
        ),
        (
            "stopping",
            {"count": 3},
            "part.count is 3, which part.kind stopping does not take; leave it out, or use one of "
            "passing",
        ),
        ("base", {"colour": 1}, "part.colour: no such option; known: width, rate, form, count"),
    ],
)
def test_what_a_kind_does_not_have_is_refused_in_one_line(
    kind: str, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        choose_options("part", REGISTRY, kind, given)
    assert str(caught.value) == message


def test_a_constructor_may_check_by_itself() -> None:
    check_options("part", Base, width=1, form="flat")
    with pytest.raises(ConfigError, match=r"part.width is 0; it must be 1 or more"):
        check_options("part", Base, width=0)


@pytest.mark.parametrize("registry", [ATTENTIONS, DECODERS], ids=["attentions", "decoders"])
def test_the_kinds_of_the_package_declare_all_of_their_options(registry: dict[str, type]) -> None:
    for kind, cls in registry.items():
        for name, declared in options_of(cls).items():
            assert type(declared.default) is declared.type, (kind, name)
            assert len(declared.about.help) > 5, (kind, name)
            declared.check(name, declared.default)
