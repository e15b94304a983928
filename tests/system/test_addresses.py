"""Listing and reading by path and by address: what is there is found, or it is said why not."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from showattend.exceptions import DataError
from showattend.system import addresses
from showattend.system.addresses import (
    Entry,
    entries,
    file_system,
    is_address,
    is_pattern,
    is_remote,
    matching,
    open_stream,
    read_bytes,
    read_file,
    walk,
)
from tests.data.conftest import server as server
from tests.data.server import Server

NAMES = (
    "a/x-0.tar",
    "a/x-1.tar",
    "a/.x-2.tar",
    "a/b/x-3.tar",
    "a/b/c/y.jpg",
    ".h/x.tar",
    "z[1].tar",
)


@pytest.fixture(params=["path", "memory"])
def top(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Files in a folder, or in a store."""
    if request.param == "path":
        for name in NAMES:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(name.encode())
        yield str(tmp_path)
        return
    system = pytest.importorskip("fsspec").filesystem("memory")
    system.store.clear()
    for name in NAMES:
        system.pipe(f"/top/{name}", name.encode())
    yield "memory:///top"
    system.store.clear()


@pytest.mark.parametrize(
    ("name", "address", "remote"),
    [
        ("s3://b/k", True, True),
        ("S3://b", True, True),
        ("file:///a", True, False),
        ("a.jpg", False, False),
        ("C:\\a", False, False),
        ("/a:/b", False, False),
    ],
)
def test_addresses(name: str, address: bool, remote: bool) -> None:
    assert (is_address(name), is_remote(name)) == (address, remote)


def test_patterns() -> None:
    assert is_pattern("s3://b/?.jpg")
    assert not is_pattern("https://example.org/a.jpg?size=1")
    assert is_pattern("https://example.org/*.jpg")


# Listing ---------------------------------------------------------------------------------------


def test_a_folder_is_listed(top: str) -> None:
    assert entries(f"{top}/a") == entries(f"{top}/a/") == [
        Entry(f"{top}/a/.x-2.tar", False),
        Entry(f"{top}/a/b", True),
        Entry(f"{top}/a/x-0.tar", False),
        Entry(f"{top}/a/x-1.tar", False),
    ]  # fmt: skip
    with pytest.raises(FileNotFoundError):
        entries(f"{top}/none")


def test_all_that_is_below(top: str) -> None:
    found = [each.place for each in walk(top)]
    assert sorted(found) == sorted(f"{top}/{name}" for name in NAMES)
    some = [each.place for each in walk(top, lambda folder: folder.name != "b")]
    assert set(found) - set(some) == {f"{top}/a/b/x-3.tar", f"{top}/a/b/c/y.jpg"}
    with pytest.raises(DataError, match="none: cannot be listed"):
        list(walk(f"{top}/none"))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a/*.tar", ["a/x-0.tar", "a/x-1.tar"]),
        ("a/x-[1-9].tar", ["a/x-1.tar"]),
        ("a/?-0.tar", ["a/x-0.tar"]),
        ("a/.*", ["a/.x-2.tar"]),
        ("*/b/x*", ["a/b/x-3.tar"]),
        ("*/*", ["a/b", "a/x-0.tar", "a/x-1.tar"]),
        (".h/*.tar", [".h/x.tar"]),
        ("*.tar", ["z[1].tar"]),
        ("z[1].tar", ["z[1].tar"]),
        ("none/*", []),
    ],
)
def test_patterns_stand_for_files_and_folders(top: str, pattern: str, expected: list[str]) -> None:
    found = [each.place for each in matching(f"{top}/{pattern}")]
    assert found == [f"{top}/{name}" for name in expected]


def test_relative_patterns_keep_their_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.tar").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert [each.place for each in matching("*.tar")] == ["x.tar"]
    assert [each.place for each in matching("./*.tar")] == ["./x.tar"]


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own glob takes it for an empty one."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.tar").write_bytes(b"")
    scandir = addresses.os.scandir

    def refuses(path: str) -> Any:
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(addresses.os, "scandir", refuses)
    with pytest.raises(DataError, match=r"/b: cannot be listed \(Permission denied\)"):
        list(matching(f"{tmp_path}/*/*.tar"))


