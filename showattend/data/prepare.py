"""Prepare a data set: check every image and caption once, report, and write one canonical form.

Training reads ``dataset.jsonl``. ``captions_<split>.json`` are the same captions in COCO's format
for ``showattend evaluate`` and other tools; ``report.json`` is the report.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from showattend.data.places import as_on_disk
from showattend.data.readers import check_ids, read_flickr8k, read_json, read_karpathy
from showattend.data.records import SPLITS, Record
from showattend.data.shard_writer import SIZE, Features, write_shards
from showattend.exceptions import DataError, ImageError
from showattend.system.files import real, remove_stale, writing_file
from showattend.system.threads import in_order
from showattend.text.tokenizer import tokenize

Progress = Callable[[str, int, int], None]

_FORMAT = "showattend data set, version 1"
FEW = 20
"""Below this number of validation images the report has a note."""
_LISTED = 10  # skipped images shown in the terminal; report.json lists all


class Sharding(NamedTuple):
    """Where and how to write additional shards (`showattend.data.shard_writer`)."""

    folder: Path
    size: int = SIZE
    features: Features | None = None


@dataclass(frozen=True)
class Report:
    """Statistics of a prepared data set.

    Attributes:
        out: The folder it was written to.
        image_root: The folder that contains all its images.
        images: Number of images in each split.
        captions: Number of captions in each split.
        lengths: Number of captions by length in words, without punctuation.
        vocabulary: Number of words that occur at least ``min_count`` times in training captions.
        different_words: Number of different words in the training captions.
        min_count: See ``vocabulary``.
        unknown_share: Fraction of the words in validation captions that are not in the vocabulary;
            None without validation captions.
        empty_captions: Number of captions left out because they contain no word.
        skipped: One line for each image that was left out: which, and why.
        shards: The folder of the shards and their number by split; None if there are none.
    """

    out: Path
    image_root: Path
    images: dict[str, int]
    captions: dict[str, int]
    lengths: dict[int, int]
    vocabulary: int
    different_words: int
    min_count: int
    unknown_share: float | None
    empty_captions: int
    skipped: tuple[str, ...] = field(default=())
    shards: tuple[Path, dict[str, int]] | None = None

    def length_at(self, share: float) -> int:
        """The length that this fraction of the captions does not exceed (0.5: the median)."""
        left = share * sum(self.lengths.values())
        for length, count in self.lengths.items():
            left -= count
            if left <= 0:
                return length
        return max(self.lengths)

    def to_dict(self) -> dict[str, Any]:
        """The content of ``report.json``."""
        return {
            "format": _FORMAT,
            "image_root": str(self.image_root),
            "images": self.images,
            "captions": self.captions,
            "lengths": {str(length): count for length, count in self.lengths.items()},
            "vocabulary": self.vocabulary,
            "different_words": self.different_words,
            "min_count": self.min_count,
            "unknown_share": self.unknown_share,
            "empty_captions": self.empty_captions,
            "skipped": list(self.skipped),
        }

    def lines(self) -> list[str]:
        """The report as lines for the terminal."""
        mean = sum(length * count for length, count in self.lengths.items())
        mean_length = mean / sum(self.lengths.values())
        lines = [
            f"{split + ':':<12}{self.images[split]:,} images, {self.captions[split]:,} captions"
            for split in self.images
        ]
        lines += [
            f"{'lengths:':<12}{mean_length:.1f} words on average, median {self.length_at(0.5)}, "
            f"95 % up to {self.length_at(0.95)}, longest {max(self.lengths)}",
            f"{'vocabulary:':<12}{self.vocabulary:,} of the {self.different_words:,} words of the "
            f"training captions occur at least {self.min_count} times",
        ]
        if self.unknown_share is not None:
            lines.append(
                f"{'unknown:':<12}{self.unknown_share:.2%} of the words of the validation captions"
            )
        if 0 < (few := self.images.get("val", 0)) < FEW:
            lines.append(
                f"{'note:':<12}{few} validation images are few: their scores, and the epoch that "
                f"is chosen by them, depend on chance; {FEW} or more are better"
            )
        if self.empty_captions:
            lines.append(f"{'skipped:':<12}{self.empty_captions:,} captions without a word")
        if self.skipped:
            lines.append(f"{'skipped:':<12}{len(self.skipped):,} images")
            lines += [f"  {reason}" for reason in self.skipped[:_LISTED]]
            if len(self.skipped) > _LISTED:
                lines.append(f"  and {len(self.skipped) - _LISTED:,} more: see report.json")
        lines.append(f"{'written:':<12}{self.out / 'dataset.jsonl'}")
        if self.shards is not None:
            folder, counts = self.shards
            said = ", ".join(f"{count:,} {split}" for split, count in counts.items())
            pattern = shlex.quote(f"data.path={folder}/*.tar")
            lines.append(f"{'shards:':<12}{said} in {folder}; train with {pattern}")
        if "val" in self.images:
            captions, images = self.out / "captions_val.json", self.image_root
            lines.append(
                f"{'to score:':<12}showattend evaluate --annotations {shlex.quote(str(captions))} "
                f"--images {shlex.quote(str(images))}"
            )
        return lines


def prepare(
    records: Sequence[Record],
    out_dir: Path,
    *,
    min_count: int = 5,
    skipped: Iterable[str] = (),
    draw: Callable[[list[Record], list[str]], list[Record]] | None = None,
    progress: Progress | None = None,
    shards: Sharding | None = None,
) -> Report:
    """Check a data set and write its canonical form; the same input gives the same files.

    Args:
        records: The records from a reader.
        out_dir: The folder to write to, created if absent.
        min_count: How often a word must occur in the training captions to be in the vocabulary.
        skipped: One line for each image that the caller has already left out.
        draw: Assigns splits: called with the usable records and a line for each image left out,
            returns the records with their splits.
        progress: Called with a label, the number of images opened, and the total.
        shards: Options for additional shards; None writes none.

    Raises:
        DataError: No image is left, an id occurs twice, or a folder cannot be written or holds
            another data set.
    """
    records = as_on_disk(records)
    check_ids(records)
    check_out(out_dir)
    kept, sizes, problems, empty = _usable(records, out_dir, progress or (lambda *_: None))
    problems = [*skipped, *problems]
    if not kept:
        first = problems[0] if problems else "none was given"
        raise DataError(f"no image is left of {len(problems):,}; the first: {first}")
    kept = kept if draw is None else draw(kept, problems)
    root = _common_folder([record.path for record in kept])
    report = _report(kept, out_dir, root, min_count, empty, problems)
    files = {"dataset.jsonl": "".join(_jsonl_line(record, out_dir) for record in kept)}
    for split, content in _coco(kept, sizes, root).items():
        files[f"captions_{split}.json"] = json.dumps(content, ensure_ascii=False) + "\n"
    # Written first: if the run is interrupted, it identifies the other files as ours.
    told = json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n"
    _write(out_dir, {"report.json": told} | files)
    if shards is None:
        return report
    folder, size, features = shards
    counts = write_shards(
        kept, folder, size=size, features=features, progress=progress or (lambda *_: None)
    )
    return replace(report, shards=(folder, counts))


# The data sets ---------------------------------------------------------------------------------


def prepare_flickr8k(root: Path, out: Path, images: Path | None = None, **options: Any) -> Report:
    """Prepare Flickr8k from its own text files (``read_flickr8k``, `prepare`)."""
    return prepare(read_flickr8k(root, images), out, **options)


def prepare_karpathy(
    annotations: Path, images: Path, out: Path, restval: bool = True, **options: Any
) -> Report:
    """Prepare a Karpathy split (``read_karpathy``, `prepare`)."""
    return prepare(read_karpathy(annotations, images, restval), out, **options)


# Checking --------------------------------------------------------------------------------------


def _usable(
    records: Sequence[Record], out: Path, progress: Progress
) -> tuple[list[Record], list[tuple[int, int]], list[str], int]:
    """The usable records, their image sizes, the problems, and the number of empty captions."""
    from showattend.images.upright import open_image

    def size(record: Record) -> tuple[int, int] | str:
        try:
            return open_image(record.path).size
        except ImageError as error:
            return str(error)

    kept, sizes, problems, empty = [], [], [], 0
    # Pillow releases Python's lock while decoding.
    for done, (record, found) in enumerate(in_order(size, records), start=1):
        progress("Images", done, len(records))
        captions = tuple(text for each in record.captions if tokenize(text := _whole(each)))
        empty += len(record.captions) - len(captions)
        if isinstance(found, str):
            problems.append(found)
        elif not captions:
            problems.append(f"{record.path}: no caption with a word")
        elif _whole(name := _name_in(out, record.path)) != name:
            problems.append(f"{record.path}: its name is not UTF-8 text; rename it")
        else:
            kept.append(replace(record, captions=captions))
            sizes.append(found)
    return kept, sizes, problems, empty


def _whole(text: str) -> str:
    """Remove lone surrogates, which UTF-8 cannot represent."""
    return text.encode("utf-8", "ignore").decode("utf-8")


def _report(
    records: list[Record],
    out: Path,
    root: Path,
    min_count: int,
    empty: int,
    skipped: list[str],
) -> Report:
    images: Counter[str] = Counter()
    captions: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    words: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    for record in records:
        images[record.split] += 1
        captions[record.split] += len(record.captions)
        for tokens in map(tokenize, record.captions):
            lengths[len(tokens)] += 1
            words[record.split].update(tokens)
    known = {word for word, count in words["train"].items() if count >= min_count}
    unknown = sum(count for word, count in words["val"].items() if word not in known)
    return Report(
        out=out,
        image_root=root,
        images={split: images[split] for split in SPLITS if images[split]},
        captions={split: captions[split] for split in SPLITS if images[split]},
        lengths=dict(sorted(lengths.items())),
        vocabulary=len(known),
        different_words=len(words["train"]),
        min_count=min_count,
        unknown_share=unknown / words["val"].total() if words["val"] else None,
        empty_captions=empty,
        skipped=tuple(skipped),
    )


# Writing ---------------------------------------------------------------------------------------


def check_out(out: Path) -> None:
    """Refuse to overwrite files that `prepare` did not write, such as a data set's own.

    Raises:
        DataError: The folder contains such files.
    """
    names = ["dataset.jsonl", "report.json", *(f"captions_{split}.json" for split in SPLITS)]
    present = [name for name in names if (out / name).exists()]
    if not present:
        return
    report = read_json(out / "report.json") if "report.json" in present else None
    if not isinstance(report, dict) or report.get("format") != _FORMAT:
        raise DataError(f"{out / present[0]}: not written by prepare; choose another folder")


def _common_folder(paths: Sequence[Path]) -> Path:
    try:
        return Path(os.path.commonpath([real(path.parent) for path in paths]))
    except ValueError:  # on different drives
        return Path(real(paths[0]).anchor)


def _name_in(folder: Path, path: Path) -> str:
    """The path relative to a folder, or absolute if it is elsewhere; links are not resolved."""
    path, folder = real(path.parent) / path.name, real(folder)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _jsonl_line(record: Record, out: Path) -> str:
    line = {
        "image": _name_in(out, record.path),
        "image_id": record.image_id,
        "split": record.split,
        "captions": list(record.captions),
    }
    return json.dumps(line, ensure_ascii=False) + "\n"


def _coco(
    records: Sequence[Record], sizes: Sequence[tuple[int, int]], root: Path
) -> dict[str, dict[str, Any]]:
    """COCO captions of each split; COCO requires numeric ids that are unique across splits."""
    numbered = all(isinstance(record.image_id, int) for record in records)
    splits: dict[str, dict[str, Any]] = {}
    caption_id = 0
    for number, (record, (width, height)) in enumerate(zip(records, sizes, strict=True), start=1):
        content = splits.setdefault(
            record.split,
            {
                "info": {"description": f"split {record.split}, written by showattend prepare"},
                "licenses": [],
                "type": "captions",
                "images": [],
                "annotations": [],
            },
        )
        image_id = record.image_id if numbered else number
        content["images"].append(
            {
                "id": image_id,
                "file_name": _name_in(root, record.path),
                "width": width,
                "height": height,
            }
        )
        for caption in record.captions:
            caption_id += 1
            content["annotations"].append(
                {"id": caption_id, "image_id": image_id, "caption": caption}
            )
    return splits


def _write(out: Path, files: Mapping[str, str]) -> None:
    """Write all files to temporary names, then rename them in order; remove stale splits.

    A lone surrogate, as in a folder name that is not UTF-8, becomes its JSON escape.
    """
    try:
        with contextlib.ExitStack() as stack:  # it renames the last one first
            for name, text in reversed(list(files.items())):
                remove_stale(out / name)
                aside = stack.enter_context(writing_file(out / name))
                aside.write_bytes(text.encode("utf-8", "backslashreplace"))
        for split in SPLITS:
            if f"captions_{split}.json" not in files:
                (out / f"captions_{split}.json").unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror})") from None
