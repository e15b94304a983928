"""Open shards: any sample, here or elsewhere, and what is wrong with a shard in one line."""

from __future__ import annotations

import errno
import gc
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from showattend.data import shard_files
from showattend.data.shard_files import FEATURES, IMAGE, OpenShard, ShardFiles
from showattend.data.shard_index import Shard, read_index
from showattend.data.shard_writer import write_shards
from showattend.data.shards import read
from showattend.exceptions import DataError
from tests.data.server import Server
from tests.data.sharded import photographs
from tests.data.test_shard_writer import Numbers

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_files.time, "sleep", lambda _: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    records = photographs(tmp_path / "images", {"train": 5, "val": 2})
    write_shards(records, tmp_path / "shards", size=3, features=Numbers())
    return tmp_path / "shards"


def shards(folder: Path | str) -> tuple[Shard, ...]:
    return read_index(f"{folder}/*.tar").shards


def in_memory(folder: Path, name: str) -> str:
    system = fsspec.filesystem("memory")
    for path in folder.iterdir():
        system.pipe(f"/{name}/{path.name}", path.read_bytes())
    return f"memory://{name}"


def test_any_sample_here_and_elsewhere(folder: Path, tmp_path: Path, web: str) -> None:
    remote = in_memory(folder, "any")
    for place in (str(folder), remote, f"file://{folder}", f"{web}/shards"):
        for shard in shards(place):
            opened = OpenShard(shard, tmp_path / "copies")
            samples = list(read(shard.place))
            assert len(samples) == shard.images
            for row, sample in reversed(list(enumerate(samples))):
                assert opened.image(row) == opened.read(row, IMAGE) == sample.image
                assert opened.values(row) == sample.values
                mean = np.frombuffer(sample.image or b"", np.uint8).mean()
                assert opened.features(row).tolist() == [[[np.float16(mean)] * 3] * 2]
    assert list((tmp_path / "copies").iterdir()) == []  # they have no names


def test_what_is_not_stored_is_named(tmp_path: Path) -> None:
    records = photographs(tmp_path / "images", {"train": 1})
    write_shards(records, tmp_path / "shards")
    opened = OpenShard(shards(tmp_path / "shards")[0])
    assert opened.read(0, FEATURES) is None
    with pytest.raises(DataError, match=r"train-000000\.tar: the shard is damaged .*features of s"):
        opened.features(0)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 255  # within the first header
    path.write_bytes(content)


def more(path: Path) -> None:
    index = json.loads((path.parent / "index.json").read_bytes())
    for each in index["shards"]:
        each["images"] += each["name"] == path.name
    (path.parent / "index.json").write_text(json.dumps(index))


def swap(path: Path) -> None:
    shutil.copy(path.parent / "val-000000.tar", path)


@pytest.mark.parametrize(
    ("damage", "here", "there"),
    [
        (cut, r"has 5,000 bytes, its index says [\d,]+; copy it again", "is not the shard that"),
        (flip, "the shard is damaged", "is not the shard that its index describes"),
        (more, "holds 3 samples, its index says 4; copy it again", "holds 3 samples"),
        (swap, "(has|holds) .* its index says", "is not the shard that its index describes"),
        (Path.unlink, "there is no such file", "there is no such file"),
    ],
)
def test_a_damaged_shard_is_named(
    damage: Callable[[Path], Any], here: str, there: str, folder: Path
) -> None:
    damage(folder / "train-000000.tar")
    name = f"damaged-{damage.__name__}"
    for place, reason in ((str(folder), here), (in_memory(folder, name), there)):
        with pytest.raises(DataError, match=rf"train-000000\.tar: {reason}") as caught:
            OpenShard(shards(place)[0])
        assert "\n" not in str(caught.value)


