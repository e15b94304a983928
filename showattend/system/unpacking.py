"""Compressed streams, unpacked as they are read: never more at a time than was requested.

A few bytes of gzip, bzip2 or xz may unpack to gigabytes. ``tarfile`` unpacks all that it has read:
ten kilobytes of bzip2 can fill the memory before it looks at the result.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import Any, Protocol

_BLOCK = 1 << 16
_DICTIONARY = 128 << 20  # bytes that xz may need; `xz -9` needs 65 million
_RATIO = 100  # of bytes unpacked to bytes packed; images have about 1, texts up to 20
_BZIP2 = (b"1AY&SY", b"\x17rE8P\x90")  # its first block, or its end where there is none
_FREE = 64 << 20  # bytes that may be unpacked whatever the ratio


class UnpackError(Exception):
    """Compressed data that is damaged, cut off, or unpacks to far more than an honest file."""


class Readable(Protocol):
    """A stream that is read forwards."""

    def read(self, size: int, /) -> bytes:
        """Up to this many bytes; none at the end."""


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Gzip:
    """zlib's object with the methods of the others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def unpacked(stream: Readable) -> Readable:
    """Unpack a stream if it is compressed with gzip, bzip2, xz or (from Python 3.14) zstd.

    Args:
        stream: A stream at its beginning, whose reads return fewer bytes than requested only at
            its end.

    Raises:
        UnpackError: It is compressed in a way that this Python cannot read.
    """
    begin = stream.read(10)
    if begin.startswith(b"\x1f\x8b\x08"):
        return Unpacked(stream, begin, _Gzip())
    if begin.startswith(b"BZh") and begin[4:] in _BZIP2:
        return Unpacked(stream, begin, bz2.BZ2Decompressor())
    if begin.startswith((b"\xfd7zXZ\0", b"\x5d\0\0\x80")):
        return Unpacked(stream, begin, lzma.LZMADecompressor(memlimit=_DICTIONARY))
    if begin.startswith(b"\x28\xb5\x2f\xfd"):
        return Unpacked(stream, begin, _zstd())
    return _Rest(stream, begin)


def gunzipped(stream: Readable) -> Readable:
    """An unpacked stream of gzip."""
    return Unpacked(stream, b"", _Gzip())


def _zstd() -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise UnpackError("it is compressed with zstd, which needs Python 3.14") from None
    return zstd.ZstdDecompressor()


class _Rest:
    """A stream whose beginning has been read."""

    def __init__(self, stream: Readable, begin: bytes) -> None:
        self._stream, self._begin = stream, begin

    def read(self, size: int, /) -> bytes:
        """Up to this many bytes; none at the end."""
        if not self._begin:
            return self._stream.read(size)
        taken, self._begin = self._begin[:size], self._begin[size:]
        return taken


class Unpacked:
    """An unpacked stream.

    Args:
        stream: The stream.
        begin: The bytes already read.
        unpacker: The unpacker for its kind of compression.
    """

    def __init__(self, stream: Readable, begin: bytes, unpacker: _Unpacker) -> None:
        self._stream, self._begin, self._unpacker = stream, begin, unpacker
        self._taken = self._given = 0

    def read(self, size: int, /) -> bytes:
        """Up to this many bytes; none at the end.

        Raises:
            UnpackError: It is damaged, cut off, or a bomb.
        """
        while not self._unpacker.eof:
            block = b""
            if self._unpacker.needs_input:
                block, self._begin = self._begin or self._stream.read(_BLOCK), b""
                if not block:
                    raise UnpackError("it is cut off")
            try:
                found = self._unpacker.decompress(block, size)
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
                raise UnpackError(str(error)) from error
            except Exception as error:
                if type(error).__name__ != "ZstdError":
                    raise
                raise UnpackError(str(error)) from error
            self._taken += len(block)
            self._given += len(found)
            if self._given > _FREE + _RATIO * self._taken:
                raise UnpackError(f"it unpacks to more than {_RATIO} times its size")
            if found:
                return found
        return b""
