"""The contents of a folder of shards according to its ``index.json``, without reading any shard.

The index has the shards with their splits, numbers of images and digests, and the number of times
each word occurs in the training captions. It is written last, so that a folder with an index is
complete.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from showattend.data.records import SPLITS
from showattend.data.shards import INDEX, LARGEST_INDEX, expand_braces, folder_of, matches
from showattend.exceptions import DataError, one_line, shown
from showattend.system.addresses import read_bytes

FORMAT = "showattend shards, version 1"
_LARGEST = 1 << 44  # bytes of a shard, and how often a word may occur: sums are 64-bit integers


@dataclass(frozen=True)
class Shard:
    """One shard.

    Attributes:
        place: Its path or address.
        split: One of ``SPLITS``.
        images: The number of its samples.
        captions: The number of their captions.
        size: Its size in bytes.
        digest: Its SHA-256 in hexadecimal.
    """

    place: str
    split: str
    images: int
    captions: int
    size: int
    digest: str


@dataclass(frozen=True)
class ShardIndex:
    """The shards that a pattern names.

    Attributes:
        shards: The shards in the order of the index.
        words: How often each word occurs in the training captions of all shards in the folder.
        features: What the features in the shards depend on, apart from the image
            (`showattend.data.cache.recipe_of`); None if there are none.
    """

    shards: tuple[Shard, ...]
    words: Counter[str] = field(default_factory=Counter)
    features: Mapping[str, Any] | None = None

    def of(self, split: str) -> list[Shard]:
        """The shards of a split."""
        return [shard for shard in self.shards if shard.split == split]


def read_index(pattern: str) -> ShardIndex:
    """Read the index next to the shards that a pattern names.

    Args:
        pattern: Such as ``data/shards/*.tar`` or ``s3://bucket/coco/{train,val}-*.tar``. A ``*``
            matches the entries of the index, whether or not the files exist.

    Raises:
        DataError: There is no index, it is damaged, or it lacks a shard that the pattern names.
    """
    patterns = list(expand_braces(pattern))
    folders = {folder_of(each) for each in patterns}
    if len(folders) > 1 or any(sign in folder for folder in folders for sign in "*?"):
        raise DataError(
            f"{pattern}: names shards in several folders; give each folder as a data set of its "
            "own in the list data.path"
        )
    folder = folders.pop()
    place = folder + INDEX
    try:
        content = read_bytes(place, LARGEST_INDEX)
    except DataError as error:
        raise DataError(
            f"{pattern}: there is no readable {INDEX} next to the shards, which `showattend "
            f"prepare --shards` writes last ({error}); run it, or run it again if interrupted"
        ) from error
    known, values = _parse(content, place, folder)
    found: list[Shard] = []
    for each in dict.fromkeys(patterns):
        here = [shard for shard in known if matches(shard.place, each)]
        if not here:
            raise DataError(f"{each}: no such shard in {place}, which lists {len(known):,}")
        found += here
    named = {shard.place for shard in found}
    return ShardIndex(
        tuple(shard for shard in known if shard.place in named),
        Counter(values["training words"]),
        values.get("features"),
    )


def _parse(content: bytes, place: str, folder: str) -> tuple[list[Shard], dict[str, Any]]:
    """The shards and the rest of an index.

    Raises:
        DataError: It has another format.
    """
    try:
        values = json.loads(content)
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        words, features = values["training words"], values.get("features")
        if not all(type(count) is int and 0 < count < _LARGEST for count in words.values()):
            raise ValueError("training words")
        if features is not None and not isinstance(features, dict):
            raise ValueError("features")
        known = [_shard(each, folder) for each in values["shards"]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{place}: not an index of shards, or damaged ({one_line(error)}); run `showattend "
            "prepare --shards` again"
        ) from None
    if not known:
        raise DataError(f"{place}: lists no shards")
    return known, values


def _shard(values: Mapping[str, Any], folder: str) -> Shard:
    name, split, digest = values["name"], values["split"], values["sha256"]
    if not isinstance(name, str) or not isinstance(digest, str):
        raise ValueError("a name or a digest is not text")
    if not name.isprintable() or set(name) & set("/\\"):
        raise ValueError(f"the name {shown(name)} is not that of a file in this folder")
    if split not in SPLITS:
        raise ValueError(f"{name}: the split {shown(split)}; use one of {', '.join(SPLITS)}")
    counts = images, captions, size = values["images"], values["captions"], values["bytes"]
    if not all(type(each) is int and each > 0 for each in counts):
        raise ValueError(f"{name}: its counts {shown(counts)}")
    if size > _LARGEST:
        raise ValueError(f"{name}: {shown(size)} bytes; a shard may have {_LARGEST:,}")
    if images * tarfile.BLOCKSIZE > size or captions > size:
        found = f"{images:,} images and {captions:,} captions"
        raise ValueError(f"{name}: {found} in {size:,} bytes")
    return Shard(folder + name, split, images, captions, size, digest)


def to_json(
    shards: Sequence[Mapping[str, Any]],
    words: Mapping[str, int],
    features: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The content of ``index.json``."""
    images: Counter[str] = Counter()
    for each in shards:
        images[each["split"]] += each["images"]
    return {
        "format": FORMAT,
        "images": {split: images[split] for split in SPLITS if images[split]},
        "features": features,
        "shards": list(shards),
        "training words": dict(sorted(words.items(), key=lambda pair: (-pair[1], pair[0]))),
    }
