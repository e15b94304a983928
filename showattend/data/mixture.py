"""Several data sets as one: whose record is whose, and how often each is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from showattend.data.records import PackedRecords
from showattend.data.spoken import Spoken
from showattend.exceptions import DataError


@dataclass(frozen=True)
class Mixture:
    """The records of one or more data sets, one after another.

    Attributes:
        records: All of them.
        set_of: Which data set each record is of, [N].
        names: What reports call the data sets, [S], all different.
        weights: How often a training image of each is drawn in an epoch, [S].
        spoken: The records' captions as words; None until somebody tokenizes them.
    """

    records: PackedRecords
    set_of: np.ndarray
    names: tuple[str, ...]
    weights: tuple[float, ...]
    spoken: Spoken | None = None

    def __len__(self) -> int:
        """How many records."""
        return len(self.records)

    def take(self, rows: Iterable[int]) -> Mixture:
        """These records, in this order; the data sets stay the same, though one may be empty."""
        rows = np.fromiter(rows, np.intp)
        return replace(
            self,
            records=self.records.take(rows.tolist()),
            set_of=self.set_of[rows],
            spoken=None if self.spoken is None else self.spoken.take(rows),
        )

    def rows(self, split: str) -> list[int]:
        """The records of a split."""
        return [i for i, record in enumerate(self.records) if record.split == split]

    def weight_of(self, rows: Sequence[int]) -> np.ndarray:
        """The weights of these records, [N] float64."""
        return np.asarray(self.weights)[self.set_of[np.asarray(rows, np.intp)]]


def name_sets(paths: Sequence[str], given: Sequence[str | None]) -> tuple[str, ...]:
    """A name for each data set: as given, else its folder's, else its file's.

    Raises:
        DataError: Two are named alike by hand.
    """
    names: list[str] = []
    for path, name in zip(paths, given, strict=True):
        if name is not None and (name in names or given.count(name) > 1):
            raise DataError(f"data.path names two data sets {name!r}; give each its own name")
        found = name or Path(path).parent.name or Path(path).stem or "data"
        number, wanted = 2, found
        while found in names or (name is None and found in given):
            found, number = f"{wanted}-{number}", number + 1
        names.append(found)
    return tuple(names)


def check_apart(mixture: Mixture) -> None:
    """Refuse an image that one data set trains on and another validates with.

    Raises:
        DataError: There is one.
    """
    if len(mixture.names) == 1:  # the reader has looked
        return
    training = {
        str(record.path.absolute()): which
        for record, which in zip(mixture.records, mixture.set_of, strict=True)
        if record.split == "train"
    }
    for record, which in zip(mixture.records, mixture.set_of, strict=True):
        other = training.get(str(record.path.absolute()))
        if record.split == "val" and other is not None:
            raise DataError(
                f"{record.path}: a training image of {mixture.names[other]} and a validation image "
                f"of {mixture.names[which]}; take it out of one of them"
            )
