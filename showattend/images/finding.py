"""Find the image files that files, folders and glob patterns stand for."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from showattend.exceptions import one_line

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib",
    ".tif", ".tiff", ".avif", ".heic", ".heif", ".hif", ".ppm", ".pgm", ".pbm", ".pnm",
})
# fmt: on


def find_images(
    paths: Sequence[str | Path], recursive: bool = False
) -> tuple[list[Path], list[str]]:
    """List the image files that files, folders and glob patterns stand for.

    A file that is named is taken whatever its suffix; folders and patterns yield the files with
    one of ``IMAGE_SUFFIXES`` that are not hidden, links to what is gone among them: to open one
    says so.

    Args:
        paths: Files, folders, and patterns such as ``photos/*.jpg`` or ``photos/**/*.png``.
        recursive: Look into the folders' subfolders too.

    Returns:
        The files, sorted and each once, and the problems, one line each.
    """
    found: dict[Path, Path] = {}
    problems: list[str] = []
    for given in paths:
        path = Path(given)
        try:
            if path.is_dir():
                matches = _images_in(path, recursive)
                problem = f"{path}: no images in this folder"
                if not recursive and not matches and any(p.is_dir() for p in path.iterdir()):
                    problem += " itself (--recursive looks into its subfolders)"
            elif path.exists():
                matches, problem = [path], ""
            elif glob.has_magic(str(given)):
                matches = _images_matching(str(given), recursive)
                problem = f"{given}: no image matches this pattern"
            else:
                matches, problem = [], f"{path}: no such file or folder"
        except (OSError, ValueError) as error:
            matches, problem = [], f"{path}: cannot be read ({one_line(error)})"
        if not matches:
            problems.append(problem)
        for match in matches:
            found.setdefault(match.parent.resolve() / match.name, match)
    return sorted(found.values()), problems


def _is_image_file(path: Path) -> bool:
    hidden = path.name.startswith(".")
    if hidden or path.suffix.lower() not in IMAGE_SUFFIXES:
        return False
    return path.is_file() or (path.is_symlink() and not path.exists())


def _images_in(folder: Path, recursive: bool) -> list[Path]:
    candidates = folder.rglob("*") if recursive else folder.iterdir()
    return [path for path in candidates if _is_image_file(path)]


def _images_matching(pattern: str, recursive: bool) -> list[Path]:
    matches: list[Path] = []
    for path in map(Path, glob.glob(pattern, recursive=True)):  # noqa: PTH207 (Path.glob refuses absolute patterns)
        if _is_image_file(path):
            matches.append(path)
        elif recursive and path.is_dir():
            matches += _images_in(path, recursive)
    return matches
