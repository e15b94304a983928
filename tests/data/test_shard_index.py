"""The index beside shards, and patterns that are looked up in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from showattend.data.shard_index import FORMAT, read_index, to_json
from showattend.exceptions import DataError


def entry(name: str, split: str = "train", **changes: Any) -> dict[str, Any]:
    values = {"name": name, "split": split, "images": 5, "captions": 9, "sha256": "a"}
    return values | {"bytes": 10_240} | changes


def write(folder: Path, *entries: dict[str, Any], **changes: Any) -> str:
    content = to_json(entries, {"dog": 2, "a": 9}, None) | changes
    (folder / "index.json").write_text(json.dumps(content))
    return str(folder)


def test_patterns_name_shards_of_the_index(tmp_path: Path) -> None:
    names = [f"train-{i}.tar" for i in range(3)]
    folder = write(tmp_path, *map(entry, names), entry("val-0.tar", "val"))
    index = read_index(f"{folder}/*.tar")
    assert [shard.place for shard in index.shards] == [f"{folder}/{n}" for n in names] + [
        f"{folder}/val-0.tar"
    ]
    assert [len(index.of(split)) for split in ("train", "val", "test")] == [3, 1, 0]
    assert index.words == {"a": 9, "dog": 2}
    some = read_index(f"{folder}/{{train-{{1..2}},val-*}}.tar")
    assert [Path(shard.place).name for shard in some.shards] == [*names[1:], "val-0.tar"]
    values = json.loads((tmp_path / "index.json").read_bytes())
    assert (values["format"], values["images"]) == (FORMAT, {"train": 15, "val": 5})


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("{0}/train-{{1..7}}.tar", r"train-3\.tar: no such shard in .*index\.json, which lists 3"),
        ("{0}/other-*.tar", r"other-\*\.tar: no such shard"),
        ("{0}/none/*.tar", r"no readable index\.json next to the shards.*--shards.*no such file"),
        ("{0}/{{a,b}}/*.tar", "in several folders"),
        ("{0}/*/train-0.tar", "in several folders"),
    ],
)
def test_what_a_pattern_does_not_find_is_named(pattern: str, reason: str, tmp_path: Path) -> None:
    folder = write(tmp_path, *(entry(f"train-{i}.tar") for i in range(3)))
    with pytest.raises(DataError, match=reason) as caught:
        read_index(pattern.format(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "changes", "reason"),
    [
        ([entry("a.tar", "dev")], {}, "a.tar: the split 'dev'; use one of train, val, test"),
        ([entry("a.tar", images=0)], {}, "a.tar: its counts"),
        ([entry("a.tar", bytes="10")], {}, "a.tar: its counts"),
        ([entry("a.tar", images=10**12)], {}, "000,000 images and 9 captions in 10,240"),
        ([entry("../a.tar")], {}, r"'\.\./a\.tar' is not that of a file in this folder"),
        ([entry("a\n.tar")], {}, "is not that of a file in this folder"),
        ([entry("a.tar", sha256=3)], {}, "a digest is not text"),
        ([entry("a.tar")], {"format": "other"}, "its format is not"),
        ([entry("a.tar")], {"training words": {"a": "x"}}, "training words"),
        ([entry("a.tar")], {"training words": [1]}, "damaged"),
        ([entry("a.tar")], {"features": 3}, "features"),
        ([], {}, "lists no shards"),
        ([entry("a.tar")], {"shards": 3}, "damaged"),
    ],
)
def test_a_damaged_index_is_refused(
    entries: list[dict[str, Any]], changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    for each in entries:
        each.setdefault("captions", 1)
    content = {
        "format": FORMAT, "features": None, "shards": entries, "training words": {"a": 1}, **changes
    }  # fmt: skip
    (tmp_path / "index.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=reason) as caught:
        read_index(f"{tmp_path}/*.tar")
    assert "index.json" in str(caught.value)
    assert "\n" not in str(caught.value)
