"""Where captions go, beside the terminal: a JSON Lines or CSV file, text files, figures."""

from __future__ import annotations

import csv
import itertools
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from showattend.errors import UserError
from showattend.imagefiles import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from showattend.caption import Caption

CSV_COLUMNS = ("image", "rank", "caption", "words", "log_prob", "score", "confidence",
               "confidences", "unsure", "familiarity", "note")  # fmt: skip
"""Columns may be added at the end; none changes or goes."""


class CaptionWriter:
    """Writes captions as they come; a context manager.

    The output grows as ``captions.jsonl.part`` and takes its name when all is done: an interrupted
    run leaves what it has in the part file, and an older complete file as it was. The next run
    keeps that part file aside, as ``captions.jsonl.part.1`` and so on. A photo.txt with another
    text is left alone unless ``overwrite`` is set: a person may have written it.

    Args:
        images: The images to come; no figure is written into their folders, where photo.png may
            be a photo.
        output: A .jsonl or .csv file. JSON Lines has a line an image, its runners-up within; CSV
            a line a caption.
        sidecar: Write the captions into photo.txt beside photo.jpg, a line each.
        overwrite: Replace a photo.txt whatever it says.
        overlay: Folder for one attention figure an image, photo.png.
        say: Told, in a line, where an earlier run's part file is now.

    Attributes:
        partial: The part file, while it holds captions and has not taken its name.

    Raises:
        UserError: The output has another suffix, or one of the places cannot be written to.
    """

    def __init__(
        self,
        images: Sequence[Path],
        *,
        output: Path | None = None,
        sidecar: bool = False,
        overwrite: bool = False,
        overlay: Path | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        if output is not None and output.suffix.lower() not in (".jsonl", ".csv"):
            raise UserError(f"{output}: --output takes a name that ends in .jsonl or .csv")
        if overlay is not None and overlay.resolve() in {path.parent.resolve() for path in images}:
            raise UserError(f"{overlay}: holds photos; give --overlay another folder")
        self.output, self.sidecar, self.overwrite = output, sidecar, overwrite
        self.figures = None if overlay is None else _figure_paths(images, overlay)
        for place in (output, overlay and overlay / "photo.png"):
            if place is not None:
                make_room(place)
        self.partial: Path | None = None
        self._say = say
        self._part: IO[str] | None = None
        self._written: dict[Path, Path] = {}

    def __enter__(self) -> CaptionWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.output is None or self._part is None or self.partial is None:
            return
        try:
            self._part.close()
            if kind is None:
                self.partial.replace(self.output)
                self.partial = None
        except OSError as error:
            raise _unwritable(self.output, error) from error

    def write(self, path: Path, caption: Caption) -> list[str]:
        """Write one image's captions wherever asked.

        Returns:
            What could not be written beside the output file, a line each.

        Raises:
            UserError: The output file cannot be written any more.
        """
        ranked = (caption, *caption.alternatives)
        if self.output is not None:
            try:
                self._append(self.output, path, ranked)
            except OSError as error:
                raise _unwritable(self.output, error) from error
        problems = []
        try:
            if self.sidecar:
                self._write_sidecar(path, ranked)
        except UserError as error:
            problems.append(str(error))
        try:
            if self.figures is not None:
                caption.save_overlay(self.figures[path])
        except UserError as error:
            problems.append(str(error))
        return problems

    def _append(self, output: Path, path: Path, ranked: tuple[Caption, ...]) -> None:
        is_csv = output.suffix.lower() == ".csv"
        if self._part is None:  # opened only now: a run that makes nothing empties no part file
            partial = output.with_name(f"{output.name}.part")
            if partial.is_file():
                kept = _move_aside(partial)
                if self._say is not None:
                    self._say(f"what an earlier run left is kept as {kept}")
            # A file name that is not UTF-8 becomes JSON's own escape.
            self._part = partial.open("w", encoding="utf-8", errors="backslashreplace", newline="")
            self.partial = partial
            if is_csv:
                csv.writer(self._part).writerow(CSV_COLUMNS)
        if is_csv:
            csv.writer(self._part).writerows(
                (
                    path,
                    rank,
                    each.text,
                    each.raw,
                    f"{each.log_prob:.4f}",
                    f"{each.score:.4f}",
                    f"{each.confidence:.4f}",
                    " ".join(f"{value:.4f}" for value in each.confidences),
                    " ".join(itertools.compress(each.words, each.unsure)),
                    "" if each.familiarity is None else f"{each.familiarity:.3f}",
                    each.note or "",
                )
                for rank, each in enumerate(ranked, 1)
            )
        else:
            self._part.write(json.dumps(ranked[0].to_dict(), ensure_ascii=False) + "\n")
        self._part.flush()

    def _write_sidecar(self, path: Path, ranked: tuple[Caption, ...]) -> None:
        beside = path.with_suffix(".txt")
        content = "".join(f"{each.text}\n" for each in ranked).encode()
        try:
            if beside.exists() and beside.read_bytes() != content:
                if beside == path:
                    raise UserError(f"{path}: is named .txt, so it has no text file beside it")
                if beside in self._written:
                    other = self._written[beside].name
                    raise UserError(f"{path}: has no {beside.name} of its own, {other} has it")
                if not self.overwrite:
                    raise UserError(f"{beside}: has another text; --overwrite replaces it")
        except OSError as error:
            raise _unwritable(beside, error) from error
        write_bytes(beside, content)
        self._written.setdefault(beside, path)


def make_room(path: Path) -> None:
    """Make the folder of a file to be written; asked early, a mistake costs no waiting.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"{path}: cannot be written ({path.parent} is not a folder)") from None
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    if path.is_dir():
        raise UserError(f"{path}: cannot be written (it is a folder)")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise UserError(f"{path}: cannot be written (permission denied)")


def check_json(path: Path) -> None:
    """Refuse a name like a photo's for JSON; asked early, a mistake costs no waiting.

    Raises:
        UserError: It has the suffix of an image.
    """
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise UserError(f"{path}: is called like a photo; --output writes JSON, as results.json")


def spare(
    inputs: Iterable[str | Path | None], output: Path, what: str = "one of the photos"
) -> None:
    """Refuse to write over what is read, by whatever name or link.

    Args:
        inputs: The files that are read; None stands for one that is not given.
        output: The file to write.
        what: What it would be, for the message.

    Raises:
        UserError: The output is one of the inputs.
    """
    try:
        there = output.stat()
    except (OSError, ValueError):  # nothing that could be lost
        return
    if not stat.S_ISREG(there.st_mode):  # a terminal may be read and written
        return
    for each in inputs:
        if each is None:
            continue
        try:
            same = os.path.samestat(Path(each).stat(), there)
        except (OSError, ValueError):  # it is not there, or cannot be
            continue
        if same:
            raise UserError(f"{output}: is {what}; choose another name to write to")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write plain values for people and programs, as ``write_bytes`` does.

    Raises:
        UserError: The file cannot be written.
    """
    write_bytes(path, f"{json.dumps(value, indent=1)}\n".encode())


def write_text(path: Path, text: str) -> None:
    """Write a page as UTF-8, as ``write_bytes`` does; half a character becomes its escape.

    Raises:
        UserError: The file cannot be written.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that is whole or, when something stops it, as it was before.

    Missing folders are made. A link stays one: the file it leads to is replaced.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # /dev/null, a pipe: no file to take the place of
            path.write_bytes(content)
            return
        target = Path(os.path.realpath(path))
        # Not the whole name, which may be as long as a name can be.
        aside = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.part")
        try:
            aside.write_bytes(content)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be written ({error.strerror or error})")


def _move_aside(path: Path) -> Path:
    """Rename a file to the next free of file.1, file.2 and so on."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.{number}")):
        number += 1
    return path.rename(aside)


def _figure_paths(images: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """photo.png for each image; photo-2.png where another one has that name already."""
    taken: set[str] = set()
    figures = {}
    for image in images:
        name, number = image.stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{image.stem}-{number}"
        taken.add(name.lower())
        figures[image] = folder / f"{name}.png"
    return figures
