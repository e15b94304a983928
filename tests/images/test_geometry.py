"""Maps on the right pixels: the geometry compared with independent computations."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from showattend.evaluation.grounding.pointing import Look
from showattend.images.geometry import Geometry
from showattend.images.preprocessing import Preprocessing

SIZES = [(640, 480), (333, 500), (1200, 100), (224, 224), (97, 31)]


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", SIZES)
def test_geometry_records_the_position_of_the_input(size: tuple[int, int], fit: str) -> None:
    """A photo of ramps tells each input pixel's origin; the recorded box must agree."""
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float64) + 0.5
    for axis, ramp in enumerate((x / width, y / height)):
        image = Image.fromarray(np.rint(ramp * 255).astype(np.uint8)).convert("RGB")
        pixels, geometry = Preprocessing(56, fit, interpolation="bilinear").load_pixels(image)
        low, high = geometry.box[axis], geometry.box[axis + 2]
        centre = low + (np.arange(56) + 0.5) / 56 * (high - low)
        line = pixels[28, :, 0] if axis == 0 else pixels[:, 28, 0]
        # Away from the borders, where the filter has all of its support.
        step = (high - low) / 56
        inside = (centre > 1.5 * step) & (centre < size[axis] - 1.5 * step)
        expected = centre[inside] / size[axis] * 255
        assert np.abs(line[inside] - expected).max() <= 1.6
    if fit == "squash":
        assert geometry.box == (0, 0, width, height)
    elif fit == "crop":
        side = min(width, height)
        assert geometry.box[2] - geometry.box[0] == geometry.box[3] - geometry.box[1] == side
        assert geometry.box[0] + geometry.box[2] == pytest.approx(width)
    else:
        assert geometry.box[0] <= 0
        assert geometry.box[1] <= 0
        assert geometry.box[2] >= width
        assert geometry.box[3] >= height


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("grid", [(7, 7), (5, 9)])
def test_one_hot_maps_land_on_their_cell(
    size: tuple[int, int], fit: str, grid: tuple[int, int]
) -> None:
    width, height = size
    _, geometry = Preprocessing(56, fit).load_pixels(Image.new("RGB", size))
    left, top, right, bottom = geometry.box
    rows, cols = grid
    for row in range(rows):
        for col in range(cols):
            one_hot = np.zeros(grid)
            one_hot[row, col] = 1
            cell = (
                left + (right - left) * col / cols,
                top + (bottom - top) * row / rows,
                left + (right - left) * (col + 1) / cols,
                top + (bottom - top) * (row + 1) / rows,
            )
            assert geometry.cell_box(row, col, grid) == pytest.approx(cell)
            x, y = (cell[0] + cell[2]) / 2, (cell[1] + cell[3]) / 2
            # "nearest" against a plain loop-free definition: pixel centres within the cell.
            px, py = np.arange(width) + 0.5, np.arange(height) + 0.5
            inside = ((py >= cell[1] - 1e-9) & (py < cell[3] - 1e-9))[:, None] & (
                (px >= cell[0] - 1e-9) & (px < cell[2] - 1e-9)
            )[None]
            wide, high = cell[2] - cell[0], cell[3] - cell[1]
            if min(wide, high) >= 2:  # below, pixels average over cells
                nearest = geometry.upsample(one_hot, "nearest")
                assert nearest.shape == (height, width)
                assert (nearest > 0.5).sum() == pytest.approx(inside.sum(), abs=width + height)
                assert ((nearest > 0.5) != inside).mean() < 0.001

            smooth = geometry.upsample(one_hot)
            assert smooth.dtype == np.float32
            assert smooth.min() >= 0
            assert smooth.max() <= 1
            whole = 0 < row < rows - 1 and 0 < col < cols - 1
            clear = cell[0] - wide > 0 and cell[1] - high > 0
            clear = clear and cell[2] + wide < width and cell[3] + high < height
            if whole and clear and min(wide, high) >= 2:
                peak_y, peak_x = np.unravel_index(smooth.argmax(), smooth.shape)
                assert abs(peak_x + 0.5 - x) <= 0.5 + 1e-6
                assert abs(peak_y + 0.5 - y) <= 0.5 + 1e-6
                mass = smooth.sum()
                assert (smooth.sum(0) * px).sum() / mass == pytest.approx(x, abs=0.02 * wide)
                assert (smooth.sum(1) * py).sum() / mass == pytest.approx(y, abs=0.02 * high)


