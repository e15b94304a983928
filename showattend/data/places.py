"""Where the images of a data set are: in a given folder, under a slightly different name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from showattend.data.records import Record
from showattend.system.matching import name_key

_LOOKED_AT = 200  # images that are looked for to find out where a data set's folder has moved


class Files:
    """Finds files by name; each folder is listed once, since there may be 120,000 images."""

    def __init__(self) -> None:
        self._names: dict[Path, frozenset[str]] = {}
        self._by_key: dict[Path, dict[str, str | None]] = {}
        self._folders: dict[Path, Path] = {}

    def find(self, path: Path) -> Path | None:
        """The file of this name, or the only one of an equivalent name (`name_key`)."""
        if path.name in self._listed(path.parent):
            return path
        folder = self._folder(path.parent)
        if name := self._equivalent(folder, path.name):
            return folder / name
        if "\\" in path.name:  # a folder and a file, written on Windows
            return self.find(path.parent / path.name.replace("\\", "/"))
        return None

    def _folder(self, folder: Path) -> Path:
        """The folder that exists, if it or one above it has an equivalent name."""
        if folder not in self._folders:
            found = folder
            if folder.parent != folder and not folder.is_dir():
                above = self._folder(folder.parent)
                found = above / (self._equivalent(above, folder.name) or folder.name)
            self._folders[folder] = found
        return self._folders[folder]

    def _listed(self, folder: Path) -> frozenset[str]:
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(each.name for each in folder.iterdir())
            except (OSError, ValueError):
                self._names[folder] = frozenset()
        return self._names[folder]

    def _equivalent(self, folder: Path, name: str) -> str | None:
        if folder not in self._by_key:
            known: dict[str, str | None] = {}
            for each in self._listed(folder):
                key = name_key(each)
                known[key] = None if key in known else each
            self._by_key[folder] = known
        return self._by_key[folder].get(name_key(name))


def as_on_disk(records: Iterable[Record], files: Files | None = None) -> list[Record]:
    """Give records the names that their files have on disk.

    A name may differ from the data set's in case, accents, spaces or slashes. Missing images keep
    theirs.
    """
    files = files or Files()
    found = []
    for record in records:
        path = files.find(record.path)
        changed = path is not None and path != record.path
        found.append(replace(record, path=path or record.path) if changed else record)
    return found


def relocate(records: Sequence[Record], folder: Path) -> list[Record]:
    """Look for images in a folder, although the data set gives absolute paths elsewhere.

    All images have moved together: the same number of leading folders is removed from each path,
    the one with which most images exist. If none exists, it is the number that leaves only what the
    paths do not have in common.

    Args:
        records: Records, of which those with paths outside the folder are changed.
        folder: The folder of the images.
    """
    outside = [i for i, record in enumerate(records) if not record.path.is_relative_to(folder)]
    if not outside:
        return list(records)
    parts = [records[i].path.parts[1:] for i in outside]
    step = -(-len(parts) // _LOOKED_AT)
    files = Files()
    hits: Counter[int] = Counter()
    for each in parts[::step]:
        for removed in range(len(each)):
            hits[removed] += files.find(folder.joinpath(*each[removed:])) is not None
    removed, most = max(hits.items(), key=lambda pair: (pair[1], -pair[0]), default=(0, 0))
    if not most:
        removed = len(_common_start([each[:-1] for each in parts]))
    moved = list(records)
    for i, each in zip(outside, parts, strict=True):
        rest = each[removed:] or each[-1:]
        moved[i] = replace(records[i], path=folder.joinpath(*rest))
    return moved


def _common_start(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    first, last = min(paths), max(paths)
    same = next(
        (i for i, pair in enumerate(zip(first, last, strict=False)) if len(set(pair)) > 1),
        min(len(first), len(last)),
    )
    return first[:same]
