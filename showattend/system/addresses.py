"""Files and folders by place: a path, a web address, or another address that fsspec knows.

Whatever is listed or read elsewhere goes through here. A listing is complete or an error: fsspec's
``walk``, ``glob``, ``find``, ``exists`` and ``isfile`` treat a folder that cannot be listed as
empty.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any, NamedTuple

from showattend.exceptions import DataError, one_line
from showattend.system.unpacking import Readable, UnpackError, gunzipped

TRIES = 4
"""The number of attempts to read over the network."""
_BLOCK = 1 << 20
_NOT_THERE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class MissingError(DataError):
    """A file that does not exist."""


# Places ----------------------------------------------------------------------------------------


def is_address(place: str) -> bool:
    """Whether a place is an address such as ``s3://bucket/key`` and not a path."""
    return re.match(r"[a-z][a-z0-9+.-]*://", place, re.IGNORECASE) is not None


def is_remote(place: str) -> bool:
    """Whether a place may be on another machine: an address other than ``file://``."""
    return is_address(place) and not place.startswith("file://")


def is_web(place: str) -> bool:
    """Whether a place is on a web server."""
    return place.startswith(("http://", "https://"))


def local_path(place: str) -> str:
    """A place on this machine as a path."""
    return place.removeprefix("file://")


def is_pattern(place: str) -> bool:
    """Whether a place has wildcards; a ``?`` is common in web addresses."""
    return _magic(place) is not None


def _magic(place: str) -> re.Match[str] | None:
    return re.search(r"[*\[]" if is_web(place) else r"[*?\[]", place)


def file_system(place: str) -> tuple[Any, str]:
    """The file system of fsspec for an address, and the path on it.

    Raises:
        DataError: fsspec, or what it needs for this kind of address, is not installed.
    """
    try:
        import fsspec
    except ImportError:
        raise DataError(
            f"{place}: reading it needs fsspec; pip install 'showattend[shards]'"
        ) from None
    try:
        system, path = fsspec.core.url_to_fs(place, use_listings_cache=False)
    except ImportError as error:
        raise DataError(
            f"{place}: reading it needs a package that is not installed ({one_line(error)}); "
            "pip install 'showattend[shards]' has it for s3://"
        ) from None
    except ValueError as error:
        raise DataError(f"{place}: no such kind of address ({one_line(error)})") from None
    except OSError as error:
        raise DataError(f"{place}: cannot be opened ({one_line(error)})") from None
    return system, path


