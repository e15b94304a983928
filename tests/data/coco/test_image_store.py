"""COCO's images: finding complete ones and downloading the others."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from showattend.data.coco.annotations import Entry
from showattend.data.coco.download import Downloader, UnreachableError
from showattend.data.coco.image_store import (
    ImageFolder,
    amount,
    check_room,
    fetch_images,
    find_images,
    make_folder,
)
from showattend.exceptions import DataError
from showattend.system.provenance import file_digest
from tests.data.server import Server, jpeg


def nothing(*_: object) -> None:
    pass


def names(server: Server, count: int) -> list[str]:
    """So many photographs on the server."""
    found = [f"train2014/{i}.jpg" for i in range(count)]
    server.files |= {f"/{name}": jpeg(i) for i, name in enumerate(found)}
    return found


def test_images_are_found_under_all_their_names(tmp_path: Path) -> None:
    entries = [Entry(i, f"{i}.jpg", ("A.",), "train", f"train2014/{i}.jpg") for i in range(4)]
    entries.append(Entry(4, "val2014/4.jpg", ("A.",), "val", None))
    places = {0: "a/0.jpg", 1: "b/train2014/1.jpg", 2: "b/2.jpg", 4: "b/4.jpg"}
    for place in ("a/2.jpg", *places.values()):
        make_folder((tmp_path / place).parent)
        (tmp_path / place).touch()
    found = find_images(entries, [tmp_path / name for name in ("b", "none", "a", "b")])
    assert found == {number: tmp_path / place for number, place in places.items()}


def test_complete_images_are_opened_once(tmp_path: Path) -> None:
    contents = {"a.jpg": jpeg(0), "cut.jpg": jpeg(1)[:600], "text.jpg": b"hello", "b.jpg": jpeg(2)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    looked: list[tuple[object, ...]] = []
    wanted = [*contents, "none.jpg"]
    folder = ImageFolder(tmp_path)
    assert folder.whole(wanted, lambda *at: looked.append(at)) == {"a.jpg", "b.jpg"}
    assert [at[1:] for at in looked] == [(1, 4), (2, 4), (3, 4), (4, 4)]

    looked.clear()
    (tmp_path / "b.jpg").write_bytes(jpeg(2)[:600])  # truncated by something else
    again = ImageFolder(tmp_path)
    assert again.whole(wanted, lambda *at: looked.append(at)) == {"a.jpg"}
    assert [at[1:] for at in looked] == [(1, 4), (2, 4), (3, 4), (4, 4)]

    (tmp_path / "a.jpg").write_bytes(jpeg(3)[: len(jpeg(0))].ljust(len(jpeg(0)), b"0"))
    assert ImageFolder(tmp_path).whole(["a.jpg"], nothing) == set(), "of the same size, but another"


def test_a_journal_without_digests_is_completed(tmp_path: Path) -> None:
    """As earlier versions wrote it."""
    (tmp_path / "a.jpg").write_bytes(jpeg(0))
    (tmp_path / ".whole").write_text(f"{len(jpeg(0))}\ta.jpg\n")
    folder = ImageFolder(tmp_path)
    assert folder.digest("a.jpg") is None
    assert folder.whole(["a.jpg"], nothing) == {"a.jpg"}
    assert ImageFolder(tmp_path).digest("a.jpg") == file_digest(tmp_path / "a.jpg")


def test_a_truncated_journal(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(0))
    (tmp_path / ".whole").write_bytes(b"12\tb.jpg\n\xff\xfe\n99")
    folder = ImageFolder(tmp_path)
    assert folder.whole(["a.jpg", "b.jpg"], nothing) == {"a.jpg"}
    assert ImageFolder(tmp_path).whole(["a.jpg"], nothing) == {"a.jpg"}


@pytest.mark.parametrize("count", [3, 30])
def test_the_size_is_announced(
    server: Server, tmp_path: Path, count: int, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = names(server, count)
    asked_before: list[int] = []

    class Check(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            asked_before.append(len(server.got))

    monkeypatch.setattr("showattend.data.coco.image_store._log.handlers", [Check()])
    ticks: list[tuple[object, ...]] = []
    folder = ImageFolder(tmp_path / "images")
    failed = fetch_images(wanted, folder, server.url, Downloader(), lambda *at: ticks.append(at))
    assert failed == {}
    assert asked_before == [0]
    total = amount(sum(len(server.files[f"/{name}"]) for name in wanted))
    assert logged == [f"{count} images to download from {server.url}, about {total}"]
    assert len(server.log) - len(server.got) <= 8
    assert [at[1:3] for at in ticks] == [(i, count) for i in range(1, count + 1)]
    assert "images/s, " in str(ticks[-1][3])
    assert ImageFolder(tmp_path / "images").whole(wanted, nothing) == set(wanted)


def test_an_image_that_fails_is_named(server: Server, tmp_path: Path) -> None:
    wanted = [*names(server, 5), "train2014/none.jpg"]
    server.faults["/train2014/2.jpg"] = [503] * 9
    downloader = Downloader(attempts=2, sleep=nothing)
    failed = fetch_images(wanted, ImageFolder(tmp_path), server.url, downloader, nothing)
    assert set(failed) == {"train2014/2.jpg", "train2014/none.jpg"}
    assert "503 Service Unavailable, 2 times" in failed["train2014/2.jpg"]
    assert failed["train2014/none.jpg"] == f"{server.url}/train2014/none.jpg: 404 Not Found"


def test_repeated_failures_end_the_download(server: Server, tmp_path: Path) -> None:
    wanted = names(server, 200)
    server.faults = {f"/{name}": [503] * 9 for name in wanted[5:]}
    downloader = Downloader(attempts=2, sleep=nothing)
    with pytest.raises(DataError, match="the 19 images before it failed too"):
        fetch_images(wanted, ImageFolder(tmp_path), server.url, downloader, nothing)
    assert len(set(server.got)) < 100


def test_a_server_without_the_images(server: Server, tmp_path: Path) -> None:
    wanted = [f"train2014/{i}.jpg" for i in range(500)]
    with pytest.raises(DataError, match="the 49 images before it are missing too"):
        fetch_images(wanted, ImageFolder(tmp_path), server.url, Downloader(), nothing)
    assert len(set(server.got)) < 200


def test_an_unreachable_server(tmp_path: Path) -> None:
    with Server() as gone:
        url = gone.url
    downloader = Downloader(sleep=nothing)
    with pytest.raises(UnreachableError):
        fetch_images(["a.jpg"], ImageFolder(tmp_path), url, downloader, nothing)


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5_000_000))
    check_room(tmp_path / "none", 5e6)
    with pytest.raises(DataError, match=r"needs 19\.0 GB, and the disk has 5 MB left"):
        check_room(tmp_path / "none", 19e9)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be created"):
        make_folder(tmp_path / "file" / "images")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (999.6, "1 kB"), (19.2e6, "19 MB"), (25e9, "25.0 GB")],
)
def test_amounts(size: float, text: str) -> None:
    assert amount(size) == text
