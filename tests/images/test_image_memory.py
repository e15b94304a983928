"""Memory for opening a file: as estimated, under 1 GB, and in the server under 300 MB."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showattend.exceptions import ImageError
from showattend.images.claims import claim
from showattend.images.image_files import MAX_PIXELS
from showattend.images.memory_needed import MAX_BYTES
from showattend.images.preprocessing import Preprocessing
from showattend.images.upright import open_image
from tests.profiles import matrix_profile, png_of_16_bits, tiff

if sys.platform != "linux":
    pytest.skip("measures by fork, and in kilobytes", allow_module_level=True)

# Opens each file in a process of its own, whole or for a network, and prints how far that grew.
PROGRAM = """
import json, os, resource, sys
import PIL.ImageCms, PIL.ImageFile
from showattend.exceptions import ImageError
from showattend.images.claims import claim
from showattend.images.upright import open_image
from showattend.images.preprocessing import Preprocessing

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def measure(how, path):
    before = peak()
    try:
        open_image(path) if how == "whole" else Preprocessing(352).load_pixels(path)
    except ImageError as error:
        return str(error)
    return peak() - before

from pathlib import Path
for how, path in json.load(sys.stdin):
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, json.dumps(measure(how, path)).encode())
        os._exit(0)
    os.close(write)
    with open(read) as found:
        claimed = claim(Path(path), None if how == "whole" else 704).bytes
        print(json.dumps([how, path, claimed, json.load(found)]), flush=True)
    os.wait()
"""


def measured(paths: list[Path]) -> list[tuple[str, str, int, int | str]]:
    """(how, path, claimed, grown or what is wrong) of each file, whole and for a network."""
    jobs = [(how, str(path)) for path in paths for how in ("whole", "network")]
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        check=True,
    )
    return [tuple(json.loads(line)) for line in result.stdout.splitlines()]


def single_strip(width: int, height: int, bits: int, kind: int = 1) -> bytes:
    """A compressed TIFF of one strip: a few kilobytes however large it claims to be."""
    packer = zlib.compressobj(9)
    row = bytes(width * bits // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    sample = {259: (3, struct.pack("<HH", 8, 0)), 339: (3, struct.pack("<HH", kind, 0))}
    return tiff(width, height, bits, data, sample)


def flat_png(width: int, height: int, colour: int) -> bytes:
    """A PNG of zeros."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    packer = zlib.compressobj(9)
    row = bytes(1 + width * (3 if colour == 2 else 1))
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of every format and depth, most of 8 million pixels."""
    folder = tmp_path_factory.mktemp("files")
    width, height = 4000, 2000
    flat = Image.new("RGB", (width, height), "teal")
    clear = flat.copy()
    clear.putalpha(100)
    profile = matrix_profile()
    deep = np.zeros((height, width), np.uint16)
    flat.save(folder / "rgb.png")
    flat.save(folder / "profile.png", icc_profile=profile)
    clear.save(folder / "rgba.png")
    flat.quantize(4).save(folder / "palette.png")
    (folder / "deep.png").write_bytes(png_of_16_bits(deep))
    (folder / "colours.png").write_bytes(png_of_16_bits(np.stack([deep] * 3, -1)))
    flat.save(folder / "a.webp", lossless=True, quality=0, method=0)
    clear.save(folder / "clear.webp", lossless=True, quality=0, method=0)
    flat.save(folder / "a.gif")
    flat.save(folder / "a.jpg")
    flat.save(folder / "progressive.jpg", progressive=True, subsampling=0)
    flat.convert("CMYK").save(folder / "cmyk.jpg", icc_profile=profile)
    flat.convert("L").save(folder / "grey.jpg", progressive=True)
    flat.save(folder / "a.bmp")
    flat.save(folder / "strip.tif", compression="tiff_lzw", strip_size=2**30)
    flat.save(folder / "a.tif", compression="tiff_lzw")
    flat.save(folder / "jpeg.tif", compression="jpeg", strip_size=2**30)
    for bits, kind in ((16, 1), (32, 2), (32, 3)):
        (folder / f"{bits}-{kind}.tif").write_bytes(single_strip(width, height, bits, kind))
    Image.fromarray(deep).save(folder / "deep.pgm")
    # A quarter of the size: other maxima than 255 Pillow scales in Python, 8 million in 10 s.
    (folder / "other.ppm").write_bytes(b"P6 2000 1000 100\n" + bytes(3 * 2000 * 1000))
    flat.resize((2000, 1000)).save(folder / "a.avif", speed=10)
    return sorted(folder.iterdir())


def test_decoding_takes_the_memory_estimated_from_the_header(files: list[Path]) -> None:
    found = measured(files)
    assert len(found) == 2 * len(files)
    tiles = 56e6  # what is converted at once, the small picture, and what imports leave
    for how, path, claimed, grown in found:
        assert isinstance(grown, int), grown
        assert grown <= claimed + tiles, f"{path}, {how}: {grown / 1e6:.0f} MB"


def test_files_that_need_too_much_memory_are_refused(tmp_path: Path) -> None:
    width, height = 16_383, 10_900
    assert width * height < MAX_PIXELS
    # A lossless WebP of one colour: signature, size, and a code of one symbol for each channel.
    size = (width - 1) | (height - 1) << 14
    content = b"\x2f" + struct.pack("<I", size) + bytes([0x88, 0x88, 0x08])
    content += bytes(len(content) % 2)
    chunk = b"VP8L" + struct.pack("<I", len(content)) + content
    webp = tmp_path / "a.webp"
    webp.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk)
    strip = tmp_path / "a.tif"
    packed_floats = {259: (3, struct.pack("<HH", 8, 0)), 339: (3, struct.pack("<HH", 3, 0))}
    strip.write_bytes(tiff(13_000, 13_000, 32, bytes(9), packed_floats))
    small = Image.new("RGB", (64, 64))
    content_of = io.BytesIO()
    small.save(content_of, "JPEG", progressive=True, subsampling=0)
    whole = bytearray(content_of.getvalue())
    at = whole.index(b"\xff\xc2")
    whole[at + 5 : at + 9] = struct.pack(">HH", 13_000, 13_000)
    jpeg = tmp_path / "a.jpg"
    jpeg.write_bytes(whole)
    for path in (webp, strip, jpeg):
        assert claim(path, 704).bytes > MAX_BYTES
        for open_it in (open_image, Preprocessing(32).load_pixels):
            with pytest.raises(ImageError, match=r"decoding it needs .* MB of memory") as caught:
                open_it(path)
            assert str(caught.value).startswith(f"{path}: ")
            assert "\n" not in str(caught.value)


def test_a_jpeg_in_several_scans_is_counted_as_a_progressive_one(tmp_path: Path) -> None:
    """A scan for each colour: the decoder holds the whole picture before it knows a pixel."""
    content = io.BytesIO()
    Image.new("RGB", (640, 480)).save(content, "JPEG", subsampling=0)
    whole = bytearray(content.getvalue())
    path = tmp_path / "a.jpg"
    path.write_bytes(whole)
    once = claim(path, 64).bytes
    first = whole.index(b"\xff\xda")  # the head of the first scan
    whole[first + 3 : first + 5] = 8, 1  # its length, and how many colours it holds
    path.write_bytes(whole)
    assert claim(path, 64).bytes == once + 2 * 3 * 640 * 480


@pytest.mark.slow
def test_the_largest_files_that_are_accepted_take_less_than_a_gigabyte(tmp_path: Path) -> None:
    (tmp_path / "rgb.png").write_bytes(flat_png(16_384, 10_922, 2))
    (tmp_path / "grey.png").write_bytes(flat_png(16_384, 10_922, 0))
    (tmp_path / "float.tif").write_bytes(single_strip(10_500, 10_500, 32, 3))
    (tmp_path / "16.tif").write_bytes(single_strip(12_000, 12_000, 16))
    Image.new("RGB", (7_400, 7_500)).save(tmp_path / "a.webp", lossless=True, method=0)
    accepted = 0
    for how, path, _, grown in measured(sorted(tmp_path.iterdir())):
        if isinstance(grown, str):
            assert "MB of memory" in grown
        else:
            accepted += 1
            assert grown < 1e9 - 60e6, f"{path}, {how}: {grown / 1e6:.0f} MB"
    assert accepted >= 8


SERVER = """
import resource, sys
from pathlib import Path
from showattend.captioner import Captioner
from showattend.exceptions import ImageError
from showattend.server.api import Options, answer
from showattend.server.limits import Limits
from showattend.server.recent import Recent

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

