"""Find the image files given by files, folders and glob patterns.

All commands find images with this module, so that they find the same files.
"""

from __future__ import annotations

import fnmatch
import glob
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from showattend.exceptions import one_line
from showattend.images.image_files import not_an_address
from showattend.system.files import real
from showattend.system.matching import name_key

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib",
    ".tif", ".tiff", ".avif", ".heic", ".heif", ".hif", ".ppm", ".pgm", ".pbm", ".pnm",
})
# fmt: on
LEFT_OUT = frozenset(
    {
        "@eadir",
        "#recycle",
        "#snapshot",
        "@recycle",
        "__macosx",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "lost+found",
    }
)  # fmt: skip
"""Folders of thumbnails, deleted files and copies, in lower case; hidden folders are left out too:
``.thumbnails``, ``.Trash-1000``."""

_log = logging.getLogger("showattend.images")
_NAMED = 3  # folders left out that the note lists
_LOOKED_AT = 10_000  # files of a folder left out, to see whether it has an image


def find_images(
    paths: Sequence[str | Path], recursive: bool = False
) -> tuple[list[Path], list[str]]:
    """List the image files given by files, folders and glob patterns.

    A named file is used whatever its suffix; folders and patterns yield the files with one of
    ``IMAGE_SUFFIXES`` that are not hidden, including broken links, which cannot be opened later.
    Hidden folders and those in ``LEFT_OUT`` are entered only if they are named; a warning is logged
    if they contain images. Linked folders are entered once each, so loops end.

    Args:
        paths: Files, folders, and patterns such as ``photos/*.jpg`` or ``photos/**/*.png``.
        recursive: Look into the folders' subfolders too.

    Returns:
        The files, sorted and each once, and the problems, one line each: whatever does not exist,
        contains no images, or cannot be entered.
    """
    found: dict[Path, Path] = {}
    problems: list[str] = []
    walk = _Walk()
    for given in paths:
        path = Path(given)
        before = len(walk.problems)
        try:
            if path.is_dir():
                matches = walk.images(path, recursive)
                problem = f"{path}: no images in this folder"
                if not recursive and not matches and walk.has_subfolder(path):
                    problem += " itself (--recursive looks into its subfolders)"
            elif path.exists():
                matches, problem = [path], ""
            elif (other := find_file(path)) is not None:
                matches, problem = [other], ""
            elif address := not_an_address(str(given)):
                matches, problem = [], address
            elif glob.has_magic(str(given)):
                matches = walk.matches(str(given), recursive)
                problem = f"{given}: no image matches this pattern"
            else:
                matches, problem = [], f"{path}: no such file or folder"
        except (OSError, ValueError) as error:
            matches, problem = [], f"{path}: cannot be read ({one_line(error)})"
        if not matches and len(walk.problems) == before:
            problems.append(problem)
        for match in matches:
            found.setdefault(real(match.parent) / match.name, match)
    walk.tell()
    return sorted(found.values()), [*problems, *dict.fromkeys(walk.problems)]


def find_file(path: Path) -> Path | None:
    """The file of this name; if there is none, the only one whose name is equivalent.

    Names from another system may differ in case, in the encoding of accents, or in spaces
    (`showattend.system.matching.name_key`).
    """
    if path.exists():
        return path
    key = name_key(path.name)
    try:
        same = [each for each in path.parent.iterdir() if name_key(each.name) == key]
    except OSError:
        return None
    return same[0] if len(same) == 1 else None


class _Walk:
    """Searches folders; collects what it left out and could not enter."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.left_out: dict[Path, None] = {}

    def images(self, folder: Path, recursive: bool, named: Sequence[str] = ()) -> list[Path]:
        """The images in a folder, and with ``recursive`` in its subfolders.

        Folders given by name are always entered.
        """
        files: list[Path] = []
        entered: set[str] = set()
        folders, links = [folder], list[Path]()
        while folders or links:
            # Links come last: a folder within is listed under its own name.
            each = folders.pop() if folders else links.pop(0)
            real = os.path.realpath(each)
            if real in entered:
                continue
            entered.add(real)
            for entry in self._entries(each):
                path = each / entry.name
                if _is_folder(entry):
                    if recursive and (entry.name in named or self._may_enter(path)):
                        (links if entry.is_symlink() else folders).append(path)
                elif _is_image_file(path):
                    files.append(path)
        return files

    def matches(self, pattern: str, recursive: bool) -> list[Path]:
        """The images that match a pattern; ``**`` matches any number of folders."""
        parts = Path(pattern).parts
        start = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
        folders = [Path(*parts[:start])]
        for i, part in enumerate(parts[start:], start):
            if part == "**":
                return [
                    path
                    for folder in folders
                    for path in self.images(folder, recursive=True, named=parts[i:])
                    if _fits(path.relative_to(folder).parts, parts[i:])
                ]
            if glob.has_magic(part):
                matched = [
                    folder / entry.name
                    for folder in folders
                    for entry in self._entries(folder)
                    if fnmatch.fnmatch(entry.name, part)
                    and (part.startswith(".") or not entry.name.startswith("."))
                ]
            else:
                matched = [folder / part for folder in folders]
            named = part.startswith(".") or not glob.has_magic(part)
            folders = [
                path for path in matched if path.is_dir() and (named or self._may_enter(path))
            ]
        found = [path for path in matched if _is_image_file(path)]
        for folder in folders if recursive else ():
            found += self.images(folder, recursive)
        return found

    def has_subfolder(self, folder: Path) -> bool:
        """Whether ``recursive`` would look into more than this folder."""
        return any(
            _is_folder(entry) and not is_left_out(entry.name) for entry in self._entries(folder)
        )

    def tell(self) -> None:
        """Log which of the folders left out contain images."""
        folders = [folder for folder in self.left_out if _contains_image(folder)]
        warn_left_out(folders, len(folders))

    def _may_enter(self, folder: Path) -> bool:
        if is_left_out(folder.name):
            self.left_out[folder] = None
            return False
        return True

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return list(entries)
        except OSError as error:
            self.problems.append(f"{folder}: cannot be entered ({one_line(error)})")
            return []


def warn_left_out(first: Sequence[object], count: int) -> None:
    """Log what was left out.

    Args:
        first: The first files and folders.
        count: The number of all.
    """
    if count:
        more = f" and {count - _NAMED:,} more" if count > _NAMED else ""
        _log.warning(
            "left out: %s%s (hidden files, thumbnails or deleted files); name such a folder to use "
            "its images",
            ", ".join(map(str, first[:_NAMED])),
            more,
        )


def is_left_out(name: str) -> bool:
    """Whether a folder of this name is left out unless it is named."""
    return name.startswith(".") or name.lower() in LEFT_OUT


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _contains_image(folder: Path) -> bool:
    looked_at = 0
    for _, _, names in os.walk(folder):
        if any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in names):
            return True
        looked_at += len(names)
        if looked_at > _LOOKED_AT:
            break
    return False


def _fits(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether the parts of a path match those of a pattern."""
    if not patterns:
        return not parts
    if patterns[0] == "**":
        if patterns[1:] and _fits(parts, patterns[1:]):
            return True
        return bool(parts) and (len(patterns) == 1 or _fits(parts[1:], patterns))
    return bool(parts) and fnmatch.fnmatch(parts[0], patterns[0]) and _fits(parts[1:], patterns[1:])


def _is_image_file(path: Path) -> bool:
    hidden = path.name.startswith(".")
    if hidden or path.suffix.lower() not in IMAGE_SUFFIXES:
        return False
    try:
        return path.is_file() or (path.is_symlink() and not path.exists())
    except OSError:  # opening it will give the reason
        return True
