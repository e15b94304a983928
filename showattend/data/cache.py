"""Features of a frozen encoder, computed once and read from a memory-mapped file.

A cache is a folder named after what its numbers depend on: the encoder's weights, the
preprocessing, the precision, and the image files. Nothing in it can be stale: a change of any of
these is another folder.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from showattend.data.views import View, show
from showattend.encoders import Encoder, encode
from showattend.errors import DataError, ImageError
from showattend.images import Preprocessing
from showattend.processes import ALONE, Processes

_TODO, _DONE, _FAILED = 0, 1, 2
_BATCH = 32
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
        DataError: The folder cannot be written, the disk has no room for it, or a file of it is
            damaged.
    """
    device = device or torch.device("cpu")
    rows, columns = encoder.grid(preprocessing.size)
    shape = (len(paths), rows, columns, encoder.dim)
    place = folder / _name(encoder, preprocessing, dtype, view, crop_area) / _files_key(paths)
    features_file, status_file = place / "features.npy", place / "status.npy"
    failures_file = place / "failures.json"
    size = int(np.prod(shape)) * 2
    try:
        if processes.first and not status_file.exists():
            message(
                f"Writing the features of {len(paths):,} {_said(view)}images to "
                f"{place} "
                f"({size / 1e9:.2f} GB, computed once)"
            )
            _writable(place)
            free = shutil.disk_usage(place).free
            if free < size * 1.02:
                raise DataError(
                    f"{place}: needs {size / 1e9:.2f} GB, the disk has {free / 1e9:.2f} GB; "
                    "set data.cache to a folder on another disk"
                )
            np.lib.format.open_memmap(features_file, "w+", np.float16, shape).flush()
            np.save(status_file, np.zeros(len(paths), np.uint8))
        processes.wait()
        # A complete cache may lie on a disk that can only be read.
        mode = "r" if (np.load(status_file) == _DONE).all() else "r+"
        features = np.lib.format.open_memmap(features_file, mode)
        status = np.lib.format.open_memmap(status_file, mode)
        failures = json.loads(failures_file.read_text()) if failures_file.exists() else {}
        if features.shape != shape or status.shape != shape[:1]:
            raise ValueError("its shape is not the one expected")
    except (OSError, ValueError) as error:
        raise DataError(f"{place}: the feature cache is damaged ({error}); delete it") from error

    todo = np.flatnonzero(status != _DONE)
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
            failures_file.write_text(json.dumps(failures))
    failed = {row: failures[str(row)] for row in np.flatnonzero(status != _DONE).tolist()}
    # From here on it is only read.
    return FeatureCache(place, np.load(features_file, mmap_mode="r"), failed)


def _writable(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        (place / ".try").touch()
        (place / ".try").unlink()
    except OSError as error:
        raise DataError(
            f"{place}: cannot be written ({error.strerror}); set data.cache to another folder"
        ) from error


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
