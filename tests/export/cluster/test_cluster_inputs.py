"""Listing images of folders, object stores and shards, and fetching those of a part."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from showattend.exceptions import DataError, ImageError
from showattend.export.cluster import stores
from showattend.export.cluster.cluster_inputs import contents, list_inputs
from showattend.export.cluster.partition import Input, Part
from showattend.export.cluster.stores import Store
from showattend.system.addresses import file_system


@pytest.fixture
def bucket() -> Iterator[str]:
    """A bucket of photographs: in it, below it, hidden, and files of other kinds."""
    fsspec = pytest.importorskip("fsspec", reason="object stores need fsspec")
    system = fsspec.filesystem("memory")
    system.store.clear()
    names = ["b.JPG", "a.jpg", "x/c.png", "x/y/d.webp", "x/notes.txt", ".hid.jpg", "@eaDir/e.jpg"]
    for name in names:
        Store("memory://bucket").write(name, name.encode())
    yield "memory://bucket"
    system.store.clear()


def listed(*inputs: str, recursive: bool = False) -> tuple[list[str], list[str]]:
    problems: list[str] = []
    return [each.name for each in list_inputs(inputs, recursive, problems)], problems


def test_folders_are_listed_as_by_the_other_engines(photographs: Path) -> None:
    names, problems = listed(str(photographs), str(photographs / "photo 1.png"))
    assert names == sorted(str(path) for path in photographs.iterdir())
    assert not problems
    names, problems = listed(str(photographs.parent))
    assert not names
    assert "--recursive" in problems[0]
    assert len(listed(str(photographs.parent), recursive=True)[0]) == 9


def test_addresses_are_listed_with_all_that_is_below(bucket: str) -> None:
    expected = [f"memory:///bucket/{name}" for name in ("a.jpg", "b.JPG", "x/c.png", "x/y/d.webp")]
    assert listed(bucket) == (expected, [])
    assert listed(f"{bucket}/x/y/d.webp") == (expected[3:], [])
    assert listed(f"{bucket}/*.jpg") == (expected[:1], [])
    assert listed(f"{bucket}/x*") == (expected[2:], [])
    # Each once, though two inputs have it.
    assert listed(f"{bucket}/x", bucket)[0] == [*expected[2:], *expected[:2]]
    assert listed(f"{bucket}/x", f"{bucket}/x")[0] == expected[2:]


def test_nothing_there_is_a_problem(bucket: str, tmp_path: Path) -> None:
    names, problems = listed(f"{bucket}/x", f"{bucket}/nowhere", str(tmp_path / "gone"))
    assert len(names) == 2
    assert sorted(problems) == sorted(
        [f"{bucket}/nowhere: no images there", f"{tmp_path}/gone: no such file or folder"]
    )


@pytest.mark.parametrize("folder", ["/bucket", "/bucket/x", "/bucket/x/y"])
@pytest.mark.parametrize("pattern", ["", "/*", "/**", "/**/*.webp", "/x/**/d.webp"])
@pytest.mark.parametrize("error", [OSError("connection reset"), PermissionError("Access Denied")])
def test_a_listing_that_breaks_off_is_no_list(
    bucket: str, folder: str, pattern: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the top and below it: fsspec's own walk takes such a folder for an empty one."""
    listed_before = listed(f"{bucket}{pattern}")
    assert listed_before[0]
    breaks(monkeypatch, bucket, folder, error)
    if pattern.startswith("/x/") and folder == "/bucket":
        assert listed(f"{bucket}{pattern}") == listed_before  # that folder is not looked at
        return
    with pytest.raises(DataError, match=rf"{folder}/?: cannot be listed \({error}\)"):
        listed(f"{bucket}{pattern}")


def breaks(patch: pytest.MonkeyPatch, bucket: str, folder: str, error: Exception) -> None:
    """Let the listing of one folder of a bucket end in an error."""
    kind = type(file_system(bucket)[0])
    ls = kind.ls

    def broken(self: object, path: str, *args: object, **options: object) -> object:
        if path.rstrip("/") == folder:
            raise error
        return ls(self, path, *args, **options)

    patch.setattr(kind, "ls", broken)


