"""The arrangement of a summary: nothing overlaps, nothing leaves the figure."""

from __future__ import annotations

import itertools

import pytest

from showattend.visualize.arrangement import arrange_summary


@pytest.mark.parametrize("panels", range(6))
@pytest.mark.parametrize("aspect", [1 / 3000, 1 / 6, 0.5, 1, 1.5, 6, 3000])
def test_nothing_overlaps_and_nothing_leaves_the_figure(panels: int, aspect: float) -> None:
    plan = arrange_summary(panels, aspect, 1512, 780, 38, 18, 120)
    assert len(plan.corners) == panels
    assert plan.size[0] <= 1512
    assert plan.size[1] <= 780
    boxes = [(0, 0, *plan.photo)]
    boxes += [(x, y - 38, x + plan.slot, y + plan.panel[1]) for x, y in plan.corners]
    for one, other in itertools.combinations(boxes, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    for box in boxes:
        assert 0 <= box[0] <= box[2] <= plan.size[0]
        assert 0 <= box[1] <= box[3] <= plan.size[1]
    if 0.1 < aspect < 10:
        shape = plan.photo[0] / plan.photo[1]
        assert shape == pytest.approx(aspect, rel=0.02)
        assert not panels or plan.panel[0] / plan.panel[1] == pytest.approx(aspect, rel=0.03)
        assert plan.photo[0] * plan.photo[1] >= plan.panel[0] * plan.panel[1]
