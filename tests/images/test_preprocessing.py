"""From a photograph to the network's input, against Pillow's own resize."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from showattend.exceptions import ConfigError
from showattend.images.geometry import Geometry
from showattend.images.preprocessing import Preprocessing
from showattend.images.upright import open_image
from tests.images.test_image_files import RED


def photo_like(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(1).integers(0, 255, (12, 16, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("orientation", [1, 2, 3, 5, 6, 8])
def test_load_pixels_agrees_with_opening_first(tmp_path: Path, fit: str, orientation: int) -> None:
    """The short cuts (decoding at a fraction, turning the small result) change no level by much.

    The sides are odd, so that a fraction of them is no whole number of pixels.
    """
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.jpg"
    photo_like(1013, 787).save(path, quality=95, exif=exif)
    preprocessing = Preprocessing(48, fit)
    quick, quick_geometry = preprocessing.load_pixels(path)
    plain, plain_geometry = preprocessing.load_pixels(open_image(path))
    assert quick_geometry == plain_geometry
    difference = np.abs(quick.astype(int) - plain.astype(int))
    assert difference.mean() < 1
    assert difference.max() <= 8


def test_load_pixels_decodes_large_jpegs_at_a_fraction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "photo.jpg"
    photo_like(1000, 800).save(path)
    sizes: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def watch(self: Image.Image, *args: object, **more: object) -> Image.Image:
        sizes.append(self.size)
        return resize(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "resize", watch)
    Preprocessing(48).load_pixels(path)
    Preprocessing(300).load_pixels(path)
    assert sizes == [(125, 100), (1000, 800)], "never below twice the pixels needed"


def test_pixels_are_pillows_resize() -> None:
    image = photo_like(320, 240)
    pixels, _ = Preprocessing(64).load_pixels(image)
    expected = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC))
    assert np.abs(pixels.astype(int) - expected.astype(int)).max() <= 2
    pixels, _ = Preprocessing(64, "crop").load_pixels(image)
    expected = np.asarray(image.crop((40, 0, 280, 240)).resize((64, 64), Image.Resampling.BICUBIC))
    assert np.abs(pixels.astype(int) - expected.astype(int))[2:-2, 2:-2].max() <= 2


def test_padding_has_the_mean_colour() -> None:
    preprocessing = Preprocessing(64, "pad", mean=(0.2, 0.4, 0.6))
    pixels, _ = preprocessing.load_pixels(Image.new("RGB", (200, 100), RED))
    assert (pixels[:16] == (51, 102, 153)).all()
    assert (pixels[48:] == (51, 102, 153)).all()
    assert (pixels[16:48] == RED).all()


def test_normalises() -> None:
    preprocessing = Preprocessing(8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.2))
    pixels, geometry = preprocessing.load_pixels(Image.new("RGB", (20, 10), (255, 51, 0)))
    tensor = preprocessing.normalize(torch.from_numpy(pixels).permute(2, 0, 1))
    assert tensor.shape == (3, 8, 8)
    assert tensor.dtype == torch.float32
    assert geometry == Geometry((20, 10), (0, 0, 20, 10))
    expected = torch.tensor([(1 - 0.1) / 0.5, (0.2 - 0.2) / 0.25, (0 - 0.3) / 0.2])
    assert torch.allclose(tensor.mean((1, 2)), expected, atol=1e-5)
    bytes_B3HW = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    assert preprocessing.normalize(bytes_B3HW).shape == (2, 3, 4, 4)
    assert bytes_B3HW.sum() == 0, "the input is left alone"


def test_preprocessing_round_trip_and_refusals() -> None:
    preprocessing = Preprocessing(224, "pad", (0.5, 0.5, 0.5), (0.1, 0.2, 0.3), "bilinear")
    assert Preprocessing.from_dict(preprocessing.to_dict()) == preprocessing
    with pytest.raises(ConfigError, match="squash, crop, pad"):
        Preprocessing(224, "stretch")
    with pytest.raises(ConfigError, match="bicubic, bilinear"):
        Preprocessing(224, interpolation="lanczos")
    with pytest.raises(ConfigError, match="at least 1"):
        Preprocessing(0)
