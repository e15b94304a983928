"""The layout of a summary's photo and panels, for photos of any shape: arithmetic only."""

from __future__ import annotations

import math
from dataclasses import dataclass

THINNEST = 6  # side of a photo that is a line
BALANCE = 2.3  # the width of a good figure by its height


@dataclass(frozen=True)
class Plan:
    """The places of the photo and the panels in pixels, from the top left of the first.

    Attributes:
        photo: Width and height of the photo.
        panel: Width and height of each panel's picture.
        corners: Left and top of each panel's picture; its word is above.
        slot: The width reserved for each panel.
        size: Total width and height.
    """

    photo: tuple[int, int]
    panel: tuple[int, int]
    corners: tuple[tuple[int, int], ...]
    slot: int
    size: tuple[int, int]


def arrange_summary(panels: int, aspect: float, width: float, highest: float, strip: float,
                    gap: float, narrowest: float) -> Plan:  # fmt: skip
    """Arrange a photo and its panels, next to it or below, for photos of any shape.

    Chooses the way with the largest pictures in a figure of a good shape.

    Args:
        panels: The number of panels.
        aspect: The photo's width by its height.
        width: The maximum total width.
        highest: The maximum total height.
        strip: Height above each panel for its word.
        gap: The gap between panels.
        narrowest: The minimum width for a panel's word.
    """
    best: tuple[float, Plan] | None = None
    for columns in range(1, max(panels, 1) + 1):
        rows = math.ceil(panels / columns)
        if panels and math.ceil(panels / rows) != columns:
            continue  # a column would be empty
        for below in (False, True) if panels else (True,):
            plan = _largest(panels, columns, aspect, width, highest, strip, gap, narrowest, below)
            if plan is None:
                continue
            shape = plan.size[0] / plan.size[1]
            empty = columns * rows - panels if panels else 0
            score = (
                math.log(plan.photo[0] * plan.photo[1])
                + 1.3 * math.log(plan.panel[0] * plan.panel[1])
                - 0.6 * abs(math.log(shape / BALANCE))
                - 0.25 * empty
            )
            if best is None or score > best[0]:
                best = score, plan
    assert best is not None
    return best[1]


def _largest(panels: int, columns: int, aspect: float, width: float, highest: float,
             strip: float, gap: float, narrowest: float, below: bool) -> Plan | None:  # fmt: skip
    """One way to arrange them, as large as fits; None if it does not fit at all."""
    low, high = 0.0, highest
    found = None
    for _ in range(40):
        height = (low + high) / 2
        plan = _scaled(panels, columns, aspect, height, strip, gap, narrowest, below)
        if plan is not None and plan.size[0] <= width and plan.size[1] <= highest:
            found, low = plan, height
        elif plan is None:
            low = height
        else:
            high = height
    return found


def _scaled(panels: int, columns: int, aspect: float, height: float, strip: float, gap: float,
            narrowest: float, below: bool) -> Plan | None:  # fmt: skip
    """One way to arrange them, for a photo of that height."""
    photo = max(round(height * aspect), THINNEST), max(round(height), THINNEST)
    rows = math.ceil(panels / columns)
    if not panels:
        return Plan(photo, photo, (), photo[0], photo)
    between = (columns - 1) * gap
    if below:
        panel_w = max((photo[0] - between) / columns, 1)
        panel = max(round(panel_w), THINNEST), max(round(panel_w / aspect), THINNEST)
    else:
        panel_h = (photo[1] - (rows - 1) * gap - rows * strip) / rows
        if panel_h < 20:
            return None
        panel = max(round(panel_h * aspect), THINNEST), round(panel_h)
    slot = max(panel[0], round(narrowest))
    left, top = (0, photo[1] + round(gap)) if below else (photo[0] + round(gap * 1.5), 0)
    corners = tuple(
        (
            left + (index % columns) * (slot + round(gap)),
            top + (index // columns) * (round(strip) + panel[1] + round(gap)) + round(strip),
        )
        for index in range(panels)
    )
    right = max(photo[0], max(x for x, _ in corners) + slot)
    bottom = max(photo[1], max(y for _, y in corners) + panel[1])
    if not below:  # what rounding leaves: the last row ends where the photo does
        photo = photo[0], bottom
    return Plan(photo, panel, corners, slot, (right, bottom))
