"""The work of a worker: captioning the images of a part, and writing its files."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from showattend.exceptions import ImageError, UserError
from showattend.export.cluster.cluster_inputs import contents
from showattend.export.cluster.part_files import Row, count_part, file_of, write_part
from showattend.export.cluster.partition import Part
from showattend.export.cluster.stores import Store
from showattend.images.photo_file import PhotoFile

if TYPE_CHECKING:
    from showattend.captioner import Captioner


class Outcome(NamedTuple):
    """The outcome of a part.

    Attributes:
        part: Its number.
        captions: Images with a caption.
        bad: Images without one.
        failure: Why the part could not be made; empty if it was.
    """

    part: int
    captions: int
    bad: int
    failure: str = ""


class PartWorker:
    """Captions parts.

    Args:
        captioner: The model.
        store: The store for the parts.
        kind: ``parquet`` or ``jsonl``.
        folder: The folder that relative paths start from.
        batch_size: Images the model sees at once.
        options: Options of search.
    """

    def __init__(
        self,
        captioner: Captioner,
        store: Store,
        kind: str,
        folder: str,
        batch_size: int,
        options: Mapping[str, Any],
    ) -> None:
        self.captioner, self.store, self.kind = captioner, store, kind
        self.folder, self.batch_size, self.options = folder, batch_size, options

    def __call__(self, part: Part) -> Outcome:
        """Caption a part and write it, unless it exists."""
        try:
            if self.store.has(file_of(part, self.kind)):  # by a worker that was presumed lost
                return Outcome(part.number, *count_part(self.store, part, self.kind))
            rows, bad = self._captions(part)
            write_part(self.store, part, self.kind, rows, bad)
        except UserError as error:
            return Outcome(part.number, 0, 0, str(error))
        return Outcome(part.number, len(rows), len(bad))

    def _captions(self, part: Part) -> tuple[list[Row], list[Row]]:
        rows: list[Row] = []
        bad: list[Row] = []
        names: deque[str] = deque()

        def images() -> Iterator[PhotoFile]:
            for name, content in contents(part, self.folder, 2 * self.batch_size):
                if isinstance(content, ImageError):
                    bad.append({"image": name, "error": _reason(content, name)})
                else:
                    names.append(name)
                    yield PhotoFile.of(content, name)

        stream = self.captioner.stream(images(), batch_size=self.batch_size, **self.options)
        for photo, result in stream:
            name = names.popleft()
            if isinstance(result, ImageError):
                bad.append({"image": name, "error": _reason(result, str(photo), name)})
            else:
                rows.append(_named(result.to_dict(), name))
        return rows, bad


def _named(row: Row, name: str) -> Row:
    """A row with the image's own name; as a path, an address would lose a slash."""
    others = [_named(each, name) for each in row.get("alternatives", ())]
    return row | {"image": name} | ({"alternatives": others} if others else {})


def _reason(error: ImageError, *names: str) -> str:
    """The reason why an image is bad, without its name."""
    reason = str(error)
    for name in names:
        reason = reason.removeprefix(f"{name}: ")
    return reason
