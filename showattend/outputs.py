"""Where captions go: the terminal, a JSON Lines or CSV file, text files beside the photos."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import IO, Any

from showattend.caption import Caption
from showattend.errors import UserError

CSV_COLUMNS = ("image", "rank", "caption", "words", "log_prob", "score")


class CaptionWriter:
    """Writes captions as they come; a context manager.

    Args:
        output: A .jsonl or .csv file, one line a caption.
        sidecar: Write the caption into photo.txt beside photo.jpg.
        overlay: Folder for one attention figure a photo.

    Raises:
        UserError: The output's suffix is neither, or a file cannot be written.
    """

    def __init__(
        self, *, output: Path | None = None, sidecar: bool = False, overlay: Path | None = None
    ) -> None:
        if output is not None and output.suffix.lower() not in (".jsonl", ".csv"):
            raise UserError(f"{output}: --output takes a name that ends in .jsonl or .csv")
        self.output, self.sidecar, self.overlay = output, sidecar, overlay
        self.file: IO[str] | None = None
        self.csv: Any = None
        self.figures: set[str] = set()

    def __enter__(self) -> CaptionWriter:
        if self.output is not None:
            try:
                self.output.parent.mkdir(parents=True, exist_ok=True)
                self.file = self.output.open("w", encoding="utf-8", newline="")
            except OSError as error:
                raise UserError(f"{self.output}: cannot be written ({error.strerror})") from error
            if self.output.suffix.lower() == ".csv":
                self.csv = csv.writer(self.file)
                self.csv.writerow(CSV_COLUMNS)
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()

    def write(self, path: Any, caption: Caption) -> None:
        """Print, and write wherever asked.

        Raises:
            UserError: A file cannot be written.
        """
        ranked = (caption, *caption.alternatives)
        for each in ranked:
            print(f"{path}\t{each.text}", flush=True)
        try:
            for rank, each in enumerate(ranked, 1):
                if self.csv is not None:
                    self.csv.writerow(
                        (path, rank, each.text, each.raw, f"{each.log_prob:.4f}", f"{each.score:.4f}")
                    )
            if self.file is not None and self.csv is None:
                line = {"image": str(path), **caption.to_dict()}
                self.file.write(json.dumps(line, ensure_ascii=False) + "\n")
            if self.file is not None:
                self.file.flush()
            if self.sidecar:
                text = "".join(f"{each.text}\n" for each in ranked)
                Path(path).with_suffix(".txt").write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(f"{error.filename or path}: cannot be written ({error.strerror})") from error
        if self.overlay is not None:
            caption.save_overlay(self.overlay / self._figure_name(Path(path)))

    def _figure_name(self, path: Path) -> str:
        """photo.png; photo-2.png where another folder's photo has that name."""
        name, number = path.stem, 1
        while name in self.figures:
            number += 1
            name = f"{path.stem}-{number}"
        self.figures.add(name)
        return f"{name}.png"
