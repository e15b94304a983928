"""Stored numbers are read with their meaning: colour profiles, depth, black and white."""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from showattend.images.colours import _transform
from showattend.images.image_files import load_image
from showattend.images.preprocessing import Preprocessing
from showattend.images.upright import open_image
from tests.profiles import (
    P3,
    SRGB,
    cmyk_profile,
    encoded,
    grey_profile,
    matrix_profile,
    png_of_16_bits,
    through_matrix,
    tiff,
)

SIZE = 96


def picture(width: int = 120, height: int = 80) -> Image.Image:
    """Smooth patches of every kind of colour."""
    noise = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def levels(source: Path | Image.Image) -> np.ndarray:
    return np.asarray(open_image(source)).astype(int)


def both_ways(path: Path) -> list[np.ndarray]:
    """Opened whole, and as the network takes it."""
    return [levels(path), Preprocessing(SIZE).load_pixels(path)[0].astype(int)]


@pytest.fixture
def case() -> Callable[[str], Path]:
    """Finds a picture among the inputs that went wrong; skips where they are absent."""
    data = Path(os.environ.get("SHOWATTEND_DATA", Path(__file__).parents[3] / "shared" / "data"))

    def find(name: str) -> Path:
        path = data.parent / "cases" / name
        if not path.is_file():
            pytest.skip(f"{path} is absent")
        return path

    return find


# Colour profiles ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp", "a.avif"])
def test_a_profile_is_applied_in_every_format(tmp_path: Path, name: str) -> None:
    exact = {"webp": {"lossless": True}, "avif": {"quality": 100, "subsampling": "4:4:4"}}
    options = exact.get(name[2:], {"quality": 100, "subsampling": 0} if name[2:] == "jpg" else {})
    picture().save(tmp_path / f"plain-{name}", **options)
    picture().save(tmp_path / name, icc_profile=matrix_profile(P3, 1.8), **options)
    for plain, found in zip(
        both_ways(tmp_path / f"plain-{name}"), both_ways(tmp_path / name), strict=True
    ):
        wanted = through_matrix(plain, P3, 1.8)
        assert np.abs(wanted - plain).max() > 30, "the profile says something"
        assert np.abs(found - wanted).max() <= 3


def test_a_profile_is_applied_in_every_mode(tmp_path: Path) -> None:
    profile = matrix_profile(P3, 1.8)
    clear = picture()
    clear.putalpha(Image.new("L", clear.size, 255))
    half = picture()
    half.putalpha(Image.new("L", half.size, 128))
    modes = {
        "P": picture().quantize(32),
        "RGBA": clear,
        "over white": half,
        "L": picture().convert("L"),
        "1": picture().convert("1"),
    }
    for mode, image in modes.items():
        image.save(tmp_path / "plain.png")
        image.save(tmp_path / "a.png", icc_profile=profile)
        for plain, found in zip(
            both_ways(tmp_path / "plain.png"), both_ways(tmp_path / "a.png"), strict=True
        ):
            wanted = through_matrix(plain, P3, 1.8)
            assert np.abs(found - wanted).max() <= 3, mode
    deep = np.asarray(picture()).astype(np.uint16) * 257
    compressed = b"p\0\0" + zlib.compress(profile)
    (tmp_path / "a.png").write_bytes(png_of_16_bits(deep, [(b"iCCP", compressed)]))
    wanted = through_matrix(np.asarray(picture()), P3, 1.8)
    assert np.abs(levels(tmp_path / "a.png") - wanted).max() <= 3


def test_a_srgb_profile_changes_no_pixel(tmp_path: Path) -> None:
    """Also one that is not Pillow's own, but says the same in other numbers."""
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    steps = np.arange(4096) / 4095
    light = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
    table = struct.pack(">4sII", b"curv", 0, 4096) + np.rint(65535 * light).astype(">u2").tobytes()
    tabled = matrix_profile(SRGB, curve=table)
    for image in (picture(), picture().convert("L"), picture().quantize(32)):
        for suffix in ("png", "tif", "jpg") if image.mode != "P" else ("png", "tif"):
            image.save(tmp_path / f"plain.{suffix}")
            for profile in (own, tabled):
                image.save(tmp_path / f"a.{suffix}", icc_profile=profile)
                for plain, found in zip(
                    both_ways(tmp_path / f"plain.{suffix}"),
                    both_ways(tmp_path / f"a.{suffix}"),
                    strict=True,
                ):
                    np.testing.assert_array_equal(plain, found)