def test_what_is_left_out_is_named(bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("x/.trash/a.jpg", ".DS_Store", "x/.trash/sub/b.jpg"):
        Store(bucket).write(name, b"")
    names, problems = listed(bucket)
    assert (len(names), problems) == (4, [])
    (said,) = caplog.messages
    there = ["memory:///bucket/@eaDir", "memory:///bucket/.hid.jpg", "memory:///bucket/x/.trash"]
    assert all(each in said for each in there)
    assert said.endswith("name such a folder to use its images")
    assert "DS_Store" not in said  # it would be no image
    # The advice works.
    assert listed(*there)[0] == [
        "memory:///bucket/@eaDir/e.jpg",
        "memory:///bucket/.hid.jpg",
        "memory:///bucket/x/.trash/a.jpg",
        "memory:///bucket/x/.trash/sub/b.jpg",
    ]
    assert len(caplog.messages) == 1


def test_many_left_out_are_counted(bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(30):
        Store(bucket).write(f"._{number:02}.jpg", b"")
    assert len(listed(f"{bucket}/*", bucket)[0]) == 4
    assert "and 29 more (hidden files" in caplog.text


def test_patterns_find_each_image_once(bucket: str) -> None:
    Store(bucket).write("x/x2/x3/e.png", b"")
    for pattern in ("**", "**/*", "**/x*", "x/**"):
        names = listed(f"{bucket}/{pattern}")[0]
        assert len(names) == len(set(names)) >= 3, pattern
    assert listed(f"{bucket}/x/[yz]/?.webp")[0] == ["memory:///bucket/x/y/d.webp"]
    assert listed(f"{bucket}/*/c.png")[0] == ["memory:///bucket/x/c.png"]


def test_addresses_of_this_machine_are_listed_like_its_folders(photographs: Path) -> None:
    (photographs / "within").mkdir()
    (photographs / "within" / "loop").symlink_to(photographs)
    names, problems = listed(f"file://{photographs}")
    assert names == sorted(f"file://{path}" for path in photographs.iterdir() if path.is_file())
    assert not problems
    content = dict(contents(Part(0, (names[0],)), "", 1))
    assert content[names[0]] == Path(names[0].removeprefix("file://")).read_bytes()
    assert listed(f"file://{photographs}/gone")[1] == [
        f"{photographs}/gone: no such file or folder"
    ]


@pytest.mark.filterwarnings("ignore")  # the server of the test leaves sockets open
def test_a_bucket_of_an_s3_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its console makes an object for a folder, and it refuses a part of an empty object."""
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0)
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "none")
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": f"http://{host}:{port}"})
        system = fsspec.filesystem("s3")
        system.mkdir("bucket")
        names = ("a.jpg", "empty.jpg", "x/", "x/b.jpg", "x/.trash/c.jpg", "x/y/d.png", "x/y/e.txt")
        for name in names:
            content = b"" if name in ("empty.jpg", "x/") else name.encode()
            system.call_s3("put_object", Bucket="bucket", Key=name, Body=content)
        expected = [
            f"s3://bucket/{name}" for name in ("a.jpg", "empty.jpg", "x/b.jpg", "x/y/d.png")
        ]
        assert listed("s3://bucket") == (expected, [])
        assert listed("s3://bucket/x/") == (expected[2:], [])
        assert listed("s3://bucket/**/*.png") == (expected[3:], [])
        assert listed("s3://bucket/x/y/d.png") == (expected[3:], [])
        assert listed("s3://bucket/nowhere") == ([], ["s3://bucket/nowhere: no images there"])
        found = dict(contents(Part(0, (*expected, "s3://bucket/gone.jpg")), "", 2))
        assert [found[name] for name in expected] == [b"a.jpg", b"", b"x/b.jpg", b"x/y/d.png"]
        assert "no such file" in str(found["s3://bucket/gone.jpg"])
        store = Store("s3://bucket/x")
        assert store.names() == {"b.jpg", ".trash", "y"}
        assert (store.has("b.jpg"), store.has("gone")) == (True, False)
    finally:
        server.stop()


# Shards ----------------------------------------------------------------------------------------


def shard(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_shards_are_parts_of_their_own(tmp_path: Path) -> None:
    for number in range(3):
        shard(tmp_path / f"train-{number}.tar", {"a.jpg": b"a"})
    problems: list[str] = []
    found = list(list_inputs([f"{tmp_path}/train-{{0..2}}.tar"], False, problems))
    assert found == [Input(f"{tmp_path}/train-{number}.tar", True) for number in range(3)]
    found = list(list_inputs([f"{tmp_path}/train-*.tar"], False, problems))
    assert len(found) == 3
    assert not problems


def test_the_images_of_a_shard(tmp_path: Path) -> None:
    members = {"a.jpg": b"1", "a.json": b"{", "within/b.png": b"2", "a.seg.PNG": b"3", "c.txt": b""}
    shard(tmp_path / "x.tar", members)
    found = list(contents(Part(0, shard="x.tar"), str(tmp_path), 4))
    assert found == [("x.tar/a.jpg", b"1"), ("x.tar/within/b.png", b"2"), ("x.tar/a.seg.PNG", b"3")]
    with pytest.raises(DataError, match="no such file"):
        list(contents(Part(0, shard=str(tmp_path / "gone.tar")), "", 4))


@pytest.mark.parametrize("length", [600, 1024, 1300, 1600, 4000])
def test_a_shard_that_is_cut_off_is_no_shorter_shard(tmp_path: Path, length: int) -> None:
    """In the content, between members, in a header, in a later member, in what ends the file."""
    path = shard(tmp_path / "x.tar", {"a.jpg": b"1" * 500, "b.jpg": b"2" * 500, "c.jpg": b"3"})
    whole = path.read_bytes()
    path.write_bytes(whole[: 3 * 1024 if length == 4000 else length])
    with pytest.raises(DataError, match=r"x\.tar: the shard is damaged"):
        list(contents(Part(0, shard=str(path)), "", 4))
    path.write_bytes(whole[:1024] + b"\xff" * 512 + whole[1536:])
    with pytest.raises(DataError, match="after 1,024 bytes"):
        list(contents(Part(0, shard=str(path)), "", 4))


def test_the_images_of_a_part(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part(0, ("photo 1.png", "gone.png", "none.jpg"))
    found = dict(contents(part, str(photographs), 2))
    assert list(found) == list(part.images)
    assert found["none.jpg"] == b"not an image"
    assert isinstance(found["gone.png"], ImageError)

    def broken(_: Path) -> bytes:
        raise TimeoutError(110, "Connection timed out")

    monkeypatch.setattr(stores, "ATTEMPTS", 1)
    monkeypatch.setattr(stores, "_read_file", broken)
    with pytest.raises(DataError, match="cannot be reached"):
        list(contents(part, str(photographs), 2))
