"""Commands open a photograph once, whatever they make of it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from showattend.images.image_files import load_image
from showattend.images.photo_file import PhotoFile
from showattend.images.upright import open_image
from tests.commandline import CommandLine, load_once

_watched: list[tuple[Path, Counter[str]]] = []


def _note(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and _watched and isinstance(args[0], str | bytes):
        path = Path(os.path.abspath(os.fsdecode(args[0])))  # noqa: PTH100
        for folder, counts in _watched:
            if path.parent == folder:
                counts[path.name] += 1


sys.addaudithook(_note)  # it hears of every opening, whoever does it


@contextmanager
def opens(folder: Path) -> Iterator[Counter[str]]:
    """Count how often each file of a folder is opened."""
    counts: Counter[str] = Counter()
    _watched.append((folder, counts))
    try:
        yield counts
    finally:
        _watched.remove((folder, counts))


@pytest.fixture
def photos(tmp_path: Path, photo: Path) -> Path:
    """Three photographs in a folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(photo, folder / name)
    Image.open(photo).resize((90, 70)).save(folder / "c.png")
    return folder


ONE, ALL = {"a.jpg": 1}, {"a.jpg": 1, "b.jpg": 1, "c.png": 1}


@pytest.mark.parametrize(
    ("command", "counted"),
    [
        ("caption PHOTOS", ALL),
        ("caption PHOTOS --overlay OUT/figures --sidecar --output OUT/a.jsonl", ALL),
        ("attend PHOTOS/a.jpg --output OUT/a.png", ONE),
        ("attend PHOTOS/a.jpg --output OUT/a.png --caption a", ONE),
        ("attend PHOTOS/a.jpg --output OUT/a.gif", ONE),
        ("attend PHOTOS/a.jpg --output OUT/a.html", ONE),
        ("attend PHOTOS/a.jpg --output OUT/a.npz", ONE),
        ("attend PHOTOS --output OUT/gallery.html", ALL),
        ("evaluate --annotations OUT/captions.json --images PHOTOS", ALL),
    ],
)
def test_each_photo_is_opened_once(
    command: str, counted: dict[str, int], run: CommandLine, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_captions(out / "captions.json", photos)
    command = command.replace("PHOTOS", str(photos)).replace("OUT", str(out))
    load_once(run.model)
    with opens(photos) as counts:
        result = run(*command.split(), "--model", run.model)
    assert result.code == 0, result.err
    assert {name: count for name, count in counts.items() if name in ALL} == counted


def write_captions(path: Path, photos: Path) -> None:
    names = sorted(each.name for each in photos.iterdir())
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    annotations = [{"id": i, "image_id": i, "caption": "a cat"} for i in range(len(names))]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))


@pytest.mark.parametrize("captions", [False, True])
def test_ground_measures_and_draws_each_photo_from_one_opening(
    captions: bool, run: CommandLine, photos: Path, tmp_path: Path
) -> None:
    write_captions(tmp_path / "captions.json", photos)
    content = json.loads((tmp_path / "captions.json").read_text())
    for each in content["images"]:
        with Image.open(photos / each["file_name"]) as opened:
            each["width"], each["height"] = opened.size
    said = content["annotations"]
    content["categories"] = [{"id": 1, "name": "cat"}]
    content["annotations"] = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [0, 0, 20, 20]} for i in range(3)
    ]
    (tmp_path / "instances.json").write_text(json.dumps(content))
    given = [{**each, "caption": "a cat on a bench"} for each in said]
    (tmp_path / "captions.json").write_text(
        json.dumps({"images": content["images"], "annotations": given})
    )
    options = ["--captions", tmp_path / "captions.json"] if captions else []
    with opens(photos) as counts:
        result = run(
            "ground", "--annotations", tmp_path / "instances.json", "--images", photos,
            *options, "--gallery", tmp_path / "looks.png", "--model", run.model,
        )  # fmt: skip
    assert counts == ALL
    if captions:
        assert result.code == 0, result.err
        assert (tmp_path / "looks.png").is_file()


def test_errors_draws_each_photo_from_one_opening(
    run: CommandLine, photos: Path, tmp_path: Path
) -> None:
    write_captions(tmp_path / "captions.json", photos)
    results = [{"image_id": i, "caption": "a dog on a bench"} for i in range(3)]
    (tmp_path / "results.json").write_text(json.dumps(results))
    with opens(photos) as counts:
        result = run(
            "errors", "--annotations", tmp_path / "captions.json",
            "--results", tmp_path / "results.json", "--images", photos,
            "--gallery", tmp_path / "worst.png", "--output", tmp_path / "errors.md",
        )  # fmt: skip
    assert result.code == 0, result.err
    assert counts == ALL


def test_a_photo_file_outlives_its_file(tmp_path: Path, photo: Path) -> None:
    copied = tmp_path / "a.jpg"
    shutil.copy(photo, copied)
    held = PhotoFile(copied)
    assert held == copied
    with opens(tmp_path) as counts:
        first = load_image(held, at_least=32)
        copied.unlink()
        assert open_image(held).size == first.upright_size
    assert counts == {"a.jpg": 1}
    assert open_image(PhotoFile.of(photo.read_bytes(), "upload")).size == first.upright_size
