"""Reading from and writing to folders and object stores; the latter are fsspec's memory here."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from showattend.exceptions import DataError, ImageError, UserError
from showattend.export.cluster import stores
from showattend.export.cluster.stores import (
    ATTEMPTS,
    Store,
    adopt_settings,
    check_packages,
    read_image,
    settings_of,
)
from tests.data.conftest import server as server
from tests.data.server import Server


@pytest.fixture
def bucket() -> Iterator[str]:
    """An address below which there is nothing yet."""
    fsspec = pytest.importorskip("fsspec", reason="object stores need fsspec")
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield "memory://bucket"
    system.store.clear()


def test_missing_packages_name_the_extra() -> None:
    check_packages("json")
    with pytest.raises(UserError, match=r'needs no_such_thing; run: pip install "showattend\['):
        check_packages("json", "no_such_thing")


# Reading ---------------------------------------------------------------------------------------


def test_an_image_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"abc")
    assert read_image("a.jpg", str(tmp_path)) == b"abc"
    assert read_image(str(tmp_path / "a.jpg"), "elsewhere") == b"abc"


def test_what_is_not_there_is_a_bad_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match=r"^gone\.jpg: no such file"):
        read_image("gone.jpg", str(tmp_path))
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path.name, str(tmp_path.parent))
    with pytest.raises(ImageError, match="cannot be read"):
        read_image("x" * 300, str(tmp_path))
    (tmp_path / "large.jpg").write_bytes(b"abcd")
    monkeypatch.setattr(stores, "LARGEST", 3)
    with pytest.raises(ImageError, match="more than 3 bytes"):
        read_image("large.jpg", str(tmp_path))


@pytest.mark.parametrize("failures", [1, ATTEMPTS - 1, ATTEMPTS])
def test_trouble_on_the_way_is_not_the_images_fault(
    failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def read(_: Path) -> bytes:
        calls.append(1)
        if len(calls) <= failures:
            raise OSError(errno.EIO, "Input/output error")
        return b"abc"

    monkeypatch.setattr(stores, "_read_file", read)
    if failures < ATTEMPTS:
        assert read_image("a.jpg", pause=0) == b"abc"
        return
    with pytest.raises(DataError, match=r"a\.jpg: cannot be reached \(Input/output error; tried 4"):
        read_image("a.jpg", pause=0)


def test_reading_from_an_address(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(bucket).write("a.jpg", b"abc")
    assert read_image(f"{bucket}/a.jpg") == b"abc"
    with pytest.raises(ImageError, match="no such file"):
        read_image(f"{bucket}/b.jpg")

    def broken(_: str) -> bytes:
        raise RuntimeError("the store answers 503")

    monkeypatch.setattr(stores, "_read_address", broken)
    with pytest.raises(DataError, match="answers 503"):
        read_image(f"{bucket}/a.jpg", pause=0)
    with pytest.raises(UserError, match="nosuch://x"):
        Store("nosuch://x")


def test_an_object_has_a_limit_too(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(bucket).write("large.jpg", b"abcd")
    assert read_image(f"{bucket}/large.jpg") == b"abcd"
    monkeypatch.setattr(stores, "LARGEST", 3)
    with pytest.raises(ImageError, match=r"large\.jpg: has more than 3 bytes"):
        read_image(f"{bucket}/large.jpg")


def test_images_of_a_web_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/a.jpg"] = b"abc"
    assert read_image(f"{server.url}/a.jpg") == b"abc"
    with pytest.raises(ImageError, match=r"b\.jpg: no such file"):
        read_image(f"{server.url}/b.jpg")
    server.endless.add("/a.jpg")
    monkeypatch.setattr(stores, "LARGEST", 1000)
    with pytest.raises(ImageError, match=r"a\.jpg: has more than 1,000 bytes"):
        read_image(f"{server.url}/a.jpg")


def test_settings_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"AWS_REGION": "here", "HOME": "/home", "FSSPEC_X": "1"}
    settings = settings_of(environment)
    assert settings == {"AWS_REGION": "here", "FSSPEC_X": "1"}
    monkeypatch.setenv("AWS_REGION", "there")
    adopt_settings({"AWS_REGION": "here"})
    assert os.environ["AWS_REGION"] == "here"


# Writing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_files_of_a_store(kind: str, tmp_path: Path, bucket: str) -> None:
    place = bucket if kind == "bucket" else str(tmp_path / "new" / "folder")
    store = Store(place)
    assert pickle.loads(pickle.dumps(store)).place == store.place
    store.prepare()
    assert store.names() == set()
    store.write("a", b"1")
    store.write("a", b"22")
    (tmp_path / "file").write_bytes(b"333")
    store.adopt(tmp_path / "file", "b")
    assert not (tmp_path / "file").exists()
    assert store.names() == {"a", "b"}
    assert store.has("a")
    assert not store.has("c")
    with store.open("a") as file:
        assert file.read() == b"22"
    store.remove("a")
    store.remove("a")
    assert store.names() == {"b"}
    with pytest.raises(DataError, match="/a: cannot be read"):
        store.open("a")


def test_what_cannot_be_asked_is_not_absent(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second list would be made of a job whose list cannot be reached."""
    store = Store(bucket)
    store.write("a", b"1")

    def refuses(*_: object, **__: object) -> None:
        raise OSError("the store answers 503")

    for method, call in (("info", lambda: store.has("a")), ("ls", store.names)):
        with monkeypatch.context() as patch:
            patch.setattr(type(store._system), method, refuses)
            with pytest.raises(DataError, match=r"bucket.*503"):
                call()
    assert store.has("a")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="file: is a file; give --output a folder"):
        Store(str(tmp_path / "file")).prepare()
    with pytest.raises(UserError, match="cannot be written"):
        Store(str(tmp_path / "file" / "within")).prepare()


def test_what_a_killed_worker_left_is_removed(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from showattend.system.files import name_aside; "
        "name_aside(Path(sys.argv[1]) / 'part-000001-0a1b2c3d.parquet').write_bytes(b'half')"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True)
    assert len(list(tmp_path.iterdir())) == 1
    Store(str(tmp_path)).prepare()
    assert list(tmp_path.iterdir()) == []
