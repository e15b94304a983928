"""Writing shards: what is in them, the same files every time, going on after an interruption."""

from __future__ import annotations

import gc
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from showattend.data import shard_writer
from showattend.data.prepare import Sharding, prepare
from showattend.data.shard_index import read_index
from showattend.data.shard_writer import extension_of, write_shards
from showattend.data.shards import read
from showattend.exceptions import DataError
from showattend.images.photo_file import PhotoFile
from tests.data.sharded import photographs


class Numbers:
    """Stands for an encoder: the mean of the file's bytes, and one image that needs float32."""

    def __init__(self, name: str = "mean") -> None:
        self.recipe: dict[str, Any] = {"encoder": name}

    def encode(self, photos: Sequence[PhotoFile]) -> list[np.ndarray]:
        values = [np.frombuffer(photo.open("rb").read(), np.uint8).mean() for photo in photos]
        return [np.full((1, 2, 3), value, np.float16) for value in values]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_shard_has_the_images_as_they_are(tmp_path: Path) -> None:
    records = photographs(tmp_path / "images", {"train": 7, "val": 3})
    counts = write_shards(records, tmp_path / "shards", size=3, features=Numbers())
    assert counts == {"train": 3, "val": 1}
    index = read_index(f"{tmp_path}/shards/*.tar")
    samples = [sample for shard in index.shards for sample in read(shard.place)]
    assert len({sample.key for sample in samples}) == 10
    by_id = {record.image_id: record for record in records}
    for sample in samples:
        record = by_id.pop(sample.values["image_id"])
        assert sample.image == record.path.read_bytes()
        assert sample.values["captions"] == list(record.captions)
        assert (sample.values["split"], sample.values["image"]) == (record.split, record.path.name)
        assert sample.extension == "jpg"
        assert "." not in sample.key
        assert sample.other.keys() == {"npy"}
    assert not by_id
    assert index.features == {"encoder": "mean"}
    for shard in index.shards:
        assert Path(shard.place).stat().st_size == shard.size
    training = [sample.values["image_id"] for sample in samples[:7]]
    assert training != sorted(training)  # in random order


def test_words_are_those_of_training_captions(tmp_path: Path) -> None:
    records = photographs(tmp_path / "images", {"train": 2, "val": 2, "test": 1})
    write_shards(records, tmp_path / "shards")
    words = read_index(f"{tmp_path}/shards/*.tar").words
    assert words["a"] == words["and"] == 4
    assert words["train1"] == 2
    assert not {"val0", "val1", "test0"} & words.keys()