def test_a_broken_profile_is_ignored(tmp_path: Path) -> None:
    whole = matrix_profile()
    broken = {
        "noise": np.random.default_rng(0).bytes(400),
        "one byte": b"x",
        "cut short": whole[:200],
        "no tags": whole[:128] + bytes(4),
        "endless": whole + bytes(4_000_000),
        "no light": matrix_profile(np.zeros((3, 3))),
        "for greys": grey_profile(2.2),
        "for inks": cmyk_profile(),
        "changed": whole[:140] + b"\xff" * 60 + whole[200:],
    }
    picture().save(tmp_path / "plain.png")
    for name, profile in broken.items():
        picture().save(tmp_path / "a.tif", icc_profile=profile)
        for plain, found in zip(
            both_ways(tmp_path / "plain.png"), both_ways(tmp_path / "a.tif"), strict=True
        ):
            np.testing.assert_array_equal(plain, found, err_msg=name)


def test_greys_have_profiles_too(tmp_path: Path) -> None:
    grey = picture().convert("L")
    for name, image in {
        "a.png": grey,
        "alpha.png": Image.merge("LA", (grey, Image.new("L", grey.size, 255))),
        "deep.png": Image.fromarray(np.asarray(grey).astype(np.uint16) * 257),
        "a.jpg": grey,
        "a.tif": grey,
    }.items():
        image.save(tmp_path / f"plain-{name}")
        image.save(tmp_path / name, icc_profile=grey_profile(1.0))
        for plain, found in zip(
            both_ways(tmp_path / f"plain-{name}"), both_ways(tmp_path / name), strict=True
        ):
            wanted = encoded(plain / 255.0)
            assert np.abs(wanted - plain).max() > 50
            assert np.abs(found - wanted).max() <= 3, name


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_inks_have_profiles_too(tmp_path: Path, name: str) -> None:
    inks = Image.new("CMYK", (40, 20), (255, 0, 0, 0))
    inks.paste((0, 0, 0, 0), (20, 0, 40, 20))
    inks.save(tmp_path / f"plain-{name}")
    inks.save(tmp_path / name, icc_profile=cmyk_profile())
    inks.save(tmp_path / f"rgb-{name}", icc_profile=matrix_profile())
    for pixels in both_ways(tmp_path / name):
        left, right = pixels[2, 2], pixels[-3, -3]
        assert np.abs(left - (255, 0, 0)).max() <= 20, "the first ink is a red one"
        assert right.min() >= 250, "no ink is white"
    for plain, found in zip(
        both_ways(tmp_path / f"plain-{name}"), both_ways(tmp_path / f"rgb-{name}"), strict=True
    ):
        np.testing.assert_array_equal(plain, found)


def test_an_image_in_memory_is_converted_once_and_left_alone() -> None:
    content = io.BytesIO()
    picture().save(content, "PNG", icc_profile=matrix_profile(P3, 1.8))
    with Image.open(content) as given:
        given.load()
        before = given.tobytes()
        opened = open_image(given)
        assert given.tobytes() == before
        wanted = through_matrix(np.asarray(picture()), P3, 1.8)
        assert np.abs(np.asarray(opened).astype(int) - wanted).max() <= 3
        np.testing.assert_array_equal(levels(opened), np.asarray(opened))
    plain = picture()
    opened = open_image(plain)
    opened.putpixel((0, 0), (1, 2, 3))
    assert plain.tobytes() == picture().tobytes(), "it is a copy"


