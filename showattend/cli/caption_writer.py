"""Writing captions to a JSON Lines or CSV file, to text files, and as figures."""

from __future__ import annotations

import csv
import itertools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from showattend.exceptions import UserError
from showattend.system.files import make_room, unwritable, write_bytes

if TYPE_CHECKING:
    from showattend.caption import Caption


CSV_COLUMNS = ("image", "rank", "caption", "words", "log_prob", "score", "confidence",
               "confidences", "unsure", "familiarity", "note")  # fmt: skip
"""Columns may be added at the end; none is changed or removed."""


class CaptionWriter:
    """Writes captions as they are made; a context manager.

    The output is written to ``captions.jsonl.part`` and renamed when complete, so an interrupted
    run leaves its captions in the part file and an older complete file unchanged. The next run
    renames such a part file to ``captions.jsonl.part.1`` and so on. A photo.txt with different
    text, which a person may have written, is kept unless ``overwrite`` is set.

    Args:
        images: The images to be captioned; figures are not written to their folders, where
            photo.png may be a photo.
        output: A .jsonl or .csv file. JSON Lines has one line per image, including the runners-up;
            CSV has one line per caption.
        sidecar: Write the captions to photo.txt next to photo.jpg, one per line.
        overwrite: Replace an existing photo.txt.
        overlay: Folder for an attention figure of each image, photo.png.
        say: Called with a line that says where an earlier run's part file is kept.

    Attributes:
        partial: The part file, while it contains captions and has not been renamed.

    Raises:
        UserError: The output has another suffix, or one of the files cannot be written.
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
            raise unwritable(self.output, error) from error

    def write(self, path: Path, caption: Caption) -> list[str]:
        """Write the captions of an image to all outputs.

        Returns:
            One line for each text file or figure that could not be written.

        Raises:
            UserError: The output file can no longer be written.
        """
        ranked = (caption, *caption.alternatives)
        if self.output is not None:
            try:
                self._append(self.output, path, ranked)
            except OSError as error:
                raise unwritable(self.output, error) from error
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
        if self._part is None:  # opened late, so that a run without captions keeps an old part file
            partial = output.with_name(f"{output.name}.part")
            if partial.is_file():
                kept = _move_aside(partial)
                if self._say is not None:
                    self._say(f"what an earlier run left is kept as {kept}")
            # A file name that is not UTF-8 becomes a JSON escape.
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
                    raise UserError(f"{path}: is named .txt, so its caption cannot be called that")
                if beside in self._written:
                    other = self._written[beside].name
                    raise UserError(f"{path}: has no {beside.name} of its own, {other} has it")
                if not self.overwrite:
                    raise UserError(f"{beside}: has another text; --overwrite replaces it")
        except OSError as error:
            raise unwritable(beside, error) from error
        write_bytes(beside, content)
        self._written.setdefault(beside, path)


def _move_aside(path: Path) -> Path:
    """Rename a file to the first free name of file.1, file.2 and so on."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.{number}")):
        number += 1
    return path.rename(aside)


def _figure_paths(images: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """The figure of each image: photo.png, or photo-2.png if that name is taken."""
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
