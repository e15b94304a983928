"""Colours: told apart by everybody, on white and on black."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from showattend.exceptions import UserError
from showattend.visualize.theme import ON_COLOUR, THEMES, WORD_COLOURS, theme_named

# Machado, Oliveira and Fernandes 2009, table 1, severity 1: on linear sRGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868],
         [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968],
         [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779],
         [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375],
     [0.2126729, 0.7151522, 0.0721750],
     [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip
DISTANCE = 20  # in CIELAB; 2.3 is a difference that can just be seen


def linear(colour: str) -> np.ndarray:
    values = np.array(to_rgb(colour))
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(light: np.ndarray) -> np.ndarray:
    x = XYZ @ light.clip(0, 1) / [0.95047, 1, 1.08883]
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    """WCAG's, 1 to 21."""
    dark, light = sorted((XYZ[1] @ linear(one), XYZ[1] @ linear(other)))
    return float((light + 0.05) / (dark + 0.05))


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_word_colours_are_told_apart(deficiency: str) -> None:
    seen = [lab(DEFICIENCIES[deficiency] @ linear(colour)) for colour in WORD_COLOURS]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > DISTANCE


def test_the_check_sees_what_it_should() -> None:
    """Red and green of the same lightness: apart for most readers, alike with deuteranopia."""
    red, green = linear("#c0392b"), linear("#6b7f1e")
    assert np.linalg.norm(lab(red) - lab(green)) > 50
    simulated = [lab(DEFICIENCIES["deuteranopia"] @ each) for each in (red, green)]
    assert np.linalg.norm(simulated[0] - simulated[1]) < DISTANCE


def test_letters_can_be_read() -> None:
    for theme in THEMES.values():
        assert contrast(theme.ink, theme.back) > 7
        assert contrast(theme.quiet, theme.back) > 4.5
    for colour in WORD_COLOURS:
        assert contrast(colour, ON_COLOUR) > 4.5


def test_unknown_themes_are_refused() -> None:
    assert theme_named("dark") is THEMES["dark"]
    with pytest.raises(UserError, match="no theme 'grey'; choose from light, dark"):
        theme_named("grey")
