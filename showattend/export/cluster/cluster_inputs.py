"""The images of a job: files, folders, patterns, tar shards; local or in an object store."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

from showattend.data.shards import expand, is_shards, members
from showattend.exceptions import DataError, ImageError, one_line
from showattend.export.cluster.partition import Input, Part
from showattend.export.cluster.stores import read_image
from showattend.images.finding import IMAGE_SUFFIXES, find_images, is_left_out, warn_left_out
from showattend.system.addresses import (
    Entry,
    file_system,
    is_address,
    is_pattern,
    is_remote,
    local_path,
    matching,
    walk,
)
from showattend.system.threads import in_order

READERS = 8
"""Threads of a worker that fetch images ahead of the model."""
_REMEMBERED = 10_000  # names left out, to count one in two inputs once


class _LeftOut:
    """The names left out: their number, and the first of them."""

    def __init__(self) -> None:
        self.places: dict[str, None] = {}
        self.count = 0

    def add(self, place: str) -> None:
        self.count += place not in self.places
        if len(self.places) < _REMEMBERED:
            self.places[place] = None


def list_inputs(inputs: Sequence[str], recursive: bool, problems: list[str]) -> Iterator[Input]:
    """List images and shards, each once, as they are found.

    Local files and folders are found as by ``showattend caption``. Below an address everything is
    used: object stores have no folders. Hidden names, and folders of thumbnails and deleted files,
    are left out in both unless they are named, and a warning is logged.

    Args:
        inputs: Files, folders, patterns, addresses, and patterns of tar shards.
        recursive: Look into subfolders of this machine.
        problems: Gets a line for each input without images.

    Raises:
        DataError: An object store cannot be listed to its end, or there are no such shards.
    """
    local = [each for each in inputs if not is_address(each) and not is_shards(each)]
    found, said = find_images(local, recursive) if local else ([], [])
    problems += said
    yield from (Input(str(path)) for path in found)
    # The images below one address are found once; only several, or nested folders, may overlap.
    others = [each for each in dict.fromkeys(inputs) if each not in local]
    seen: set[str] | None = set() if len(others) > 1 or "**" in "".join(others) else None
    left_out = _LeftOut()
    for each in others:
        count, before = 0, len(problems)
        for one in _shards(each) if is_shards(each) else _below(each, left_out, problems):
            count += 1
            if seen is None or one.name not in seen:
                yield one
            if seen is not None:
                seen.add(one.name)
        if not count and len(problems) == before:
            problems.append(f"{each}: no images there")
    warn_left_out(list(left_out.places), left_out.count)


def _shards(pattern: str) -> Iterator[Input]:
    for name in expand(pattern):
        yield Input(name, is_shard=True)


def _below(address: str, left_out: _LeftOut, problems: list[str]) -> Iterator[Input]:
    """The images at an address or a pattern of addresses."""
    if not is_remote(address):
        found, said = find_images([local_path(address)], recursive=True)
        problems += said
        yield from (Input(f"file://{path}") for path in found)
        return

    def may_enter(folder: Entry) -> bool:
        if is_left_out(folder.name):
            left_out.add(folder.place)
            return False
        return True

    def is_wanted(file: Entry) -> bool:
        if file.name.startswith(".") and _has_suffix(file.name):
            left_out.add(file.place)
            return False
        return _has_suffix(file.name)

    if is_pattern(address):
        starts = matching(address, may_enter)
    elif (one := _named(address)) is None:
        return
    elif not one.is_folder:  # what is named is taken whatever its name
        yield Input(one.place)
        return
    else:
        starts = iter([one])
    for start in starts:
        if start.is_folder:
            files = filter(is_wanted, walk(start.place, may_enter))
            yield from (Input(file.place) for file in files)
        elif _has_suffix(start.name):
            yield Input(start.place)


def _named(address: str) -> Entry | None:
    """The file or folder at an address; None if there is nothing."""
    system, path = file_system(address)
    try:
        kind = system.info(path)["type"]
    except FileNotFoundError:
        return None
    except Exception as error:  # each kind of connection has its own errors
        raise DataError(f"{address}: cannot be listed ({one_line(error)})") from None
    return Entry(system.unstrip_protocol(path), kind == "directory")


def _has_suffix(path: str) -> bool:
    return posixpath.splitext(path)[1].lower() in IMAGE_SUFFIXES


def _is_image(path: str) -> bool:
    return not posixpath.basename(path).startswith(".") and _has_suffix(path)


def contents(part: Part, folder: str, ahead: int) -> Iterator[tuple[str, bytes | ImageError]]:
    """The images of a part, fetched ahead: name, and content or error.

    Args:
        part: The part.
        folder: The folder that relative paths start from.
        ahead: The number of images to fetch ahead.

    Raises:
        DataError: An image or the shard could not be reached, or the shard is damaged.
    """
    if part.shard:
        yield from _members(part.shard, folder)
        return

    def fetch(name: str) -> bytes | ImageError:
        try:
            return read_image(name, folder)
        except ImageError as error:
            return error

    yield from in_order(fetch, part.images, threads=READERS, ahead=ahead)


def _members(shard: str, folder: str) -> Iterator[tuple[str, bytes]]:
    """The images of a tar file, one at a time."""
    where = shard if is_address(shard) else posixpath.join(folder, shard)
    for name, content in members(where, wanted=_is_image):
        yield f"{shard}/{name}", content
