"""Whatever may be given as an image gives the same picture; whatever else is named by its type."""

from __future__ import annotations

import io
import os
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from showattend.exceptions import ImageError
from showattend.images.sources import is_source, lasting, listed
from showattend.images.upright import open_image


class Entry:
    """A path that is no Path, as `os.DirEntry` is."""

    def __init__(self, path: str | bytes) -> None:
        self.path = path

    def __fspath__(self) -> str | bytes:
        return self.path


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(pixels()).save(path)
    return path


def zipped(path: Path) -> Any:
    """A file that cannot be wound back while it is packed."""
    packed = path.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(path, "photo.png")
    return zipfile.ZipFile(packed).open("photo.png")


SOURCES: dict[str, Callable[[Path], Any]] = {
    "text": str,
    "Path": Path,
    "PurePath": PurePath,
    "PathLike": lambda path: Entry(str(path)),
    "PathLike of bytes": lambda path: Entry(os.fsencode(path)),
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "open file": lambda path: path.open("rb"),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "file in a zip": zipped,
    "picture": lambda path: Image.open(path),
    "array": lambda _: pixels(),
    "array, channels first": lambda _: pixels().transpose(2, 0, 1),
    "tensor": lambda _: torch.from_numpy(pixels()),
    "tensor, channels first": lambda _: torch.from_numpy(pixels()).permute(2, 0, 1),
    "tensor of floats": lambda _: (torch.from_numpy(pixels()) / 255).requires_grad_(),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_is_the_same_picture(kind: str, file: Path) -> None:
    source = SOURCES[kind](file)
    assert is_source(source)
    assert list(listed(source)) == [source] if not hasattr(source, "shape") else True
    for _ in range(1 if kind == "file in a zip" else 2):  # again, for a figure
        assert np.array_equal(np.asarray(open_image(source)), pixels())
    if hasattr(source, "close"):
        source.close()


def test_bfloat16_is_rounded_and_grey_is_grey() -> None:
    grey = torch.linspace(0, 1, 600).view(20, 30)
    for tensor in (grey, grey[None], grey[:, :, None], grey.bfloat16()):
        found = np.asarray(open_image(tensor))
        assert found.shape == (20, 30, 3)
        assert np.abs(found[:, :, 0] / 255 - grey.numpy()).max() < 1 / 200


def test_an_open_file_is_kept_for_later(file: Path) -> None:
    with file.open("rb") as opened:
        opened.seek(100)  # somebody has looked into it
        kept = lasting(opened)
    assert (str(kept), isinstance(kept, Path)) == (str(file), True)
    file.unlink()
    assert np.array_equal(np.asarray(open_image(kept)), pixels())


def test_one_open_file_may_be_given_many_times(file: Path) -> None:
    found: list[np.ndarray] = []
    with file.open("rb") as opened:
        threads = [
            threading.Thread(target=lambda: found.append(np.asarray(open_image(opened))))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 8
    assert all(np.array_equal(each, pixels()) for each in found)


class Reads:
    """What has a method ``read`` and is no open file."""

    def __init__(self, content: object) -> None:
        self.content = content

    def read(self) -> object:
        return self.content


def closed(path: Path) -> Any:
    with path.open("rb") as file:
        return file


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "not NoneType"),
        (lambda _: {"image": "a.png"}, "not dict"),
        (lambda _: 7, "not int"),
        (lambda _: ["a.png"], "not list"),
        (lambda _: object(), "not object"),
        (lambda _: Entry, "not type"),
        (lambda _: b"", "image of 0 bytes: the file is empty"),
        (lambda _: b"hello", "image of 5 bytes: not an image"),
        (lambda path: path.read_bytes()[:300], "image of 300 bytes: the image is damaged"),
        (lambda _: io.StringIO("text"), "open file: is open as text; open it in binary mode"),
        (lambda _: Reads("text"), "open file: reading it gives str, not bytes"),
        (lambda _: io.BytesIO(b"hello"), "open file: not an image"),
        (closed, r"photo\.png: cannot be read \(.*closed file"),
        (lambda _: torch.zeros(3, 40, 4), r"\(3, 40, 4\): it may be \(channels, H, W\)"),
        (lambda _: torch.zeros(2, 3, 40, 40), "give several images as a list"),
        (lambda _: torch.zeros(40, 40, device="meta"), "has no plain pixels"),
        (lambda _: torch.zeros(40, 40, dtype=torch.int64), "the type must be uint8"),
        (lambda _: np.zeros((2, 40, 40, 3)), "give several images as a list"),
    ],
)
def test_what_is_no_image_is_named(make: Any, message: str, file: Path) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        open_image(make(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [None, {"a.png": 1}, 7, 1.5, object()])
def test_what_is_no_list_of_images_is_named(given: Any) -> None:
    with pytest.raises(ImageError, match=f"not {type(given).__name__}; or a list of these"):
        listed(given)


def test_an_array_with_few_columns_has_its_channels_last() -> None:
    narrow = np.zeros((3, 20, 4), np.uint8)
    assert open_image(narrow).size == (20, 3)
