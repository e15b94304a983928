"""MS-COCO: reading annotation files and selecting the images of a subset.

Nothing is downloaded here. An `Entry` is an image with its captions and its path on COCO's server.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import urlsplit

from showattend.data.readers import (
    check_ids,
    check_name,
    coco_records,
    karpathy_records,
    read_json,
    split_of,
)
from showattend.data.records import SPLITS, Record
from showattend.exceptions import DataError

IMAGE_SERVER = "http://images.cocodataset.org"
KARPATHY_URL = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
KARPATHY_FILE = "dataset_coco.json"
SPLIT_KINDS = ("official", "karpathy")
YEARS = (2014, 2017)


@dataclass(frozen=True)
class Entry:
    """One image of the annotations.

    Attributes:
        image_id: COCO's id.
        file_name: The file name in the annotations, such as ``COCO_train2014_000000000009.jpg``;
            in Karpathy's file it includes the folder.
        captions: Its captions.
        split: One of ``SPLITS``.
        remote: Its path on COCO's server, such as ``train2014/COCO_train2014_000000000009.jpg``;
            None if unknown.
    """

    image_id: int | str
    file_name: str
    captions: tuple[str, ...]
    split: str
    remote: str | None

    def record(self, path: Path) -> Record:
        """Convert to a record with the image at ``path``."""
        return Record(self.image_id, path, self.captions, self.split)


def archive_name(year: int) -> str:
    """The archive with the captions and instances of a year."""
    return f"annotations_trainval{year}.zip"


def caption_names(year: int) -> tuple[str, ...]:
    """The official caption files."""
    return f"captions_train{year}.json", f"captions_val{year}.json"


def instance_names(year: int) -> tuple[str, ...]:
    """The official instances files."""
    return f"instances_train{year}.json", f"instances_val{year}.json"


def read_entries(paths: Sequence[Path], kind: str | None, restval: bool) -> tuple[list[Entry], str]:
    """Read annotation files.

    Args:
        paths: Caption files in COCO's format, one per split (``val`` or ``test`` if the name
            contains that, otherwise ``train``), or one Karpathy file.
        kind: ``official`` or ``karpathy`` to require that format; None accepts either.
        restval: Use Karpathy's ``restval`` for training; otherwise leave it out.

    Returns:
        The images with captions, each once, and the kind of the files.

    Raises:
        DataError: A file cannot be read or lacks the format that ``kind`` requires, two files have
            different formats, or an image is in two of them.
    """
    entries: list[Entry] = []
    kinds: dict[str, Path] = {}
    for path in paths:
        data = read_json(path)
        found = "karpathy" if _is_karpathy(data) else "official"
        kinds.setdefault(found, path)
        if kind not in (None, found):
            wanted = "COCO's captions_*.json" if kind == "official" else KARPATHY_FILE
            raise DataError(f"{path}: --split {kind} needs {wanted}, and this is not one")
        if len(kinds) > 1 or (found == "karpathy" and len(paths) > 1):
            raise DataError(
                f"{path}: give COCO's own caption files, or one Karpathy file, not both"
            )
        entries += (_karpathy if found == "karpathy" else _official)(data, path, restval)
    check_ids(entry.record(Path(entry.file_name)) for entry in entries)
    return entries, next(iter(kinds))


def _is_karpathy(data: Any) -> bool:
    images = data.get("images") if isinstance(data, dict) else None
    first = images[0] if isinstance(images, list) and images else None
    return isinstance(first, dict) and "sentences" in first


def _official(data: Any, path: Path, _restval: bool) -> list[Entry]:
    records = coco_records(data, path, Path(), split_of(path))
    urls = {image["id"]: image.get("coco_url") for image in data["images"]}
    return [_entry(record, path, urls[record.image_id]) for record in records]


def _karpathy(data: Any, path: Path, restval: bool) -> list[Entry]:
    records = karpathy_records(data, path, Path(), restval)
    return [_entry(record, path) for record in records]


def _entry(record: Record, source: Path, url: Any = None) -> Entry:
    name = PurePosixPath(record.path.as_posix().replace("\\", "/"))  # a Windows path
    remote = _remote(name, source, url)
    for each in (name, PurePosixPath(remote or "")):
        absolute = each.is_absolute() or PureWindowsPath(each).is_absolute()
        if absolute or ".." in each.parts or "\\" in str(each):
            raise DataError(f"{source}: the image {str(each)!r} is outside the image folder")
    return Entry(record.image_id, str(name), record.captions, record.split, remote)


def _remote(name: PurePosixPath, source: Path, url: Any) -> str | None:
    """The image's path on COCO's server, from its URL, its name or its annotation file."""
    with contextlib.suppress(ValueError):  # ignore an invalid URL
        if isinstance(url, str) and (path := urlsplit(url).path.strip("/")):
            return check_name(path, str(source))
    if found := re.fullmatch(r"COCO_((?:train|val|test)20\d\d)_\d{12}\.jpg", name.name):
        return f"{found[1]}/{name.name}"
    year = re.search(r"(?:train|val|test)20\d\d", source.name)
    if year and re.fullmatch(r"\d{12}\.jpg", name.name):
        return f"{year[0]}/{name.name}"
    return None


# Choosing --------------------------------------------------------------------------------------


def images_with(categories: Sequence[str], paths: Iterable[Path]) -> set[int | str]:
    """Find the images that show an object of at least one of the categories.

    Args:
        categories: Names of categories, such as ``dog``.
        paths: COCO's instances files.

    Returns:
        The ids of the images.

    Raises:
        DataError: A file is not an instances file, or lacks one of the categories.
    """
    found: set[int | str] = set()
    for path in paths:
        data = read_json(path)
        try:
            ids = {str(each["name"]).lower(): each["id"] for each in data["categories"]}
            wanted = {ids[_known(name, ids, path)] for name in categories}
            found |= {
                each["image_id"] for each in data["annotations"] if each["category_id"] in wanted
            }
        except (KeyError, TypeError):
            raise DataError(
                f"{path}: is not a COCO instances file, with annotations and categories"
            ) from None
    return found


def image_ids(paths: Iterable[Path]) -> set[int | str]:
    """Collect the ids of the images listed in files in COCO's format.

    Raises:
        DataError: A file has another format.
    """
    found: set[int | str] = set()
    for path in paths:
        try:
            found |= {each["id"] for each in read_json(path)["images"]}
        except (KeyError, TypeError):
            raise DataError(f"{path}: not a COCO file, which lists its images by id") from None
    return found


def _known(name: str, ids: Collection[str], path: Path) -> str:
    wanted = " ".join(name.lower().split())
    if wanted in ids:
        return wanted
    near = difflib.get_close_matches(wanted, ids, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(ids))}"
    raise DataError(f"{path}: no category {name!r}; {hint}")


def choose(entries: Sequence[Entry], count: int | None, seed: int) -> list[Entry]:
    """Draw a random subset.

    Every split keeps its share, and at least one image if ``count`` allows. An image's rank in the
    draw depends only on the seed and its id, so a larger subset contains a smaller one (up to
    rounding of the shares), and the order of the files does not matter.

    Args:
        entries: All available entries.
        count: The number to draw; None, or more than there are, takes all.
        seed: The random seed.

    Returns:
        The selected entries in the given order.
    """
    if count is None or count >= len(entries):
        return list(entries)
    splits = {split: [each for each in entries if each.split == split] for split in SPLITS}
    shares = _shares({split: len(each) for split, each in splits.items() if each}, count)
    drawn: set[int | str] = set()
    for split, share in shares.items():
        order = sorted(splits[split], key=lambda each: _place(seed, each.image_id))
        drawn.update(each.image_id for each in order[:share])
    return [each for each in entries if each.image_id in drawn]


def _place(seed: int, image_id: int | str) -> bytes:
    return hashlib.sha256(f"{seed}:{image_id}".encode("utf-8", "surrogatepass")).digest()


def _shares(sizes: dict[str, int], count: int) -> dict[str, int]:
    """Divide ``count`` in proportion to the sizes, by the largest remainder method."""
    total = sum(sizes.values())
    shares = {split: count * size // total for split, size in sizes.items()}
    rest = sorted(sizes, key=lambda split: (-(count * sizes[split] % total), -sizes[split]))
    for split in rest[: count - sum(shares.values())]:
        shares[split] += 1
    for split in sizes:  # leave none empty, at the expense of the largest
        largest = max(shares, key=lambda each: shares[each])
        if not shares[split] and shares[largest] > 1:
            shares[split] += 1
            shares[largest] -= 1
    return shares
