"""Features of a frozen encoder, computed once per image and read from memory-mapped files.

A cache is a folder of shelves (`showattend.data.shelf`). A shelf is named after everything but the
image that its numbers depend on: the encoder's weights, the preprocessing, the precision, the view,
and the reading of files itself. An image is identified by the digest of its bytes
(`showattend.data.identity`), so nothing is computed twice when a data set moves, grows or shares
images with another, and nothing can be stale.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import logging
import re
from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from showattend.data.identity import DIGEST, Identities, identify_files
from showattend.data.shelf import (
    DONE,
    FAILED,
    FORMAT,
    TODO,
    TOO_LARGE,
    TYPES,
    Part,
    Shelf,
    find,
    gigabytes,
)
from showattend.data.views import View, show
from showattend.exceptions import DataError, ImageError
from showattend.images.preprocessing import Preprocessing
from showattend.model.encoder import Encoder, encode
from showattend.system.processes import ALONE, Processes

_BATCH = 32
WHOLE = View()
_log = logging.getLogger("showattend.cache")


class FeatureCache:
    """Annotations of N images, mapped into memory.

    Args:
        folder: The folder of the files.
        parts: The files.
        part_of: The part that has each image, [N].
        row_of: The row in that part, [N].
        failed: Why images could not be read, by image.
        lock: Keeps others from pruning the folder as long as this object exists.
    """

    def __init__(
        self,
        folder: Path,
        parts: Sequence[Part],
        part_of: np.ndarray,
        row_of: np.ndarray,
        failed: dict[int, str],
        lock: object = None,
    ) -> None:
        self.folder, self.parts, self.failed = folder, parts, failed
        self._part_of, self._row_of, self._lock = part_of, row_of, lock
        self._types = {part.type for part in parts}

    def read(self, images: Sequence[int] | np.ndarray) -> torch.Tensor:
        """The annotations of these images, [B, H, W, D], as a copy in memory.

        They are float16, or bfloat16 if one of them was too large for that.
        """
        images = np.asarray(images)
        of = self._part_of[images]
        if (of == of[0]).all():
            return self.parts[of[0]].read(self._row_of[images])
        first = self.parts[of[0]]
        if len(self._types) == 1:  # row by row: nothing is copied twice
            whole = np.empty((len(images), *first.features.shape[1:]), first.features.dtype)
            for i, (number, row) in enumerate(zip(of, self._row_of[images], strict=True)):
                whole[i] = self.parts[number].features[row]
            return first.tensor(whole)
        places = [np.flatnonzero(of == number) for number in np.unique(of)]
        found = [self.parts[of[here[0]]].read(self._row_of[images[here]]) for here in places]
        return in_places(found, places)


def in_places(parts: Sequence[torch.Tensor], places: Sequence[np.ndarray]) -> torch.Tensor:
    """Assemble batches of annotations, each in its places.

    Args:
        parts: [b, H, W, D] each, float16 or bfloat16.
        places: [b] each; together, all numbers from 0 to B - 1.

    Returns:
        [B, H, W, D], bfloat16 if one of them is.
    """
    if len(parts) == 1:
        return parts[0]
    types = {each.dtype for each in parts}
    dtype = types.pop() if len(types) == 1 else torch.bfloat16
    whole = torch.empty((sum(map(len, places)), *parts[0].shape[1:]), dtype=dtype)
    for part, here in zip(parts, places, strict=True):
        whole[torch.from_numpy(here)] = part.to(dtype)
    return whole


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
    message: Callable[[str], None] = _log.info,
    advance: Callable[[int, int], None] = lambda *_: None,
) -> FeatureCache:
    """Open the cache of these images, computing what is missing.

    An interrupted extraction continues where it stopped. While another run adds to the same shelf,
    this one waits, and uses its results.

    Args:
        folder: The folder of all caches.
        encoder: The frozen encoder.
        preprocessing: Converts a file to the encoder's input.
        paths: The N image files.
        dtype: The precision of the encoder's products.
        device: The device to run on.
        view: How the images are shown.
        crop_area: The minimum fraction of an image that a crop keeps.
        processes: The processes that share the images; all of them call this.
        message: Called with a line that says what is about to be written and how large it is; logs
            it by default.
        advance: Called with (images done, images in all).

    Raises:
        DataError: The folder cannot be read or written, the disk has no room for it, a file of it
            is damaged, or the encoder yields numbers that are not finite.
    """
    rows, columns = encoder.grid(preprocessing.size)
    recipe = recipe_of(encoder, preprocessing, dtype, view, crop_area)
    shelf = Shelf(folder / _name(encoder, recipe), (rows, columns, encoder.dim))
    found = _identify(paths, folder, processes, view)
    keys, there = found.digests, found.digests != b""
    work = _Work(
        shelf=shelf,
        encoder=encoder.to(device or torch.device("cpu")),
        preprocessing=preprocessing,
        dtype=dtype,
        view=view,
        crop_area=crop_area,
        keys=keys,
        paths=paths,
        recipe=recipe,
        processes=processes,
        message=message,
        advance=advance,
    )
    failures = work.fill()
    parts = shelf.parts()
    part_of, row_of, status = find(parts, keys)
    failures = {**shelf.failures(), **failures}
    failed = dict(found.unread)
    for image in np.flatnonzero((status != DONE) & there).tolist():
        unknown = f"{paths[image]}: could not be read"
        failed[image] = failures.get(keys[image].decode(), unknown)
    # From here on it is only read.
    lock = shelf.use() if processes.first and parts else None
    return FeatureCache(shelf.place, parts, part_of, row_of, failed, lock)


def _identify(paths: Sequence[Path], folder: Path, processes: Processes, view: View) -> Identities:
    """The identities of the files, of which each process reads its share.

    The file's name seeds a random crop, so it is then part of the identity.
    """
    mine = range(processes.rank, len(paths), processes.count)
    parts = processes.gather(identify_files([paths[i] for i in mine], folder))
    digests = np.zeros(len(paths), DIGEST)
    unread: dict[int, str] = {}
    for rank, part in enumerate(parts):
        digests[rank :: processes.count] = part.digests
        unread |= {rank + i * processes.count: why for i, why in part.unread.items()}
    if view.crop:
        for i in np.flatnonzero(digests != b"").tolist():
            named = bytes(digests[i]) + paths[i].name.encode("utf-8", "surrogateescape")
            digests[i] = hashlib.blake2b(named, digest_size=16).hexdigest().encode()
    return Identities(digests, unread)


Row = tuple[int, int, int]  # which part, which row of it, which image


@dataclass
class _Work:
    """The images of a call that a shelf lacks; the arguments are those of `cache_features`."""

    shelf: Shelf
    encoder: Encoder
    preprocessing: Preprocessing
    dtype: torch.dtype
    view: View
    crop_area: float
    keys: np.ndarray
    paths: Sequence[Path]
    recipe: dict[str, Any]
    processes: Processes
    message: Callable[[str], None]
    advance: Callable[[int, int], None]

    def fill(self) -> dict[str, str]:
        """Compute them; all processes call this.

        Returns:
            Why images could not be read, by key.
        """
        failures: dict[str, str] = {}
        with ExitStack() as stack:
            todo: list[Row] | None = None
            if self.processes.first and self._may_begin(stack):
                todo = self._todo(())
            while todo := self.processes.gather(todo)[0]:
                parts = self.shelf.parts(write=True)
                for each in self.processes.gather(self._extract(todo, parts)):
                    failures |= each
                if self.processes.first:
                    self.shelf.write_failures({**self.shelf.failures(), **failures})
                    todo = self._todo(failures)  # those that were too large for their part
        return failures

    def _may_begin(self, stack: ExitStack) -> bool:
        """Whether there is work to do, and the lock for it if there is.

        A shelf whose images have all been tried may be on a read-only disk.
        """
        parts = self.shelf.parts()
        part_of, _, status = find(parts, self.keys)
        there = self.keys != b""
        if (there & ((part_of < 0) | (status == TODO) | (status == TOO_LARGE))).any():
            stack.enter_context(self.shelf.adding(self.message))
            return True
        if not (status[there] == FAILED).any() or not self.shelf.writable():
            return False
        return stack.enter_context(self.shelf.adding(None))

    def _todo(self, tried: Container[str]) -> list[Row]:
        """The rows to compute; a part is made for images that have none."""
        parts = self.shelf.parts()
        part_of, row_of, status = find(parts, self.keys)
        _, first = np.unique(self.keys, return_index=True)
        wanted = np.zeros(len(self.keys), bool)
        wanted[first] = True  # the first of identical images
        wanted &= self.keys != b""
        new = wanted & ((part_of < 0) | (status == TOO_LARGE))
        if new.any():
            self._add(new, (status == TOO_LARGE)[new].any(), parts)
            parts = self.shelf.parts()
            part_of, row_of, status = find(parts, self.keys)
        wanted &= (status == TODO) | (status == FAILED)
        rows = [
            (int(part_of[i]), int(row_of[i]), i)
            for i in np.flatnonzero(wanted).tolist()
            if self.keys[i].decode() not in tried
        ]
        self.shelf.reserve([parts[number] for number in sorted({number for number, *_ in rows})])
        return rows

    def _add(self, new: np.ndarray, too_large: bool, parts: Sequence[Part]) -> None:
        """Make a part for these images."""
        count = int(new.sum())
        held = {kind: sum(len(p.keys) for p in parts if p.type == kind) for kind in TYPES}
        if too_large:
            self.message(
                f"{self.encoder.name}: {count:,} images have features larger than float16 holds "
                "(65,504); theirs are kept as bfloat16"
            )
        kind = "bfloat16" if too_large or held["bfloat16"] > held["float16"] / 2 else "float16"
        self.message(
            f"Writing the features of {count:,} {said(self.view)}images to {self.shelf.place} "
            f"({gigabytes(self.shelf.size_of(count))}, computed once)"
        )
        self.shelf.add(self.keys[new], kind, self.recipe)

    @torch.inference_mode()
    def _extract(self, todo: Sequence[Row], parts: Sequence[Part]) -> dict[str, str]:
        """Compute this process's share of the rows; why images could not be read, by key."""
        failures: dict[str, str] = {}
        mine = todo[self.processes.rank :: self.processes.count]
        chunks = [mine[i : i + _BATCH] for i in range(0, len(mine), _BATCH)]
        progress = _Progress(todo, parts, int((self.keys != b"").sum()))
        with ThreadPoolExecutor(2) as pool:
            # One chunk is decoded while the previous one is encoded.
            upcoming = [pool.submit(self._load, image) for *_, image in chunks[0]] if mine else []
            for number, chunk in enumerate(chunks):
                loaded = [future.result() for future in upcoming]
                if number + 1 < len(chunks):
                    upcoming = [pool.submit(self._load, image) for *_, image in chunks[number + 1]]
                good = []
                for (part, row, image), pixels in zip(chunk, loaded, strict=True):
                    if isinstance(pixels, ImageError):
                        failures[self.keys[image].decode()] = str(pixels)
                        parts[part].status[row] = FAILED
                    else:
                        good.append(((part, row, image), pixels))
                small = self._encode(good, parts) if good else 1
                if small < len(good) / 2:  # most are too large: do not try the others
                    for part, row, _ in itertools.chain(*chunks[number + 1 :]):
                        parts[part].status[row] = TOO_LARGE
                    for future in upcoming:
                        future.cancel()
                    break
                self.advance(*progress())
        return failures

    def _load(self, image: int) -> np.ndarray | ImageError:
        path = self.paths[image]
        try:
            pixels = self.preprocessing.load_pixels(path).pixels
        except ImageError as error:
            return error
        return show(pixels, self.view, name=path.name, area=self.crop_area)

    def _encode(self, good: Sequence[tuple[Row, np.ndarray]], parts: Sequence[Part]) -> int:
        """Encode images and store the results; return how many fit the type of their part.

        Raises:
            DataError: A result is not finite.
        """
        pixels = torch.from_numpy(np.stack([each for _, each in good])).permute(0, 3, 1, 2)
        device = next(self.encoder.parameters()).device
        features = encode(self.encoder, pixels.to(device), self.preprocessing, self.dtype)
        broken = (~features.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
        if broken:
            (*_, image), _ = good[broken[0]]
            kind = str(self.dtype).removeprefix("torch.")
            raise DataError(
                f"{self.paths[image]}: encoder {self.encoder.name}, computing in {kind}, makes "
                "numbers of it that are not finite; "
                + ("use fp32 or bf16" if kind == "float16" else "its weights are of no use")
            )
        kept = 0
        for number in sorted({part for (part, *_), _ in good}):
            here = [i for i, ((part, *_), _) in enumerate(good) if part == number]
            kept += parts[number].write([good[i][0][1] for i in here], features[here])
        return kept


class _Progress:
    """The number of a call's images that all processes have tried."""

    def __init__(self, todo: Sequence[Row], parts: Sequence[Part], total: int) -> None:
        self.total, self.before = total, total - len(todo)
        rows: dict[int, list[int]] = {}
        for part, row, _ in todo:
            rows.setdefault(part, []).append(row)
        self.rows = [(parts[part].status, np.asarray(each)) for part, each in rows.items()]

    def __call__(self) -> tuple[int, int]:
        tried = sum(int((status[rows] != TODO).sum()) for status, rows in self.rows)
        return self.before + tried, self.total


def said(view: View) -> str:
    """A view in words, with a space after them; nothing for the whole image."""
    words = (f"cropped ({view.crop}) " if view.crop else "", "mirrored " if view.mirrored else "")
    return "".join(words)


def recipe_of(
    encoder: Encoder,
    preprocessing: Preprocessing,
    dtype: torch.dtype,
    view: View,
    crop_area: float,
) -> dict[str, Any]:
    """What features depend on, apart from the image: the content of a shelf's ``recipe.json``."""
    return {
        "format": FORMAT,
        "encoder": encoder.name,
        "weights": encoder.fingerprint(),
        "preprocessing": preprocessing.to_dict(),
        "reading": reading_of(preprocessing),
        "dtype": str(dtype).removeprefix("torch."),
        "mirror": view.mirrored,
        "crop": view.crop,
        "crop area": crop_area if view.crop else 1.0,
    }


@lru_cache(maxsize=8)
def reading_of(preprocessing: Preprocessing) -> str:
    """A digest of what image files become before the network sees them.

    Three small pictures are read. The digest changes when this package or Pillow decodes, rotates
    or crops differently; earlier features are then not used.
    """
    small = replace(preprocessing, size=32)
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by EXIF
    pictures: list[tuple[np.ndarray, str, dict[str, Any]]] = [
        (noise[..., :3], "JPEG", {"quality": 90, "exif": exif}),
        (noise, "PNG", {}),
        (noise[..., 0].astype(np.uint16) * 257, "PNG", {}),
    ]
    digest = hashlib.blake2b(digest_size=8)
    for pixels, kind, options in pictures:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, **options)
        with Image.open(file, formats=(kind,)) as opened:
            seen = small.load_pixels(opened).pixels
        digest.update(show(seen, View(1, True), name="probe", area=0.75).tobytes())
    return digest.hexdigest()


def _name(encoder: Encoder, recipe: dict[str, Any]) -> str:
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
    name = re.sub(r"[^\w.-]", "_", encoder.name)
    return f"{name}-{recipe['preprocessing']['size']}-{key}"
