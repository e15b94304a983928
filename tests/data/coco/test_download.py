"""Downloading: whole or not at all, again after a failure, on from where it stopped."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from showattend.data.coco import download
from showattend.data.coco.download import (
    Downloader,
    DownloadError,
    Job,
    MissingError,
    UnreachableError,
)
from showattend.exceptions import DataError
from showattend.images.upright import open_image
from tests.data.server import Server, jpeg

PHOTO = jpeg(0)
LARGE = bytes(range(256)) * (12 << 10)  # 3 MB, several times what is begun anew


class Waits(list[float]):
    """A clock that only notes how long it was asked to wait."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def fetcher(waits: Waits) -> Downloader:
    return Downloader(attempts=4, timeout=10, sleep=waits)


@pytest.fixture
def photo(server: Server) -> str:
    """The address of a photograph."""
    server.files["/a.jpg"] = PHOTO
    return f"{server.url}/a.jpg"


def closed_port() -> str:
    with Server() as server:
        return f"http://127.0.0.1:{server.server_port}/a.jpg"


def test_a_whole_file(fetcher: Downloader, photo: str, server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = tmp_path / "a.jpg"
    assert fetcher.fetch(photo, path, open_image, lambda *at: seen.append(at)) == len(PHOTO)
    assert path.read_bytes() == PHOTO
    assert [each.name for each in tmp_path.iterdir()] == ["a.jpg"]
    assert seen[-1] == (len(PHOTO), len(PHOTO))
    assert len(server.log) == 1


@pytest.mark.parametrize(
    "fault", ["drop", "truncate", "damage", "cut", 500, 502, 503, 504, 429, 408]
)
def test_faults_are_tried_again(
    fetcher: Downloader,
    photo: str,
    server: Server,
    waits: Waits,
    tmp_path: Path,
    fault: str | int,
) -> None:
    server.faults["/a.jpg"] = [fault, fault]
    fetcher.fetch(photo, tmp_path / "a.jpg", open_image)
    assert (tmp_path / "a.jpg").read_bytes() == PHOTO
    assert [each.name for each in tmp_path.iterdir()] == ["a.jpg"]
    assert len(server.log) == 3
    assert 0.5 <= waits[0] <= 1 <= waits[1] <= 2


@pytest.mark.parametrize("status", [403, 404, 410, 416])
def test_a_missing_file_is_asked_for_once(
    fetcher: Downloader, photo: str, server: Server, tmp_path: Path, status: int
) -> None:
    server.faults["/a.jpg"] = [status]
    with pytest.raises(MissingError, match=rf"/a\.jpg: {status} "):
        fetcher.fetch(photo, tmp_path / "a.jpg")
    assert len(server.log) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address",
    ["http://ex..ample.com/", "http://localhost:abc/", "http://a\0b/", "ftp://a/b", "a/b"],
)
def test_what_is_no_address_is_asked_for_once(
    fetcher: Downloader, waits: Waits, tmp_path: Path, address: str
) -> None:
    with pytest.raises(MissingError, match="not a URL"):
        fetcher.fetch(address, tmp_path / "a.jpg")
    assert fetcher.size(address) is None
    assert waits == []


def test_an_address_that_is_not_ascii(fetcher: Downloader, server: Server, tmp_path: Path) -> None:
    server.files["/%C3%A4%20b.jpg"] = PHOTO
    assert fetcher.fetch(f"{server.url}/ä b.jpg", tmp_path / "a.jpg") == len(PHOTO)


def test_a_redirection_is_followed(
    fetcher: Downloader, photo: str, server: Server, tmp_path: Path
) -> None:
    server.faults["/old.jpg"] = [301]
    server.files["/old.jpg"] = b""
    server.headers["Location"] = photo
    assert fetcher.fetch(f"{server.url}/old.jpg", tmp_path / "a.jpg") == len(PHOTO)
    assert server.got == ["/old.jpg", "/a.jpg"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("truncate", rf"broke off at \d+ of {len(PHOTO):,} bytes, 4 times"),
        ("drop", "without sending a response, 4 times"),
        (503, "503 Service Unavailable, 4 times"),
        ("damage", r"a\.jpg: not an image"),
    ],
)
def test_giving_up(
    fetcher: Downloader,
    photo: str,
    server: Server,
    waits: Waits,
    tmp_path: Path,
    fault: str | int,
    reason: str,
) -> None:
    server.faults["/a.jpg"] = [fault] * 9
    with pytest.raises(DownloadError, match=reason) as caught:
        fetcher.fetch(photo, tmp_path / "a.jpg", open_image)
    assert ".part" not in str(caught.value)
    assert not (tmp_path / "a.jpg").exists()
    assert len(server.log) == 4
    assert len(waits) == 3


