"""Places and patterns of shards, and reading them from a disk, a web server and through fsspec."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from showattend.data import shards
from showattend.data.shard_files import OpenShard
from showattend.data.shard_index import Shard, read_index
from showattend.data.shard_writer import write_shards
from showattend.data.shards import expand, folder_of, members, read, split_name
from showattend.exceptions import DataError
from showattend.system import unpacking
from showattend.system.addresses import read_bytes
from tests.data.sharded import photographs


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


MEMBERS = {
    "000.jpg": b"\xff\xd8 one",
    "000.json": b'{"captions": ["a dog"]}',
    "000.npy": b"numbers",
    "sub/001.x.png": b"two",
    "sub/001.json": b"{}",
    "002.json": b'{"captions": []}',
}


def test_ranges_and_choices_are_expanded_in_order() -> None:
    assert expand("d/{train,val}-{008..010}.tar") == [
        f"d/{split}-{number}.tar" for split in ("train", "val") for number in ("008", "009", "010")
    ]
    assert expand("s3://b/{0..2}.tar") == ["s3://b/0.tar", "s3://b/1.tar", "s3://b/2.tar"]
    assert folder_of("s3://b/c/{0..2}.tar") == "s3://b/c/"
    assert folder_of("x.tar") == ""
    with pytest.raises(DataError, match="must run upwards"):
        expand("d/{5..1}.tar")


def test_samples_are_members_of_one_name(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", MEMBERS)
    first, second, third = read(str(tmp_path / "a.tar"))
    assert (first.key, first.image, first.extension) == ("000", b"\xff\xd8 one", "jpg")
    assert first.values == {"captions": ["a dog"]}
    assert first.other == {"npy": b"numbers"}
    assert (second.key, second.image, second.extension) == ("sub/001", b"two", "x.png")
    assert third.image is None
    assert split_name("a.b/c.tar.gz") == ("a.b/c", "tar.gz")


def test_the_same_samples_from_every_place(tmp_path: Path, web: str) -> None:
    fsspec = pytest.importorskip("fsspec")
    for name in ("a-0.tar", "a-1.tar"):
        write_tar(tmp_path / name, MEMBERS)
        fsspec.filesystem("memory").pipe(f"/shards/{name}", (tmp_path / name).read_bytes())
    here = [s.values for s in read(str(tmp_path / "a-0.tar"))]
    patterns = (f"{tmp_path}/*.tar", f"file://{tmp_path}/a-?.tar", "memory://shards/*.tar")
    for pattern in (*patterns, f"{web}/a-{{0..1}}.tar"):
        places = expand(pattern)
        assert len(places) == 2, pattern
        assert [s.values for s in read(places[1])] == here, pattern
    with pytest.raises(DataError, match=r"cannot list its files.*000000\.\.000012"):
        expand(f"{web}/*.tar")
    index = {"shards": [{"name": "a-0.tar"}, {"name": "a-1.tar"}, {"name": "b.tar"}]}
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert expand(f"{web}/a-*.tar") == [f"{web}/a-0.tar", f"{web}/a-1.tar"]


@pytest.mark.parametrize("cut", [400, 700, 1600])
def test_a_damaged_shard_is_named(cut: int, tmp_path: Path) -> None:
    whole, path = tmp_path / "a.tar", tmp_path / "cut.tar"
    write_tar(whole, MEMBERS)
    path.write_bytes(whole.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"cut\.tar: the shard is damaged") as caught:
        list(read(str(path)))
    assert "\n" not in str(caught.value)


def _header(content: bytes, **fields: tuple[int, bytes]) -> bytes:
    """The first header of a tar file with other fields, and the checksum of these."""
    changed = bytearray(content)
    for start, value in (*fields.values(), (148, b" " * 8)):
        changed[start : start + len(value)] = value
    changed[148:156] = b"%06o\0 " % sum(changed[:512])
    return bytes(changed)


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(lambda tar: tar[:1024] + b"x" * 512 + tar[1536:], id="a header of noise"),
        pytest.param(
            lambda tar: _header(tar, size=(124, b"\xff" * 10 + b"\xf8\x00")), id="a negative size"
        ),
        pytest.param(
            lambda tar: _header(tar, size=(124, b"\x80" + b"\x7f" * 11)), id="an enormous size"
        ),
        pytest.param(
            lambda tar: _header(tar, size=(124, b"77777777777\0"), kind=(156, b"x")),
            id="a record of eight gigabytes",
        ),
    ],
)
def test_a_hostile_shard_is_named_in_both_ways_of_reading(
    hostile: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "a.tar"
    write_tar(path, MEMBERS)
    content = hostile(path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tar: (the shard is damaged|000\.jpg has 154,)"):
        list(read(str(path)))
    with pytest.raises(DataError, match=r"a\.tar: the shard is damaged"):
        OpenShard(Shard(str(path), "train", 3, 2, len(content), ""))


def _tar(members: dict[str, bytes], **options: Any) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **options) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def _with_holes() -> bytes:
    """A file of a terabyte in 512 bytes, as GNU tar stores it."""
    terabyte = 1 << 40
    content = bytearray(_header(_tar({"a.jpg": b"x" * 512}), kind=(156, b"S")))
    holes = b"%011o\0%011o\0" % (0, 512)
    size = b"\x80" + terabyte.to_bytes(11, "big")
    return _header(bytes(content), holes=(386, holes), real=(483, size))


def _pax_holes() -> bytes:
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9" * 13}
    return _tar({"a.jpg": b"9\n" * 256}, format=tarfile.PAX_FORMAT, pax_headers=headers)


def _records() -> bytes:
    """Records for all that follows, each with another name."""
    parts = []
    for number in range(9):
        headers = {f"name{number}": "x" * 40_000}
        parts.append(_tar({}, format=tarfile.PAX_FORMAT, pax_headers=headers).rstrip(b"\0"))
        parts.append(bytes(-len(parts[-1]) % 512))
    return b"".join(parts) + _tar({"a.jpg": b"x"})


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(
            lambda: _tar({"a.jpg": bytes(3_000_000)}),
            r"a\.jpg has 3,000,000 bytes; in a shard it may have 1,000,000",
            id="a large file",
        ),
        pytest.param(
            lambda: _tar({"a.jpg": b"", "a.JSON": bytes(50_000)}),
            r"a\.JSON has 50,000 bytes; in a shard it may have 40,000",
            id="large JSON",
        ),
        pytest.param(
            lambda: _tar({f"a.{number}": bytes(300_000) for number in range(4)}),
            "a has 4 files of 1,200,000 bytes; a sample may have 100 of 1,000,000",
            id="a large sample",
        ),
        pytest.param(
            lambda: _tar({f"a.{number}": b"" for number in range(120)}),
            "a has 101 files of 0 bytes",
            id="a sample of many files",
        ),
        pytest.param(_with_holes, "a file with holes", id="a file with holes"),
        pytest.param(_pax_holes, "a file with holes", id="holes in a record"),
        pytest.param(
            lambda: _header(_tar({"x" * 200 + ".jpg": b"x"}), size=(124, b"00001000000\0")),
            "a header of 262,144 bytes; the limit is 65,536",
            id="a long name",
        ),
        pytest.param(_records, "headers for all that follows", id="records for all that follows"),
    ],
)
def test_what_would_take_much_memory_is_refused(
    pack: Callable[[bytes], bytes],
    make: Callable[[], bytes],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shards, "LARGEST", 1_000_000)
    monkeypatch.setattr(shards, "LARGEST_JSON", 40_000)
    content = make()
    (tmp_path / "a.tar").write_bytes(pack(content))
    with pytest.raises(DataError, match=reason) as caught:
        list(read(str(tmp_path / "a.tar")))
    assert str(caught.value).startswith(f"{tmp_path}/a.tar: ")
    if pack is bytes and "sample" not in reason and " files of " not in reason:
        with pytest.raises(DataError, match=reason):
            OpenShard(Shard(str(tmp_path / "a.tar"), "train", 1, 1, len(content), ""))


def test_only_what_is_wanted_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A film beside the photographs is passed over."""
    monkeypatch.setattr(shards, "LARGEST", 1000)
    write_tar(tmp_path / "a.tar", {"a.mp4": bytes(5000), "a.jpg": b"photo"})
    found = members(str(tmp_path / "a.tar"), wanted=lambda name: name.endswith(".jpg"))
    assert list(found) == [("a.jpg", b"photo")]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_shard_is_read_and_a_bomb_is_not(
    pack: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.tar").write_bytes(pack(_tar(MEMBERS)))
    assert [sample.key for sample in read(str(tmp_path / "a.tar"))] == ["000", "sub/001", "002"]
    monkeypatch.setattr(unpacking, "_FREE", 1 << 19)
    bomb = _tar({f"{number}.jpg": bytes(500_000) for number in range(8)})
    (tmp_path / "a.tar").write_bytes(pack(bomb))
    with pytest.raises(DataError, match="it unpacks to more than 100 times its size"):
        for _ in members(str(tmp_path / "a.tar"), wanted=lambda _: False):
            pass
    (tmp_path / "a.tar").write_bytes(pack(_tar(MEMBERS))[:150])
    with pytest.raises(DataError, match=r"a\.tar: the shard is damaged"):
        list(read(str(tmp_path / "a.tar")))


def test_what_cannot_be_read_is_named(tmp_path: Path, web: str) -> None:
    for place, reason in (
        (f"{tmp_path}/none.tar", "no such file"),
        (f"{web}/none.tar", "no such file"),
        ("memory://none/none.tar", "no such file"),
        ("nothing://a/b.tar", "no such kind of address"),
        ("http://127.0.0.1:9/a.tar", "cannot be read"),
    ):
        with pytest.raises(DataError, match=reason) as caught:
            list(read(place))
        assert str(caught.value).startswith(place)
    with pytest.raises(DataError, match="there is no such shard"):
        expand(f"{tmp_path}/*.tar")
    write_tar(tmp_path / "b.tar", {"0.json": b"{"})
    with pytest.raises(DataError, match=r"0\.json"):
        list(read(str(tmp_path / "b.tar")))
    with pytest.raises(DataError, match="no such file"):
        read_bytes(f"{web}/index.json", 100)


@pytest.mark.filterwarnings("ignore")  # the server of the test leaves sockets open
def test_a_bucket_of_an_s3_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0)
    records = photographs(tmp_path / "images", {"train": 5, "val": 1})
    write_shards(records, tmp_path / "shards", size=2)
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "none")
    server.start()
    try:
        host, port = server.get_host_and_port()
        options = {"endpoint_url": f"http://{host}:{port}"}
        monkeypatch.setitem(fsspec.config.conf, "s3", options)
        system = fsspec.filesystem("s3")
        system.mkdir("bucket")
        system.put(str(tmp_path / "shards"), "bucket/coco", recursive=True)
        places = expand("s3://bucket/coco/train-*.tar")
        assert places == [f"s3://bucket/coco/train-{i:06}.tar" for i in range(3)]
        index = read_index("s3://bucket/coco/*.tar")
        assert [shard.place for shard in index.of("train")] == places
        names = {sample.values["image"] for place in places for sample in read(place)}
        assert names == {f"train{i:03}.jpg" for i in range(5)}
        opened = OpenShard(index.shards[0], tmp_path / "copies")
        assert opened.image(1) == list(read(places[0]))[1].image
        with pytest.raises(DataError, match=r"none\.tar: there is no such file"):
            list(read("s3://bucket/coco/none.tar"))
        with pytest.raises(DataError, match="there is no such shard"):
            expand("s3://bucket/none/*.tar")
    finally:
        server.stop()
