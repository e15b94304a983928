"""Opening of every kind of image file, finding, and the geometry against independent sums."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from showattend.errors import ConfigError, ImageError
from showattend.evaluation.pointing import Look
from showattend.images import Geometry, Preprocessing, find_images, open_image

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
def test_open_turns_by_exif(tmp_path: Path, orientation: int, suffix: str) -> None:
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


def test_open_lays_transparency_over_white(tmp_path: Path) -> None:
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
    with pytest.raises(ImageError, match="not bytes"):
        open_image(b"a.jpg")  # type: ignore[arg-type]


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
        (np.zeros((3, 10, 10)), "channels last"),
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


# --- finding -----------------------------------------------------------------------------------


def test_find_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.jpg", "a.PNG", "notes.txt", ".hidden.jpg", "sub/c.webp", "photo[1].jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "bare").mkdir()
    (tmp_path / "folder.jpg").mkdir()
    monkeypatch.chdir(tmp_path)

    def names(*paths: str, recursive: bool = False) -> list[str]:
        found, problems = find_images(paths, recursive)
        assert not problems
        return [path.as_posix() for path in found]

    assert names(".") == ["a.PNG", "b.jpg", "photo[1].jpg"]
    assert names(".", recursive=True) == ["a.PNG", "b.jpg", "photo[1].jpg", "sub/c.webp"]
    assert names("b.jpg", "./b.jpg", "sub/../b.jpg", str(tmp_path / "b.jpg"), "*.jpg") == [
        "b.jpg",
        "photo[1].jpg",
    ]
    assert names("photo[1].jpg") == ["photo[1].jpg"], "a name that looks like a pattern"
    assert names("**/*.webp") == ["sub/c.webp"]
    assert names(f"{tmp_path}/s*/*") == [f"{tmp_path.as_posix()}/sub/c.webp"]
    assert names("notes.txt") == ["notes.txt"], "what is named is tried"


def test_find_images_reports_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "good.jpg").write_bytes(b"x")
    (tmp_path / "outer/inner").mkdir(parents=True)
    found, problems = find_images(
        [tmp_path / "missing.jpg", tmp_path / "outer", f"{tmp_path}/*.gif", tmp_path / "good.jpg"],
        recursive=False,
    )
    assert found == [tmp_path / "good.jpg"]
    assert len(problems) == 3
    for problem, words in zip(
        problems, ["no such file", "--recursive", "no image matches"], strict=True
    ):
        assert words in problem
        assert "\n" not in problem


def test_links_to_what_is_gone_are_found_and_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    link = tmp_path / "photos" / "link.jpg"
    for path, target in ((link, "gone.jpg"), (link.with_suffix(".txt"), "gone.txt")):
        path.symlink_to(tmp_path / target)
    (tmp_path / "photos" / ".hidden.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "photos" / "folder.jpg").symlink_to(tmp_path)
    for given in (tmp_path / "photos", f"{tmp_path}/photos/*"):
        assert find_images([given]) == ([link], [])
    with pytest.raises(
        ImageError, match=r"link\.jpg: no such file \(a link to one that is gone\)$"
    ):
        open_image(link)


# --- geometry ----------------------------------------------------------------------------------

SIZES = [(640, 480), (333, 500), (1200, 100), (224, 224), (97, 31)]


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", SIZES)
def test_geometry_says_where_the_input_came_from(size: tuple[int, int], fit: str) -> None:
    """A photo of ramps tells each input pixel's origin; the recorded box must agree."""
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float64) + 0.5
    for axis, ramp in enumerate((x / width, y / height)):
        image = Image.fromarray(np.rint(ramp * 255).astype(np.uint8)).convert("RGB")
        pixels, geometry = Preprocessing(56, fit, interpolation="bilinear").pixels(image)
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
    _, geometry = Preprocessing(56, fit).pixels(Image.new("RGB", size))
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
            in_image = 0 <= x < width and 0 <= y < height
            assert geometry.locate(x, y, grid) == ((row, col) if in_image else None)

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
    assert geometry.locate(35, -5, (7, 7)) is None


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


def test_a_blur_draws_nothing_to_the_middle() -> None:
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


# --- preprocessing -----------------------------------------------------------------------------


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
    plain, plain_geometry = preprocessing.pixels(open_image(path))
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
    pixels, _ = Preprocessing(64).pixels(image)
    expected = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC))
    assert np.abs(pixels.astype(int) - expected.astype(int)).max() <= 2
    pixels, _ = Preprocessing(64, "crop").pixels(image)
    expected = np.asarray(image.crop((40, 0, 280, 240)).resize((64, 64), Image.Resampling.BICUBIC))
    assert np.abs(pixels.astype(int) - expected.astype(int))[2:-2, 2:-2].max() <= 2


def test_padding_has_the_mean_colour() -> None:
    preprocessing = Preprocessing(64, "pad", mean=(0.2, 0.4, 0.6))
    pixels, _ = preprocessing.pixels(Image.new("RGB", (200, 100), RED))
    assert (pixels[:16] == (51, 102, 153)).all()
    assert (pixels[48:] == (51, 102, 153)).all()
    assert (pixels[16:48] == RED).all()


def test_call_normalises() -> None:
    preprocessing = Preprocessing(8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.2))
    tensor, geometry = preprocessing(Image.new("RGB", (20, 10), (255, 51, 0)))
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