def test_waits_grow_to_a_limit(server: Server, photo: str, waits: Waits, tmp_path: Path) -> None:
    server.faults["/a.jpg"] = [503] * 9
    Downloader(attempts=10, sleep=waits).fetch(photo, tmp_path / "a.jpg")
    limits = [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert all(most / 2 <= wait <= most for wait, most in zip(waits, limits, strict=True))


def test_the_server_may_ask_for_patience(
    fetcher: Downloader, server: Server, photo: str, waits: Waits, tmp_path: Path
) -> None:
    for wish in ("7", "99999", "Fri, 31 Dec 1999 23:59:59 GMT"):
        server.headers["Retry-After"] = wish
        server.faults["/a.jpg"] = [503]
        fetcher.fetch(photo, tmp_path / "a.jpg")
    assert waits[:2] == [7, 300]
    assert waits[2] <= 1


def test_no_server(waits: Waits, tmp_path: Path) -> None:
    fetcher = Downloader(attempts=4, sleep=waits)
    with pytest.raises(UnreachableError, match="cannot be reached"):
        fetcher.size(closed_port())
    assert len(waits) == 1  # asked first by all who fetch: not worth a long wait
    with pytest.raises(UnreachableError, match="cannot be reached"):
        fetcher.fetch(closed_port(), tmp_path / "a.jpg")
    assert len(waits) == 4


def test_size(fetcher: Downloader, photo: str, server: Server) -> None:
    assert fetcher.size(photo) == len(PHOTO)
    assert fetcher.size(f"{server.url}/none.jpg") is None
    server.heads = False
    assert fetcher.size(photo) is None
    assert server.got == []


def test_a_server_that_does_not_say_the_size(
    fetcher: Downloader, photo: str, server: Server, tmp_path: Path
) -> None:
    server.lengths = False
    server.faults["/a.jpg"] = ["truncate"]
    assert fetcher.fetch(photo, tmp_path / "a.jpg", open_image) == len(PHOTO)
    assert len(server.log) == 2  # that half was noticed by opening it


def test_a_file_that_cannot_be_written(
    fetcher: Downloader, photo: str, server: Server, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="cannot be written") as caught:
        fetcher.fetch(photo, tmp_path / "none" / "a.jpg")
    assert not isinstance(caught.value, DownloadError)
    assert len(server.log) == 1


# Going on --------------------------------------------------------------------------------------


@pytest.fixture
def large(server: Server) -> str:
    """The address of a large file whose first transfer breaks off half way."""
    server.files["/large.zip"] = LARGE
    server.faults["/large.zip"] = ["truncate"]
    return f"{server.url}/large.zip"


def broken_off(large: str, folder: Path) -> Path:
    """An earlier run that had only the first half."""
    with pytest.raises(DownloadError):
        Downloader(attempts=1).fetch(large, folder / "large.zip")
    assert not (folder / "large.zip").exists()
    return folder / "large.zip"


def test_a_large_file_goes_on(
    fetcher: Downloader, large: str, server: Server, tmp_path: Path
) -> None:
    assert fetcher.fetch(large, tmp_path / "large.zip") == len(LARGE)
    assert (tmp_path / "large.zip").read_bytes() == LARGE
    first, second = server.log
    assert (first.status, second.status) == (200, 206)
    assert first.sent + second.sent == len(LARGE)
    assert [each.name for each in tmp_path.iterdir()] == ["large.zip"]


def test_the_next_run_goes_on(
    fetcher: Downloader, large: str, server: Server, tmp_path: Path
) -> None:
    path = broken_off(large, tmp_path)
    fetcher.fetch(large, path)
    assert path.read_bytes() == LARGE
    assert sum(each.sent for each in server.log) == len(LARGE)


def test_a_file_that_changed_begins_anew(
    fetcher: Downloader, large: str, server: Server, tmp_path: Path
) -> None:
    path = broken_off(large, tmp_path)
    server.etag, server.files["/large.zip"] = '"two"', LARGE[::-1]
    fetcher.fetch(large, path)
    assert path.read_bytes() == LARGE[::-1]
    assert server.log[-1].range == f"bytes={len(LARGE) // 2}-"
    assert server.log[-1].status == 200


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_validator_it_begins_anew(
    fetcher: Downloader, large: str, server: Server, tmp_path: Path, etag: str
) -> None:
    server.etag = etag
    fetcher.fetch(large, broken_off(large, tmp_path))
    assert (tmp_path / "large.zip").read_bytes() == LARGE
    assert server.log[-1].range is None


def test_a_server_without_ranges(
    fetcher: Downloader, large: str, server: Server, tmp_path: Path
) -> None:
    server.ranges = False
    fetcher.fetch(large, broken_off(large, tmp_path))
    assert (tmp_path / "large.zip").read_bytes() == LARGE


def test_a_part_that_was_whole_is_not_fetched_again(
    fetcher: Downloader, large: str, server: Server, tmp_path: Path
) -> None:
    path = broken_off(large, tmp_path)
    (tmp_path / ".large.zip.part").write_bytes(LARGE)  # killed before it got its name
    assert fetcher.fetch(large, path) == len(LARGE)
    assert path.read_bytes() == LARGE
    assert [each.status for each in server.log] == [200, 416]


def test_a_part_that_is_too_long_begins_anew(
    fetcher: Downloader, large: str, server: Server, tmp_path: Path
) -> None:
    path = broken_off(large, tmp_path)
    (tmp_path / ".large.zip.part").write_bytes(LARGE + b"more")
    fetcher.fetch(large, path)
    assert path.read_bytes() == LARGE
    assert [each.status for each in server.log] == [200, 416, 200]


# Many ------------------------------------------------------------------------------------------


def test_many_files(fetcher: Downloader, server: Server, tmp_path: Path) -> None:
    server.files = {f"/{i}.jpg": jpeg(i) for i in range(40)}
    server.faults = {f"/{i}.jpg": ["drop"] for i in range(0, 40, 7)} | {"/3.jpg": [503] * 9}
    jobs = [Job(f"{server.url}/{i}.jpg", tmp_path / f"{i}.jpg") for i in range(41)]
    outcomes = dict(fetcher.fetch_all(jobs, open_image))
    assert set(outcomes) == set(jobs)
    assert isinstance(outcomes[jobs[40]], MissingError)
    assert isinstance(outcomes[jobs[3]], DownloadError)
    good = [i for i in range(40) if i != 3]
    assert [outcomes[jobs[i]] for i in good] == [len(server.files[f"/{i}.jpg"]) for i in good]
    assert all((tmp_path / f"{i}.jpg").read_bytes() == server.files[f"/{i}.jpg"] for i in good)


def test_many_end_where_the_disk_does(
    fetcher: Downloader, photo: str, server: Server, tmp_path: Path
) -> None:
    jobs = [Job(photo, tmp_path / "none" / f"{i}.jpg") for i in range(300)]
    with pytest.raises(DataError, match="cannot be written"):
        list(fetcher.fetch_all(jobs))
    assert len(server.log) < 300


def test_closing_stops_the_rest(
    fetcher: Downloader, photo: str, server: Server, tmp_path: Path
) -> None:
    jobs = [Job(photo, tmp_path / f"{i}.jpg") for i in range(300)]
    stream = fetcher.fetch_all(jobs)
    next(stream)
    stream.close()
    assert len(server.log) < 300
    whole = list(tmp_path.glob("*.jpg"))
    assert 1 <= len(whole) < 300
    assert all(path.read_bytes() == PHOTO for path in whole)


def test_closing_wakes_who_waits(photo: str, server: Server, tmp_path: Path) -> None:
    """The real clock: a worker that would wait for minutes ends with the stream."""
    server.headers["Retry-After"] = "300"
    server.faults["/busy.jpg"] = [503] * 9
    jobs = [Job(f"{server.url}/{name}", tmp_path / name) for name in ("busy.jpg", "a.jpg")]
    stream = Downloader(workers=2).fetch_all(jobs)
    assert next(stream)[0] == jobs[1]
    waiting = [each for each in threading.enumerate() if each.name == "download"]
    stream.close()
    assert not any(thread.is_alive() for thread in waiting)
    assert len(server.asked("/busy.jpg")) <= 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [(OSError(28, "No space left"), "No space left"), (ValueError(), "ValueError")],
)
def test_errors_in_one_line(error: Exception, expected: str) -> None:
    assert download.said(error) == expected
