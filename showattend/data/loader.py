"""Batches of images with all their captions, in an order that the seed and the epoch fix.

Shape suffixes: B images, K captions of an image, T time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import torch

from showattend.data.cache import FeatureCache
from showattend.data.records import Record
from showattend.errors import DataError, ImageError
from showattend.images import Preprocessing
from showattend.text import Vocabulary, tokenize


class Batch(NamedTuple):
    """One batch; inputs are annotations [B, H, W, D] float16 or pixels [B, 3, S, S] uint8."""

    inputs: torch.Tensor
    captions: torch.Tensor  # [B, K, T + 2]: <start>, words, <end>, padded with <pad>
    lengths: torch.Tensor  # [B, K]: targets of each caption; 0 where there is none
    rows: list[int]  # which records


class Inputs(Protocol):
    """Where the inputs of a batch come from."""

    def read(self, rows: Sequence[int]) -> torch.Tensor:
        """The inputs of these records."""


class Pixels:
    """Images decoded anew for every batch, for an encoder that is being fine-tuned."""

    def __init__(
        self, records: Sequence[Record], preprocessing: Preprocessing, workers: int
    ) -> None:
        self.records, self.preprocessing = records, preprocessing
        self.pool = ThreadPoolExecutor(max(1, workers))

    def read(self, rows: Sequence[int]) -> torch.Tensor:
        """Pixels [B, 3, size, size] uint8.

        Raises:
            DataError: An image cannot be read.
        """
        paths = [self.records[row].path for row in rows]
        try:
            images = [pixels for pixels, _ in self.pool.map(self.preprocessing.load_pixels, paths)]
        except ImageError as error:
            raise DataError(
                f"{error}; `showattend prepare` leaves such images out of the data set"
            ) from error
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


class CachedFeatures:
    """Rows of a feature cache."""

    def __init__(self, cache: FeatureCache, rows: Sequence[int]) -> None:
        self.cache, self.rows = cache, np.asarray(rows)

    def read(self, rows: Sequence[int]) -> torch.Tensor:
        """Annotations [B, H, W, D] float16."""
        return self.cache.read(self.rows[list(rows)])


class CaptionLoader:
    """Iterates over a split.

    Args:
        records: The images with their captions.
        inputs: What the model is given for each record.
        vocabulary: Words outside it become ``<unk>``.
        batch_size: Images a batch.
        max_length: Longer captions are cut to this many words.
        seed: Of the order.

    Raises:
        DataError: There are no records, or one whose captions hold no word.
    """

    def __init__(
        self,
        records: Sequence[Record],
        inputs: Inputs,
        vocabulary: Vocabulary,
        *,
        batch_size: int,
        max_length: int = 30,
        seed: int = 0,
    ) -> None:
        if not records:
            raise DataError("the split holds no images; look at the report of `showattend prepare`")
        self.records, self.inputs = records, inputs
        self.batch_size, self.seed = batch_size, seed
        self.encoded = []
        for record in records:
            tokens = [words for text in record.captions if (words := tokenize(text))]
            if not tokens:
                raise DataError(
                    f"{record.path}: its captions hold no word; `showattend prepare` leaves such "
                    "images out of the data set"
                )
            self.encoded.append([vocabulary.encode(words)[:max_length] for words in tokens])

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-len(self.records) // self.batch_size)

    def order(self, epoch: int | None) -> list[int]:
        """The records in the order of this epoch; None: as they stand."""
        if epoch is None:
            return list(range(len(self.records)))
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        return torch.randperm(len(self.records), generator=generator).tolist()

    def batches(self, epoch: int | None = None, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number ``start`` on, each read while the last is used."""
        order = self.order(epoch)
        chunks = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        chunks = chunks[start:]
        with ThreadPoolExecutor(1) as pool:
            upcoming = pool.submit(self.inputs.read, chunks[0]) if chunks else None
            for number, rows in enumerate(chunks):
                assert upcoming is not None
                inputs = upcoming.result()
                if number + 1 < len(chunks):
                    upcoming = pool.submit(self.inputs.read, chunks[number + 1])
                captions, lengths = self._pad(rows)
                yield Batch(inputs, captions, lengths, rows)

    def _pad(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        captions = [self.encoded[row] for row in rows]
        K = max(len(each) for each in captions)
        T = max(len(words) for each in captions for words in each)
        padded = torch.full((len(rows), K, T + 2), Vocabulary.PAD)
        lengths = torch.zeros(len(rows), K, dtype=torch.long)
        for b, each in enumerate(captions):
            for k, words in enumerate(each):
                line = [Vocabulary.START, *words, Vocabulary.END]
                padded[b, k, : len(line)] = torch.tensor(line)
                lengths[b, k] = len(words) + 1
        return padded, lengths
