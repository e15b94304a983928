"""Safe reading of NumPy's files: any content gives an array or a ``ValueError``.

Nothing is unpickled, and memory stays in proportion to the file. NumPy's own reader raises
``tokenize.TokenError``, ``SyntaxError``, ``MemoryError`` and others on damaged headers.
"""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np

from showattend.exceptions import one_line

_MOST = 500_000_000
"""The most bytes of an .npz file's arrays, unpacked: zeros compress to a thousandth."""


def read_array(path: Path) -> np.ndarray:
    """Read the array [...] in an .npy file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged, or holds Python objects.
    """
    with path.open("rb") as file:
        try:
            return np.lib.format.read_array(file, allow_pickle=False)
        except Exception as error:
            raise _damaged(path, error) from None


def parse_array(content: bytes) -> np.ndarray:
    """Read the array [...] in the content of an .npy file.

    Raises:
        ValueError: It is damaged, holds Python objects, or has another size than its header claims.
    """
    file = io.BytesIO(content)
    try:
        shape, _, dtype = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[np.lib.format.read_magic(file)](file)
        if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
            raise ValueError("its size is not the one that its header claims")
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:
        raise ValueError(f"no array, or a damaged one: {one_line(error)[:200]}") from None


def map_array(path: Path, write: bool = False) -> np.ndarray:
    """Map the array [...] in an .npy file into memory; its size must be the one its header claims.

    Raises:
        OSError: It cannot be read, or be written.
        ValueError: It is damaged, or cut short.
    """
    try:
        # For writing, NumPy would first make a shorter file as long as its header claims.
        found: np.ndarray = np.lib.format.open_memmap(path, "r")
        return np.lib.format.open_memmap(path, "r+") if write else found
    except OSError:
        raise
    except Exception as error:
        raise _damaged(path, error) from None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays [...] in an .npz file, by name.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged, holds Python objects, or is no such file.
    """
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as packed:
                size = sum(each.file_size for each in packed.infolist())
            if size > _MOST:
                raise ValueError(f"it holds {size:,} bytes, more than the limit of {_MOST:,}")
            file.seek(0)
            with np.load(file, allow_pickle=False) as loaded:
                return {key: loaded[key] for key in loaded.files}
        except Exception as error:
            raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path.name} is damaged: {one_line(error)[:200]}")
