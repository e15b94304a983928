"""``showattend prepare coco``: read annotations, select and download images, write the data set.

The folder gets ``annotations/`` and ``images/`` with the downloads, ``manifest.json``, and the
files of every prepared data set (see `prepare`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from showattend.data.coco import annotations as coco
from showattend.data.coco.annotation_source import ADVICE, Source
from showattend.data.coco.annotations import Entry
from showattend.data.coco.download import (
    Downloader,
    UnreachableError,
)
from showattend.data.coco.image_store import (
    ImageFolder,
    Progress,
    fetch_images,
    find_images,
    make_folder,
)
from showattend.data.coco.manifest import (
    MANIFEST,
    changed_images,
    check_manifest,
    describe,
    keep_other_draw,
    write_manifest,
)
from showattend.data.prepare import Report, Sharding, check_out, prepare
from showattend.data.records import Record
from showattend.exceptions import DataError
from showattend.system.provenance import file_digest
from showattend.system.threads import in_order

_log = logging.getLogger("showattend.data")


@dataclass(frozen=True)
class Subset:
    """The part of COCO to prepare.

    Attributes:
        images: Number of images; None for all.
        categories: Only take images that show an object of one of these.
        split: ``official`` or ``karpathy``; None follows the given files, or else official.
        year: The release to download, 2014 or 2017.
        restval: Use Karpathy's ``restval`` for training.
        seed: The random seed of the selection.

    Raises:
        DataError: A value is invalid.
    """

    images: int | None = None
    categories: tuple[str, ...] = ()
    split: str | None = None
    year: int = 2014
    restval: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 1:
            raise DataError(f"{self.images} images: give at least 1")
        if self.split not in (None, *coco.SPLIT_KINDS):
            raise DataError(f"unknown split {self.split!r}: use official or karpathy")
        if self.year not in coco.YEARS:
            raise DataError(f"no COCO of the year {self.year}: use 2014 or 2017")
        if self.split == "karpathy" and self.year != 2014:
            raise DataError("Karpathy's split is one of the 2014 files; leave --year out")


def prepare_coco(
    out: Path,
    subset: Subset | None = None,
    *,
    annotations: Sequence[Path] = (),
    instances: Sequence[Path] = (),
    hold_out: Sequence[Path] = (),
    image_root: Path | None = None,
    base_url: str | None = None,
    min_count: int = 5,
    shards: Sharding | None = None,
    downloader: Downloader | None = None,
    progress: Progress | None = None,
) -> Report:
    """Prepare MS-COCO or part of it from local files or from COCO's server.

    Annotations that are not given are looked up in ``annotations/`` under ``out`` and
    ``image_root``, then downloaded. Images are looked up in ``image_root``; without it, next to the
    given annotations and in ``out``, and missing ones are downloaded. With ``image_root``, missing
    images are downloaded only if ``base_url`` is given.

    Args:
        out: The folder to write to.
        subset: The part to prepare; None is all of the official split.
        annotations: Caption files (one per split), one Karpathy file, or folders with them.
        instances: Instances files for categories; if empty, those next to the annotations.
        hold_out: Files in COCO's format whose images are kept out of training, for example to
            evaluate grounding on them.
        image_root: Folder of the images, or of ``train2014`` and ``val2014``.
        base_url: A server with COCO's folder layout; None is COCO's own.
        min_count: See `prepare`.
        shards: See `prepare`.
        downloader: Performs the downloads; None creates one.
        progress: Called with a label, the amount done, the total, and for downloads the rate.

    Returns:
        The report of the data set; images that are unavailable are among its ``skipped``.

    Raises:
        DataError: Annotations are missing or malformed, no image is left, a server cannot be
            reached, or the folder cannot be written or holds another data set.
    """
    subset = subset or Subset()
    progress = progress or (lambda *_: None)
    check_out(out)
    before = check_manifest(out)
    if image_root is not None and not image_root.is_dir():
        raise DataError(f"{image_root}: no such folder of images")
    around = [] if image_root is None else [image_root, image_root.parent]
    source = Source(
        out=out,
        folders=[out / "annotations", *around, *(each / "annotations" for each in around)],
        base_url=_check_url(base_url or coco.IMAGE_SERVER),
        downloader=downloader or Downloader(),
        progress=progress,
    )
    files = _expand(annotations, subset.split)
    if not files and subset.split == "karpathy":
        files = source.karpathy()
    elif not files:
        files = source.official(coco.caption_names(subset.year), subset.year)
    entries, kind = coco.read_entries(files, subset.split, subset.restval)
    pool = entries
    used = list(files)
    if subset.categories:
        objects = _instances(instances, annotations, files, kind, subset, source)
        used += objects
        shown = coco.images_with(subset.categories, objects)
        pool = [entry for entry in entries if entry.image_id in shown]
        _log.info(f"{len(pool):,} of {len(entries):,} images show {' or '.join(subset.categories)}")
        if not pool:
            raise DataError(f"no image with captions shows {' or '.join(subset.categories)}")
    if hold_out:
        used += hold_out
        held = coco.image_ids(hold_out)
        kept = [e for e in pool if e.split != "train" or e.image_id not in held]
        _log.info(f"{len(pool) - len(kept):,} images are held out of training")
        pool = kept
        if not pool:
            raise DataError("every image is held out of training; leave out --hold-out")
    chosen = coco.choose(pool, subset.images, subset.seed)
    if subset.images is not None and subset.images > len(chosen):
        _log.info(f"there are {len(chosen):,} images, not {subset.images:,}: all are taken")

    settings = {
        "images": subset.images,
        "categories": list(subset.categories),
        "split": kind,
        "restval": subset.restval if kind == "karpathy" else None,
        "seed": subset.seed,
    }
    about = describe(settings, used)
    beside = [] if image_root else [folder for file in files for folder in _beside(file)]
    images = _Images(out, [image_root] if image_root else [*beside, out / "images"], source)
    fetch = image_root is None or base_url is not None
    make_folder(out)
    images.find(chosen, fetch)
    if replaced := keep_other_draw(out, before, about):
        _log.info(f"{out}: holds the data set of another draw, which is kept as {replaced.name}")
    write_manifest(out, about, images.listed(chosen), complete=False)
    if fetch:
        images.fetch(chosen)
    records, missing = images.records(chosen)
    report = prepare(
        records, out, min_count=min_count, skipped=missing, progress=progress, shards=shards
    )
    listed = images.listed(chosen)
    if changed := changed_images(before, listed):
        _log.warning(
            f"{len(changed):,} images are not the files that {out / MANIFEST} listed, the first: "
            f"{changed[0]}; it lists the new ones now"
        )
    write_manifest(out, about, listed, complete=not report.skipped)
    return report


# Annotations -----------------------------------------------------------------------------------


def _check_url(url: str) -> str:
    """Normalise the URL of a server, quoting non-ASCII characters in its path.

    Raises:
        DataError: It is not a valid URL.
    """
    try:
        parts = urlsplit(url.strip())
        name = parts.hostname or ""
        if not (
            parts.scheme in ("http", "https")
            and re.fullmatch(r"[^\s\0-\x1f%/\\]+", name)
            and parts.port != 0  # raises ValueError if it is not a number
            and not parts.query + parts.fragment
        ):
            raise ValueError
        name.encode("idna")  # as for the resolver: fails if a label is empty or too long
        if not (host := parts.netloc).isascii():
            host = host.encode("idna").decode()
        path = quote(parts.path, safe="/%:@!$&'()*+,;=~")
    except ValueError:
        raise DataError(
            f"{url}: not a URL; give --base-url in the form {coco.IMAGE_SERVER}"
        ) from None
    return f"{parts.scheme}://{host}{path}".rstrip("/")


def _expand(paths: Sequence[Path], split: str | None) -> list[Path]:
    """Replace folders by the caption files in them, or by Karpathy's file."""
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        captions, karpathy = sorted(path.glob("captions_*.json")), path / coco.KARPATHY_FILE
        if split == "karpathy" or (split is None and not captions):
            captions = [karpathy] if karpathy.is_file() else []
        if not captions:
            wanted = coco.KARPATHY_FILE if split == "karpathy" else "captions_*.json"
            raise DataError(f"{path}: holds no {wanted}")
        files += captions
    return files