def test_broken_captions_are_named(tmp_path: Path) -> None:
    from tests.data.test_shards import write_tar

    good = {"captions": ["a dog"], "image_id": 3, "image": "a.jpg"}
    broken = [b"{", b"[]", b"[" * 100_000]
    for key, values in (
        ("captions", [[], [3], "a dog", {"a dog": 1}, None, 3, [["a dog"]]]),
        ("image_id", [[3], {}, None, True, 1.5]),
        ("image", [3, ["a.jpg"], None]),
    ):
        broken += [json.dumps(good | {key: each}).encode() for each in values]
    for text in broken:
        write_tar(tmp_path / "a.tar", {"0.jpg": b"x", "0.json": text})
        shard = Shard(
            str(tmp_path / "a.tar"), "train", 1, 1, (tmp_path / "a.tar").stat().st_size, ""
        )
        with pytest.raises(DataError, match=r"a\.tar: the shard is damaged \(sample 0"):
            OpenShard(shard).values(0)
    write_tar(tmp_path / "a.tar", {"0.jpg": b"x", "0.json": json.dumps(good).encode()})
    size = (tmp_path / "a.tar").stat().st_size
    assert OpenShard(replace(shard, size=size)).values(0) == good
    write_tar(tmp_path / "a.tar", {"0.json": b"{}"})
    shard = replace(shard, size=(tmp_path / "a.tar").stat().st_size)
    with pytest.raises(DataError, match="sample 0 has no image"):
        OpenShard(shard).image(0)


def test_a_connection_that_breaks_is_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote, calls = in_memory(folder, "breaks"), []
    opened = shard_files.open_stream

    def breaks(place: str) -> Any:
        calls.append(place)
        if len(calls) < shard_files.TRIES:
            raise ConnectionResetError("gone")
        return opened(place)

    monkeypatch.setattr(shard_files, "open_stream", breaks)
    assert OpenShard(shards(remote)[0]).image(0)
    assert len(calls) == shard_files.TRIES
    calls.clear()
    monkeypatch.setattr(shard_files, "TRIES", 1)
    monkeypatch.setattr(shard_files, "open_stream", lambda _: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(DataError, match=r"train-000000\.tar: cannot be read \(no\)"):
        OpenShard(shards(remote)[0])


def test_an_endless_shard_is_read_to_its_length(folder: Path, server: Server) -> None:
    server.files = {f"/{path.name}": path.read_bytes() for path in folder.iterdir()}
    shard = shards(server.url)[0]
    assert OpenShard(shard).image(0)
    server.endless.add("/train-000000.tar")
    server.log.clear()
    with pytest.raises(DataError, match=r"has more than [\d,]+ bytes, its index says [\d,]+; copy"):
        OpenShard(shard)
    assert len(server.asked("/train-000000.tar")) == 1


def test_an_index_that_claims_a_petabyte(folder: Path) -> None:
    """No copy is begun, and no table of its samples made."""
    huge = 1 << 44
    remote = in_memory(folder, "huge")
    index = json.loads((folder / "index.json").read_bytes())
    index["shards"][0] |= {"bytes": huge, "images": huge >> 9}
    fsspec.filesystem("memory").pipe("/huge/index.json", json.dumps(index).encode())
    with pytest.raises(DataError, match=r"cannot hold a copy of a shard \(it needs 17,592,186 MB"):
        OpenShard(shards(remote)[0])
    index["shards"][0] |= {"bytes": 10_000_000, "images": 10_000_000 >> 9}
    fsspec.filesystem("memory").pipe("/huge/index.json", json.dumps(index).encode())
    with pytest.raises(DataError, match=r"has [\d,]+ bytes, its index says 10,000,000"):
        OpenShard(shards(remote)[0])


def test_a_disk_that_fills_is_not_a_shard_that_cannot_be_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote, made = in_memory(folder, "full"), []

    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def temporary(**_: object) -> Full:
        made.append(Full())
        return made[-1]

    monkeypatch.setattr(shard_files.tempfile, "TemporaryFile", temporary)
    where = tmp_path / "copies"
    with pytest.raises(DataError, match=f"{where}: cannot hold a copy of a shard .No space left"):
        OpenShard(shards(remote)[0], where)
    assert [each.closed for each in made] == [True]  # tried once


def open_files() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def little_to_collect() -> Iterator[None]:
    """Collecting garbage looks at what the test makes, not at all that was imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.usefixtures("little_to_collect")
def test_what_is_no_longer_wanted_is_closed(folder: Path) -> None:
    before = open_files()
    files = ShardFiles(shards(folder))
    files.want([0, 1])
    first = files.get(0)
    files.get(1)
    assert open_files() == before + 2
    files.want([2])
    assert first.image(0)  # still in use
    files.get(2)
    assert open_files() == before + 2
    del first
    assert open_files() == before + 1
    files.want([])
    assert open_files() == before
    for number, left in ((0, {0}), (1, {0, 1}), (2, {1, 2}), (1, {1, 2}), (0, {2, 0})):
        files.also([number], most=2)
        files.get(number)
        assert files._open.keys() == left
        assert open_files() == before + len(left)
