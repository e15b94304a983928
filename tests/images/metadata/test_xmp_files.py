"""XMP in JPEG, PNG, WebP and TIFF: the pixels' bytes stay, and other programs read it."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from showattend.exceptions import DataError
from showattend.images.metadata.xmp_files import check_format, packet_in, with_packet
from showattend.images.metadata.xmp_packet import read_description, with_description

PHOTO = Path(__file__).parents[3] / "assets" / "photos" / "chelsea.jpg"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TEXT, LATER = "A dög & a <cat>.", "A cat."


def pixels(mode: str = "RGB", size: tuple[int, int] = (37, 21)) -> Image.Image:
    numbers = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    return Image.fromarray(numbers).convert(mode)


def saved(name: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    if options.pop("plain", False) is False:
        options = {"exif": exif} | options
    pixels(mode).save(file, name, **options)
    return file.getvalue()


def text_chunk() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "kept")
    return info


def frames(count: int) -> list[Image.Image]:
    return [pixels().rotate(180 * n) for n in range(1, count + 1)]


def compressed_xmp() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", OTHER.decode(), zip=True)
    return saved("PNG", pnginfo=info)


def bigtiff() -> bytes:
    file = io.BytesIO()
    pixels().save(file, "TIFF", big_tiff=True)
    return file.getvalue()


def big_endian(name: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels("L")).astype(">u2")).save(file, name)
    data = file.getvalue()
    assert data.startswith(b"MM")
    return data


OTHER = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF></x:xmpmeta>"""

FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "jpeg": ("jpg", lambda: saved("JPEG", icc_profile=PROFILE, comment=b"hi")),
    "jpeg, plain": ("jpg", lambda: saved("JPEG", plain=True)),
    "jpeg, progressive, with XMP": ("jpg", lambda: saved("JPEG", progressive=True, xmp=OTHER)),
    "jpeg, real": ("jpg", PHOTO.read_bytes),
    "png": ("png", lambda: saved("PNG", "RGBA", pnginfo=text_chunk())),
    "png, palette": ("png", lambda: saved("PNG", "P", plain=True)),
    "png, compressed XMP": ("png", compressed_xmp),
    "png, animated": ("png", lambda: saved("PNG", save_all=True, append_images=frames(2))),
    "webp, lossy, plain": ("webp", lambda: saved("WEBP", plain=True)),
    "webp, lossless, plain": ("webp", lambda: saved("WEBP", plain=True, lossless=True)),
    "webp, transparent": ("webp", lambda: saved("WEBP", "RGBA", plain=True, lossless=True)),
    "webp, with EXIF and XMP": ("webp", lambda: saved("WEBP", "RGBA", xmp=OTHER)),
    "webp, animated": ("webp", lambda: saved("WEBP", save_all=True, append_images=frames(2))),
    "tiff": ("tif", lambda: saved("TIFF", compression="tiff_lzw")),
    "tiff, big-endian": ("tif", lambda: big_endian("TIFF")),
    "tiff, pages": ("tif", lambda: saved("TIFF", plain=True, save_all=True,
                                         append_images=frames(2))),
    "tiff, 64 bit": ("tif", bigtiff),
}  # fmt: skip
EACH = pytest.mark.parametrize("name", FILES)


def described(data: bytes, text: str = TEXT) -> bytes:
    return with_packet(data, with_description(packet_in(data), text, "en", "showattend 1 (m)"))


def every_pixel(data: bytes) -> list[bytes]:
    """The pixels of all frames."""
    found = []
    with Image.open(io.BytesIO(data)) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            found.append(image.mode.encode() + image.tobytes())
    return found


