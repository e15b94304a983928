"""Captioning with onnxruntime: replaces `Captioner` in ``showattend caption`` without PyTorch.

An exported folder is used directly. Any other model is exported once to a cache folder, under its
checksum.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from showattend import __version__
from showattend.caption import Caption, Photo
from showattend.caption_forms import sampled_maps
from showattend.exceptions import CheckpointError, ConfigError, ImageError, UserError
from showattend.images.preprocessing import Fitted, Preprocessing
from showattend.images.sources import ImageSource, lasting, listed
from showattend.model import checkpoint as checkpoints
from showattend.model.calibration import Calibration
from showattend.model.model_schema import parse_json
from showattend.system.checks import whole_number
from showattend.system.npy_files import read_array

_log = logging.getLogger("showattend.export")

if TYPE_CHECKING:
    from showattend.export import program as program

SETTINGS = "model.json"
AGAIN = "; export again"
"""The end of messages about damaged files."""
Opened = tuple[ImageSource, Fitted] | ImageError


def is_exported(model: str | Path | None) -> bool:
    """Whether this is a folder written by ``showattend export``."""
    return model is not None and (Path(model) / SETTINGS).is_file()


def cache_folder() -> Path:
    """The folder for automatic exports; safe to delete.

    Raises:
        UserError: The user has no home folder.
    """
    given = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    try:
        return (Path(given) if given else Path.home() / ".cache") / "showattend" / "onnx"
    except RuntimeError:
        raise UserError(f"this user has no home folder; {_BY_HAND}") from None


_BY_HAND = "run showattend export --out DIR, and give --model DIR"


def find_exported(model: str | Path | None = None) -> Path:
    """Find the exported folder of a model, exporting it to the cache if necessary.

    Args:
        model: An exported folder; or a shipped model's name, a directory or a file; None uses the
            default model.

    Raises:
        CheckpointError: There is no such model, or it is damaged.
        ConfigError: It cannot be exported.
        UserError: The cache cannot be written to, or the packages are not installed.
    """
    if model is not None and is_exported(model):
        return Path(model)
    path = checkpoints.find_model(model)
    try:
        content = path.read_bytes() + checkpoints.beside(path)
        digest = hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    from showattend.export.folder import NEEDED, NETWORKS, check_folder, check_installed, export

    place = cache_folder() / f"{digest[:20]}-{__version__}"
    if all((place / name).is_file() for name in (*NETWORKS, SETTINGS)):
        return place

    from showattend.captioner import Captioner

    check_installed(*NEEDED)
    try:
        check_folder(place)
    except UserError as error:
        raise UserError(f"{error}; {_BY_HAND}") from error
    _log.info(f"exporting the model for onnxruntime, once: {place}")
    export(Captioner.from_pretrained(model, device="cpu", precision="fp32"), place)
    return place


class OnnxCaptioner:
    """Captions photographs with an exported model, on the CPU in float32.

    Args:
        folder: A folder written by ``showattend export``.

    Raises:
        UserError: It is not an exported model, or is damaged; or onnxruntime is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        from showattend.export.folder import check_installed

        check_installed("onnxruntime")
        from showattend.export import program as program

        try:
            self.model = program.Model(folder)
            self.calibration = _calibration(Path(folder))
            known, outputs = self.calibration.familiarity, self.model.encoder.get_outputs()
            if known is not None and len(known.basis) != outputs[0].shape[3]:
                raise ValueError("its files are of different models")
            given = self.model.preprocessing
            self.preprocessing = Preprocessing(
                size=given["size"],
                fit=given["fit"],
                mean=tuple(value / 255 for value in given["fill"]),  # used for padding only
                interpolation=given["interpolation"],
            )
        except (program.UserError, CheckpointError) as error:
            raise UserError(str(error)) from error
        except (EOFError, KeyError, OSError, TypeError, ValueError, ConfigError) as error:
            raise UserError(f"{Path(folder) / SETTINGS}: damaged ({error}){AGAIN}") from error
        # Keep the encoder's output, which is otherwise discarded once the captions are found.
        self._encoder = self.model.encoder = _Watched(self.model.encoder)
        self._search = program.search
        self._mistake = program.UserError

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        device: str = "auto",
        precision: str = "fp32",
    ) -> OnnxCaptioner:
        """Load an exported folder, or export a model first (`find_exported`).

        Raises:
            ConfigError: The device is not the CPU, or the precision is not fp32.
            UserError: See `find_exported`.
        """
        from showattend.export.folder import check_installed

        if device not in ("auto", "cpu"):
            raise ConfigError(
                f"the onnx engine runs on the CPU; --device {device} is for --engine torch"
            )
        if precision not in ("auto", "fp32"):
            raise ConfigError(
                f"the onnx engine computes in fp32; --precision {precision} is for --engine torch"
            )
        check_installed("onnxruntime")
        folder = find_exported(model)
        try:
            return cls(folder)
        except UserError as error:
            problem = str(error)
            if is_exported(model) or not problem.endswith(AGAIN):
                raise
            raise UserError(
                f"{problem.removesuffix(AGAIN)}; delete the folder {folder}, it will be recreated"
            ) from error

    def stream(
        self, images: ImageSource | Iterable[ImageSource], *, batch_size: int = 32, **options: Any
    ) -> Iterator[tuple[ImageSource, Caption | ImageError]]:
        """Caption any number of images in order, yielding an error for each bad one.

        Threads open files ahead of the model; memory does not grow with the number of images.

        Args:
            images: Image sources, as for `Captioner.stream`.
            batch_size: Number of images per forward pass.
            **options: ``beam_size``, ``n_best``, ``max_length``, ``min_length``,
                ``length_penalty``, ``block_ngrams``; the defaults are the model's.

        Returns:
            An iterator over pairs of a source and its caption, or the error that it caused.

        Raises:
            ConfigError: An option has an invalid value; raised immediately, before the iterator is
                used.
        """
        batch_size = whole_number("batch_size", batch_size, 1, 100_000)
        try:
            chosen = self.model.options(**options)
        except self._mistake as error:
            raise ConfigError(str(error)) from error
        return self._stream(listed(images), batch_size, chosen)

    def _stream(
        self, images: Iterable[ImageSource], batch_size: int, chosen: dict[str, Any]
    ) -> Iterator[tuple[ImageSource, Caption | ImageError]]:
        for batch in self._batches(images, batch_size):
            good = [one for _, one in batch if not isinstance(one, ImageError)]
            pixels = [each for _, (each, _) in good]
            found = self._search(self.model, np.stack(pixels), **chosen) if good else []
            photos = self._photos(good) if good else []
            captions = iter(map(self._ranked, found, photos))
            for source, one in batch:
                yield source, one if isinstance(one, ImageError) else next(captions)

    def caption(self, image: ImageSource, **options: Any) -> Caption:
        """Caption one image; options as for `stream`.

        Raises:
            ImageError: The image cannot be opened.
            ConfigError: An option has an invalid value.
        """
        ((_, result),) = self.stream([image], **options)
        if isinstance(result, ImageError):
            raise result
        return result

    def _open(self, source: ImageSource) -> Opened:
        try:
            image = lasting(source)
            return image, self.preprocessing.load_pixels(image)
        except ImageError as error:
            return error

    def _batches(
        self, images: Iterable[ImageSource], size: int
    ) -> Iterator[list[tuple[ImageSource, Opened]]]:
        """Yield batches of opened images in order, with threads at most two batches ahead."""
        waiting: deque[tuple[ImageSource, Future[Opened]]] = deque()
        with ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1))) as pool:
            for source in images:
                waiting.append((source, pool.submit(self._open, source)))
                if len(waiting) == 3 * size:
                    yield [_result(*waiting.popleft()) for _ in range(size)]
            while waiting:
                yield [_result(*waiting.popleft()) for _ in range(min(size, len(waiting)))]

    def _photos(self, batch: list[tuple[ImageSource, Fitted]]) -> list[Photo]:
        """The images that the encoder has just processed."""
        familiar = self.calibration.familiar(self._encoder.means, self.preprocessing.size)
        return [
            Photo(image, fitted.geometry, self.model.grid, each)
            for (image, fitted), each in zip(batch, familiar, strict=True)
        ]

    def _ranked(self, found: list[program.Caption], photo: Photo) -> Caption:
        best, *rest = (
            Caption(
                words=tuple(each.words),
                log_probs=tuple(each.log_probs),
                attention=each.attention,
                betas=each.betas,
                parts=self._parts(each),
                part_names=self.model.part_names,
                sentinel=each.sentinel,
                geometry=photo.geometry,
                score=each.score,
                image=photo.image,
                unsure_below=self.calibration.unsure_below,
                familiarity=photo.familiarity,
            )
            for each in found
        )
        return replace(best, alternatives=tuple(rest))

    def _parts(self, found: program.Caption) -> np.ndarray | None:
        """The maps of heads, hops or levels; for hard attention, sampled locations."""
        names = self.model.part_names
        if found.parts is None and names:
            return sampled_maps(found.attention, len(names))
        return found.parts


class _Watched:
    """An encoder that keeps the mean annotation vectors [B, D] of the last batch."""

    def __init__(self, network: Any) -> None:
        self.network, self.means = network, np.zeros((0, 0), np.float32)

    def run(self, outputs: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The same as ``InferenceSession.run``."""
        found: list[np.ndarray] = self.network.run(outputs, inputs)
        self.means = found[0].mean((1, 2))
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)


def _calibration(folder: Path) -> Calibration:
    """Read the calibration of an export; older exports have none.

    Raises:
        CheckpointError: It is invalid.
        OSError: model.json cannot be read.
        ValueError: Its basis cannot be read, or is damaged.
    """
    from showattend.export.folder import FAMILIARITY

    settings = parse_json((folder / SETTINGS).read_text(encoding="utf-8"))
    basis = None
    if settings.get("familiarity") is not None:
        try:
            basis = read_array(folder / FAMILIARITY).astype(np.float32)
        except (OSError, ValueError) as error:
            raise ValueError(f"{FAMILIARITY} is missing or cannot be read") from error
    return Calibration.from_dict(settings, basis)


def _result(source: ImageSource, opened: Future[Opened]) -> tuple[ImageSource, Opened]:
    return source, opened.result()