def test_profiles_in_threads(tmp_path: Path) -> None:
    paths = []
    for number, gamma in enumerate((1.0, 1.4, 1.8, 2.6)):
        paths.append(tmp_path / f"{number}.png")
        picture().save(paths[-1], icc_profile=matrix_profile(P3, gamma))
    wanted = [levels(path) for path in paths]
    _transform.cache_clear()
    wrong: list[Path] = []

    def work() -> None:
        for _ in range(5):
            for path, right in zip(paths, wanted, strict=True):
                if not np.array_equal(levels(path), right):
                    wrong.append(path)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_photos_in_display_p3_look_like_their_srgb_twins(case: Callable[[str], Path]) -> None:
    twin = both_ways(case("rocket_srgb.png"))
    for wanted, found in zip(twin, both_ways(case("rocket_p3.png")), strict=True):
        assert np.abs(found - wanted).mean() < 1
        assert np.quantile(np.abs(found - wanted), 0.999) <= 8


def test_a_jacket_in_prophoto_is_orange(case: Callable[[str], Path]) -> None:
    path = case("astronaut_prophoto.png")
    with Image.open(path) as stored:
        plain = np.asarray(stored.convert("RGB")).astype(int)
    jacket = slice(430, 500), slice(60, 130)
    assert (levels(path)[jacket] - plain[jacket])[..., 0].mean() > 50, "redder than it is stored"
    assert np.ptp(levels(path), axis=2).mean() > 1.5 * np.ptp(plain, axis=2).mean()


# Depth -------------------------------------------------------------------------------------------


def ramp(bits: int, height: int = 4) -> np.ndarray:
    """All of a depth's range, [height, 64] uint16."""
    return np.rint(np.linspace(0, 2**bits - 1, 64)).astype(np.uint16)[None].repeat(height, 0)