def metadata(data: bytes) -> dict[str, object]:
    """What Pillow reads besides pixels and XMP."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        names = {"exif", "icc_profile", "comment", "Comment", "dpi", "duration", "loop"}
        found = {name: image.info[name] for name in names & set(image.info)}
        return found | {"tags": {k: v for k, v in image.getexif().items() if k != 700}}


def compressed(data: bytes) -> list[bytes]:
    """The compressed image data, found by Pillow's own reading or by markers."""
    if data.startswith(b"\xff\xd8"):
        return [data[data.index(b"\xff\xda") :]] if b"MPF\0" not in data else []
    if data.startswith(b"\x89PNG"):
        chunks, at = [], 8
        while at < len(data):
            (length,) = struct.unpack_from(">I", data, at)
            chunk = data[at : at + 12 + length]
            assert zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
            if b"adobe.xmp" not in chunk[:40]:
                chunks.append(chunk)
            at += 12 + length
        return chunks
    if data.startswith(b"RIFF"):
        assert len(data) == 8 + int.from_bytes(data[4:8], "little")
        chunks, at = [], 12
        while at < len(data):
            length = int.from_bytes(data[at + 4 : at + 8], "little")
            if data[at : at + 4] not in (b"VP8X", b"XMP "):
                chunks.append(data[at : at + 8 + length])
            at += 8 + length + length % 2
        return chunks
    with Image.open(io.BytesIO(data)) as image:
        found = []
        for number in range(image.n_frames):
            image.seek(number)
            offsets, counts = image.tag_v2[273], image.tag_v2[279]
            found += [data[o : o + c] for o, c in zip(offsets, counts, strict=True)]
        return found


@EACH
def test_pixels_and_other_metadata_stay(name: str) -> None:
    data = FILES[name][1]()
    found = described(data)
    assert compressed(found) == compressed(data)
    assert every_pixel(found) == every_pixel(data)
    assert metadata(found) == metadata(data)
    assert read_description(packet_in(found)) == (TEXT, True)
    with Image.open(io.BytesIO(found)) as image:
        image.load()
        packet = image.info["xmp"]
    assert packet == packet_in(found), "Pillow finds the same"
    if "XMP" in name:
        assert b'xmp:Rating="4"' in packet


@EACH
def test_writing_twice_is_writing_once(name: str) -> None:
    data = FILES[name][1]()
    once = described(data, LATER)
    assert described(described(data), LATER) == once
    assert described(once, LATER) == once


def test_a_tiff_keeps_all_but_the_place_of_its_directory() -> None:
    data = FILES["tiff"][1]()
    found = described(data)
    assert found[:4] + found[8 : len(data)] == data[:4] + data[8:]


def test_a_jpeg_of_several_pictures() -> None:
    """The index of the pictures counts from a segment after the XMP, or before it."""
    file = io.BytesIO()
    first, *others = frames(3)
    first.save(file, "MPO", save_all=True, append_images=others)
    data = file.getvalue()
    with Image.open(io.BytesIO(data)) as image:
        sizes = [entry["Size"] for entry in image.mpinfo[0xB002]]
    pictures = every_pixel(data)
    assert len(pictures) == 3
    after = described(data)
    # The same with XMP at the end of the first picture's segments, where MPF comes before it.
    scan = data.index(b"\xff\xdb")
    content = b"http://ns.adobe.com/xap/1.0/\0" + OTHER
    segment = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    moved = bytearray(data[:scan] + segment + data[scan:])
    at = data.index(b"MPF\0") + 4
    order = "<" if data[at : at + 2] == b"II" else ">"
    entry = data.index(struct.pack(f"{order}I", sizes[0]), at)
    for number, size in enumerate(sizes):
        place = entry + 16 * number
        (offset,) = struct.unpack_from(f"{order}I", data, place + 4)
        more = len(segment)
        struct.pack_into(f"{order}I", moved, place, size + more * (number == 0))
        struct.pack_into(f"{order}I", moved, place + 4, offset + more * (number > 0))
    assert every_pixel(bytes(moved)) == pictures
    last = described(bytes(moved))
    for before, found in ((data, after), (bytes(moved), last)):
        assert every_pixel(found) == pictures
        with Image.open(io.BytesIO(before)) as old, Image.open(io.BytesIO(found)) as new:
            was, now = (image.mpinfo[0xB002] for image in (old, new))
        assert now[0]["Size"] - was[0]["Size"] == len(found) - len(before)
        assert [each["Size"] for each in now[1:]] == [each["Size"] for each in was[1:]]


