"""Features of a frozen encoder, computed once and read from a memory-mapped file.

A cache is a folder named after what its numbers depend on: the encoder's weights, the
preprocessing, the precision, and the image files. Nothing in it can be stale: a change of any of
these is another folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from showattend.data.views import View, show
from showattend.exceptions import DataError, ImageError
from showattend.images.preprocessing import Preprocessing
from showattend.model.encoder import Encoder, encode
from showattend.system.processes import ALONE, Processes

_TODO, _DONE, _FAILED = 0, 1, 2
_BATCH = 32
_NOT_RESERVED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # by a file system that cannot
WHOLE = View()


class FeatureCache:
    """Annotations of N images as one float16 file [N, H, W, D], mapped into memory.

    Attributes:
        folder: Where it lies.
        features: The mapped array.
        failed: What could not be read, by row.
    """

    def __init__(self, folder: Path, features: np.ndarray, failed: dict[int, str]) -> None:
        self.folder, self.features, self.failed = folder, features, failed

    def read(self, rows: Sequence[int] | np.ndarray) -> torch.Tensor:
        """The annotations of these rows, [B, H, W, D] float16, as a copy in memory."""
        return torch.from_numpy(self.features[np.asarray(rows)])


class Caches:
    """Several caches, by the numbers that their images have in a whole of N.

    Args:
        parts: Each cache, and the number of each of its images.
        count: N.
    """

    def __init__(self, parts: Sequence[tuple[FeatureCache, Sequence[int]]], count: int) -> None:
        self.parts = [cache for cache, _ in parts]
        self._part, self._row = np.full(count, -1, np.int32), np.zeros(count, np.int64)
        for number, (_, images) in enumerate(parts):
            self._part[np.asarray(images)] = number
            self._row[np.asarray(images)] = np.arange(len(images))

    def read(self, rows: Sequence[int] | np.ndarray) -> torch.Tensor:
        """The annotations of these images, [B, H, W, D] float16, as a copy in memory."""
        rows = np.asarray(rows)
        of = self._part[rows]
        if (of == of[0]).all():
            return self.parts[of[0]].read(self._row[rows])
        features: torch.Tensor | None = None
        for number in np.unique(of):
            here = of == number
            part = self.parts[number].read(self._row[rows[here]])
            if features is None:
                features = part.new_empty(len(rows), *part.shape[1:])
            features[torch.from_numpy(here)] = part
        assert features is not None
        return features


def cache_features(
    folder: Path,
    *,
    encoder: Encoder,
    preprocessing: Preprocessing,
    paths: Sequence[Path],
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    view: View = WHOLE,
    crop_area: float = 1.0,
    processes: Processes = ALONE,
    message: Callable[[str], None] = lambda _: None,
    advance: Callable[[int, int], None] = lambda *_: None,
) -> FeatureCache:
    """Open the cache of these images, computing what is not there yet.

    An interrupted extraction goes on where it stopped.

    Args:
        folder: The folder of all caches.
        encoder: Frozen.
        preprocessing: From a file to the encoder's input.
        paths: The N image files.
        dtype: Precision of the encoder's products.
        device: Where to run.
        view: How the images are shown.
        crop_area: The least share of an image that a crop keeps.
        processes: Among which the images are divided; all of them call this.
        message: Told what is about to be written, and how large it will be.
        advance: Called with (images done, images in all).

    Raises:
        DataError: The folder cannot be read or written, the disk has no room for it, or a file of
            it is damaged.
    """
    device = device or torch.device("cpu")
    rows, columns = encoder.grid(preprocessing.size)
    shape = (len(paths), rows, columns, encoder.dim)
    place = folder / _name(encoder, preprocessing, dtype, view, crop_area) / _files_key(paths)
    try:
        if processes.first and not (place / "status.npy").exists():
            message(
                f"Writing the features of {len(paths):,} {_said(view)}images to "
                f"{place} "
                f"({_gigabytes(int(np.prod(shape)) * 2)}, computed once)"
            )
            _create(place, shape)
        processes.wait()
        features, status, failures, writable = _open(place, shape)
        if writable and processes.first:  # an earlier run's disk may have filled since
            _reserve(place)
    except (FileNotFoundError, EOFError, ValueError) as error:
        said = " ".join(str(error).split())
        raise DataError(f"{place}: the feature cache is damaged ({said}); delete it") from error
    except OSError as error:
        raise DataError(
            f"{place}: the feature cache cannot be opened ({error.strerror}); make its files "
            "readable and writable, or set data.cache to another folder"
        ) from error

    todo = np.flatnonzero(status != _DONE) if writable else np.empty(0, np.intp)
    processes.wait()  # all have seen the same
    if len(todo):
        encoder = encoder.to(device)
        mine = todo[processes.rank :: processes.count]

        def load(row: int) -> np.ndarray | ImageError:
            try:
                pixels = preprocessing.load_pixels(paths[row])[0]
            except ImageError as error:
                return error
            return show(pixels, view, name=paths[row].name, area=crop_area)

        _extract(
            mine, load, encoder, preprocessing, dtype, device, features, status, failures, advance
        )
        failures = {row: why for each in processes.gather(failures) for row, why in each.items()}
        failures = {row: why for row, why in failures.items() if status[int(row)] != _DONE}
        if processes.first:
            _write_failures(place, failures)
    failed = {
        row: failures.get(str(row), f"{paths[row]}: could not be read")
        for row in np.flatnonzero(status != _DONE).tolist()
    }
    # From here on it is only read.
    return FeatureCache(place, np.load(place / "features.npy", mmap_mode="r"), failed)


def _create(place: Path, shape: tuple[int, ...]) -> None:
    """The files of a new cache, in all their size: a mapped file must not outgrow the disk.

    Raises:
        DataError: They cannot be written, or the disk has no room for them.
    """
    new = not place.exists()
    try:
        place.mkdir(parents=True, exist_ok=True)
        (place / ".try").touch()
        (place / ".try").unlink()
        size = int(np.prod(shape)) * 2
        if shutil.disk_usage(place).free < size * 1.02:
            raise DataError(_no_room(place, size))
        np.lib.format.open_memmap(place / "features.npy", "w+", np.float16, shape).flush()
        _reserve(place)
        np.save(place / "new.npy", np.zeros(shape[0], np.uint8))
        (place / "new.npy").replace(place / "status.npy")
    except (OSError, DataError) as error:
        with contextlib.suppress(OSError):
            for name in ("features.npy", "new.npy"):
                (place / name).unlink(missing_ok=True)
            if new:
                place.rmdir()
        if isinstance(error, OSError):
            raise _cannot_write(place, error) from error
        raise


def _write_failures(place: Path, failures: dict[str, str]) -> None:
    part = place / "failures.json.part"  # a list cut short would make the cache a damaged one
    try:
        part.write_text(json.dumps(failures), encoding="utf-8")
        part.replace(place / "failures.json")
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise _cannot_write(place, error) from error


def _open(
    place: Path, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, dict[str, str], bool]:
    """Features, status, what could not be read, and whether there is work to do that can be.

    A cache whose images have all been tried may lie on a disk that can only be read.

    Raises:
        OSError: A file cannot be read, or an unfinished one not be written.
        EOFError: One is empty.
        ValueError: One is damaged.
    """
    files = place / "features.npy", place / "status.npy"
    tried = np.load(files[1])
    writable = not (tried == _DONE).all()
    if writable and not (tried == _TODO).any():
        writable = all(os.access(file, os.W_OK) for file in files)
    features, status = (np.lib.format.open_memmap(f, "r+" if writable else "r") for f in files)
    listed = place / "failures.json"
    failures = json.loads(listed.read_text(encoding="utf-8")) if listed.exists() else {}
    if features.shape != shape or status.shape != shape[:1] or not isinstance(failures, dict):
        raise ValueError("its shape is not the one expected")
    return features, status, failures, writable


def _reserve(place: Path) -> None:
    """Take the whole file's room on the disk: where a mapped file has none, writing to it kills.

    Raises:
        DataError: The disk has no room for it.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with (place / "features.npy").open("r+b") as file:
        stat = os.fstat(file.fileno())
        left = max(0, stat.st_size - stat.st_blocks * 512)  # st_blocks counts in 512 bytes
        try:
            os.posix_fallocate(file.fileno(), 0, stat.st_size)
        except OSError as error:
            if error.errno not in _NOT_RESERVED:
                raise DataError(_no_room(place, left)) from error


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def _no_room(place: Path, size: int) -> str:
    return (
        f"{place}: needs {_gigabytes(size)}, the disk has "
        f"{_gigabytes(shutil.disk_usage(place).free)}; "
        "set data.cache to a folder on another disk, or make room on this one"
    )


