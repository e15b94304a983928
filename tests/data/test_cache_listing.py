"""What is cached, and its removal."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from showattend.data.cache import FeatureCache
from showattend.data.cache_listing import DAY, list_caches, prune
from showattend.data.shelf import RECIPE, Shelf
from showattend.data.views import View
from showattend.exceptions import DataError
from tests.commandline import CommandLine
from tests.data.test_cache import extract, grey, loud

__all__ = ["grey"]


def earlier(folder: Path) -> Path:
    """A cache as version 1 left it."""
    place = folder / "efficientnet_lite0-352-0123456789ab" / "ba9876543210"
    place.mkdir(parents=True)
    np.save(place / "status.npy", np.ones(3, np.uint8))
    np.save(place / "features.npy", np.zeros((3, 2, 2, 6), np.float16))
    return place.parent


def age(cache: FeatureCache, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(cache.folder / "used", (then, then))


def test_it_lists_what_is_there(tmp_path: Path, grey: list[Path]) -> None:
    (tmp_path / "cache" / "toy-12").mkdir(parents=True)  # drawn pictures
    first = extract(tmp_path, loud(1.0), grey)
    extract(tmp_path, loud(1.0), grey[:2], view=View(1, True))
    place = earlier(tmp_path / "cache")
    assert first.folder.is_dir()
    found = {(each.encoder, each.view): each for each in list_caches(tmp_path / "cache")}
    whole = found.pop(("torchvision:loud", "whole"))
    assert (whole.images, whole.size, whole.state) == (6, 64, "in use")
    assert whole.bytes > 6 * 2 * 2 * 6 * 2
    assert abs(whole.used - time.time()) < 60
    cropped = found.pop(("torchvision:loud", "cropped (1) mirrored"))
    assert (cropped.images, cropped.state) == (2, "ready"), "the object is gone"
    (old,) = found.values()
    assert (old.place, old.state) == (place, "stale")
    with pytest.raises(DataError, match="no cache there"):
        list_caches(tmp_path / "nowhere")


def test_it_prunes_what_is_stale_or_old_and_nothing_in_use(
    tmp_path: Path, grey: list[Path]
) -> None:
    used = extract(tmp_path, loud(1.0), grey)
    age(used, 90)
    gone = extract(tmp_path, loud(2.0), grey)
    age(gone, 31)
    kept = extract(tmp_path, loud(3.0), grey)
    age(kept, 29)
    other = extract(tmp_path, loud(4.0), grey)
    recipe = json.loads((other.folder / RECIPE).read_text())
    (other.folder / RECIPE).write_text(json.dumps(recipe | {"reading": "of another day"}))
    folders = {each.folder for each in (gone, other)} | {earlier(tmp_path / "cache")}
    left = {used.folder, kept.folder}
    del gone, kept, other
    removed = prune(list_caches(tmp_path / "cache"), days=30)
    assert {each.place for each in removed} == folders
    assert {path for path in (tmp_path / "cache").iterdir() if path.is_dir()} == left
    assert used.read([3]).any()
    with Shelf(next(iter(left - {used.folder})), (2, 2, 6)).adding(None):
        assert prune(list_caches(tmp_path / "cache"), days=0) == []
    del used
    assert len(prune(list_caches(tmp_path / "cache"), days=0)) == 2


def test_the_command(run: CommandLine, tmp_path: Path, grey: list[Path]) -> None:
    cache = extract(tmp_path, loud(1.0), grey)
    folder = tmp_path / "cache"
    shown = run("info", "--cache", folder)
    assert (shown.code, shown.err) == (0, [])
    line = next(each for each in shown.out if "loud" in each)
    for part in ("torchvision:loud", "64", "whole", "6", "in use"):
        assert part in line
    assert run("info", "--cache", folder, "--prune", "--days", "0").err == ["nothing to delete"]
    place = cache.folder
    del cache
    assert run("info", "--cache", folder, "--prune").err == ["nothing to delete"]
    (said,) = run("info", "--cache", folder, "--prune", "--days", "0").err
    assert said.startswith(f"deleted {place} (")
    assert not place.exists()
    assert run("info", "--cache", folder).err == [f"{folder}: no features are cached there"]
    assert "no cache there" in run.refused("info", "--cache", tmp_path / "nowhere")
    assert "give that too" in run.refused("info", "--prune")
    assert "--days is for --prune" in run.refused("info", "--cache", folder, "--days", "3")
    assert "--model" in run.refused("info", "--cache", "--model", "x")
