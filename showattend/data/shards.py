"""Sharded data sets: WebDataset's tar files, on a local disk, a web server or in a bucket.

A sample is the members of a tar file whose names are the same up to the first dot of the file
name: ``000123.jpg`` (the unchanged image file), ``000123.json`` (its captions) and perhaps
``000123.npy`` (features). A place is a path, an ``http(s)://`` address, or any address that fsspec
knows, such as ``s3://``.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Self

from showattend.exceptions import DataError, one_line
from showattend.system.addresses import (
    is_pattern,
    is_remote,
    is_web,
    local_path,
    matching,
    open_stream,
    read_bytes,
    unreadable,
)
from showattend.system.unpacking import UnpackError, unpacked

INDEX = "index.json"
"""The file next to the shards that lists their contents (`showattend.data.shard_index`)."""
LARGEST_INDEX = 64 << 20
"""Bytes of an index: some 200,000 shards, and a million words."""
LARGEST = 1 << 30
"""Bytes of a file in a shard, and of all files of a sample; no photograph that can be decoded is
larger."""
LARGEST_JSON = 16 << 20
"""Bytes of a JSON file in a shard, which takes many times that in memory."""
NOT_IMAGES = ("json", "npy", "txt", "cls", "pyd", "pth", "npz")
"""Extensions of members that are not images."""
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST = 10_000_000
_MOST_FILES = 100  # of a sample
_RECORDS = (  # headers about the next member, or about all that follow
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_LARGEST_RECORD = 1 << 16


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
    return any(sign in place for sign in "*?") if is_web(place) else is_pattern(place)


def matches(place: str, pattern: str) -> bool:
    """Whether a place matches an expanded pattern (without braces)."""
    return place == pattern or fnmatchcase(place, pattern)


def _listed(pattern: str) -> list[str]:
    if is_web(pattern):
        folder = folder_of(pattern)
        try:
            index = json.loads(read_bytes(folder + INDEX, LARGEST_INDEX))
            names = [folder + str(each["name"]) for each in index["shards"]]
        except (DataError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise DataError(
                f"{pattern}: a web server cannot list its files, and there is no readable {INDEX} "
                f"next to them ({one_line(error)}); name the shards with a range such as "
                "{000000..000012}"
            ) from None
        found = [name for name in names if fnmatchcase(name, pattern)]
    else:
        place = pattern if is_remote(pattern) else local_path(pattern)
        found = sorted(each.place for each in matching(place))
    if not found:
        raise DataError(f"{pattern}: there is no such shard")
    return found


# Reading ---------------------------------------------------------------------------------------


class Header(tarfile.TarInfo):
    """A header that is cut off, damaged, leads backwards, or needs much memory is an error.

    tarfile takes the first two for the end of the file, follows the third forever, and reads
    records of any size, and lists of any length of the holes in a file.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """A header from its 512 bytes.

        Raises:
            tarfile.HeaderError: It is damaged, or too large.
        """
        found = super().frombuf(buf, encoding, errors)
        if found.type in _RECORDS and found.size > _LARGEST_RECORD:
            raise tarfile.HeaderError(
                f"a header of {found.size:,} bytes; the limit is {_LARGEST_RECORD:,}"
            )
        if found.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.HeaderError("a file with holes")
        return found

    def _proc_gnusparse_10(self, *_: object) -> None:  # would read the list of holes
        raise tarfile.HeaderError("a file with holes")

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
        if len(str(archive.pax_headers)) > 4 * _LARGEST_RECORD:
            raise tarfile.ReadError(f"after {begin:,} bytes: headers for all that follows")
        return found


def files_in(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the files of a tar file, keeping none in memory.

    Args:
        tar: A file opened with `Header`.

    Raises:
        tarfile.ReadError: It is damaged.
    """
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # a kilobyte each
        if member.issparse():
            raise tarfile.ReadError(f"{member.name} is a file with holes")
        if member.isfile():
            yield member


def check_size(place: str, member: tarfile.TarInfo) -> None:
    """Refuse a file that is too large to be read.

    Raises:
        DataError: It is.
    """
    most = LARGEST_JSON if split_name(member.name)[1] == "json" else LARGEST
    if member.size > most:
        raise DataError(
            f"{place}: {member.name} has {member.size:,} bytes; in a shard it may have {most:,}"
        )


def read(place: str) -> Iterator[Sample]:
    """Yield the samples of a shard in order, reading it from beginning to end.

    Args:
        place: The shard.

    Raises:
        DataError: It cannot be read, or is damaged.
    """
    key, size = "", 0
    parts: dict[str, bytes] = {}
    for name, content in members(place):
        named, extension = split_name(name)
        if named != key or extension in parts:
            if parts:
                yield sample_of(place, key, parts)
            key, parts, size = named, {}, 0
        parts[extension] = content
        size += len(content)
        if size > LARGEST or len(parts) > _MOST_FILES:
            raise DataError(
                f"{place}: {key} has {len(parts):,} files of {size:,} bytes; a sample may have "
                f"{_MOST_FILES} of {LARGEST:,}"
            )
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
            with tarfile.open(fileobj=unpacked(stream), mode="r|", tarinfo=Header) as tar:  # type: ignore[call-overload]
                for member in files_in(tar):
                    if not wanted(member.name):
                        continue
                    check_size(place, member)
                    file = tar.extractfile(member)
                    content = b"" if file is None else file.read()
                    if len(content) != member.size:
                        raise damaged(place, f"{member.name} is cut off")
                    yield member.name, content
        except (tarfile.TarError, EOFError, UnpackError) as error:
            raise damaged(place, one_line(error)) from error
        except DataError:
            raise
        except Exception as error:  # each kind of connection has its own errors
            raise unreadable(place, error) from error


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


def size_of(place: str) -> int | None:
    """The bytes of a local file; None for a remote one.

    Raises:
        DataError: It is not there.
    """
    if is_remote(place):
        return None
    try:
        return os.stat(local_path(place)).st_size  # noqa: PTH116
    except OSError as error:
        raise unreadable(place, error) from error
