"""Writing captions to a JSON Lines or CSV file, to text files, and as figures."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from showattend.cli.resuming import (
    CSV_COLUMNS,
    Done,
    captioned_images,
    check_options,
    has_text,
    image_key,
    no_file_of_its_own,
    options_file,
    recorded_options,
)
from showattend.cli.terminal import log
from showattend.exceptions import UserError
from showattend.system.files import (
    hold,
    make_room,
    real,
    sweep,
    unwritable,
    write_bytes,
    write_json,
    writing_file,
)

if TYPE_CHECKING:
    from showattend.caption import Caption
    from showattend.cli.describing import Describer


class CaptionWriter:
    """Writes captions as they are made; a context manager.

    The output is written to ``captions.jsonl.part`` and renamed when complete, so an interrupted
    run leaves its captions in the part file and an older complete file unchanged. The next run
    continues that part file with ``resume``, and renames it to ``captions.jsonl.part.1`` and so on
    without. A photo.txt with different text, which a person may have written, is kept unless
    ``overwrite`` is set.

    Args:
        images: The images to be captioned; figures are not written to their folders, where
            photo.png may be a photo.
        output: A .jsonl or .csv file. JSON Lines has one line per image, including the runners-up;
            CSV has one line per caption.
        sidecar: Write the captions to photo.txt next to photo.jpg, one per line.
        overwrite: Replace an existing photo.txt.
        describer: Writes the best caption into XMP sidecars or into the photos.
        overlay: Folder for an attention figure of each image, photo.png.
        resume: Add to the part file of an interrupted run; if there is none, to the output.
        options: The options that the captions depend on (`resuming.OPTIONS`). They are recorded
            next to the part file, and must be the same when it is continued.

    Attributes:
        partial: The part file, while it contains captions and has not been renamed.
        done: The images whose captions are in the output already.

    Raises:
        UserError: The output has another suffix, one of the files cannot be written, another
            process is writing the part file, or it was made with other options.
        DataError: The part file contains something other than captions.
    """

    def __init__(
        self,
        images: Sequence[Path],
        *,
        output: Path | None = None,
        sidecar: bool = False,
        overwrite: bool = False,
        describer: Describer | None = None,
        overlay: Path | None = None,
        resume: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if output is not None and output.suffix.lower() not in (".jsonl", ".csv"):
            raise UserError(f"{output}: --output takes a name that ends in .jsonl or .csv")
        if overlay is not None and real(overlay) in {real(path.parent) for path in images}:
            raise UserError(f"{overlay}: holds photos; give --overlay another folder")
        self.output, self.sidecar, self.overwrite = output, sidecar, overwrite
        self.describer = describer
        self.count = dict.fromkeys(("captions", "texts", "figures"), 0)
        self.figures = None if overlay is None else _figure_paths(images, overlay)
        for place in (output, overlay and overlay / "photo.png"):
            if place is not None:
                make_room(place)
        if overlay is not None:
            sweep([overlay])
        self.partial: Path | None = None
        self.done: frozenset[Path] = frozenset()
        self._options = dict(options or {})
        self._part: IO[str] | None = None
        self._written: dict[Path, Path] = {}
        self._before: Done | None = None
        self._recorded = False
        if output is not None:
            _refuse_if_held(_part_file(output))
            if resume:
                self._find_done(output, images)

    def _find_done(self, output: Path, images: Sequence[Path]) -> None:
        partial = _part_file(output)
        source = partial if partial.is_file() else output
        if not source.is_file():
            return
        before = recorded_options(partial) if source == partial else {}
        here = str(Path.cwd())
        if before.get("folder", here) != here and not all(path.is_absolute() for path in images):
            raise UserError(
                f"{partial}: was begun in the folder {before['folder']}; continue it there, or "
                "give absolute paths"
            )
        self._before = captioned_images(
            source, int(self._options.get("n_best", 1)), before.get("folder", here)
        )
        self.done = frozenset(path for path in images if image_key(path) in self._before.images)
        if self._before.images and len(self.done) < len(images):
            check_options(partial, before, self._options)
        many = f"{len(self.done):,} of {len(images):,} photos are in {source} already"
        self._recorded = bool(before and self._before.images)
        if self.done and not before:
            many += "; its options are not recorded, the other photos use those of this run"
        log.info(many)

    def __enter__(self) -> CaptionWriter:
        if self.output is not None and self._before and _part_file(self.output).is_file():
            self._open(self.output)  # perhaps only the renaming is left
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.output is None or self._part is None or self.partial is None:
            return
        try:
            self._part.close()
            if kind is None:
                self.partial.replace(self.output)
                options_file(self.partial).unlink(missing_ok=True)
                self.partial = None
        except OSError as error:
            raise unwritable(self.output, error) from error

    def write(self, path: Path, caption: Caption) -> list[str]:
        """Write the captions of an image to all outputs; last to the one that marks it as done.

        Returns:
            One line for each text file or figure that could not be written.

        Raises:
            UserError: The output file can no longer be written.
        """
        ranked = (caption, *caption.alternatives)
        problems = []
        try:
            if self.sidecar:
                self._write_sidecar(path, ranked)
                self.count["texts"] += 1
        except UserError as error:
            problems.append(str(error))
        if self.describer is not None:
            problems += self.describer.write(path, caption.text)
        try:
            if self.figures is not None:
                caption.save_overlay(self.figures[path])
                self.count["figures"] += 1
        except UserError as error:
            problems.append(str(error))
        if self.output is not None:
            try:
                self._append(self.output, path, ranked)
                self.count["captions"] += 1
            except OSError as error:
                raise unwritable(self.output, error) from error
        return problems

    def summary(self) -> str:
        """A line on what was written where; empty if nothing was."""
        figures = next(iter(self.figures.values())).parent if self.figures else None
        described = self.describer.written if self.describer else {}
        sidecars = self.describer.sidecars if self.describer else None
        parts = [
            (self.count["captions"], f"{self.output} ({{}})"),
            (self.count["texts"], "photo.txt for {}"),
            (described.get("sidecars", 0), f"{sidecars} for {{}}"),
            (described.get("metadata", 0), "the metadata of {}"),
            (self.count["figures"], f"figures of {{}} in {figures}"),
        ]
        said = [text.replace("{}", _photos(count)) for count, text in parts if count]
        return "wrote " + ", ".join(said) if said else ""

    def _open(self, output: Path) -> IO[str]:
        """Open the part file; late, so that a run without captions keeps an old part file."""
        partial = _part_file(output)
        try:
            if self._before is None:
                if partial.is_file():
                    _refuse_if_held(partial)
                    log.info(f"the part file of an earlier run is kept as {_move_aside(partial)}")
            elif not partial.is_file():
                with writing_file(partial) as aside:
                    shutil.copyfile(output, aside)
            if not self._recorded:
                write_json(options_file(partial), {**self._options, "folder": str(Path.cwd())})
            # A file name that is not UTF-8 becomes a JSON escape.
            part = partial.open("a", encoding="utf-8", errors="backslashreplace", newline="")
            if not hold(part):
                part.close()
                raise _held(partial)
            if self._before is not None:  # without the incomplete end
                part.truncate(self._before.length)
        except OSError as error:
            raise unwritable(output, error) from error
        self._part, self.partial = part, partial
        if output.suffix.lower() == ".csv" and not (self._before and self._before.length):
            csv.writer(part).writerow(CSV_COLUMNS)
        return part

    def _append(self, output: Path, path: Path, ranked: tuple[Caption, ...]) -> None:
        is_csv = output.suffix.lower() == ".csv"
        part = self._part or self._open(output)
        if is_csv:
            csv.writer(part).writerows(
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
            part.write(json.dumps(ranked[0].to_dict(), ensure_ascii=False) + "\n")
        part.flush()

    def _write_sidecar(self, path: Path, ranked: tuple[Caption, ...]) -> None:
        beside = path.with_suffix(".txt")
        content = "".join(f"{each.text}\n" for each in ranked).encode()
        try:
            if has_text(beside) and beside.read_bytes() != content:
                if beside == path:
                    raise UserError(f"{path}: is named .txt, so its caption needs another name")
                if beside in self._written:
                    raise UserError(no_file_of_its_own(path, beside, self._written[beside]))
                if not self.overwrite:
                    raise UserError(f"{beside}: has another text; --overwrite replaces it")
        except OSError as error:
            raise unwritable(beside, error) from error
        write_bytes(beside, content)
        self._written.setdefault(beside, path)


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"


def _part_file(output: Path) -> Path:
    return output.with_name(f"{output.name}.part")


def _refuse_if_held(partial: Path) -> None:
    if partial.is_file() and os.access(partial, os.W_OK):
        with partial.open("a") as file:
            if not hold(file):
                raise _held(partial)


def _held(partial: Path) -> UserError:
    return UserError(
        f"{partial}: another run is writing it; wait for it to end, or give another --output"
    )


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
