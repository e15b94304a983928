"""Compressed streams: what they stand for, in small pieces, and what is no honest file."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import struct
import zlib
from collections.abc import Callable

import pytest

from showattend.system import unpacking
from showattend.system.unpacking import UnpackError, unpacked

KINDS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
}
COMPRESSED = [kind for kind in KINDS if kind != "plain"]


def read(content: bytes, size: int) -> bytes:
    stream, blocks = unpacked(io.BytesIO(content)), []
    while block := stream.read(size):
        assert len(block) <= size
        blocks.append(block)
    return b"".join(blocks)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [7, 1000, 1 << 20])
def test_a_stream_is_what_it_stands_for(kind: str, size: int) -> None:
    for content in (b"", b"short", random.Random(0).randbytes(100_000) + bytes(200_000)):
        assert read(KINDS[kind](content), size) == content


@pytest.mark.parametrize("kind", COMPRESSED)
def test_what_is_cut_off_or_damaged_is_refused(kind: str) -> None:
    whole = KINDS[kind](random.Random(0).randbytes(5000))
    for length in (len(whole) - 1, len(whole) // 2, 12):
        if kind == "lzma" and length == len(whole) - 1:
            continue  # its header gives its end
        with pytest.raises(UnpackError, match="cut off"):
            read(whole[:length], 1000)
    damaged = bytearray(whole)
    damaged[len(whole) // 2 : len(whole) // 2 + 50] = bytes(50)
    with pytest.raises(UnpackError):
        read(bytes(damaged), 1000)


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_bomb_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_FREE", 1 << 19)
    bomb = KINDS[kind](bytes(6_000_000))
    given = []

    def read_through() -> None:
        stream = unpacked(io.BytesIO(bomb))
        while block := stream.read(10_000):
            given.append(len(block))

    with pytest.raises(UnpackError, match="it unpacks to more than 100 times its size"):
        read_through()
    assert max(given) <= 10_000  # whatever a few bytes stand for
    assert sum(given) < 5_000_000


def test_a_dictionary_of_gigabytes_is_refused() -> None:
    content = bytearray(lzma.compress(b"x" * 1000))
    assert content[14] == 0x21  # LZMA2's number; its only property is the size of its dictionary
    content[16] = 40  # 4 GB
    end = 12 + 4 * content[12]
    content[end : end + 4] = struct.pack("<I", zlib.crc32(content[12:end]))
    with pytest.raises(UnpackError, match=r"[Mm]emory"):
        read(bytes(content), 1000)
