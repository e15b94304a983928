"""Descriptions of photographs: found in the photo or next to it, and written there.

Descriptions are read from XMP, EXIF (ImageDescription), IPTC (Caption-Abstract) and PNG's text, and
written as XMP, which all photo managers read and which supports languages.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, NamedTuple, cast

from PIL import Image, ImageFile, IptcImagePlugin

from showattend.exceptions import DataError, UserError, one_line
from showattend.images.metadata.xmp_files import check_format, packet_in, with_packet
from showattend.images.metadata.xmp_packet import (
    MAX_BYTES,
    Description,
    read_description,
    with_description,
)
from showattend.system.files import rewrite
from showattend.system.quiet import quiet

IMAGE_DESCRIPTION = 0x010E  # EXIF 2.32, 4.6.4
CAPTION_ABSTRACT = (2, 120)  # IPTC-IIM 4.2

SIDECARS = ("photo.jpg.xmp", "photo.xmp")
"""The two ways to name the sidecar of photo.jpg."""

BY_CAMERAS = re.compile(
    r"(.*\bdigital camera|sony dsc|samsung|dcim\\.*|dav|hdr|mde|sdr|oznor.*|cof|rhdr)?",
    re.IGNORECASE,
)
"""What cameras write as the description of every photograph."""

_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")  # other plugins of Pillow are not tried on the file

NOBODY = Description("", ours=False)


class Words(NamedTuple):
    """A description to write.

    Attributes:
        text: The sentence.
        language: Its language, a BCP 47 tag.
        writer: Who wrote it: this program, its version and the model.
    """

    text: str
    language: str
    writer: str


def sidecar_of(photo: Path, like: str = SIDECARS[0]) -> Path:
    """The sidecar of a photo.

    Args:
        photo: The photo.
        like: One of ``SIDECARS``.
    """
    return (
        photo.with_name(f"{photo.name}.xmp") if like == SIDECARS[0] else photo.with_suffix(".xmp")
    )


def description_in(photo: Path) -> Description:
    """The description in a photo's own metadata, of which only the beginning is read.

    Returns:
        The description; its text is empty if there is none that can be read.
    """
    try:
        with quiet(), Image.open(photo, formats=_FORMATS) as image:
            found = image.info.get("xmp", b"")
            packet = found if isinstance(found, bytes) else str(found).encode()
            within = _other_description(image)
    except Exception:  # captioning will report what is wrong with it
        return NOBODY
    try:
        described = read_description(packet)
    except DataError:
        described = NOBODY
    return described if described.text else within


def description_next_to(sidecar: Path) -> Description:
    """The description in a sidecar.

    Returns:
        The description; its text is empty if there is no sidecar, or no description in it.

    Raises:
        DataError: The sidecar is not XMP, or is not safe to parse.
        UserError: It cannot be read.
    """
    packet = _read_sidecar(sidecar)
    try:
        return read_description(packet)
    except DataError as error:
        raise DataError(f"{sidecar}: {error}") from None


def check_embedding(photo: Path) -> None:
    """Check that a photo's format can hold a description.

    Raises:
        DataError: It cannot.
        UserError: The photo cannot be read.
    """
    try:
        with photo.open("rb") as file:
            check_format(file.read(16))
    except OSError as error:
        raise UserError(f"{photo}: cannot be read ({one_line(error)})") from error
    except DataError as error:
        raise DataError(f"{photo}: {error}") from None


def write_next_to(sidecar: Path, words: Words, replace: bool = False) -> None:
    """Write a description to a sidecar; an existing one keeps everything else.

    Args:
        sidecar: The file.
        words: The description.
        replace: Replace a description by others.

    Raises:
        DataError: The sidecar is not XMP, or is not safe to parse.
        UserError: It has a description by others, or cannot be written.
    """
    before = _read_sidecar(sidecar)
    _refuse_others(sidecar, description_next_to(sidecar), replace)
    after = with_description(before, *words)
    if after != before:
        rewrite(sidecar, after)


def write_into(photo: Path, words: Words, replace: bool = False) -> None:
    """Write a description into a photo's metadata; its pixels keep their bytes.

    Args:
        photo: A JPEG, PNG, WebP or TIFF file.
        words: The description.
        replace: Replace a description by others. Those in EXIF and IPTC stay.

    Raises:
        DataError: The photo's format cannot hold it, its metadata is not safe to parse, or there
            is no room.
        UserError: It has a description by others, or cannot be read or written.
    """
    try:
        data = photo.read_bytes()
        packet = packet_in(data)
        described = read_description(packet)
        if not described.text:
            described = _other_description_in(data)
        _refuse_others(photo, described, replace)
        changed = with_description(packet, *words)
        if changed != packet:
            rewrite(photo, with_packet(data, changed))
    except OSError as error:
        raise UserError(f"{photo}: cannot be read ({one_line(error)})") from error
    except DataError as error:
        raise DataError(f"{photo}: {error}") from None


def by_somebody_else(path: Path) -> str:
    """The line for a file whose description is kept."""
    return f"{path}: has a description by others; --replace-description replaces it"


def _refuse_others(path: Path, described: Description, replace: bool) -> None:
    if described.text and not described.ours and not replace:
        raise UserError(by_somebody_else(path))


def _read_sidecar(sidecar: Path) -> bytes:
    try:
        with sidecar.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UserError(f"{sidecar}: cannot be read ({one_line(error)})") from error


def _other_description_in(data: bytes) -> Description:
    try:
        with quiet(), Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return _other_description(image)
    except Exception:  # metadata that Pillow cannot read
        return NOBODY


def _other_description(image: ImageFile.ImageFile) -> Description:
    """A description in EXIF, IPTC or PNG's text; one written by a camera does not count."""
    texts: list[object] = [image.getexif().get(IMAGE_DESCRIPTION)]
    try:
        texts.append((IptcImagePlugin.getiptcinfo(cast(Any, image)) or {}).get(CAPTION_ABSTRACT))
    except Exception:  # damaged, and EXIF may be sound
        texts.append(None)
    texts.append(image.info.get("Description"))
    for each in texts:
        text = each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each or "")
        text = text.strip("\0 \t\r\n")
        if not BY_CAMERAS.fullmatch(text):
            return Description(text, ours=False)
    return NOBODY
