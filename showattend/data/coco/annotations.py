"""MS-COCO: what its annotation files hold, and which of its images make a subset.

Nothing is fetched here. An `Entry` is an image with its captions, and where COCO's server has it.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
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
        file_name: The image's file as the annotations name it, such as
            ``COCO_train2014_000000000009.jpg`` or, in Karpathy's file, with its folder.
        captions: Its captions.
        split: One of ``SPLITS``.
        remote: Its path on COCO's server, such as ``train2014/COCO_train2014_000000000009.jpg``;
            None if it cannot be told.
    """

    image_id: int | str
    file_name: str
    captions: tuple[str, ...]
    split: str
    remote: str | None

    def record(self, path: Path) -> Record:
        """The entry with its image at ``path``."""
        return Record(self.image_id, path, self.captions, self.split)


def archive_name(year: int) -> str:
    """The archive with the captions and instances of that year."""
    return f"annotations_trainval{year}.zip"


def caption_names(year: int) -> tuple[str, ...]:
    """The official caption files."""
    return f"captions_train{year}.json", f"captions_val{year}.json"


def instance_names(year: int) -> tuple[str, ...]:
    """The official files of objects."""
    return f"instances_train{year}.json", f"instances_val{year}.json"


def read_entries(paths: Sequence[Path], kind: str | None, restval: bool) -> tuple[list[Entry], str]:
    """Read annotation files.

    Args:
        paths: Caption files of COCO's form, each of which is one split (its name says which:
            ``train`` unless ``val`` or ``test`` stands in it), or one Karpathy file.
        kind: ``official`` or ``karpathy``, which the files must then be; None takes either.
        restval: Whether Karpathy's ``restval`` joins the training images, or is left out.

    Returns:
        The images with captions, each once, and which kind it was.

    Raises:
        DataError: A file cannot be read, is of another form than ``kind`` wants, two are of
            different forms, or an image is in two of them.
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
    name = PurePosixPath(record.path.as_posix())
    remote = _remote(name, source, url)
    for each in (name, PurePosixPath(remote or "")):
        if each.is_absolute() or ".." in each.parts or "\\" in str(each):
            raise DataError(f"{source}: the image {str(each)!r} leads out of the images' folder")
    return Entry(record.image_id, str(name), record.captions, record.split, remote)


def _remote(name: PurePosixPath, source: Path, url: Any) -> str | None:
    """Where COCO has the image: as its address, its name or its annotation file says."""
    with contextlib.suppress(ValueError):  # what is no address tells nothing
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
    """The ids of the images that show an object of at least one of the categories.

    Args:
        categories: Their names, such as ``dog``.
        paths: COCO's instances files.

    Raises:
        DataError: A file is not one of those, or a name is none of its categories.
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
    """The ids of the images that these files of COCO's form list.

    Raises:
        DataError: A file is not of that form.
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
    """Draw a subset.

    Every split keeps its share, and at least one image if ``count`` allows. An image's place in
    the draw depends on the seed and its id alone: a larger subset holds the smaller one (up to the
    rounding of the shares), and the order of the files does not matter.

    Args:
        entries: All there are.
        count: How many to take; None, or more than there are, takes all.
        seed: Of the draw.

    Returns:
        The drawn ones in the order given.
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
    return hashlib.sha256(f"{seed}:{image_id}".encode()).digest()


def _shares(sizes: dict[str, int], count: int) -> dict[str, int]:
    """``count`` divided as the sizes are: rounded down, the rest by the largest remainders."""
    total = sum(sizes.values())
    shares = {split: count * size // total for split, size in sizes.items()}
    rest = sorted(sizes, key=lambda split: (-(count * sizes[split] % total), -sizes[split]))
    for split in rest[: count - sum(shares.values())]:
        shares[split] += 1
    for split in sizes:  # none empty, at the cost of the largest
        largest = max(shares, key=lambda each: shares[each])
        if not shares[split] and shares[largest] > 1:
            shares[split] += 1
            shares[largest] -= 1
    return shares
