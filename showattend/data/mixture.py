"""Several data sets combined into one, with the weight of each."""

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
        records: The N records of all data sets.
        set_of: The index of each record's data set, [N].
        names: The distinct names of the S data sets in reports.
        weights: How often the training images of each data set are drawn in an epoch, [S].
        spoken: The records' captions as words; None until they are tokenized.
    """

    records: PackedRecords
    set_of: np.ndarray
    names: tuple[str, ...]
    weights: tuple[float, ...]
    spoken: Spoken | None = None

    def __len__(self) -> int:
        """The number of records."""
        return len(self.records)

    def take(self, rows: Iterable[int]) -> Mixture:
        """Select records by index; all data sets are kept, even if one becomes empty."""
        rows = np.fromiter(rows, np.intp)
        return replace(
            self,
            records=self.records.take(rows.tolist()),
            set_of=self.set_of[rows],
            spoken=None if self.spoken is None else self.spoken.take(rows),
        )

    def rows(self, split: str) -> list[int]:
        """The indices of the records of a split."""
        return [i for i, record in enumerate(self.records) if record.split == split]

    def weight_of(self, rows: Sequence[int]) -> np.ndarray:
        """The weights of the given records, [N] float64."""
        return np.asarray(self.weights)[self.set_of[np.asarray(rows, np.intp)]]


def name_sets(paths: Sequence[str], given: Sequence[str | None]) -> tuple[str, ...]:
    """Name each data set: as given, or after its folder, or after its file.

    Raises:
        DataError: The same name is given to two of them.
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
    """Check that no training image of one data set is a validation image of another.

    Raises:
        DataError: There is such an image.
    """
    if len(mixture.names) == 1:  # already checked by the reader
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
