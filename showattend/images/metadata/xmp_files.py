"""XMP packets in JPEG, PNG, WebP and TIFF files, written without decoding a pixel.

ISO 16684-3 (XMP Specification Part 3) defines the place of a packet in each format. Everything else
in a file keeps its bytes, except lengths and pointers: the offsets of a multi-picture JPEG, the
flags of a WebP header and the first directory of a TIFF.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from showattend.exceptions import DataError
from showattend.images.metadata.xmp_packet import MAX_BYTES


class _Format(Protocol):
    def read(self, data: bytes) -> bytes: ...
    def write(self, data: bytes, packet: bytes) -> bytes: ...


class _Part(NamedTuple):
    """A segment or chunk: its kind, and where it and its content are."""

    kind: bytes
    start: int
    inside: int
    close: int  # the end of its content
    end: int


class _Jpeg:
    """The packet is an APP1 segment; ISO 16684-3, 1.1.3."""

    header = b"http://ns.adobe.com/xap/1.0/\0"
    most = 65535 - 2

    def segments(self, data: bytes) -> Iterator[_Part]:
        """The segments before the compressed data."""
        at = 2
        while True:
            if data[at : at + 1] != b"\xff":
                raise DataError("is not a complete JPEG file")
            if data[at + 1 : at + 2] == b"\xff":  # padding
                at += 1
                continue
            kind = data[at + 1 : at + 2]
            if kind in (b"\xda", b"\xd9", b""):  # the scan, or the end
                return
            length = int.from_bytes(data[at + 2 : at + 4])
            end = at + 2 + length
            if length < 2 or end > len(data):
                raise DataError("is not a complete JPEG file")
            yield _Part(kind, at, at + 4, end, end)
            at = end

    def _own(self, data: bytes) -> _Part | None:
        return next(
            (
                each
                for each in self.segments(data)
                if each.kind == b"\xe1" and data.startswith(self.header, each.inside)
            ),
            None,
        )

    def read(self, data: bytes) -> bytes:
        """The packet; empty if there is none."""
        own = self._own(data)
        return data[own.inside + len(self.header) : own.close] if own else b""

    def write(self, data: bytes, packet: bytes) -> bytes:
        """The file with another packet; a new one comes after the JFIF and EXIF segments."""
        content = self.header + packet
        if len(content) > self.most:
            content = self.header + _without_padding(packet)
        if len(content) > self.most:
            raise DataError("its XMP has no room for a description (a JPEG holds 64 kB of XMP)")
        own = self._own(data)
        begin = end = 2
        if own is not None:
            begin, end = own.start, own.end
        else:
            for each in self.segments(data):
                is_exif = each.kind == b"\xe1" and data.startswith(b"Exif\0", each.inside)
                if each.kind != b"\xe0" and not is_exif:
                    break
                begin = end = each.end
        segment = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
        return self._moved(data, end, len(segment) - (end - begin), begin, segment)

    def _moved(self, data: bytes, end: int, more: int, begin: int, segment: bytes) -> bytes:
        """Replace begin to end; the index of a multi-picture file (CIPA DC-007) is corrected."""
        edited = bytearray(data)
        for each in self.segments(data):
            if each.kind != b"\xe2" or not data.startswith(b"MPF\0", each.inside):
                continue
            header = each.inside + 4  # offsets count from here
            for at, is_first in _pictures(data, header, each.close):
                size, offset = _numbers(data, header, at)
                if is_first:
                    size += more
                elif header < end:  # the header stays, and the picture moves
                    offset += more
                if not (0 <= size < 1 << 32 and 0 <= offset < 1 << 32):
                    raise DataError("its index of pictures is damaged")
                struct.pack_into(f"{_order(data, header)}II", edited, at, size, offset)
        return bytes(edited[:begin]) + segment + bytes(edited[end:])


def _order(data: bytes, at: int) -> str:
    return "<" if data[at : at + 2] == b"II" else ">"


def _numbers(data: bytes, header: int, at: int) -> tuple[int, int]:
    size, offset = struct.unpack_from(f"{_order(data, header)}II", data, at)
    return size, offset


def _pictures(data: bytes, header: int, close: int) -> Iterator[tuple[int, bool]]:
    """The positions of each picture's size and offset, and whether it is the first."""
    order = _order(data, header)
    try:
        (directory,) = struct.unpack_from(f"{order}I", data, header + 4)
        (count,) = struct.unpack_from(f"{order}H", data, header + directory)
        for number in range(count):
            entry = header + directory + 2 + 12 * number
            tag, _, length, offset = struct.unpack_from(f"{order}HHII", data, entry)
            if tag != 0xB002:  # MPEntry
                continue
            first = header + offset
            for start in range(first, min(first + length, close) - 15, 16):
                yield start + 4, _numbers(data, header, start + 4)[1] == 0
            return  # a second list would correct the same numbers again
    except struct.error:
        return


