"""Opening all kinds of image files."""

from __future__ import annotations

import io
import random
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from showattend.exceptions import ImageError
from showattend.images.photo_file import PhotoFile
from showattend.images.preprocessing import Preprocessing
from showattend.images.upright import open_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(width: int = 60, height: int = 40) -> Image.Image:
    """Four plain quarters, so that every turn shows: red, green over blue, white."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = RED
    pixels[: height // 2, width // 2 :] = GREEN
    pixels[height // 2 :, : width // 2] = BLUE
    pixels[height // 2 :, width // 2 :] = WHITE
    return Image.fromarray(pixels)


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """Colours near the four corners, rounded: JPEG is not exact."""
    pixels = np.asarray(image).astype(int)
    y, x = max(pixels.shape[0] // 8, 0), max(pixels.shape[1] // 8, 0)
    picked = [pixels[y, x], pixels[y, -1 - x], pixels[-1 - y, x], pixels[-1 - y, -1 - x]]
    return [tuple(int(round(value / 255) * 255) for value in one) for one in picked]


# --- opening -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a.jpg", "a.png", "a.webp", "a.gif", "a.bmp", "a.tiff", "a.avif", "a.ppm", "a.txt"]
)
def test_open_formats(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.txt":  # the content counts, not the name
        quarters().save(path, "PNG")
    else:
        quarters().save(path)
    for source in (path, str(path)):
        image = open_image(source)
        assert (image.mode, image.size) == ("RGB", (60, 40))
        assert corners(image) == [RED, GREEN, BLUE, WHITE]


def test_open_heic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "a.heic"
    heif.from_pillow(quarters(64, 64)).save(path)
    assert corners(open_image(path)) == [RED, GREEN, BLUE, WHITE]
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r'pip install "showattend\[heif\]"'):
        open_image(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_open_applies_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    # What the tag says of the stored picture's first row and column (EXIF 2.3, 4.6.4).
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a[::-1].swapaxes(0, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a[:, ::-1].swapaxes(0, 1),
    }
    stored = quarters()
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned{suffix}"
    stored.save(path, exif=exif)
    upright = Image.fromarray(np.ascontiguousarray(turns[orientation](np.asarray(stored))))
    image = open_image(path)
    assert image.size == upright.size
    assert corners(image) == corners(upright)
    assert corners(open_image(image)) == corners(upright), "a second opening turned it again"
    with Image.open(path) as lazy:
        assert corners(open_image(lazy)) == corners(upright)


def test_open_modes(tmp_path: Path) -> None:
    grey = np.linspace(0, 255, 16).reshape(1, 16).repeat(4, 0).astype(np.uint8)
    cases: dict[str, Image.Image] = {
        "L": Image.fromarray(grey),
        "1": Image.fromarray(grey).convert("1", dither=Image.Dither.NONE),
        "I;16": Image.fromarray(grey.astype(np.uint16) * 257),
        "I": Image.fromarray(grey.astype(np.int32) * 257),
        "F": Image.fromarray(grey.astype(np.float32) / 255),
        "YCbCr": Image.fromarray(grey).convert("RGB").convert("YCbCr"),
        "CMYK": Image.fromarray(grey).convert("RGB").convert("CMYK"),
        "P": Image.fromarray(grey).convert("RGB").quantize(16),
    }
    if int(PIL.__version__.split(".")[0]) < 12:  # it cannot read the YCbCr that it writes
        del cases["YCbCr"]
    for mode, image in cases.items():
        path = tmp_path / "mode.tiff"
        image.save(path)
        with Image.open(path) as stored:
            assert stored.mode == mode
        opened = np.asarray(open_image(path)).astype(int)
        expected = grey.astype(int) if mode != "1" else (grey > 127).astype(int) * 255
        assert np.abs(opened - expected[:, :, None]).max() <= 2, mode


def test_open_16_bit_png_is_scaled_not_clipped(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.array([[0, 257, 32896, 65535, 300]], np.uint16)).save(path)
    assert np.asarray(open_image(path))[0, :, 0].tolist() == [0, 1, 128, 255, 1]


def test_open_numbers_of_any_range(tmp_path: Path) -> None:
    for values, expected in [
        ([[0.0, 0.5, 1.0]], [0, 128, 255]),
        ([[0.0, 100.0, 255.0]], [0, 100, 255]),
        ([[-3.0, 0.0, 3.0]], [0, 128, 255]),
        ([[np.nan, 0.0, 1.0]], [0, 0, 255]),
        ([[7e6, 7e6, 7e6]], [0, 0, 0]),
    ]:
        path = tmp_path / "float.tiff"
        Image.fromarray(np.array(values, np.float32)).save(path)
        assert np.asarray(open_image(path))[0, :, 0].tolist() == expected


def test_open_cmyk_jpeg_of_adobe(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    quarters().convert("CMYK").save(path)
    with Image.open(path) as stored:
        assert stored.mode == "CMYK"
        assert "adobe" in stored.info
    assert corners(open_image(path)) == [RED, GREEN, BLUE, WHITE]


def test_open_composites_transparency_over_white(tmp_path: Path) -> None:
    rgba = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    rgba.paste((255, 0, 0, 255), (0, 0, 4, 8))
    grey = Image.new("LA", (8, 8), (0, 128))
    keyed = Image.new("RGB", (8, 8), BLUE)
    palette = rgba.quantize(4)
    for name, image, left, right in [
        ("rgba.png", rgba, RED, WHITE),
        ("rgba.webp", rgba, RED, WHITE),
        ("rgba.gif", rgba, RED, WHITE),
        ("palette.png", palette, RED, WHITE),
        ("la.png", grey, (127, 127, 127), (127, 127, 127)),
    ]:
        image.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
        opened = open_image(tmp_path / name)
        assert opened.getpixel((1, 4)) == left, name
        assert opened.getpixel((6, 4)) == right, name
    keyed.save(tmp_path / "keyed.png", transparency=BLUE)
    assert open_image(tmp_path / "keyed.png").getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tiff"])
def test_open_takes_the_first_frame(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, GREEN, BLUE)]
    path = tmp_path / f"moving{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert corners(open_image(path))[0] == RED


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (3, 2)])
def test_open_small_and_extreme(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "odd.png"
    Image.new("RGB", size, RED).save(path)
    assert open_image(path).size == size
    for fit in ("squash", "crop", "pad"):
        pixels, geometry = Preprocessing(16, fit).load_pixels(path)
        assert pixels.shape == (16, 16, 3)
        assert geometry.image_size == size


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims a size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_open_refuses_bad_files(tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
        whole, "JPEG"
    )
    contents = {
        "empty.jpg": (b"", r"empty \(0 bytes\)"),
        "text.jpg": (b"this is a text, called .jpg", "not an image"),
        "cut.jpg": (whole.getvalue()[:-800], "damaged or cut short"),
        "head.jpg": (whole.getvalue()[:100], "not an image|damaged or cut short"),
        "huge.png": (png_claiming(20000, 20000), r"pixels"),
        "over.png": (png_claiming(178_956_971, 1), r"178,956,97. pixels"),
    }
    for name, (content, message) in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        for open_it in (open_image, Preprocessing(32).load_pixels):
            with pytest.raises(ImageError, match=message) as caught:
                open_it(path)
            assert str(caught.value).startswith(f"{path}: ")
            assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match="no such file"):
        open_image(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="folder"):
        open_image(tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        open_image("null\0byte.jpg")


def test_open_refuses_the_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.jpg"
    quarters().save(path)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match="permission denied"):
        open_image(path)


def test_open_between_pillows_limits_without_a_warning(tmp_path: Path) -> None:
    """Pillow warns above half the limit; a large scan is still an image."""
    path = tmp_path / "large.png"
    Image.new("1", (30_000, 3_000)).save(path)
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert Preprocessing(8).load_pixels(path)[1].image_size == (30_000, 3_000)
    assert not seen
    assert warnings.filters == before


def test_open_in_threads_leaves_the_warning_filters_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    quarters().save(path)
    before = list(warnings.filters)
    threads = [
        threading.Thread(target=lambda: [open_image(path) for _ in range(20)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


def test_open_arrays_and_pil_images_alike() -> None:
    image = quarters()
    pixels = np.asarray(image)
    alpha = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    for source in (image, pixels, pixels / 255, pixels.astype(np.float32) / 255, alpha):
        assert np.array_equal(np.asarray(open_image(source)), pixels)
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    for source in (grey, grey[:, :, None], grey.astype(np.uint16) * 257):
        assert np.array_equal(np.asarray(open_image(source)), grey[:, :, None].repeat(3, 2))
    assert open_image(np.eye(2) > 0).getpixel((0, 0)) == WHITE


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5), r"must be \(H, W\)"),
        (np.zeros((0, 5, 3)), "no pixels"),
        (np.full((4, 4, 3), 200.0), r"in \[0, 1\]"),
        (np.full((4, 4), np.nan), r"in \[0, 1\]"),
        (np.zeros((4, 4), np.int64), "must be uint8"),
    ],
)
def test_open_refuses_arrays(array: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        open_image(array)


@pytest.mark.parametrize("kind", ["tiff_lzw", "tiff_adobe_deflate", "jpeg", "group4"])
def test_no_library_writes_on_stderr_itself(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """libtiff does, of what is wrong with a file, and Pillow logs it."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    image, whole = Image.fromarray(pixels), io.BytesIO()
    (image.convert("1") if kind == "group4" else image).save(whole, "TIFF", compression=kind)
    damage, refused = random.Random(0), 0
    for number in range(12):
        content = bytearray(whole.getvalue())
        for _ in range(20):
            content[damage.randrange(8, len(content))] = damage.randrange(256)
        path = tmp_path / f"{number}.tif"
        path.write_bytes(content)
        try:
            open_image(path)
        except ImageError:
            refused += 1
    assert refused
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45])
def test_floats_without_a_scale_are_converted_without_a_warning(
    value: float, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).random((40, 40)).astype(np.float32)
    for rows in (8, 40):
        pixels[:rows] = value
        Image.fromarray(pixels).save(tmp_path / "a.tif")
        open_image(tmp_path / "a.tif")
        Preprocessing(32).load_pixels(tmp_path / "a.tif")


def test_a_name_that_no_file_can_have_is_one_line() -> None:
    name = "a" * 300 + ".jpg"
    with pytest.raises(ImageError, match=r"cannot be read \(File name too long\)") as caught:
        open_image(name)
    assert str(caught.value).startswith(name)
    whole = io.BytesIO()
    quarters().save(whole, "PNG")
    assert open_image(PhotoFile.of(whole.getvalue(), name)).size == quarters().size  # an upload
