"""Writing shards: what is in them, the same files every time, going on after an interruption."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from showattend.data import shard_writer
from showattend.data.prepare import Sharding, prepare
from showattend.data.shard_index import FORMAT, read_index
from showattend.data.shard_writer import extension_of, write_shards
from showattend.data.shards import read
from showattend.exceptions import DataError
from showattend.images.photo_file import PhotoFile
from showattend.system import files
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


INDEX_OF_OURS = {"format": FORMAT, "shards": [{"name": "train-000007.tar"}]}
STRANGERS = {
    "another name": {"other.tar": "x"},
    "WebDataset's usual name": {"train-000000.tar": "x"},
    "a name of ours that is not wanted": {"val-000003.tar": "x"},
    "another index": {"index.json": '{"format": "mine"}'},
    "an index of WebDataset": {"index.json": '{"__kind__": "wids-shard-index-v1"}'},
    "another journal": {"unfinished.json": "[]"},
    "a broken index": {"index.json": "["},
    "deep nesting": {"index.json": "[" * 100_000},
    "an index of names that are none": {
        "index.json": json.dumps({"format": FORMAT, "shards": [{"name": 3}]})
    },
    "a plan that is none": {
        "unfinished.json": json.dumps({"format": FORMAT, "shards": [], "planned": 3})
    },
    "beside an index of ours": {
        "index.json": json.dumps(INDEX_OF_OURS), "train-000007.tar": "x", "train-000000.tar": "y"
    },
    "beside a journal of ours": {
        "unfinished.json": json.dumps(INDEX_OF_OURS | {"planned": ["val-000000.tar"]}),
        "train-000000.tar": "y",
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", STRANGERS)
def test_what_others_have_written_is_kept(kind: str, tmp_path: Path) -> None:
    records = photographs(tmp_path / "images", {"train": 1})
    folder = tmp_path / "shards"
    folder.mkdir()
    for name, text in STRANGERS[kind].items():
        (folder / name).write_text(text)
    before = content(folder)
    with pytest.raises(
        DataError, match=r"not written by prepare.*; choose another folder"
    ) as found:
        write_shards(records, folder)
    assert content(folder) == before
    assert "\n" not in str(found.value)
    write_shards(records, tmp_path / "another")  # as it says


def test_a_name_outside_the_folder_is_never_removed(tmp_path: Path) -> None:
    records = photographs(tmp_path / "images", {"train": 1})
    folder = tmp_path / "shards"
    folder.mkdir()
    names = ["../train-000009.tar", "mine.tar", "train-000009.tar", "train-000008.tar"]
    index = {"format": FORMAT, "shards": [{"name": name} for name in names]}
    (folder / "index.json").write_text(json.dumps(index))
    for name in (*names[:3], "mine.txt"):
        (folder / name).write_text("x")
    write_shards(records, folder)
    assert (tmp_path / "train-000009.tar").exists()
    assert content(folder).keys() == {"train-000000.tar", "index.json", "mine.tar", "mine.txt"}


@pytest.mark.parametrize("journal", ["new", "old"])
def test_a_journal_of_an_earlier_version_is_continued(journal: str, tmp_path: Path) -> None:
    """Killed between a shard and the note of it; only new journals say what was to come."""
    records = photographs(tmp_path / "images", {"train": 5})
    folder = tmp_path / "shards"
    write_shards(records, tmp_path / "whole", size=2)
    folder.mkdir()
    (folder / "train-000000.tar").write_bytes(b"whatever")
    (folder / "train-000007.tar").write_bytes(b"of a larger set")
    values: dict[str, Any] = {"format": FORMAT, "shards": []}
    if journal == "new":
        values["planned"] = ["train-000000.tar", "train-000007.tar"]
    (folder / "unfinished.json").write_text(json.dumps(values))
    write_shards(records, folder, size=2)
    assert content(folder) == content(tmp_path / "whole")


@pytest.mark.parametrize("stop", ["write_bytes", "unlink", "_write", "remove_stale"])
@pytest.mark.parametrize("call", [0, 1, 3])
def test_whatever_moment_a_kill_comes_at(
    stop: str, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A larger set is replaced by a smaller one; a second attempt ends as if there was no kill."""
    records = photographs(tmp_path / "images", {"train": 6, "val": 2})
    folder = tmp_path / "shards"
    write_shards(records, folder, size=2)
    smaller = records[2:]
    write_shards(smaller, tmp_path / "whole", size=2)
    calls = []
    holder: Any = Path if stop == "unlink" else shard_writer
    real = getattr(holder, stop)

    def killed(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == call + 1:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(holder, stop, killed)
    for name in ("train-000001.tar", "index.json", "unfinished.json"):
        stale = folder / f".{name}.00000000.part"  # of a process killed some days ago
        stale.write_bytes(b"half")
        os.utime(stale, (0, 0))
    with contextlib.suppress(KeyboardInterrupt):  # where there are fewer calls
        write_shards(smaller, folder, size=2)
    monkeypatch.setattr(holder, stop, real)
    write_shards(smaller, folder, size=2)
    assert content(folder) == content(tmp_path / "whole")


def test_no_room_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = photographs(tmp_path / "images", {"train": 4})
    folder = tmp_path / "shards"
    write_shards(records, folder, size=2)
    before = content(folder)
    with monkeypatch.context() as patch:
        patch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
        write_shards(records, folder, size=2)  # nothing to write
        with pytest.raises(
            DataError, match=r"shards: cannot be written \(it needs .* the disk has"
        ):
            write_shards(records, folder, size=3)
    assert content(folder) == before


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    records = photographs(tmp_path / "images", {"train": 1})
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