class _Png:
    """The packet is an iTXt chunk; ISO 16684-3, 1.1.5."""

    keyword = b"XML:com.adobe.xmp\0"

    def chunks(self, data: bytes) -> Iterator[_Part]:
        """All chunks up to IEND."""
        at, kind = 8, b""
        while kind != b"IEND":
            length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
            end = at + 12 + length
            if len(kind) < 4 or end > len(data):
                raise DataError("is not a complete PNG file")
            yield _Part(kind, at, at + 8, end - 4, end)
            at = end

    def _own(self, data: bytes) -> _Part | None:
        return next(
            (
                each
                for each in self.chunks(data)
                if each.kind == b"iTXt" and data.startswith(self.keyword, each.inside)
            ),
            None,
        )

    def read(self, data: bytes) -> bytes:
        """The packet; empty if there is none."""
        own = self._own(data)
        if own is None:
            return b""
        content = data[own.inside + len(self.keyword) : own.close]
        is_compressed, (*_, text) = content[:1] == b"\1", content[2:].split(b"\0", 2)
        if not is_compressed:
            return text
        try:
            inflate = zlib.decompressobj()
            text = inflate.decompress(text, MAX_BYTES)
        except zlib.error:
            raise DataError("its XMP is compressed and damaged") from None
        if inflate.unconsumed_tail:
            raise DataError(f"its XMP is larger than {MAX_BYTES // 1_000_000} MB")
        return text

    def write(self, data: bytes, packet: bytes) -> bytes:
        """The file with another packet; a new one comes after the header."""
        content = b"iTXt" + self.keyword + b"\0\0\0\0" + packet
        chunk = struct.pack(">I", len(content) - 4) + content
        chunk += struct.pack(">I", zlib.crc32(content))
        own = self._own(data)
        header = next(self.chunks(data))
        begin, end = (own.start, own.end) if own else (header.end, header.end)
        return data[:begin] + chunk + data[end:]


