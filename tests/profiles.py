"""ICC profiles and image files that Pillow cannot write, made byte by byte."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Sequence

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
# Columns: the XYZ of red, green and blue, seen under D50.
P3 = np.array(
    [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
)
SRGB = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _curve(gamma: float) -> bytes:
    return b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256))


def _profile(device: bytes, space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = b"made in a test\0"
    described = b"desc" + struct.pack(">II", 0, len(text)) + text + bytes(78)
    tags = {b"desc": described, b"wtpt": b"XYZ " + bytes(4) + _fixed(*D50)} | tags
    table, data, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    head = struct.pack(">8xI4s4s4s", 0x02100000, device, space, pcs)
    head = head.ljust(36, b"\0") + b"acsp"
    head = head.ljust(68, b"\0") + _fixed(*D50)
    head = head.ljust(128, b"\0")
    whole = head + struct.pack(">I", len(tags)) + table + data
    return struct.pack(">I", len(whole)) + whole[4:]


def matrix_profile(
    primaries: np.ndarray = P3, gamma: float = 2.2, curve: bytes | None = None
) -> bytes:
    """A profile of three primaries (columns: XYZ under D50) and a gamma, or a curve's whole tag."""
    tags = {}
    for name, column in zip(b"rgb", primaries.T, strict=True):
        tags[bytes([name]) + b"XYZ"] = b"XYZ " + bytes(4) + _fixed(*column)
        tags[bytes([name]) + b"TRC"] = curve or _curve(gamma)
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def grey_profile(gamma: float) -> bytes:
    """A profile of greys with a gamma."""
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": _curve(gamma)})


def cmyk_profile() -> bytes:
    """A profile of four inks, the first of which is a red one (Lab 53, 80, 67)."""
    lab = []
    for c, m, y, k in itertools.product((0, 1), repeat=4):
        if k or m or y:
            lab.append((5 if k else 40, 128, 128))
        else:
            lab.append((round(53 * 2.55), 128 + 80, 128 + 67) if c else (255, 128, 128))
    identity = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += 4 * identity + bytes(value for each in lab for value in each) + 3 * identity
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table, b"A2B1": table})


def through_matrix(levels: np.ndarray, primaries: np.ndarray, gamma: float) -> np.ndarray:
    """Levels [..., 3] of a `matrix_profile` in sRGB, by its definition; what sRGB lacks is cut."""
    light = (levels / 255.0) ** gamma @ primaries.T @ np.linalg.inv(SRGB).T
    return encoded(light)


def encoded(light: np.ndarray) -> np.ndarray:
    """Shares of light as levels of sRGB."""
    light = light.clip(0, 1)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * curve).astype(int)


# Files -------------------------------------------------------------------------------------------


def png_of_16_bits(pixels: np.ndarray, chunks: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """A PNG of uint16 [H, W] or [H, W, 3], with other chunks before its data."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    height, width = pixels.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, 16, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = [chunk(b"IHDR", head), *(chunk(*each) for each in chunks)]
    parts += [chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(
    width: int, height: int, bits: int, data: bytes, tags: dict[int, tuple[int, bytes]]
) -> bytes:
    """A little-endian TIFF of one strip.

    Args:
        width: In pixels.
        height: In pixels.
        bits: Of a sample.
        data: The strip.
        tags: Type (3 SHORT, 4 LONG, 11 FLOAT) and value of those that differ from a grey picture's.
    """

    def short(value: int) -> tuple[int, bytes]:
        return 3, struct.pack("<HH", value, 0)

    def long(value: int) -> tuple[int, bytes]:
        return 4, struct.pack("<I", value)

    every = {
        256: long(width),
        257: long(height),
        258: short(bits),
        259: short(1),
        262: short(1),
        273: long(8),
        277: short(1),
        278: long(height),
        279: long(len(data)),
    } | tags
    data += bytes(len(data) % 2)
    directory = struct.pack("<H", len(every))
    for tag, (kind, value) in sorted(every.items()):
        directory += struct.pack("<HHI", tag, kind, 1) + value
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + bytes(4)
