"""Descriptions of photographs, found and written: nothing of anybody's is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from showattend.exceptions import DataError, UserError
from showattend.images.metadata import photo_descriptions
from showattend.images.metadata.photo_descriptions import (
    Words,
    check_embedding,
    description_in,
    description_next_to,
    sidecar_of,
    write_into,
    write_next_to,
)

WORDS = Words("A dog.", "en", "showattend 0.1.0 (everyday)")
THEIRS = "has a description by others; --replace-description replaces it"


def photo(path: Path, description: str = "", **options: object) -> Path:
    exif = Image.Exif()
    if description:
        exif[0x010E] = description
    Image.new("RGB", (20, 10), "teal").save(path, exif=exif, **options)
    return path


def with_iptc(path: Path, caption: bytes) -> Path:
    """A JPEG with Photoshop's segment, in which the IPTC's caption is."""
    data = photo(path).read_bytes()
    record = b"\x1c\x02\x78" + len(caption).to_bytes(2) + caption
    record += b"\0" * (len(record) % 2)
    block = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + len(record).to_bytes(4) + record
    path.write_bytes(data[:2] + b"\xff\xed" + (len(block) + 2).to_bytes(2) + block + data[2:])
    return path


def test_names_of_sidecars() -> None:
    assert sidecar_of(Path("a/photo.v1.jpg")) == Path("a/photo.v1.jpg.xmp")
    assert sidecar_of(Path("a/photo.v1.jpg"), "photo.xmp") == Path("a/photo.v1.xmp")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_a_photo_is_described_and_described_again(tmp_path: Path, suffix: str) -> None:
    path = photo(tmp_path / f"photo.{suffix}")
    assert description_in(path).text == ""
    write_into(path, WORDS)
    assert description_in(path) == ("A dog.", True)
    write_into(path, WORDS._replace(text="A cat."))
    assert description_in(path) == ("A cat.", True)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_a_description_in_exif_is_kept(tmp_path: Path, suffix: str) -> None:
    path = photo(tmp_path / f"photo.{suffix}", "Rex in the garden")
    before = path.read_bytes()
    assert description_in(path) == ("Rex in the garden", False)
    with pytest.raises(UserError, match=THEIRS):
        write_into(path, WORDS)
    assert path.read_bytes() == before
    write_into(path, WORDS, replace=True)
    assert description_in(path) == ("A dog.", True)
    with Image.open(path) as image:
        assert image.getexif()[0x010E] == "Rex in the garden"


def test_descriptions_elsewhere_are_kept(tmp_path: Path) -> None:
    iptc = with_iptc(tmp_path / "photo.jpg", "Rex, größer".encode())
    assert description_in(iptc) == ("Rex, größer", False)
    text = PngImagePlugin.PngInfo()
    text.add_text("Description", "Rex")
    png = photo(tmp_path / "photo.png", pnginfo=text)
    for path in (iptc, png):
        with pytest.raises(UserError, match=THEIRS):
            write_into(path, WORDS)


@pytest.mark.parametrize("text", ["OLYMPUS DIGITAL CAMERA         ", "SONY DSC", "  ", "DCIM\\1"])
def test_what_cameras_write_is_no_description(tmp_path: Path, text: str) -> None:
    path = photo(tmp_path / "photo.jpg", text)
    assert description_in(path).text == ""
    write_into(path, WORDS)
    assert description_in(path).ours


def test_a_photo_that_cannot_be_read_has_no_description(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    assert description_in(path).text == ""
    path.write_bytes(b"\xff\xd8\xff\xe1")
    assert description_in(path).text == ""
    with pytest.raises(DataError, match=r"photo\.jpg: is not a complete JPEG file"):
        write_into(path, WORDS)
    assert path.read_bytes() == b"\xff\xd8\xff\xe1"


def test_formats_without_xmp(tmp_path: Path) -> None:
    path = tmp_path / "photo.gif"
    Image.new("L", (2, 2)).save(path)
    for refused in (lambda: check_embedding(path), lambda: write_into(path, WORDS)):
        with pytest.raises(DataError, match=r"photo\.gif: cannot hold a description"):
            refused()
    with pytest.raises(UserError, match=r"gone\.jpg: cannot be read"):
        check_embedding(tmp_path / "gone.jpg")


def test_permissions_stay_and_the_time_is_new(tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.jpg")
    path.chmod(0o640)
    os.utime(path, (1e9, 1e9))
    link = tmp_path / "link.jpg"
    link.symlink_to(path)
    write_into(link, WORDS)
    assert link.is_symlink()
    there = path.stat()
    assert there.st_mode & 0o777 == 0o640
    assert there.st_mtime > 1e9 + 1
    os.utime(path, (1e9, 1e9))
    write_into(path, WORDS)
    assert path.stat().st_mtime == 1e9, "nothing to change, nothing written"


def test_a_failure_leaves_the_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = photo(tmp_path / "photo.jpg")
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=r"photo\.jpg: cannot be written \(No space left"):
        write_into(path, WORDS)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# Sidecars --------------------------------------------------------------------------------------


def test_a_sidecar_is_made_and_kept(tmp_path: Path) -> None:
    sidecar = tmp_path / "photo.jpg.xmp"
    assert description_next_to(sidecar).text == ""
    write_next_to(sidecar, WORDS)
    assert description_next_to(sidecar) == ("A dog.", True)
    sidecar.write_bytes(sidecar.read_bytes().replace(b"A dog.</rdf:li>", b"Rex.</rdf:li>"))
    with pytest.raises(UserError, match=THEIRS):
        write_next_to(sidecar, WORDS)
    assert description_next_to(sidecar) == ("Rex.", False)
    write_next_to(sidecar, WORDS, replace=True)
    assert description_next_to(sidecar).ours


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not XMP", "its XMP is not valid XML"),
        (b"<!DOCTYPE a><a/>", "document type declaration"),
        (b" " * 2001, "larger than"),
    ],
)
def test_a_sidecar_that_is_something_else_stays(
    tmp_path: Path, content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo_descriptions, "MAX_BYTES", 2000)
    monkeypatch.setattr("showattend.images.metadata.xmp_packet.MAX_BYTES", 2000)
    sidecar = tmp_path / "photo.xmp"
    sidecar.write_bytes(content)
    with pytest.raises(DataError, match=rf"photo\.xmp: .*{message}"):
        write_next_to(sidecar, WORDS)
    assert sidecar.read_bytes() == content
    sidecar.unlink()
    sidecar.mkdir()
    with pytest.raises(UserError, match=r"photo\.xmp: cannot be read \(Is a directory\)"):
        write_next_to(sidecar, WORDS)
