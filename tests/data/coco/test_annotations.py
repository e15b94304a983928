"""COCO's annotations, and the choice of a subset."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showattend.data.coco.annotations import Entry, choose, images_with, read_entries
from showattend.exceptions import DataError
from tests.data.server import Coco

COCO = Coco(train=12, val=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in COCO.annotations.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "dataset_coco.json").write_text(json.dumps(COCO.karpathy()))
    return tmp_path


def captions(path: Path, *images: dict[str, Any]) -> Path:
    path.write_text(json.dumps(COCO.captions(list(images))))
    return path


# Reading ---------------------------------------------------------------------------------------


def test_official_files_keep_their_splits(folder: Path) -> None:
    paths = [folder / f"captions_{split}2014.json" for split in ("train", "val")]
    entries, kind = read_entries(paths, None, True)
    assert kind == "official"
    assert [entry.split for entry in entries] == ["train"] * 12 + ["val"] * 8
    name = "COCO_train2014_000000000001.jpg"
    words = tuple(f"A dog runs {i}." for i in range(5))
    assert entries[0] == Entry(1, name, words, "train", f"train2014/{name}")


@pytest.mark.parametrize(("restval", "train"), [(True, 16), (False, 12)])
def test_karpathy(folder: Path, restval: bool, train: int) -> None:
    entries, kind = read_entries([folder / "dataset_coco.json"], None, restval)
    assert kind == "karpathy"
    assert Counter(entry.split for entry in entries) == {"train": train, "val": 2, "test": 2}
    (test,) = (entry for entry in entries if entry.image_id == 1004)
    assert test.split == "test"
    assert test.remote == "val2014/COCO_val2014_000000001004.jpg"


@pytest.mark.parametrize(
    ("file", "image", "remote"),
    [
        ("mine.json", {"file_name": "COCO_val2014_000000000042.jpg"}, "val2014/COCO_val2014_{}"),
        ("captions_val2017.json", {"file_name": "000000000042.jpg"}, "val2017/{}"),
        ("mine.json", {"file_name": "000000000042.jpg"}, None),
        ("captions_val2017.json", {"file_name": "beach.jpg"}, None),
        (
            "mine_val.json",
            {"file_name": "x.jpg", "coco_url": "http://images.cocodataset.org/train2017/x.jpg"},
            "train2017/x.jpg",
        ),
        ("mine.json", {"file_name": "x.jpg", "coco_url": None}, None),
        ("mine.json", {"file_name": "x.jpg", "coco_url": "http://[x"}, None),
        (
            "mine.json",
            {"file_name": "COCO_val2014_000000000042.jpg", "coco_url": "http://[x"},
            "val2014/COCO_val2014_{}",
        ),
    ],
)
def test_paths_on_the_server(
    tmp_path: Path, file: str, image: dict[str, Any], remote: str | None
) -> None:
    ((entry,), _) = read_entries([captions(tmp_path / file, {"id": 42} | image)], None, True)
    assert entry.remote == (remote and remote.format("000000000042.jpg"))


@pytest.mark.parametrize(
    "image",
    [
        {"file_name": "../../bin/a.jpg"},
        {"file_name": "/bin/a.jpg"},
        {"file_name": "..\\a.jpg"},
        {"file_name": "a.jpg", "coco_url": "http://x/train2014/../../a.jpg"},
    ],
)
def test_names_outside_the_folder_are_refused(tmp_path: Path, image: dict[str, Any]) -> None:
    path = captions(tmp_path / "captions.json", {"id": 1} | image)
    with pytest.raises(DataError, match="outside the image folder"):
        read_entries([path], None, True)


def test_files_of_different_kinds_are_refused(folder: Path) -> None:
    official, karpathy = folder / "captions_train2014.json", folder / "dataset_coco.json"
    for paths, kind, message in (
        ([official], "karpathy", r"train2014\.json: --split karpathy needs dataset_coco\.json"),
        ([karpathy], "official", r"--split official needs COCO's captions_"),
        ([official, karpathy], None, "not both"),
        ([karpathy, karpathy], None, "not both"),
        ([official, official], None, "two images with the id 1"),
        ([folder / "instances_train2014.json"], None, "object instances, not captions"),
        ([folder / "none.json"], None, "no such file"),
    ):
        with pytest.raises(DataError, match=message):
            read_entries(paths, kind, True)


# Choosing --------------------------------------------------------------------------------------


def test_categories_are_any_of_them(folder: Path) -> None:
    paths = [folder / f"instances_{split}2014.json" for split in ("train", "val")]
    ids = [*range(1, 13), *range(1001, 1009)]
    assert images_with(["dog"], paths) == {i for i in ids if i % 2 == 0}
    assert images_with(["dog", " Frisbee"], paths) == {i for i in ids if not i % 2 or not i % 3}
    with pytest.raises(DataError, match="no category 'dogs'; did you mean 'dog'"):
        images_with(["dogs"], paths)
    with pytest.raises(DataError, match="no category 'xyz'; there are dog, frisbee, person"):
        images_with(["xyz"], paths)
    with pytest.raises(DataError, match="is not a COCO instances file"):
        images_with(["dog"], [folder / "captions_train2014.json"])


def entries(**counts: int) -> list[Entry]:
    splits = [split for split, count in counts.items() for _ in range(count)]
    return [Entry(i, f"{i}.jpg", ("A.",), split, None) for i, split in enumerate(splits)]


def test_every_split_keeps_its_share() -> None:
    karpathy = entries(train=1132, val=50, test=50)
    for count, expected in (
        (123, {"train": 113, "val": 5, "test": 5}),
        (4, {"train": 2, "val": 1, "test": 1}),
        (3, {"train": 1, "val": 1, "test": 1}),
        (1, {"train": 1}),
        (1232, {"train": 1132, "val": 50, "test": 50}),
        (None, {"train": 1132, "val": 50, "test": 50}),
        (9999, {"train": 1132, "val": 50, "test": 50}),
    ):
        assert Counter(each.split for each in choose(karpathy, count, 0)) == expected


def test_the_selection_depends_on_the_seed_alone() -> None:
    pool = entries(train=80, val=40)
    drawn = choose(pool, 30, seed=1)
    assert drawn == [each for each in pool if each in drawn]  # in the order given
    assert choose(pool[::-1], 30, seed=1) == drawn[::-1]
    assert choose(pool, 30, seed=2) != drawn
    assert set(drawn) < set(choose(pool, 60, seed=1))
    assert [each.image_id for each in choose(pool, 6, seed=0)] == [15, 44, 46, 76, 87, 99]


@given(st.integers(1, 60), st.integers(0, 40), st.integers(0, 40), st.integers(1, 150))
def test_the_number_of_images_is_exact(train: int, val: int, test: int, count: int) -> None:
    pool = entries(train=train, val=val, test=test)
    drawn = choose(pool, count, seed=0)
    assert len(drawn) == len(set(drawn)) == min(count, len(pool))
    if count >= 3:
        assert {each.split for each in drawn} == {each.split for each in pool}


def test_ids_with_half_a_character_are_drawn_like_others() -> None:
    entries = [Entry(name, f"{i}.jpg", ("a",), "train", None) for i, name in enumerate("ab\ud800")]
    assert len(choose(entries, 2, 0)) == 2