def test_the_same_records_give_the_same_files(tmp_path: Path) -> None:
    records = photographs(tmp_path / "images", {"train": 5, "val": 2})
    for name in ("one", "two"):
        write_shards(records, tmp_path / name, size=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    before = (tmp_path / "one/train-000000.tar").stat().st_mtime_ns
    write_shards(records, tmp_path / "one", size=2)
    assert (tmp_path / "one/train-000000.tar").stat().st_mtime_ns == before


def test_an_interrupted_call_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = photographs(tmp_path / "images", {"train": 7, "val": 2})
    write_shards(records, tmp_path / "whole", size=2)
    folder, written = tmp_path / "broken", []
    add = shard_writer._add

    def stop(tar: tarfile.TarFile, members: Any, features: Any) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(members)
        add(tar, members, features)

    monkeypatch.setattr(shard_writer, "_add", stop)
    with pytest.raises(KeyboardInterrupt):
        write_shards(records, folder, size=2)
    assert sorted(path.name for path in folder.iterdir()) == [
        "train-000000.tar", "train-000001.tar", "unfinished.json",
    ]  # fmt: skip
    with pytest.raises(DataError, match="if interrupted"):
        read_index(f"{folder}/*.tar")
    monkeypatch.setattr(shard_writer, "_add", add)
    before = (folder / "train-000001.tar").stat().st_ino
    (folder / ".train-000002.tar.00000000.part").write_bytes(b"half")  # of a killed process
    os.utime(folder / ".train-000002.tar.00000000.part", (0, 0))
    write_shards(records, folder, size=2)
    assert (folder / "train-000001.tar").stat().st_ino == before
    assert content(folder) == content(tmp_path / "whole")


def test_only_what_has_changed_is_written_again(tmp_path: Path) -> None:
    records = photographs(tmp_path / "images", {"train": 6, "val": 4})
    folder = tmp_path / "shards"
    write_shards(records, folder, size=2)
    before = {path.name: path.stat().st_ino for path in folder.glob("*.tar")}
    val = [i for i, record in enumerate(records) if record.split == "val"]
    records[val[0]] = replace(records[val[0]], captions=("another dog",))
    write_shards(records[:-1], folder, size=2)  # the last shard loses an image
    after = {path.name: path.stat().st_ino for path in folder.glob("*.tar")}
    assert {name for name in after if after[name] != before[name]} == {
        "val-000000.tar", "val-000001.tar",
    }  # fmt: skip
    write_shards(records[:-2], folder, size=2)
    assert not (folder / "val-000001.tar").exists()
    assert len(list(read(str(folder / "val-000000.tar")))) == 2
    write_shards(records[:-2], folder, size=2, features=Numbers())
    assert all("npy" in sample.other for sample in read(str(folder / "train-000000.tar")))


def test_a_missing_shard_is_written_again(tmp_path: Path) -> None:
    records = photographs(tmp_path / "images", {"train": 4})
    write_shards(records, tmp_path / "shards", size=2)
    before = content(tmp_path / "shards")
    (tmp_path / "shards/train-000001.tar").write_bytes(b"cut")
    write_shards(records, tmp_path / "shards", size=2)
    assert content(tmp_path / "shards") == before


def test_what_others_have_written_is_kept(tmp_path: Path) -> None:
    records = photographs(tmp_path / "images", {"train": 1})
    for name, text in (("other.tar", "x"), ("index.json", '{"format": "mine"}')):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_text(text)
        with pytest.raises(DataError, match=r"not written by prepare; choose another folder"):
            write_shards(records, folder)
        assert content(folder) == {name: text.encode()}
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_shards(records, tmp_path / "file")
    records[0].path.unlink()
    with pytest.raises(DataError, match=r"train000\.jpg: cannot be read"):
        write_shards(records, tmp_path / "shards")
    with pytest.raises(DataError, match="--shard-size is 0"):
        write_shards(records, tmp_path / "shards", size=0)


def test_an_image_is_named_after_its_content() -> None:
    assert extension_of(b"\xff\xd8\xff\xe0", Path("x.png")) == "jpg"
    assert extension_of(b"RIFF", Path("x.WebP")) == "webp"
    assert extension_of(b"....", Path("x")) == extension_of(b"....", Path("x.json")) == "img"


def test_prepare_writes_them_and_says_so(tmp_path: Path) -> None:
    records = photographs(tmp_path / "images", {"train": 3, "val": 1})
    folder = tmp_path / "my shards"
    report = prepare(records, tmp_path / "out", shards=Sharding(folder, 2))
    line = next(line for line in report.lines() if line.startswith("shards:"))
    assert f"2 train, 1 val in {folder}; train with 'data.path={folder}/*.tar'" in line
    assert len(read_index(f"{folder}/*.tar").shards) == 3
    assert "shards" not in json.loads((tmp_path / "out/report.json").read_text())


@pytest.mark.filterwarnings("ignore")  # the library leaves files open
def test_webdataset_reads_them(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    records = photographs(tmp_path / "images", {"train": 5})
    write_shards(records, tmp_path / "shards", size=3, features=Numbers())
    names = f"{tmp_path}/shards/train-{{000000..000001}}.tar"
    samples = list(webdataset.WebDataset(names, shardshuffle=False).decode("rgb8"))
    assert len(samples) == 5
    for sample in samples:
        assert sample["jpg"].shape == (16, 16, 3)
        assert len(sample["json"]["captions"]) == 2
        assert sample["npy"].shape == (1, 2, 3)
    gc.collect()
