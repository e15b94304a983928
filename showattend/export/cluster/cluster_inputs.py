"""The images of a job: files, folders, patterns, tar shards; local or in an object store."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

from showattend.data.shards import expand, is_shards, members
from showattend.exceptions import DataError, ImageError, one_line
from showattend.export.cluster.partition import Input, Part
from showattend.export.cluster.stores import filesystem, is_address, read_image
from showattend.images.finding import IMAGE_SUFFIXES, LEFT_OUT, find_images
from showattend.system.threads import in_order

READERS = 8
"""Threads of a worker that fetch images ahead of the model."""


def list_inputs(inputs: Sequence[str], recursive: bool, problems: list[str]) -> Iterator[Input]:
    """List images and shards, each once, as they are found.

    Local files and folders are found as by ``showattend caption``. Below an address everything is
    used: object stores have no folders. Hidden names are left out in both.

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
    # The images below one address are found once; only several addresses may overlap.
    others = [each for each in dict.fromkeys(inputs) if each not in local]
    seen: set[str] | None = set() if len(others) > 1 else None
    for each in others:
        count = 0
        for one in _shards(each) if is_shards(each) else _below(each):
            count += 1
            if seen is None or one.name not in seen:
                yield one
            if seen is not None:
                seen.add(one.name)
        if not count:
            problems.append(f"{each}: no images there")


def _shards(pattern: str) -> Iterator[Input]:
    for name in expand(pattern):
        yield Input(name, is_shard=True)


def _below(address: str) -> Iterator[Input]:
    """The images at an address or a pattern of addresses."""
    system, path = filesystem(address)
    try:
        if is_pattern := any(sign in path for sign in "*?["):
            kinds = {name: each["type"] for name, each in system.glob(path, detail=True).items()}
        else:
            kinds = {path: "file" if system.isfile(path) else "directory"}
        for start, kind in sorted(kinds.items()):
            if kind != "file":
                for name in _walked(system, start):
                    yield Input(system.unstrip_protocol(name))
            elif _is_image(start) or not is_pattern:  # what is named is taken whatever its suffix
                yield Input(system.unstrip_protocol(start))
    except FileNotFoundError:
        return
    except Exception as error:
        raise DataError(f"{address}: cannot be listed ({one_line(error)})") from None


def _walked(system: Any, start: str) -> Iterator[str]:
    for folder, within, names in system.walk(start):
        within[:] = sorted(each for each in within if not _is_hidden(each))
        yield from (f"{folder}/{name}" for name in sorted(names) if _is_image(name))


def _is_image(path: str) -> bool:
    name = posixpath.basename(path)
    return not name.startswith(".") and posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _is_hidden(folder: str) -> bool:
    return folder.startswith(".") or folder.lower() in LEFT_OUT


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
