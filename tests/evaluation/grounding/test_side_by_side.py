"""Comparing models: differences computed by hand, and the Markdown tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from showattend.evaluation.grounding.ground import ground
from showattend.evaluation.grounding.side_by_side import (
    confusion_table,
    difference,
    difference_table,
    differences,
    markdown,
    objects_table,
    pointing_table,
    wrong_words_table,
)
from tests.evaluation.grounding.test_ground import Fake, one_hot
from tests.evaluation.grounding.test_ground import world as world


def rows(values: dict[int, list[float]]) -> list[dict[str, Any]]:
    return [
        {"image_id": image, "words": [{"pointing": {"model": value}} for value in some]}
        for image, some in values.items()
    ]


def test_the_same_maps_do_not_differ() -> None:
    draw = np.random.default_rng(0)
    one = rows({k: draw.random(3).tolist() for k in range(50)})
    assert difference(one, one, "pointing") == {
        "difference": 0, "interval": [0, 0], "images": 50,
    }  # fmt: skip


def test_a_difference_is_paired_over_images() -> None:
    """Images differ widely and the models by 0.1 in each, so the paired interval is narrow."""
    draw = np.random.default_rng(0)
    level = draw.random(40)
    found = difference(
        rows({k: [v + 0.1] * 2 for k, v in enumerate(level)}),
        rows({k: [v] * 2 for k, v in enumerate(level)}),
        "pointing",
    )
    assert found["difference"] == pytest.approx(0.1)
    assert found["interval"] == pytest.approx([0.1, 0.1])
    # With noise of its own in each image, it is the interval of a mean of paired differences.
    noise = draw.normal(0, 0.2, 40)
    found = difference(
        rows({k: [level[k] + 0.1 + noise[k]] for k in range(40)}),
        rows({k: [level[k]] for k in range(40)}),
        "pointing",
    )
    spread = noise.std() / np.sqrt(40)
    middle = 0.1 + noise.mean()
    assert found["interval"] == pytest.approx(
        [middle - 1.96 * spread, middle + 1.96 * spread], abs=0.02
    )


def test_models_may_name_different_numbers_of_words() -> None:
    one = rows({1: [1.0, 1.0, 1.0], 2: [0.0], 3: []})
    other = rows({1: [], 2: [0.5], 4: [0.0]})
    found = difference(one, other, "pointing")
    assert found["difference"] == pytest.approx(0.75 - 0.25)  # means over words, not over images
    assert found["images"] == 3
    low, high = found["interval"]
    assert -0.5 <= low < 0 < high <= 1


def test_tables(world: Any) -> None:
    looks = {"dog": (1, 2), "car": (3, 0)}
    right = Fake(lambda w: one_hot(*looks.get(w, (0, 0))), ("a", "car", "and", "a", "dog"))
    away = Fake(lambda _: one_hot(0, 0), ("a", "dog"))
    models = {
        name: ground(world / "instances.json", world, fake)
        for name, fake in (("sees", right), ("looks away", away))
    }
    models["sees"] |= {"epoch": 8, "CIDEr": 0.5}
    header, _, *body = pointing_table(models).splitlines()
    assert header.startswith("| model | epoch | CIDEr | words | images | pointing | over uniform |")
    assert body[0].startswith("| sees | 8 | 0.500 | 3 | 3 | 1.000 | 0.938 to 0.938 |")
    assert body[1].startswith("| looks away |  |  | 3 | 3 | 0.000 | -0.062 to -0.062 |")
    *_, pair = difference_table(differences(models, [("sees", "looks away")])).splitlines()
    assert pair.startswith("| sees, minus looks away | 3 | +1.000 | 1.000 to 1.000 | +0.")
    words = wrong_words_table(models).splitlines()[2:]
    assert words[0].startswith("| sees | right | 3 | 1.000 | 0.000 | 0.000 | 0.125 | ")
    assert words[1].startswith("|  | wrong | 3 | - | 1.000 | 0.000 | 0.125 | ")
    assert " | 0.875 to 0.875 | " in words[0]
    assert words[3] == "|  | wrong | 0 |  |  |  |  |  |  |  |  |  |"
    assert confusion_table(models["sees"]).splitlines()[2:] == [
        "| car | circle | 3 | 3 | 0.2 | 0.0 |"
    ]
    assert objects_table(models).splitlines()[2].startswith("| sees | mentioned | 0 |  |")
    for text in (pointing_table(models), wrong_words_table(models), objects_table(models)):
        assert len({line.count("|") for line in text.splitlines()}) == 1


def test_bars_in_a_cell_do_not_break_a_table() -> None:
    assert markdown(["a|b"], [["c|d"]]) == "| a/b |\n| --- |\n| c/d |"