def unreadable(place: str, error: Exception) -> DataError:
    """The error for a file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return MissingError(f"{place}: there is no such file")
    return DataError(f"{place}: cannot be read ({one_line(error)})")


# Listing ---------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """A file or folder of a listing.

    Attributes:
        place: Its path or address.
        is_folder: Whether it is a folder.
    """

    place: str
    is_folder: bool

    @property
    def name(self) -> str:
        """The last part of its place."""
        return self.place.rpartition("/")[2]


def entries(folder: str) -> list[Entry]:
    """List a folder, sorted by name.

    Args:
        folder: A path or an address; an object lists itself.

    Raises:
        FileNotFoundError: Nothing has that name.
        DataError: It cannot be listed.
    """
    try:
        found = _entries_elsewhere(folder) if is_remote(folder) else _entries_here(folder)
    except (FileNotFoundError, DataError):
        raise
    except Exception as error:  # each kind of connection has its own errors
        raise DataError(f"{folder}: cannot be listed ({one_line(error)})") from error
    return sorted(found, key=lambda each: each.name)


def _entries_elsewhere(folder: str) -> list[Entry]:
    system, path = file_system(folder)
    found = []
    for each in system.ls(path, detail=True):
        name, is_folder = each["name"].rstrip("/"), each["type"] == "directory"
        is_marker = is_folder or each["name"].endswith("/")  # a folder may also be an object
        if not is_marker or name != path.rstrip("/"):
            found.append(Entry(system.unstrip_protocol(name), is_folder))
    return found


def _entries_here(folder: str) -> list[Entry]:
    separator = "" if not folder or folder.endswith("/") else "/"
    with os.scandir(local_path(folder) or ".") as found:
        return [Entry(f"{folder}{separator}{each.name}", _is_folder(each)) for each in found]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


Choice = Callable[[Entry], bool]


def _any(_: Entry) -> bool:
    return True


def walk(top: str, may_enter: Choice = _any) -> Iterator[Entry]:
    """Yield the files below a folder: its own, then those of the folders in it.

    Args:
        top: An address, of a folder or an object.
        may_enter: Whether to look into a folder.

    Raises:
        DataError: A folder cannot be listed, or does not exist.
    """
    for _, found in _folders(top, may_enter):
        yield from (each for each in found if not each.is_folder)


def _folders(top: str, may_enter: Choice) -> Iterator[tuple[str, list[Entry]]]:
    """A folder and those below it, each with its entries."""
    left = [top]
    while left:
        folder = left.pop()
        found = _entries_below(folder)
        yield folder, found
        left += [each.place for each in reversed(found) if each.is_folder and may_enter(each)]


def _entries_below(folder: str) -> list[Entry]:
    """The entries of a folder that existed a moment ago."""
    try:
        return entries(folder)
    except FileNotFoundError:
        raise DataError(f"{folder}: cannot be listed (it no longer exists); try again") from None


def matching(pattern: str, may_enter: Choice = _any) -> Iterator[Entry]:
    """Yield the files and folders that match a pattern, in order.

    ``*``, ``?`` and ``[...]`` match parts of a name, as in ``glob``; in addresses ``**`` matches
    any number of folders, and everything below if it comes last. A name that begins with a dot is
    matched only by a dot.

    Args:
        pattern: A path or an address with wildcards.
        may_enter: Whether to look into a folder that the pattern does not name literally.

    Raises:
        DataError: A folder cannot be listed.
    """
    magic = _magic(pattern)
    start = pattern[: pattern.rfind("/", 0, magic.start() if magic else None) + 1]
    parts = pattern[len(start) :].split("/")
    with contextlib.suppress(FileNotFoundError):
        yield from _within(start, parts, may_enter, entries)


def _within(
    folder: str, parts: list[str], may_enter: Choice, entries_of: Callable[[str], list[Entry]]
) -> Iterator[Entry]:
    part, rest = parts[0], parts[1:]
    if part == "**" and is_remote(folder):
        if not rest:
            yield Entry(folder, True)
            return
        for each, _ in _folders(folder, may_enter):
            yield from _within(each, rest, may_enter, _entries_below)
        return
    is_named = part.startswith(".") or not is_pattern(part)
    sought = part.replace("?", "[?]") if is_web(folder) else part
    for entry in entries_of(folder):
        hidden = entry.name.startswith(".") and not part.startswith(".")
        if hidden or not (entry.name == part or fnmatchcase(entry.name, sought)):
            continue
        if entry.is_folder and not is_named and not may_enter(entry):
            continue
        if not rest:
            yield entry
        elif entry.is_folder:
            yield from _within(entry.place, rest, may_enter, _entries_below)


# Reading ---------------------------------------------------------------------------------------


def read_file(place: str, most: int) -> bytes:
    """A file's content.

    Args:
        place: The file.
        most: The largest number of bytes it may have.

    Raises:
        OverflowError: It has more.
        Exception: It cannot be read; each kind of connection has its own errors.
    """
    if is_remote(place) and not is_web(place):
        content = _fetched(place, most + 1)
    else:
        with _opened(place) as file:
            content = _read_up_to(file, most + 1)
    if len(content) > most:
        raise OverflowError(f"it has more than {most:,} bytes")
    return content


def _fetched(place: str, most: int) -> bytes:
    """The beginning of an object, in one request."""
    system, path = file_system(place)
    try:
        content: bytes = system.cat_file(path, start=0, end=most)
    except _NOT_THERE:
        raise
    except Exception:
        if system.info(path).get("size") == 0:  # there is no first byte to request
            return b""
        raise
    return content


def _read_up_to(file: Readable, most: int) -> bytes:
    blocks, left = [], most
    while left and (block := file.read(min(_BLOCK, left))):
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)


def read_bytes(place: str, most: int) -> bytes:
    """A small file's content; over the network, several attempts are made.

    Args:
        place: The file.
        most: The largest number of bytes it may have.

    Raises:
        DataError: It cannot be read, or has more.
    """
    for left in range(TRIES - 1, -1, -1):
        try:
            return read_file(place, most)
        except (DataError, FileNotFoundError, OverflowError, UnpackError) as error:
            raise error if isinstance(error, DataError) else unreadable(place, error) from error
        except Exception as error:
            if not left or not is_remote(place):
                raise unreadable(place, error) from error
            time.sleep(0.5 * 2 ** (TRIES - 1 - left))
    raise AssertionError


@contextlib.contextmanager
def open_stream(place: str) -> Iterator[IO[bytes]]:
    """Open a file to be read once from beginning to end.

    Raises:
        DataError: It cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(_opened(place))
        except DataError:
            raise
        except Exception as error:
            raise unreadable(place, error) from error
        yield file


@contextlib.contextmanager
def _opened(place: str) -> Iterator[IO[bytes]]:
    if is_web(place):
        with _web(place) as file:
            yield file
        return
    if is_remote(place):
        system, path = file_system(place)
        with system.open(path, "rb") as file:
            yield file
        return
    with Path(local_path(place)).open("rb") as file:
        yield file


@contextlib.contextmanager
def _web(place: str) -> Iterator[Any]:
    import httpx2

    # httpx unpacks whatever a server has compressed, a whole block at a time.
    asked = {"Accept-Encoding": "identity"}
    with (
        httpx2.Client(follow_redirects=True, timeout=httpx2.Timeout(60)) as client,
        client.stream("GET", place, headers=asked) as answer,
    ):
        if answer.status_code == 404:
            raise FileNotFoundError(place)
        answer.raise_for_status()
        coding = answer.headers.get("content-encoding", "identity").lower()
        sent = _Chunks(answer.iter_raw(1 << 16))
        if coding in ("gzip", "x-gzip"):
            yield _Whole(gunzipped(sent))
        elif coding in ("identity", ""):
            yield sent
        else:
            raise OSError(f"its server compresses it with {coding}")


class _Chunks:
    """Chunks of bytes as a file that can only be read forwards."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._left = chunks, bytearray()

    def read(self, size: int, /) -> bytes:
        """The next bytes; fewer than requested only at the end."""
        while len(self._left) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._left += chunk
        taken = bytes(self._left[:size])
        del self._left[:size]
        return taken


class _Whole:
    """A stream whose reads return fewer bytes than requested only at its end."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        """The next bytes."""
        return _read_up_to(self._stream, size)
