"""The parts of a job, in a list that is made once and kept with the results.

Every image is in one part, and every part has one name, so a part made twice (because its worker
was presumed lost) is the same file, and the existing files show what is left to do.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from showattend.exceptions import DataError, UserError, one_line, shown
from showattend.export.cluster.stores import Store
from showattend.system.addresses import is_address
from showattend.system.files import name_aside, remove_stale, unwritable

LIST = "images.jsonl"
"""The list: a header, one line per part, and the totals."""
MOST = 1000
"""Images per part, if there are enough for all workers; a killed worker loses at most these."""
LEAST = 16
SHARES = 4
"""Parts per worker if there are few images, so that workers end at about the same time."""
_FORMAT = 1
_END = b'{"parts"'
_LONGEST = 1 << 20  # bytes of the last line; it has the problems
_PROBLEMS, _PROBLEM = 100, 400  # problems kept, and characters of each

OPTIONS = {
    "inputs": "the inputs",
    "recursive": "--recursive",
    "model": "--model (the digest of its files)",
    "parts": "--parts",
    "precision": "--precision",
    "size": "--size",
    "beam_size": "--beam-size",
    "n_best": "--n-best",
}
"""The options that the parts depend on, and their names in messages."""


class Input(NamedTuple):
    """An image file, or a tar shard of images.

    Attributes:
        name: Its path or address.
        is_shard: Whether it is a shard.
    """

    name: str
    is_shard: bool = False


class Part(NamedTuple):
    """Images that are captioned by one worker and written to one file.

    Attributes:
        number: Its place in the list, from 0.
        images: Paths or addresses; empty for a shard.
        shard: The tar file that holds the images; empty for image files.
    """

    number: int
    images: tuple[str, ...] = ()
    shard: str = ""

    @property
    def name(self) -> str:
        """Its number, and a digest of its content: 000017-0b1d2c3e."""
        content = json.dumps([self.number, self.images, self.shard]).encode()
        return f"{self.number:06d}-{hashlib.sha256(content).hexdigest()[:8]}"

    def to_line(self) -> str:
        """The part as a line of the list."""
        held = {"shard": self.shard} if self.shard else {"images": list(self.images)}
        return json.dumps({"part": self.number, **held}) + "\n"

    @classmethod
    def of_line(cls, line: bytes | str) -> Part:
        """The part that `to_line` wrote.

        Raises:
            ValueError: It did not.
        """
        try:
            values = json.loads(line)
            number, images, shard = (
                values["part"],
                values.get("images", []),
                values.get("shard", ""),
            )
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(one_line(error)) from None
        if not (_is_count(number) and isinstance(shard, str) and _is_texts(images)):
            raise ValueError("a value of another type")
        if bool(images) == bool(shard):
            raise ValueError("it has images and a shard, or neither")
        return cls(number, tuple(images), shard)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def divide(inputs: Iterable[Input], size: int | None, workers: int) -> Iterator[Part]:
    """Divide images into parts, in order; a shard is a part of its own.

    Args:
        inputs: Images and shards, each once; read lazily.
        size: Images per part; None is `MOST`, or less if that would leave workers idle.
        workers: The number of workers.
    """
    stream = iter(inputs)
    if size is None:
        first = list(itertools.islice(stream, MOST * SHARES * workers))
        files = sum(not each.is_shard for each in first)
        size = max(LEAST, min(MOST, -(-files // (SHARES * workers))))
        stream = itertools.chain(first, stream)
    number, held = 0, list[str]()
    for each in stream:
        if each.is_shard:
            if held:  # in the order of the inputs
                yield Part(number, tuple(held))
                number, held = number + 1, []
            yield Part(number, shard=each.name)
            number += 1
            continue
        held.append(each.name)
        if len(held) == size:
            yield Part(number, tuple(held))
            number, held = number + 1, []
    if held:
        yield Part(number, tuple(held))


class Totals(NamedTuple):
    """The totals of a list.

    Attributes:
        parts: The number of its parts.
        images: The number of its image files, without those in shards.
        problems: A line for each input that has no images.
    """

    parts: int
    images: int
    problems: tuple[str, ...] = ()


class ImageList:
    """The list of a job's parts, which stays on disk.

    Args:
        store: The store for the results, which contains the list.

    Attributes:
        folder: The folder that relative paths start from.
        options: The options that the parts depend on (`OPTIONS`).

    Raises:
        DataError: The list is damaged, or of another version.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        with store.open(LIST) as file:
            header = self._values(file.readline(), 1)
        folder, options = header.get("folder"), header.get("options")
        is_other = header.get("format") != _FORMAT
        if is_other or not isinstance(folder, str) or not isinstance(options, dict):
            raise self._damaged(1)
        self.folder, self.options = folder, options

    def parts(self) -> Iterator[Part]:
        """The parts, read one at a time.

        Raises:
            DataError: The list is damaged.
        """
        with self.store.open(LIST) as file:
            for number, line in enumerate(file, 1):
                if number == 1:
                    continue
                if line.startswith(_END):
                    if self.totals().parts != number - 2:
                        break
                    return
                try:
                    part = Part.of_line(line)
                except ValueError:
                    raise self._damaged(number) from None
                if part.number != number - 2:
                    raise self._damaged(number)
                yield part
        raise self._damaged(0)

    def totals(self) -> Totals:
        """Its totals.

        Raises:
            DataError: The list is damaged.
        """
        with self.store.open(LIST) as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(max(0, length - _LONGEST))
            line = file.read().rstrip(b"\n").rpartition(b"\n")[2]
        if not line.startswith(_END):
            raise self._damaged(0)
        values = self._values(line, 0)
        parts: Any = values.get("parts")
        images: Any = values.get("images")
        problems: Any = values.get("problems")
        if not (_is_count(parts) and _is_count(images) and _is_texts(problems)):
            raise self._damaged(0)
        return Totals(parts, images, tuple(problems))

    def check(self, options: Mapping[str, Any]) -> None:
        """Refuse to add captions made with other options, or of other inputs.

        Raises:
            UserError: They differ.
        """
        changed = []
        for key, name in OPTIONS.items():
            before, now = self.options.get(key), options.get(key)
            if before != now:
                brief = key == "inputs"
                changed.append(name if brief else f"{name} was {_said(before)}, is {_said(now)}")
        if changed:
            raise UserError(
                f"{self.store.place}: was begun with other options ({'; '.join(changed)}); use the "
                "same ones, or give another --output"
            )

    def _values(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            raise self._damaged(number) from None
        if not isinstance(values, dict):
            raise self._damaged(number)
        return values

    def _damaged(self, number: int) -> DataError:
        where = f"line {number}" if number else "the last line"
        return DataError(
            f"{self.store.place}/{LIST}, {where}: damaged, or of another version; give "
            "another --output"
        )


def _said(value: object) -> str:
    return value if isinstance(value, str) else shown(value)


def write_list(
    store: Store,
    parts: Iterable[Part],
    folder: str,
    options: Mapping[str, Any],
    problems: Sequence[str] = (),
) -> int:
    """Write the list of a new job; it appears when it is complete.

    Args:
        store: The store for the results.
        parts: The parts; if there are none, nothing is written.
        folder: The folder that relative paths start from.
        options: The options that the parts depend on.
        problems: Lines about inputs without images; read after the parts.

    Returns:
        The number of parts.

    Raises:
        UserError: It cannot be written.
    """
    where = store.folder if store.is_folder else Path(tempfile.gettempdir())
    remove_stale(where / LIST)
    aside, count, images = name_aside(where / LIST), 0, 0
    try:
        with aside.open("x", encoding="utf-8") as file:
            header = {"format": _FORMAT, "folder": folder, "options": dict(options)}
            file.write(json.dumps(header) + "\n")
            for part in parts:
                file.write(part.to_line())
                count, images = count + 1, images + len(part.images)
            kept = [str(UserError(each))[:_PROBLEM] for each in problems[:_PROBLEMS]]
            if len(problems) > _PROBLEMS:
                kept.append(f"{len(problems) - _PROBLEMS:,} more such problems")
            totals = {"parts": count, "images": images, "problems": kept}
            file.write(json.dumps(totals) + "\n")
        if count:
            store.adopt(aside, LIST)
    except OSError as error:
        raise unwritable(aside, error) from error
    finally:
        aside.unlink(missing_ok=True)
    return count


def absolute(inputs: Iterable[str]) -> list[str]:
    """The inputs as compared between runs: absolute paths, and addresses unchanged."""
    return [each if is_address(each) else str(Path(each).absolute()) for each in inputs]
