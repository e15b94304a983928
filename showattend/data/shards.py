"""Sharded data sets: WebDataset's tar files, on a local disk, a web server or in a bucket.

A sample is the members of a tar file whose names are the same up to the first dot of the file
name: ``000123.jpg`` (the unchanged image file), ``000123.json`` (its captions) and perhaps
``000123.npy`` (features). A place is a path, an ``http(s)://`` address, or any address that fsspec
knows, such as ``s3://``.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any, Self

from showattend.exceptions import DataError, one_line

INDEX = "index.json"
"""The file next to the shards that lists their contents (`showattend.data.shard_index`)."""
TRIES = 4
"""The number of attempts to read over the network."""
NOT_IMAGES = ("json", "npy", "txt", "cls", "pyd", "pth", "npz")
"""Extensions of members that are not images."""
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST = 10_000_000


@dataclass(frozen=True)
class Sample:
    """One image of a shard with its data.

    Attributes:
        shard: The place of the shard.
        key: The common part of its members' names.
        image: The image file's bytes; None if the sample has no image.
        extension: The image member's extension, such as ``jpg``.
        values: The JSON member; empty if there is none.
        other: The other members by extension.
    """

    shard: str
    key: str
    image: bytes | None
    extension: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    other: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The shard and the key, for messages."""
        return f"{self.shard}/{self.key}"


# Places ----------------------------------------------------------------------------------------


def is_shards(path: str) -> bool:
    """Whether a path is a pattern of shards: it ends in ``.tar``."""
    return path.endswith(".tar")


def is_remote(place: str) -> bool:
    """Whether a place is an address rather than a path."""
    return "://" in place and not place.startswith("file://")


def is_web(place: str) -> bool:
    """Whether a place is on a web server."""
    return place.startswith(("http://", "https://"))


def folder_of(place: str) -> str:
    """The folder of a shard or a pattern, with its last slash; empty for the current folder."""
    return place[: place.rfind("/") + 1] if "/" in place else ""


def expand_braces(pattern: str) -> Iterator[str]:
    """Expand ``{000..012}`` and ``{train,val}``.

    Raises:
        DataError: A range runs backwards, or there would be too many places.
    """
    found = _BRACES.search(pattern)
    if found is None:
        yield pattern
        return
    inner, number = found.group(1), _RANGE.fullmatch(found.group(1))
    if number:
        first, last = int(number.group(1)), int(number.group(2))
        if not 0 <= last - first < _MOST:
            raise DataError(f"{pattern}: {{{inner}}} must run upwards, over {_MOST:,} at most")
        width = len(number.group(1)) if number.group(1).startswith("0") else 0
        parts: Iterable[str] = (str(each).zfill(width) for each in range(first, last + 1))
    else:
        parts = inner.split(",")
    for part in parts:
        yield from expand_braces(pattern[: found.start()] + part + pattern[found.end() :])


def expand(pattern: str) -> list[str]:
    """The places that a pattern names, in order: those of a range, or existing ones for ``*`` or
    ``?``.

    A web server cannot list its files: there a ``*`` is looked up in the index next to the shards.

    Args:
        pattern: Such as ``data/train-{000000..000012}.tar``, ``s3://bucket/coco/*.tar``.

    Raises:
        DataError: A ``*`` matches nothing, or cannot be listed.
    """
    places: list[str] = []
    for each in expand_braces(pattern):
        places += _listed(each) if _is_wild(each) else [each]
    return list(dict.fromkeys(places))


def _is_wild(place: str) -> bool:
    return any(sign in place for sign in ("*?" if is_web(place) else "*?["))


def matches(place: str, pattern: str) -> bool:
    """Whether a place matches an expanded pattern (without braces)."""
    return place == pattern or fnmatchcase(place, pattern)


def _listed(pattern: str) -> list[str]:
    if is_web(pattern):
        folder = folder_of(pattern)
        try:
            index = json.loads(read_bytes(folder + INDEX))
            names = [folder + str(each["name"]) for each in index["shards"]]
        except (DataError, ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{pattern}: a web server cannot list its files, and there is no readable {INDEX} "
                f"next to them ({one_line(error)}); name the shards with a range such as "
                "{000000..000012}"
            ) from None
        found = [name for name in names if fnmatchcase(name, pattern)]
    elif is_remote(pattern):
        system, path = _file_system(pattern)
        try:
            found = sorted(system.unstrip_protocol(each) for each in system.glob(path))
        except Exception as error:
            raise _unreadable(pattern, error) from error
    else:
        found = sorted(glob.glob(_local(pattern)))  # noqa: PTH207 (a Path loses ./)
    if not found:
        raise DataError(f"{pattern}: there is no such shard")
    return found


def _local(place: str) -> str:
    return place.removeprefix("file://")


# Reading ---------------------------------------------------------------------------------------