class _Webp:
    """The packet is a chunk after the image, announced in the VP8X header (RFC 9649, 2.7)."""

    announced, alpha = 0x04, 0x10

    def chunks(self, data: bytes) -> list[_Part]:
        """All chunks."""
        at, stop = 12, 8 + int.from_bytes(data[4:8], "little")
        found = []
        while at + 8 <= stop:
            length = int.from_bytes(data[at + 4 : at + 8], "little")
            close = at + 8 + length
            if close > len(data):
                raise DataError("is not a complete WebP file")
            end = min(close + length % 2, len(data))
            found.append(_Part(data[at : at + 4], at, at + 8, close, end))
            at = end
        if not found:
            raise DataError("is not a complete WebP file")
        return found

    def read(self, data: bytes) -> bytes:
        """The packet; empty if there is none."""
        own = next((each for each in self.chunks(data) if each.kind == b"XMP "), None)
        return data[own.inside : own.close] if own else b""

    def write(self, data: bytes, packet: bytes) -> bytes:
        """The file with another packet; a new one comes last."""
        chunks = self.chunks(data)
        pieces = [data[each.start : each.end] for each in chunks if each.kind != b"XMP "]
        if chunks[0].kind == b"VP8X":
            header = bytearray(pieces[0])
            if len(header) < 18:
                raise DataError("is not a complete WebP file")
            header[8] |= self.announced
            pieces[0] = bytes(header)
        else:
            pieces.insert(0, self._header(data, chunks[0]))
        pieces.append(b"XMP " + struct.pack("<I", len(packet)) + packet)
        content = b"WEBP" + b"".join(each + b"\0" * (len(each) % 2) for each in pieces)
        return b"RIFF" + struct.pack("<I", len(content)) + content + data[chunks[-1].end :]

    def _header(self, data: bytes, image: _Part) -> bytes:
        """The VP8X chunk of a file that had none: flags, and the size less one."""
        content, flags = data[image.inside : image.close], self.announced
        width = height = 0
        if len(content) < 10:
            raise DataError("is not a complete WebP file")
        if image.kind == b"VP8 " and content[3:6] == b"\x9d\x01\x2a":  # RFC 6386, 9.1
            width, height = (each & 0x3FFF for each in struct.unpack_from("<HH", content, 6))
        elif image.kind == b"VP8L" and content[:1] == b"\x2f":  # RFC 9649, 3.4
            bits = int.from_bytes(content[1:5], "little")
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
            flags |= self.alpha if bits >> 28 & 1 else 0
        if not (width and height):
            raise DataError("is not a WebP file that can hold XMP")
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        return b"VP8X" + struct.pack("<I", 10) + bytes([flags, 0, 0, 0]) + size


class _Tiff:
    """The packet is tag 700 of the first directory; ISO 16684-3, 1.1.6.

    The packet and a copy of the directory are added to the end of the file, and the file's header
    points to the copy, so that nothing else moves. What an earlier call added there is replaced.
    """

    tag, places = 700, (273, 324)  # StripOffsets, TileOffsets

    class Directory(NamedTuple):
        """The first directory: its place, its entries as stored, and what follows."""

        start: int
        end: int
        entries: list[bytes]
        next: bytes

    def __init__(self, order: str, big: bool) -> None:
        self.order, self.pointer = order, "Q" if big else "I"
        self.count, self.width = ("Q", 20) if big else ("H", 12)
        self.at, self.most = (8, 2**64) if big else (4, 2**32)  # where the header points from

    def directory(self, data: bytes, at: int | None = None) -> Directory:
        """The first directory, or the one to which the bytes here point."""
        try:
            (start,) = struct.unpack_from(
                self.order + self.pointer, data, self.at if at is None else at
            )
            (count,) = struct.unpack_from(self.order + self.count, data, start)
        except (struct.error, OverflowError):
            raise DataError("is not a complete TIFF file") from None
        first = start + struct.calcsize(self.order + self.count)
        last = first + count * self.width
        end = last + struct.calcsize(self.order + self.pointer)
        if end > len(data) or start < self.at:  # 0 is none
            raise DataError("is not a complete TIFF file")
        entries = [data[at : at + self.width] for at in range(first, last, self.width)]
        return self.Directory(start, end, entries, data[last:end])

    def _check_pixels(self, data: bytes) -> None:
        """Refuse a file whose pixels would begin in its header, which is about to change."""
        at, before = self.at, set[int]()
        end = self.at + struct.calcsize(self.pointer)
        while at not in before and len(before) < 1000:
            before.add(at)
            try:
                found = self.directory(data, at)
            except DataError:  # after the last one
                return
            for entry in found.entries:
                if self._tag(entry) in self.places and min(self._numbers(data, entry)) < end:
                    raise DataError("is not a sound TIFF file (its pixels begin in its header)")
            at = found.end - struct.calcsize(self.pointer)

    def _numbers(self, data: bytes, entry: bytes) -> tuple[int, ...]:
        """The integers of an entry, stored in it or elsewhere."""
        shape = f"{self.order}HH{self.pointer}"
        _, kind, count = struct.unpack_from(shape, entry)
        form = {3: "H", 4: "I", 13: "I", 16: "Q"}.get(kind, "B")
        field, size = entry[struct.calcsize(shape) :], count * struct.calcsize(form)
        if size > len(field):
            (start,) = struct.unpack(self.order + self.pointer, field)
            field = data[start : start + size]
        if not size or len(field) < size:
            return (len(data),)
        return struct.unpack(f"{self.order}{count}{form}", field[:size])

    def _tag(self, entry: bytes) -> int:
        return int(struct.unpack_from(f"{self.order}H", entry)[0])

    def _place(self, directory: Directory) -> tuple[int, int] | None:
        """The position of the packet, and its length."""
        for entry in directory.entries:
            if self._tag(entry) == self.tag:
                shape = f"{self.order}HH{self.pointer}{self.pointer}"
                _, _, length, start = struct.unpack(shape, entry)
                return start, length
        return None

    def read(self, data: bytes) -> bytes:
        """The packet; empty if there is none."""
        place = self._place(self.directory(data))
        return data[place[0] : place[0] + place[1]] if place else b""

    def write(self, data: bytes, packet: bytes) -> bytes:
        """The file with another packet."""
        old = self.directory(data)
        self._check_pixels(data)
        place = self._place(old)
        kept = len(data)
        if place and old.end == len(data) and place[0] + place[1] + place[1] % 2 == old.start:
            kept = max(place[0], self.at + struct.calcsize(self.pointer))
        begin = kept + kept % 2  # offsets are even
        start = begin + len(packet) + len(packet) % 2
        added = struct.pack(
            f"{self.order}HH{self.pointer}{self.pointer}", self.tag, 1, len(packet), begin
        )
        entries = [each for each in old.entries if self._tag(each) != self.tag]
        entries = sorted([*entries, added], key=self._tag)
        directory = struct.pack(self.order + self.count, len(entries)) + b"".join(entries)
        content = bytearray(data[:kept])
        content += b"\0" * (begin - kept) + packet + b"\0" * (len(packet) % 2)
        content += directory + old.next
        if len(content) >= self.most:
            raise DataError("its XMP has no room for a description (a TIFF file holds 4 GB)")
        struct.pack_into(self.order + self.pointer, content, self.at, start)
        return bytes(content)