captioner = Captioner.from_pretrained(sys.argv[1], precision="fp32")
options = Options("beam", 2, 1, 4, 1, 1.0, 0, "", [], preview=True)
small, large = (Path(path).read_bytes() for path in sys.argv[2:])
for _ in range(2):
    answer(captioner, small, "small", options, Limits(), Recent(0))
before = peak()
answer(captioner, large, "large", options, Limits(), Recent(0))
print(peak() - before)
"""


def test_the_largest_upload_takes_less_than_300_mb(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    Image.new("RGB", (900, 600), "teal").save(tmp_path / "small.png")
    (tmp_path / "large.png").write_bytes(flat_png(8_000, 7_990, 2))
    result = subprocess.run(
        [sys.executable, "-c", SERVER, model, tmp_path / "small.png", tmp_path / "large.png"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 300e6


def test_an_upload_that_would_take_more_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    from starlette.exceptions import HTTPException

    from showattend.server.api import _check_claim
    from showattend.server.limits import Limits

    path = tmp_path / "a.webp"
    Image.new("RGB", (5_000, 4_000)).save(path, lossless=True, quality=0, method=0)
    with pytest.raises(HTTPException) as caught:
        _check_claim(path, "mine.webp", 704, Limits())
    assert caught.value.status_code == 413
    assert caught.value.detail == (
        "mine.webp: decoding the image takes 320 MB of memory, more than the limit of 256; "
        "send a smaller image, or a JPEG"
    )
    _check_claim(path, "mine.webp", 704, Limits(megapixels=80))
    with pytest.raises(HTTPException, match="20 million pixels"):
        _check_claim(path, "mine.webp", 704, Limits(megapixels=10))