class Header(tarfile.TarInfo):
    """A header that is cut off, damaged or leads backwards is an error.

    tarfile takes the first two for the end of the file, and follows the last forever.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """The next header of a file.

        Raises:
            tarfile.ReadError: It is one of these.
        """
        begin = archive.offset
        try:
            found = super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"after {begin:,} bytes: {error}") from None
        if found.size < 0 or archive.offset <= begin:
            raise tarfile.ReadError(f"after {begin:,} bytes: a member of {found.size} bytes")
        return found


def read(place: str) -> Iterator[Sample]:
    """Yield the samples of a shard in order, reading it from beginning to end.

    Args:
        place: The shard.

    Raises:
        DataError: It cannot be read, or is damaged.
    """
    key: str = ""
    parts: dict[str, bytes] = {}
    for name, content in members(place):
        named, extension = split_name(name)
        if named != key or extension in parts:
            if parts:
                yield sample_of(place, key, parts)
            key, parts = named, {}
        parts[extension] = content
    if parts:
        yield sample_of(place, key, parts)


def members(
    place: str, wanted: Callable[[str], bool] = lambda _: True
) -> Iterator[tuple[str, bytes]]:
    """Yield the files in a shard with their names, reading it from beginning to end.

    Args:
        place: The shard.
        wanted: Whether to yield the file of a name.

    Raises:
        DataError: It cannot be read, or is damaged.
    """
    with open_stream(place) as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r|*", tarinfo=Header) as tar:
                for member in tar:
                    if not member.isfile() or not wanted(member.name):
                        continue
                    file = tar.extractfile(member)
                    content = b"" if file is None else file.read()
                    if len(content) != member.size:
                        raise damaged(place, f"{member.name} is cut off")
                    yield member.name, content
        except (tarfile.TarError, EOFError) as error:
            raise damaged(place, one_line(error)) from error
        except DataError:
            raise
        except Exception as error:  # each kind of connection has its own errors
            raise _unreadable(place, error) from error


def split_name(name: str) -> tuple[str, str]:
    """A member's key and extension: the first dot of the file name separates them."""
    folder, _, file = name.rpartition("/")
    stem, _, extension = file.partition(".")
    return f"{folder}/{stem}" if folder else stem, extension.lower()


def is_image(extension: str) -> bool:
    """Whether a member of this extension may be an image."""
    return bool(extension) and extension.rpartition(".")[2] not in NOT_IMAGES


def sample_of(place: str, key: str, members: Mapping[str, bytes]) -> Sample:
    """A sample from its members by extension.

    Raises:
        DataError: The JSON is broken.
    """
    image = next((each for each in members if is_image(each)), None)
    values: Any = {}
    if "json" in members:
        try:
            values = json.loads(members["json"])
        except (ValueError, RecursionError) as error:
            raise damaged(place, f"{key}.json: {one_line(error)}") from None
        if not isinstance(values, dict):
            raise damaged(place, f"{key}.json is not a JSON object")
    rest = {each: content for each, content in members.items() if each not in (image, "json")}
    if image is None:
        return Sample(place, key, None, "", values, rest)
    return Sample(place, key, members[image], image, values, rest)


def damaged(place: str, reason: str) -> DataError:
    """The error for a damaged shard."""
    return DataError(f"{place}: the shard is damaged ({reason}); copy it again")


def _unreadable(place: str, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{place}: there is no such file")
    return DataError(f"{place}: cannot be read ({one_line(error)})")


# Files here and elsewhere ----------------------------------------------------------------------


def read_bytes(place: str) -> bytes:
    """A small file's content.

    Raises:
        DataError: It cannot be read.
    """
    for left in range(TRIES - 1, -1, -1):
        try:
            with open_stream(place) as file:
                return file.read()
        except DataError:
            raise
        except Exception as error:
            if not left or not is_remote(place):
                raise _unreadable(place, error) from error
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
            if is_web(place):
                file = stack.enter_context(_web(place))
            elif is_remote(place):
                system, path = _file_system(place)
                file = stack.enter_context(system.open(path, "rb"))
            else:
                file = stack.enter_context(Path(_local(place)).open("rb"))
        except DataError:
            raise
        except Exception as error:
            raise _unreadable(place, error) from error
        yield file


@contextlib.contextmanager
def _web(place: str) -> Iterator[IO[bytes]]:
    import httpx2

    timeout = httpx2.Timeout(60)
    with (
        httpx2.Client(follow_redirects=True, timeout=timeout) as client,
        client.stream("GET", place) as answer,
    ):
        if answer.status_code == 404:
            raise FileNotFoundError(place)
        answer.raise_for_status()
        yield _Chunks(answer.iter_bytes(1 << 16))  # type: ignore[misc]


class _Chunks:
    """Chunks of bytes as a file that can only be read forwards."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._left = chunks, bytearray()

    def read(self, size: int = -1) -> bytes:
        """The next bytes; fewer than requested only at the end."""
        while size < 0 or len(self._left) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._left += chunk
        count = len(self._left) if size < 0 else size
        taken = bytes(self._left[:count])
        del self._left[:count]
        return taken


def _file_system(place: str) -> tuple[Any, str]:
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
        system, path = fsspec.core.url_to_fs(place)
    except ImportError as error:
        raise DataError(
            f"{place}: reading it needs a package that is not installed ({one_line(error)}); "
            "pip install 'showattend[shards]' has it for s3://"
        ) from None
    except ValueError as error:
        raise DataError(f"{place}: no such kind of address ({one_line(error)})") from None
    return system, path


def size_of(place: str) -> int | None:
    """The bytes of a local file; None for a remote one.

    Raises:
        DataError: It is not there.
    """
    if is_remote(place):
        return None
    try:
        return os.stat(_local(place)).st_size  # noqa: PTH116
    except OSError as error:
        raise _unreadable(place, error) from error