def _without_padding(packet: bytes) -> bytes:
    """A packet without its padding, which is room to grow (ISO 16684-1, 7.3.3)."""
    before, end, rest = packet.rpartition(b"<?xpacket end=")
    return before.rstrip() + b"\n" + end + rest if end else packet.rstrip()


def _format_of(data: bytes) -> _Format:
    if data.startswith(b"\xff\xd8\xff"):
        return _Jpeg()
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _Png()
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _Webp()
    for order, mark in (("<", b"II"), (">", b"MM")):
        for big, version in ((False, 42), (True, 43)):
            if data.startswith(mark + struct.pack(f"{order}H", version)):
                return _Tiff(order, big)
    raise DataError(
        "cannot hold a description (JPEG, PNG, WebP and TIFF can); --xmp writes it to a file "
        "next to the photo"
    )


_OUTSIDE = (struct.error, IndexError, OverflowError)
"""Raised by numbers that point outside the file, or do not fit into their bytes."""
_DAMAGED = "its metadata is damaged"


def check_format(beginning: bytes) -> None:
    """Check that a file can hold a packet.

    Args:
        beginning: The first bytes of the file, 16 or more.

    Raises:
        DataError: It is not JPEG, PNG, WebP or TIFF.
    """
    _format_of(beginning)


def packet_in(data: bytes) -> bytes:
    """The XMP packet in a file's content; empty if there is none.

    Raises:
        DataError: The file is damaged, or not JPEG, PNG, WebP or TIFF.
    """
    try:
        return _format_of(data).read(data)
    except _OUTSIDE:
        raise DataError(_DAMAGED) from None


def with_packet(data: bytes, packet: bytes) -> bytes:
    """A file's content with another XMP packet; its pixels keep their bytes.

    Raises:
        DataError: The file is damaged, is not JPEG, PNG, WebP or TIFF, or has no room.
    """
    try:
        return _format_of(data).write(data, packet)
    except _OUTSIDE:
        raise DataError(_DAMAGED) from None
