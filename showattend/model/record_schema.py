"""The schema of records: how a model was trained, and how figures were measured.

A record is in a model's header, in ``search.json`` next to it, or in a file of its own:
training.json, results.json, or what a command wrote with ``--output``. It is checked before any of
it is shown. Captioning needs no record, so a model with a damaged one still captions.
"""

from __future__ import annotations

import math
from typing import Any

from showattend.model.model_schema import Check, items, number, or_null, section, text

DEEPEST = 50
"""Levels of lists and objects in a record; Python cannot print what is nested too deeply."""
_MOST = 10**15


def figure(value: Any, where: str) -> None:
    """A number that can be shown with decimals; runs that failed may have recorded NaN."""
    if not (isinstance(value, float) and not math.isfinite(value)):
        number(-_MOST, _MOST)(value, where)


def mapping(inner: Check) -> Check:
    """An object with any keys, whose values are all of one kind."""

    def check(value: Any, where: str) -> None:
        section({})(value, where)
        for key, each in value.items():
            inner(each, f"{where}.{key}")

    return check


def either(first: Check, second: Check) -> Check:
    """Accept what one of two checks accepts; the message comes from the second."""

    def check(value: Any, where: str) -> None:
        try:
            first(value, where)
        except ValueError:
            second(value, where)

    return check


def shallow(value: Any, where: str) -> None:
    """Any plain value that is not nested too deeply to be printed."""
    level = [value]
    for _ in range(DEEPEST):
        held = [each for each in level if isinstance(each, dict | list)]
        level = [x for each in held for x in (each.values() if isinstance(each, dict) else each)]
        if not level:
            return
    raise ValueError(f"{where} is nested more than {DEEPEST} deep")


COUNT = number(0, _MOST, whole=True)
METRICS = mapping(figure)
SETTINGS = section({}, {"length_penalty": or_null(figure), "images": or_null(COUNT)})
"""How figures were measured (`showattend.model.score_settings`)."""
FIGURES = either(
    section({}),  # of older models: scores by label
    items(section({"data": text(), "settings": SETTINGS, "metrics": METRICS})),
)
_MADE = {
    "code": or_null(section({})),
    "command": or_null(items(text())),
    "packages": or_null(section({})),
    "machine": or_null(
        section(
            {},
            {
                **dict.fromkeys(("device", "gpu", "precision"), or_null(text())),
                "environment": section({}),
            },
        )
    ),
}
PROVENANCE = section({}, _MADE)
"""What a record depends on (`showattend.system.provenance`)."""
_SOURCE = or_null(either(text(), section({}, {"path": or_null(text())})))
_CONFIG = section(
    {},
    {
        "data": section({}, {"path": either(items(_SOURCE), _SOURCE)}),
        "encoder": section({}),
        "train": section({}, {"out": text(), "init_from": or_null(text())}),
        "search": SETTINGS,
    },
)
_RECORD = section(
    {},
    {
        "config": _CONFIG,
        "data": or_null(section({}, {"train_images": COUNT, "val_images": COUNT})),
        "best": or_null(section({"epoch": figure, "CIDEr": figure})),
        "history": or_null(
            items(section({}, {"phase": text(), "CIDEr": figure, "BLEU-4": figure}))
        ),
        "figures": or_null(FIGURES),
        "metrics": section({}),
        "machine": either(text(), _MADE["machine"]),
        "validation": or_null(SETTINGS),
        "settings": or_null(SETTINGS),
        "evaluation": section({}, {"search": section({})}),
        "provenance": or_null(PROVENANCE),
        "resumed": or_null(items(section({}, _MADE))),
    },
)


def check_record(record: Any, where: str = "record") -> None:
    """Check a record before it is shown.

    Args:
        record: The record, as plain values.
        where: Its name in the message.

    Raises:
        ValueError: A part of it has the wrong type; the message names the part.
    """
    shallow(record, where)
    _RECORD(record, where)
