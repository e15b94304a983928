"""Several data sets as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from showattend.data.mixture import Mixture, check_apart, name_sets
from showattend.data.records import PackedRecords, Record
from showattend.exceptions import DataError


def mixture(*splits: str, same_file: bool = False) -> Mixture:
    """One record a split, each of a data set of its own."""
    records = PackedRecords(
        Record(0, Path("a.jpg" if same_file else f"{i}.jpg"), ("A dog.",), split)
        for i, split in enumerate(splits)
    )
    names = tuple(f"set{i}" for i in range(len(splits)))
    weights = tuple(1.0 + i for i in range(len(splits)))
    return Mixture(records, np.arange(len(splits)), names, weights)


def test_selected_records_keep_their_data_set() -> None:
    taken = mixture("train", "val", "train").take([2, 0])
    assert [str(record.path) for record in taken.records] == ["2.jpg", "0.jpg"]
    assert taken.weight_of([0, 1]).tolist() == [3.0, 1.0]
    assert taken.rows("train") == [0, 1]


@pytest.mark.parametrize(
    ("paths", "given", "names"),
    [
        (["data/coco/dataset.jsonl"], [None], ("coco",)),
        (["a/coco/d.jsonl", "b/coco/d.jsonl"], [None, None], ("coco", "coco-2")),
        (["a/coco/d.jsonl", "b/x/d.jsonl"], [None, "coco"], ("coco-2", "coco")),
        (["toy", "d.jsonl"], [None, None], ("toy", "d")),
    ],
)
def test_names(paths: list[str], given: list[str | None], names: tuple[str, ...]) -> None:
    assert name_sets(paths, given) == names


def test_two_sets_of_the_same_name_are_refused() -> None:
    with pytest.raises(DataError, match="two data sets 'mine'"):
        name_sets(["a/d.jsonl", "b/d.jsonl"], ["mine", "mine"])


def test_an_image_in_both_splits_is_refused() -> None:
    check_apart(mixture("train", "val"))
    check_apart(mixture("train", "train", same_file=True))
    with pytest.raises(DataError, match=r"a\.jpg: a training image of set0 and a validation"):
        check_apart(mixture("train", "val", same_file=True))