def _cannot_write(place: Path, error: OSError) -> DataError:
    return DataError(
        f"{place}: cannot be written ({error.strerror}); set data.cache to another folder"
    )


@torch.inference_mode()
def _extract(
    todo: np.ndarray,
    load: Callable[[int], np.ndarray | ImageError],
    encoder: Encoder,
    preprocessing: Preprocessing,
    dtype: torch.dtype,
    device: torch.device,
    features: np.ndarray,
    status: np.ndarray,
    failures: dict[str, str],
    advance: Callable[[int, int], None],
) -> None:
    chunks = [todo[i : i + _BATCH] for i in range(0, len(todo), _BATCH)] or [todo]
    with ThreadPoolExecutor(2) as pool:
        # One chunk is decoded while the one before it is encoded.
        upcoming = [pool.submit(load, row) for row in chunks[0]]
        for number, chunk in enumerate(chunks):
            loaded = [future.result() for future in upcoming]
            if number + 1 < len(chunks):
                upcoming = [pool.submit(load, row) for row in chunks[number + 1]]
            good = []
            for row, image in zip(chunk, loaded, strict=True):
                if isinstance(image, ImageError):
                    failures[str(row)] = str(image)
                    status[row] = _FAILED
                else:
                    failures.pop(str(row), None)
                    good.append((row, image))
            if good:
                pixels = torch.from_numpy(np.stack([image for _, image in good]))
                encoded = encode(
                    encoder, pixels.permute(0, 3, 1, 2).to(device), preprocessing, dtype
                )
                rows = [row for row, _ in good]
                features[rows] = encoded.cpu().to(torch.float16).numpy()
                status[rows] = _DONE  # after the features, so that a kill between the two is safe
            advance(int((status != _TODO).sum()), len(status))


def _said(view: View) -> str:
    words = (f"cropped ({view.crop}) " if view.crop else "", "mirrored " if view.mirrored else "")
    return "".join(words)


def _name(
    encoder: Encoder,
    preprocessing: Preprocessing,
    dtype: torch.dtype,
    view: View,
    crop_area: float,
) -> str:
    recipe: dict[str, Any] = {
        "weights": encoder.fingerprint(),
        "preprocessing": preprocessing.to_dict(),
        "dtype": str(dtype),
        "mirror": view.mirrored,
    }
    if view.crop:
        recipe |= {"crop": view.crop, "crop area": crop_area}
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
    name = re.sub(r"[^\w.-]", "_", encoder.name)
    return f"{name}-{preprocessing.size}-{key}"


def _files_key(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            stat = path.stat()
            state = f"{stat.st_size} {stat.st_mtime_ns}"
        except OSError:
            state = "missing"
        digest.update(f"{path.absolute()}\0{state}\0".encode())
    return digest.hexdigest()[:12]