def test_the_object_of_a_folder_is_not_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3's console makes an object ``x/`` for a folder x."""

    class System:
        def ls(self, path: str, detail: bool) -> list[dict[str, str]]:
            found = {"b/x": ["directory", "b/x"], "b/x/y": ["file", "b/x/y/"]}
            assert detail
            inner = [{"name": "b/x/y/", "type": "directory"}] if path == "b/x" else []
            kind, name = found[path]
            return [{"name": name, "type": kind}, *inner, {"name": f"{path}/a", "type": "file"}]

        def unstrip_protocol(self, name: str) -> str:
            return f"s3://{name}"

    monkeypatch.setattr(addresses, "file_system", lambda place: (System(), place[5:]))
    assert [each.place for each in walk("s3://b/x")] == ["s3://b/x/a", "s3://b/x/y/a"]


def test_no_such_kind_of_address() -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(DataError, match="nothing://a: no such kind of address"):
        file_system("nothing://a")


# Reading ---------------------------------------------------------------------------------------


def test_a_file_has_a_limit(top: str, server: Server) -> None:
    server.files["/f"] = b"12345"
    place = f"{top}/a/x-0.tar"
    for each, content in ((place, b"a/x-0.tar"), (f"{server.url}/f", b"12345")):
        assert read_file(each, len(content)) == read_bytes(each, 100) == content
        with pytest.raises(OverflowError):
            read_file(each, len(content) - 1)
        with pytest.raises(DataError, match=f"{each}: .*more than 3 bytes"):
            read_bytes(each, 3)
        with open_stream(each) as file:
            assert file.read(2) + file.read(100) == content
    for each in (f"{top}/none", f"{server.url}/none"):
        with pytest.raises(FileNotFoundError):
            read_file(each, 9)
        with pytest.raises(DataError, match="there is no such file"):
            read_bytes(each, 9)


def test_an_endless_answer_ends(server: Server) -> None:
    server.files["/f"] = b"{"
    server.endless.add("/f")
    with pytest.raises(DataError, match=r"/f: cannot be read .*more than 100,000 bytes"):
        read_bytes(f"{server.url}/f", 100_000)
    assert len(server.asked("/f")) == 1  # another try would not mend it


def test_what_a_server_compresses(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is asked for."""
    server.files |= {"/f": gzip.compress(b"{}"), "/bomb": gzip.compress(bytes(5_000_000))}
    server.headers["Content-Encoding"] = "gzip"
    assert read_bytes(f"{server.url}/f", 10) == b"{}"
    with pytest.raises(DataError, match="more than 1,000 bytes"):
        read_bytes(f"{server.url}/bomb", 1000)
    with open_stream(f"{server.url}/bomb") as stream:
        assert len(stream.read(1 << 20)) == 1 << 20
    server.headers["Content-Encoding"] = "br"
    monkeypatch.setattr(addresses.time, "sleep", lambda _: None)
    with pytest.raises(DataError, match="its server compresses it with br"):
        read_bytes(f"{server.url}/f", 10)


def test_an_empty_object_has_no_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 answers 416 where a part of nothing is asked for."""

    class System:
        def __init__(self, size: int) -> None:
            self.size = size

        def cat_file(self, path: str, start: int, end: int) -> bytes:
            raise OSError(f"The requested range {start} to {end} of {path} is not satisfiable")

        def info(self, path: str) -> dict[str, int | str]:
            return {"name": path, "size": self.size}

    monkeypatch.setattr(addresses, "file_system", lambda place: (System(0), place))
    assert read_file("s3://b/empty", 10) == b""
    monkeypatch.setattr(addresses, "file_system", lambda place: (System(1), place))
    with pytest.raises(OSError, match="not satisfiable"):
        read_file("s3://b/full", 10)
