"""Layouts: no overlaps, nothing beyond the page, for photos of any shape."""

from __future__ import annotations

from dataclasses import replace

import pytest

from showattend.exceptions import UserError
from showattend.visualize.layout import LONGEST_SIDE, MARGIN, arrange, lay_out

SIZES = [(300, 200), (200, 300), (2000, 100), (1, 3000), (3000, 1), (1, 1), (6000, 4000)]


@pytest.mark.parametrize("layout", ["grid", "strip", "word"])
@pytest.mark.parametrize("count", [1, 2, 13, 31])
@pytest.mark.parametrize("size", SIZES)
def test_panels_do_not_overlap(layout: str, count: int, size: tuple[int, int]) -> None:
    plan = arrange(layout, count, size, None, None)
    assert plan.width <= (1600 if layout == "grid" else LONGEST_SIDE)
    assert min(plan.photo) >= 1
    places = [plan.photo_corner(index) for index in range(count)]
    for i, (x, y) in enumerate(places):
        assert 0 <= x <= plan.width - plan.photo[0]
        for other_x, other_y in places[:i]:
            apart_x = abs(x - other_x) >= plan.photo[0]
            apart_y = abs(y - other_y) >= plan.photo[1] + plan.px(30)  # with room for the word
            assert apart_x or apart_y
    if layout != "grid":
        assert plan.rows * plan.row_height < LONGEST_SIDE


@pytest.mark.parametrize("layout", ["grid", "strip", "word"])
@pytest.mark.parametrize("size", SIZES)
def test_from_the_right_is_the_mirror_image(layout: str, size: tuple[int, int]) -> None:
    plan = arrange(layout, 8, size, None, None)
    mirrored = replace(plan, from_right=True)
    for index in range(8):
        (x, y), (from_right, same) = plan.photo_corner(index), mirrored.photo_corner(index)
        assert (plan.width - from_right - plan.photo[0], same) == (x, y)
        left = mirrored.corner(index)[0]
        assert left <= from_right <= left + plan.panel[0] - plan.photo[0]


def test_strips_wrap() -> None:
    row = arrange("strip", 4, (640, 480), None, None)
    assert (row.columns, row.rows) == (4, 1)
    wrapped = arrange("strip", 16, (640, 480), None, None)
    assert wrapped.width <= 1600
    assert wrapped.rows > 1
    assert wrapped.rows * wrapped.columns - 16 < wrapped.rows, "rows of even length"
    assert wrapped.photo[1] < 200


@pytest.mark.parametrize("layout", ["grid", "strip"])
@pytest.mark.parametrize("size", [(100, 600), (300, 400), (400, 300), (600, 100), (40, 40)])
def test_columns_fit_the_photo(layout: str, size: tuple[int, int]) -> None:
    """No photo floats in white: a panel is no wider than it, but for what a word takes."""
    plan = arrange(layout, 14, size, None, None)
    assert plan.panel[0] <= max(plan.photo[0], 120)
    assert plan.panel[1] == plan.photo[1]
    assert plan.photo[0] / plan.photo[1] == pytest.approx(size[0] / size[1], rel=0.03)
    used = plan.corner(plan.columns - 1)[0] + plan.panel[0] + plan.px(MARGIN)
    assert plan.width - used <= 1 or plan.width == plan.px(560)


def test_single_words_have_the_photos_size() -> None:
    for size in ((640, 480), (500, 2000), (4000, 3000)):
        assert arrange("word", 1, size, None, None).photo == size
    small = arrange("word", 1, (30, 20), None, None).photo
    assert small == (480, 320), "enlarged until there is something to see"
    large = arrange("word", 1, (8192, 4096), None, None).photo
    assert large == (4096, 2048)


@pytest.mark.parametrize("size", [(512, 512), (640, 480), (300, 900), (1200, 300)])
def test_many_words_form_a_page(size: tuple[int, int]) -> None:
    """Not a column thousands of pixels high; each panel is as large as in a column."""
    plan = arrange("word", 12, size, None, None)
    assert plan.photo == size
    assert plan.columns * plan.rows == 12
    assert 0.8 < plan.width / (plan.rows * plan.row_height) < 3.2


@pytest.mark.parametrize("layout", ["grid", "strip", "word"])
@pytest.mark.parametrize("width", [200, 801, 3000])
@pytest.mark.parametrize("size", SIZES)
def test_a_width_is_kept(layout: str, width: int, size: tuple[int, int]) -> None:
    assert arrange(layout, 7, size, width, None).width <= width


def test_columns_fill_the_page_of_a_grid() -> None:
    assert lay_out(13, 1.5, 1600, 3).columns == 3
    assert lay_out(2, 1.5, 1600, 5).columns == 2, "no more than panels"


@pytest.mark.parametrize(
    ("layout", "width", "columns"),
    [("pile", None, None), ("grid", 199, None), ("grid", None, 0), ("word", None, 2)],
)
def test_nonsense_is_refused(layout: str, width: int | None, columns: int | None) -> None:
    with pytest.raises(UserError):
        arrange(layout, 3, (30, 20), width, columns)