def _instances(
    given: Sequence[Path],
    annotations: Sequence[Path],
    files: Sequence[Path],
    kind: str,
    subset: Subset,
    source: Source,
) -> list[Path]:
    """Find the instances files: as given, next to the captions, or COCO's own."""
    if given:
        return list(given)
    folders = dict.fromkeys(file.parent for file in files)
    beside = [path for folder in folders for path in sorted(folder.glob("instances*.json"))]
    if annotations and beside:
        return beside
    names, year = coco.instance_names(subset.year), subset.year
    if annotations and (kind == "official" or not source.has(names, coco.archive_name(year))):
        raise DataError(
            f"{files[0].parent}: holds no instances*.json, which --categories needs; "
            "give --instances FILE"
        )
    return source.official(names, year)


# Images ----------------------------------------------------------------------------------------


def _beside(file: Path) -> list[Path]:
    """The usual places for images: next to the annotations, or next to their folder."""
    return [file.parent / "images", file.parent, file.parent.parent]


class _Images:
    """The images of the subset: their paths, and the problems with missing ones."""

    def __init__(self, out: Path, roots: Sequence[Path], source: Source) -> None:
        self.folder = ImageFolder(out / "images")
        self.roots, self.source = roots, source
        self.places: dict[int | str, Path] = {}
        self.problems: dict[str, str] = {}
        self.digests: dict[Path, str | None] = {}

    def find(self, entries: Sequence[Entry], fetch: bool) -> None:
        """Look for the images; an incomplete one in our folder counts as missing if ``fetch``."""
        own = self.folder.folder
        self.places = find_images(entries, self.roots)
        if not fetch:
            return
        wanted = [
            entry
            for entry in entries
            if entry.remote
            and self.places.get(entry.image_id, own / entry.remote) == own / entry.remote
        ]
        names = [entry.remote for entry in wanted if entry.remote]
        whole = self.folder.whole(names, self.source.progress)
        for entry in wanted:
            if entry.remote in whole:
                self.places[entry.image_id] = own / str(entry.remote)
            else:
                self.places.pop(entry.image_id, None)

    def fetch(self, entries: Sequence[Entry]) -> None:
        """Download the missing images."""
        absent = [entry for entry in entries if entry.image_id not in self.places]
        unknown = [entry for entry in absent if entry.remote is None]
        if unknown:
            raise DataError(
                f"{unknown[0].file_name}: is missing and has none of COCO's names, so it cannot be "
                f"downloaded ({len(unknown):,} images); give their folder with --image-root DIR"
            )
        if not absent:
            return
        here = len(entries) - len(absent)
        if here:
            _log.info(f"{here:,} of {len(entries):,} images exist already")
        names: dict[str, list[Entry]] = {}  # two ids may share a file
        for entry in absent:
            names.setdefault(str(entry.remote), []).append(entry)
        try:
            self.problems = fetch_images(
                list(names),
                self.folder,
                self.source.base_url,
                self.source.downloader,
                self.source.progress,
            )
        except UnreachableError as error:
            raise DataError(f"{error}; finished downloads are kept; {ADVICE}") from None
        for name in names.keys() - self.problems.keys():
            for entry in names[name]:
                self.places[entry.image_id] = self.folder.folder / name
        if self.problems:
            _log.info(
                f"{len(self.problems):,} images could not be downloaded; run this again to retry"
            )

    def records(self, entries: Sequence[Entry]) -> tuple[list[Record], list[str]]:
        """The available images, and one line for each of the others with the reason."""
        root = self.roots[0]  # images that were not downloaded are reported as missing from here
        failed = [entry for entry in entries if entry.remote in self.problems]
        return (
            [
                entry.record(self.places.get(entry.image_id, root / entry.file_name))
                for entry in entries
                if entry.remote not in self.problems
            ],
            [self.problems[str(entry.remote)] for entry in failed],
        )

    def listed(self, entries: Sequence[Entry]) -> list[dict[str, Any]]:
        """The images for the manifest, with size in bytes and digest of those that exist."""
        own = self.folder.folder
        places = [self.places.get(entry.image_id) for entry in entries]

        def digest(place: Path | None) -> str | None:
            if place is None:
                return None
            if own in place.parents:
                name = place.relative_to(own).as_posix()
                if (known := self.folder.digest(name)) is not None:
                    return known
            if place not in self.digests:
                self.digests[place] = file_digest(place)
            return self.digests[place]

        return [
            {
                "id": entry.image_id,
                "file": entry.remote or entry.file_name,
                "split": entry.split,
                "bytes": _size(place),
                "sha256": found,
            }
            for entry, (place, found) in zip(entries, in_order(digest, places), strict=True)
        ]


def _size(path: Path | None) -> int | None:
    return path.stat().st_size if path is not None and path.is_file() else None
