"""Captions as a step in a user's Ray Data pipeline; this module does not need Ray."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from showattend.exceptions import ConfigError, ImageError, UserError

if TYPE_CHECKING:
    from showattend.captioner import Captioner
    from showattend.images.sources import ImageSource

COLUMNS = ("caption", "words", "log_prob", "confidence", "note", "error")
"""The columns added to a batch."""


class CaptionBatch:
    """Captions the batches of a data set: a class for ``map_batches``, whose actors hold the model.

    A batch keeps its columns except for the images themselves, and gets ``caption``, ``words``
    (separated by spaces, as the scorers expect), ``log_prob``, ``confidence``, ``note`` and
    ``error``. A bad image has no caption, and its ``error`` says why; for the others ``error`` is
    None. With ``n_best`` there is also ``alternatives``, the texts of the runners-up, one per line.

    Args:
        model: See `Captioner.from_pretrained`; loaded once in every actor.
        images: The column of images: contents of files, paths, or arrays [H, W, 3].
        names: The column of their names for errors; optional.
        keep_images: Keep that column.
        device: See `Captioner.from_pretrained`.
        precision: See there.
        size: See there.
        threads: The number of threads; None leaves it to PyTorch, which sees what Ray reserves.
        **options: Options of `Captioner.caption`.

    Raises:
        UserError: There is no such model, or an option is invalid.

    Example:
        >>> ds = ray.data.read_binary_files("s3://bucket/photos", include_paths=True)
        >>> ds = ds.map_batches(
        ...     CaptionBatch,
        ...     fn_constructor_kwargs={"model": "everyday", "beam_size": 5},
        ...     batch_size=32,
        ...     compute=ray.data.ActorPoolStrategy(size=8),
        ...     num_cpus=1,
        ... )
        >>> ds.write_parquet("captions/")
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        images: str = "bytes",
        names: str = "path",
        keep_images: bool = False,
        device: str = "auto",
        precision: str = "fp32",
        size: int | None = None,
        threads: int | None = None,
        **options: Any,
    ) -> None:
        self.images, self.names, self.keep_images = images, names, keep_images
        self.captioner = load_worker(model, device, precision, size, threads)
        self._options = options
        self._has_others = options.get("n_best", 1) > 1
        self.captioner.stream([], **options)  # says what is wrong with them

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Caption a batch.

        Args:
            batch: Columns [B, ...] by name.

        Returns:
            The same rows, with the new columns.

        Raises:
            ConfigError: It has no column of images.
        """
        if self.images not in batch:
            raise ConfigError(
                f"the batch has no column {self.images!r}, only {', '.join(batch)}; "
                "give images= the name of the column of images"
            )
        given = batch[self.images]
        names = batch.get(self.names, [f"row {row}" for row in range(len(given))])
        sources = [_source(image, str(name)) for image, name in zip(given, names, strict=True)]
        good = [each for each in sources if not isinstance(each, UserError)]
        stream = self.captioner.stream(good, **self._options)
        results = [each if isinstance(each, UserError) else next(stream)[1] for each in sources]
        columns = {
            name: values
            for name, values in batch.items()
            if self.keep_images or name != self.images
        }
        return columns | self._columns(results)

    def _columns(self, results: list[Any]) -> dict[str, np.ndarray]:
        bad = [isinstance(each, UserError) for each in results]

        def column(good: Any, missing: Any, kind: Any = object) -> np.ndarray:
            filled = np.empty(len(results), dtype=kind)
            for row, each in enumerate(results):
                filled[row] = missing if bad[row] else good(each)
            return filled

        columns = {
            "caption": column(lambda each: each.text, None),
            "words": column(lambda each: each.raw, None),
            "log_prob": column(lambda each: each.log_prob, np.nan, np.float64),
            "confidence": column(lambda each: each.confidence, np.nan, np.float64),
            "note": column(lambda each: each.note, None),
            "error": np.array(
                [str(each) if is_bad else None for each, is_bad in zip(results, bad, strict=True)],
                dtype=object,
            ),
        }
        if self._has_others:
            others = column(lambda each: "\n".join(map(str, each.alternatives)), None)
            columns["alternatives"] = others
        return columns


def load_worker(
    model: str | None, device: str, precision: str, size: int | None, threads: int | None
) -> Captioner:
    """Load the model in a dedicated process.

    Raises:
        UserError: See `Captioner.from_pretrained`.
    """
    import torch

    from showattend.captioner import Captioner
    from showattend.system.device import keep_freed_memory

    if threads is not None:
        torch.set_num_threads(threads)
    keep_freed_memory()
    return Captioner.from_pretrained(model, device=device, precision=precision, size=size)


def _source(image: Any, name: str) -> ImageSource | ImageError:
    from showattend.images.photo_file import PhotoFile

    if isinstance(image, bytes | bytearray | memoryview):
        return PhotoFile.of(bytes(image), name)
    if image is None:
        return ImageError(f"{name}: there is no image in this row")
    source: ImageSource = image
    return source