EIGHT = np.rint(np.linspace(0, 255, 64)).astype(int)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["png", "tif", "big-endian tif", "int32", "float", "array"])
def test_numbers_of_any_depth_in_16_bits(tmp_path: Path, bits: int, kind: str) -> None:
    values = ramp(bits)
    path = tmp_path / f"a.{'png' if kind == 'png' else 'tif'}"
    if kind == "array":
        found = np.asarray(open_image(values)).astype(int)
    else:
        if kind == "big-endian tif":
            Image.frombytes("I;16B", (64, 4), values.astype(">u2").tobytes()).save(path)
        else:
            wide = {"int32": np.int32, "float": np.float32}.get(kind, np.uint16)
            Image.fromarray(values.astype(wide)).save(path)
        found = levels(path)
    assert np.abs(found[0, :, 0] - EIGHT).max() <= 1
    assert (found[..., 0] == found[..., 2]).all()


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_colours_of_any_depth_in_16_bits(tmp_path: Path, bits: int) -> None:
    """Pillow keeps their upper bytes alone: of 12 bits that is 16 levels."""
    colours = np.stack([ramp(bits), ramp(bits)[:, ::-1], ramp(bits) // 2], -1)
    path = tmp_path / "a.png"
    path.write_bytes(png_of_16_bits(colours))
    wanted = np.stack([EIGHT, EIGHT[::-1], EIGHT // 2], -1)
    assert np.abs(levels(path)[0] - wanted).max() <= 255 / 2 ** (bits - 8) + 1


def test_a_stated_white_is_used(tmp_path: Path) -> None:
    dark = ramp(12) // 4  # in 10 bits
    path = tmp_path / "a.png"
    path.write_bytes(png_of_16_bits(dark, [(b"sBIT", bytes([12]))]))
    assert np.abs(levels(path)[0, :, 0] - EIGHT / 4).max() <= 1
    path.write_bytes(png_of_16_bits(dark, [(b"sBIT", bytes([16]))]))
    assert levels(path).max() == round(1023 / 257)
    path.write_bytes(png_of_16_bits(ramp(16), [(b"sBIT", bytes([12]))]))
    assert np.abs(levels(path)[0, :, 0] - EIGHT).max() <= 1, "as the standard has it: scaled up"
    path = tmp_path / "a.tif"
    for stated, share in ((4095, 1 / 4), (65535, 1 / 64), (1023, 1), (100, 1)):
        maximum = {281: (3, struct.pack("<HH", stated, 0))}
        path.write_bytes(tiff(64, 4, 16, dark.astype("<u2").tobytes(), maximum))
        assert np.abs(levels(path)[0, :, 0] - EIGHT * share).max() <= 1, stated
    shares = (ramp(8) / 255 * 2).astype("<f4")
    largest = {339: (3, struct.pack("<HH", 3, 0)), 341: (11, struct.pack("<f", 4))}
    path.write_bytes(tiff(64, 4, 32, shares.tobytes(), largest))
    assert np.abs(levels(path)[0, :, 0] - EIGHT / 2).max() <= 1
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 64 4 4095\n" + dark.astype(">u2").tobytes())
    assert np.abs(levels(path)[0, :, 0] - EIGHT / 4).max() <= 1


def test_packed_12_bits(tmp_path: Path) -> None:
    values = ramp(12).astype(int).ravel()
    pairs = values.reshape(-1, 2)
    packed = np.stack(
        [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], -1
    )
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(64, 4, 12, packed.astype(np.uint8).tobytes(), {}))
    assert np.abs(levels(path)[0, :, 0] - EIGHT).max() <= 1


@pytest.mark.parametrize(
    ("bits", "data", "extra"),
    [
        (8, ramp(8).astype(np.uint8), {}),
        (16, ramp(16), {}),
        (16, ramp(12), {}),
        (32, (ramp(8) / 255).astype("<f4"), {339: (3, struct.pack("<HH", 3, 0))}),
    ],
)
def test_white_is_zero(
    tmp_path: Path, bits: int, data: np.ndarray, extra: dict[int, tuple[int, bytes]]
) -> None:
    path = tmp_path / "a.tif"
    white_is_zero = {262: (3, struct.pack("<HH", 0, 0))} | extra
    path.write_bytes(tiff(64, 4, bits, data.tobytes(), white_is_zero))
    assert np.abs(levels(path)[0, :, 0] - EIGHT[::-1]).max() <= 1
    small, _ = Preprocessing(8).load_pixels(path)
    assert small[0, 0, 0] > 200
    assert small[0, -1, 0] < 55


def test_a_uniform_grey_stays_the_same(tmp_path: Path) -> None:
    for kind in (np.uint8, np.uint16, np.int32, np.float32):
        Image.fromarray(np.full((5, 6), 200, kind)).save(tmp_path / "a.tif")
        assert (levels(tmp_path / "a.tif") == 200).all(), kind
    for kind in (np.uint16, np.int32, np.float32):
        Image.fromarray(np.zeros((5, 6), kind)).save(tmp_path / "a.tif")
        assert (levels(tmp_path / "a.tif") == 0).all(), "black stays black"


def test_highlights_above_one_are_white(tmp_path: Path) -> None:
    light = np.array([[0, 0.5, 1, 1.02, 7]], np.float32)
    Image.fromarray(light).save(tmp_path / "a.tif")
    assert levels(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 128, 255, 255, 255]


def test_12_bits_in_16_give_a_normal_picture(case: Callable[[str], Path]) -> None:
    for pixels in both_ways(case("grey12.png")):
        assert 60 < pixels.mean() < 200
        assert pixels.max() > 250


# In tiles ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "CMYK", "I;16", "F", "LAB"])
def test_tiles_change_no_pixel(tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pixels are those of converting all of it and leaving the rest to Pillow."""
    monkeypatch.setattr("showattend.images.depth._TILE", 5000)
    whole = picture(701, 403)
    alpha = Image.linear_gradient("L").resize(whole.size)
    grey = np.asarray(whole.convert("L"))
    image = {
        "RGBA": Image.merge("RGBA", (*whole.split(), alpha)),
        "P": whole.quantize(32),
        "I;16": Image.fromarray(grey.astype(np.uint16) * 257),
        "F": Image.fromarray(grey.astype(np.float32) * 3 - 100),
        "LAB": Image.merge("LAB", whole.split()),
    }.get(mode) or whole.convert(mode)
    image.save(tmp_path / "a.tif")
    for size in ((20, 16), (200, 100), (800, 500)):
        for box in ((0, 0, 701, 403), (101.5, 0, 504.5, 403)):
            for resample in (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR):
                stored = load_image(tmp_path / "a.tif")
                found = stored.resized(size, resample, box)
                wanted = stored.rgb().resize(size, resample, box, reducing_gap=3.0)
                np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))