def test_upsample_of_border_cells_peaks_at_the_centre_and_beyond() -> None:
    geometry = Geometry((77, 77), (0, 0, 77, 77))
    one_hot = np.zeros((7, 7))
    one_hot[0, 6] = 1
    smooth = geometry.upsample(one_hot)
    assert smooth[5, 71] == pytest.approx(1)
    assert smooth[0, 76] == pytest.approx(1)
    assert max(smooth[:, :60].max(), smooth[17:].max()) < 0.01


def test_upsample_passes_through_the_values() -> None:
    """At the cells' centres the smooth map has the map's own values; a plain map stays plain."""
    rng = np.random.default_rng(0)
    values = rng.random((6, 5))
    geometry = Geometry((5 * 9, 6 * 11), (0, 0, 45, 66))
    assert np.allclose(geometry.upsample(values)[5::11, 4::9], values, atol=1e-6)
    assert np.allclose(geometry.upsample(np.full((6, 5), 0.2)), 0.2)


def test_upsample_outside_a_crop_is_zero_and_padding_is_cut_off() -> None:
    plain = np.ones((7, 7))
    cropped = Geometry((100, 40), (30, 0, 70, 40)).upsample(plain)
    assert cropped[:, :30].max() == cropped[:, 70:].max() == 0
    assert cropped[:, 30:70].min() == pytest.approx(1)
    padding = np.zeros((7, 7))
    padding[0] = 1  # a row that lies on padding only
    geometry = Geometry((70, 30), (0, -20, 70, 50))
    assert geometry.upsample(padding, "nearest").max() == 0
    assert geometry.upsample(plain).min() == pytest.approx(1)


def test_upsample_of_tiny_images_averages() -> None:
    one_hot = np.zeros((7, 7))
    one_hot[0, 0] = 1
    single = Geometry((1, 1), (0, 0, 1, 1)).upsample(one_hot, "nearest")
    assert single == pytest.approx(1 / 49, rel=0.05)
    for mode in ("nearest", "smooth"):
        small = Geometry((3, 2), (0, 0, 3, 2)).upsample(one_hot, mode)
        assert np.unravel_index(small.argmax(), small.shape) == (0, 0)
        assert small[1, 2] == 0


def test_upsample_blurs_with_a_gaussian() -> None:
    geometry = Geometry((180, 90), (0, 0, 180, 90))
    one_hot = np.zeros((9, 9))
    one_hot[4, 3] = 1
    sharp, blurred = (geometry.upsample(one_hot, sigma=sigma) for sigma in (0.0, 0.05))
    y, x = np.unravel_index(blurred.argmax(), blurred.shape)
    assert (x + 0.5, y + 0.5) == pytest.approx((70, 45), abs=0.5)
    for axis, pixels in ((0, 180), (1, 90)):  # variances of what follows on each other add up
        at = np.arange(pixels)
        spread = []
        for values in (sharp, blurred):
            share = values.sum(axis) / values.sum()
            spread.append((share * at**2).sum() - (share * at).sum() ** 2)
        assert spread[1] - spread[0] == pytest.approx((0.05 * pixels) ** 2, rel=0.02)


def test_a_blur_does_not_pull_peaks_to_the_centre() -> None:
    """A plain map stays plain up to the border, and no mass is lost there."""
    geometry = Geometry((60, 40), (0, 0, 60, 40))
    assert geometry.upsample(np.full((4, 6), 0.3), sigma=0.2) == pytest.approx(0.3, rel=1e-5)
    even = np.full((4, 6), 1 / 24)
    look = Look(geometry.upsample(even), geometry.upsample(even, sigma=0.09))
    assert len(look.peak) == 60 * 40
    corner = np.zeros((4, 6))
    corner[0, 0] = 1
    blurred = geometry.upsample(corner, sigma=0.1)
    assert np.unravel_index(blurred.argmax(), blurred.shape) == (0, 0)
    assert blurred.sum() == pytest.approx(geometry.upsample(corner).sum(), rel=0.05)
    with pytest.raises(ValueError, match="sigma"):
        geometry.upsample(corner, sigma=-0.1)


def test_geometry_round_trip_and_resized() -> None:
    geometry = Geometry((640, 480), (80.0, 0.0, 560.0, 480.0))
    assert Geometry.from_dict(geometry.to_dict()) == geometry
    assert geometry.resized((320, 120)) == Geometry((320, 120), (40, 0, 280, 120))
    with pytest.raises(ValueError, match="shape"):
        geometry.upsample(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="mode"):
        geometry.upsample(np.zeros((2, 2)), "cubic")