def test_a_full_jpeg_uses_its_padding() -> None:
    packet = with_description(b"", "A dog.", "en", "showattend").replace(
        b"\n<?xpacket end", b"\n" + b" " * 64_000 + b"\n<?xpacket end"
    )
    data = with_packet(FILES["jpeg"][1](), packet)
    found = described(data, "A longer sentence. " * 80)
    assert read_description(packet_in(found)).ours
    full = with_packet(data, packet.replace(b" " * 64_000, b"<!--" + b"x" * 64_000 + b"-->"))
    with pytest.raises(DataError, match="no room"):
        described(full, "A longer sentence. " * 80)


@EACH
def test_cut_files_are_refused(name: str) -> None:
    """No file that is damaged is written; a cut in the pixels alone cannot be seen."""
    data = FILES[name][1]()
    for length in (16, 30, 60, len(data) // 3):
        try:
            found = described(data[:length])
        except DataError:
            continue
        assert read_description(packet_in(found)).ours


@pytest.mark.parametrize("name", ["GIF", "BMP", "AVIF", "PPM"])
def test_other_formats_are_refused(name: str) -> None:
    data = saved(name, plain=True)
    for do in (check_format, packet_in, described):
        with pytest.raises(DataError, match="JPEG, PNG, WebP and TIFF can"):
            do(data)


# Independent readers ---------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("exiftool"), reason="needs exiftool")
def test_exiftool_reads_it(tmp_path: Path) -> None:
    for number, (suffix, make) in enumerate(FILES.values()):
        (tmp_path / f"{number:02}.{suffix}").write_bytes(described(make()))
    done = subprocess.run(
        ["exiftool", "-json", "-G1", "-validate", "-warning", "-a", "-XMP:all", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout)
    assert len(found) == len(FILES), done.stderr
    for each, name in zip(sorted(found, key=lambda each: each["SourceFile"]), FILES, strict=True):
        assert each["XMP-dc:Description"] == TEXT, name
        assert each["XMP-dc:Description-en"] == TEXT, name
        assert each["XMP-photoshop:CaptionWriter"] == "showattend 1 (m)", name
        assert each.get("XMP-xmp:Rating") == (4 if "XMP" in name else None), name


@pytest.mark.skipif(not shutil.which("exiv2"), reason="needs exiv2")
@EACH
def test_exiv2_reads_it(name: str, tmp_path: Path) -> None:
    suffix, make = FILES[name]
    if "64 bit" in name:
        pytest.skip("exiv2 does not read BigTIFF")
    path = tmp_path / f"photo.{suffix}"
    path.write_bytes(described(make()))
    done = subprocess.run(["exiv2", "-px", "pr", str(path)], capture_output=True, text=True)
    assert f'lang="x-default" {TEXT}, lang="en" {TEXT}' in done.stdout, done.stderr


# Numbers that lead out of the file --------------------------------------------------------------


def mpo(number: int, value: int, tags: int = 1) -> bytes:
    """A JPEG of three pictures with other sizes (0) or offsets (1), and XMP after its index."""
    first, *others = frames(3)
    file = io.BytesIO()
    first.save(file, "MPO", save_all=True, append_images=others)
    content = b"http://ns.adobe.com/xap/1.0/\0" + OTHER
    segment = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    scan = file.getvalue().index(b"\xff\xdb")
    data = bytearray(file.getvalue()[:scan] + segment + file.getvalue()[scan:])
    at = data.index(b"MPF\0") + 4
    order = "<" if data[at : at + 2] == b"II" else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, at + 4)
    (count,) = struct.unpack_from(f"{order}H", data, at + directory)
    for entry in range(at + directory + 2, at + directory + 2 + 12 * count, 12):
        if struct.unpack_from(f"{order}H", data, entry)[0] != 0xB002:
            continue
        (place,) = struct.unpack_from(f"{order}I", data, entry + 8)
        for picture in range(number, 2):
            start = at + place + 16 * picture + 4 + 4 * number
            struct.pack_into(f"{order}I", data, start, value)
        if tags > 1:  # lists of all that 32 bits can count, again and again
            struct.pack_into(f"{order}I", data, entry + 4, 2**32 - 1)
            struct.pack_into(f"{order}H", data, at + directory, tags)
    return bytes(data)


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    content = b"".join(
        kind + struct.pack("<I", len(inside)) + inside + b"\0" * (len(inside) % 2)
        for kind, inside in chunks
    )
    return b"RIFF" + struct.pack("<I", len(content) + 4) + b"WEBP" + content


def tiff(at: int, form: str, value: int, start: bytes) -> bytes:
    data = bytearray(start)
    struct.pack_into(form, data, at, value)
    return bytes(data)


OUTSIDE = {
    "MPO, a size of 4 GB": lambda: mpo(0, 2**32 - 1),
    "MPO, an offset of 4 GB": lambda: mpo(1, 2**32 - 1),
    "WebP, an empty VP8X": lambda: webp((b"VP8X", b""), (b"VP8 ", bytes(20))),
    "WebP, a short VP8X": lambda: webp((b"VP8X", bytes(4))),
    "WebP, a short VP8": lambda: webp((b"VP8 ", b"\0\0\0\x9d\x01\x2a")),
    "WebP, a short VP8L": lambda: webp((b"VP8L", b"\x2f")),
    "WebP, no width": lambda: webp((b"VP8 ", b"\0\0\0\x9d\x01\x2a\0\0\x05\0")),
    "TIFF, a directory at 4 GB": lambda: tiff(4, "<I", 2**32 - 1, saved("TIFF")),
    "BigTIFF, a directory at 2^64": lambda: tiff(8, "<Q", 2**64 - 1, bigtiff()),
    "BigTIFF, 2^64 entries": lambda: tiff(16, "<Q", 2**64 - 1, bigtiff()),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_numbers_that_lead_out_of_the_file_are_refused(name: str) -> None:
    data = OUTSIDE[name]()
    with pytest.raises(DataError):
        with_packet(data, with_description(packet_in(data), TEXT, "en", "showattend"))


def strips_at(place: int, data: bytes) -> bytes:
    """A TIFF whose pixels begin there."""
    (start,) = struct.unpack_from("<I", data, 4)
    return tiff(data.index(struct.pack("<HHI", 273, 4, 1), start) + 8, "<I", place, data)


@pytest.mark.parametrize("place", [0, 7])
def test_a_tiff_whose_pixels_begin_in_its_header_is_refused(place: int) -> None:
    """The header points to the directory, which moves."""
    data = saved("TIFF")
    assert every_pixel(described(strips_at(8, data))) == every_pixel(strips_at(8, data))
    large = data + bytes(1_000_000)  # the last directory is followed by number 0: none
    assert every_pixel(described(large)) == every_pixel(data)
    with pytest.raises(DataError, match="its pixels begin in its header"):
        described(strips_at(place, data))


def test_a_list_of_pictures_ends_with_its_segment() -> None:
    data = mpo(0, 1000, tags=65535)
    began = time.process_time()
    assert read_description(packet_in(described(data))).text == TEXT
    assert time.process_time() - began < 1


def test_a_tiff_whose_packet_claims_the_header_keeps_it() -> None:
    """What an earlier call added at the end is replaced; nothing before it is."""
    data = bytearray(described(saved("TIFF")))
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry)[0] == 700:
            struct.pack_into("<II", data, entry + 4, start, 0)
    assert with_packet(bytes(data), OTHER)[:4] == data[:4]
