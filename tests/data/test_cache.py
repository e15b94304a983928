"""The feature cache: right, computed once, resumable, never stale."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from showattend.data import cache as caches
from showattend.data.cache import FeatureCache, cache_features
from showattend.data.views import View
from showattend.exceptions import DataError
from showattend.images.image_files import open_image
from showattend.images.preprocessing import Preprocessing
from showattend.model.build import build_encoder
from showattend.model.encoder import Encoder

HALF = (0.5, 0.5, 0.5)
PREPROCESSING = Preprocessing(size=64, mean=HALF, std=HALF)
COUNT = 10
SHAPE = (COUNT, 2, 2, 1280)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return build_encoder(name="efficientnet_lite0")


class Calls:
    """Counts the images that pass an encoder, and stops it when it is told to."""

    def __init__(self) -> None:
        self.images, self.stop_at = 0, 10**9

    def __call__(self, module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        if self.images >= self.stop_at:
            raise KeyboardInterrupt
        self.images += len(inputs[0])


@pytest.fixture
def calls(encoder: Encoder) -> Iterator[Calls]:
    encoder.measure(64)
    counter = Calls()
    handle = encoder.body.register_forward_pre_hook(counter)
    yield counter
    handle.remove()


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setattr(caches, "_BATCH", 4)
    random = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    found = []
    for number in range(COUNT):
        path = folder / f"{number}.png"
        Image.fromarray(random.integers(0, 256, (70, 80, 3), dtype=np.uint8)).save(path)
        found.append(path)
    return found


def extract(tmp_path: Path, encoder: Encoder, paths: list[Path], **values: Any) -> FeatureCache:
    values = {"preprocessing": PREPROCESSING, **values}
    return cache_features(tmp_path / "cache", encoder=encoder, paths=paths, **values)


def test_the_cache_holds_what_the_encoder_says(
    tmp_path: Path, encoder: Encoder, paths: list[Path]
) -> None:
    cache = extract(tmp_path, encoder, paths)
    assert cache.failed == {}
    rows = [7, 0, 3]
    found = cache.read(rows)
    assert (found.dtype, found.shape) == (torch.float16, (3, 2, 2, 1280))
    with torch.inference_mode():
        images = torch.stack([PREPROCESSING(open_image(paths[row]))[0] for row in rows])
        wanted = encoder(images)
    torch.testing.assert_close(found.float(), wanted, rtol=2e-3, atol=2e-3)
    found.zero_()  # a copy: the file stays as it is
    assert cache.read(rows).any()


def test_a_mirrored_cache_holds_the_mirrored_images(
    tmp_path: Path, encoder: Encoder, paths: list[Path]
) -> None:
    found = extract(tmp_path, encoder, paths, view=View(mirrored=True)).read([7, 3])
    with torch.inference_mode():
        images = torch.stack([PREPROCESSING(open_image(paths[row]))[0] for row in (7, 3)])
        wanted, straight = encoder(images.flip(3)), encoder(images)
    torch.testing.assert_close(found.float(), wanted, rtol=2e-3, atol=2e-3)
    assert (found.float() - straight).abs().max() > 0.1


def test_a_second_call_does_no_work(
    tmp_path: Path, encoder: Encoder, paths: list[Path], calls: Calls
) -> None:
    messages: list[str] = []
    first = extract(tmp_path, encoder, paths, message=messages.append)
    assert (calls.images, len(messages)) == (COUNT, 1)
    again = extract(tmp_path, encoder, paths, message=messages.append)
    assert (calls.images, len(messages)) == (COUNT, 1)
    assert again.folder == first.folder
    assert np.array_equal(again.features, first.features)


def test_its_size_is_announced_before_it_is_written(
    tmp_path: Path, encoder: Encoder, paths: list[Path], calls: Calls
) -> None:
    said: list[tuple[str, int]] = []
    cache = extract(tmp_path, encoder, paths, message=lambda t: said.append((t, calls.images)))
    size = np.prod(SHAPE) * 2
    ((text, before),) = said
    assert before == 0
    assert f"{COUNT} images" in text
    assert f"{size / 1e9:.2f} GB" in text
    assert str(cache.folder) in text
    assert size <= (cache.folder / "features.npy").stat().st_size <= size + 256


def test_progress_goes_up_to_all(tmp_path: Path, encoder: Encoder, paths: list[Path]) -> None:
    steps: list[tuple[int, int]] = []
    extract(tmp_path, encoder, paths, advance=lambda *step: steps.append(step))
    assert steps == [(4, COUNT), (8, COUNT), (10, COUNT)]


def test_an_interrupted_extraction_goes_on_where_it_stopped(
    tmp_path: Path, encoder: Encoder, paths: list[Path], calls: Calls
) -> None:
    calls.stop_at = 8
    with pytest.raises(KeyboardInterrupt):
        extract(tmp_path, encoder, paths)
    assert calls.images == 8
    calls.stop_at = 10**9
    resumed = extract(tmp_path, encoder, paths)
    assert calls.images == COUNT
    shutil.copytree(resumed.folder, tmp_path / "kept")
    shutil.rmtree(tmp_path / "cache")
    assert np.array_equal(
        extract(tmp_path, encoder, paths).features, np.load(tmp_path / "kept" / "features.npy")
    )


def test_whatever_its_numbers_depend_on_is_another_folder(
    tmp_path: Path, encoder: Encoder, paths: list[Path]
) -> None:
    def folder(**values: Any) -> Path:
        values = {"encoder": encoder, "paths": paths, **values}
        return extract(tmp_path, values.pop("encoder"), values.pop("paths"), **values).folder

    torch.manual_seed(0)
    folders = [
        folder(),
        folder(encoder=build_encoder(name="efficientnet_lite0", pretrained=False)),
        folder(preprocessing=Preprocessing(size=64, fit="crop", mean=HALF, std=HALF)),
        folder(preprocessing=Preprocessing(size=32, mean=HALF, std=HALF)),
        folder(dtype=torch.bfloat16),
        folder(paths=paths[::-1]),
        folder(view=View(mirrored=True)),
        folder(view=View(1, False)),
        folder(view=View(1, False), crop_area=0.5),
        folder(view=View(2, False)),
    ]
    Image.new("RGB", (70, 80)).save(paths[0])
    os.utime(paths[0], ns=(1, 1))
    folders.append(folder())
    assert len(set(folders)) == len(folders)


def test_broken_images_are_reported_and_skipped(
    tmp_path: Path, encoder: Encoder, paths: list[Path], calls: Calls
) -> None:
    paths[2].write_bytes(paths[2].read_bytes()[:200])
    paths[9] = tmp_path / "gone.png"
    cache = extract(tmp_path, encoder, paths)
    assert cache.failed.keys() == {2, 9}
    assert str(paths[2]) in cache.failed[2]
    assert "no such file" in cache.failed[9]
    assert calls.images == COUNT - 2
    wanted = extract(tmp_path, encoder, [paths[8]])
    torch.testing.assert_close(cache.read([8]), wanted.read([0]), rtol=2e-3, atol=2e-3)
    calls.images = 0
    assert extract(tmp_path, encoder, paths).failed == cache.failed
    assert calls.images == 0


def test_too_small_a_disk_is_refused_before_writing(
    tmp_path: Path, encoder: Encoder, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DataError, match=r"needs 0.00 GB, the disk has 0.00 GB; set data.cache"):
        extract(tmp_path, encoder, paths)
    assert not list(tmp_path.glob("cache/**/*.npy"))


def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, encoder: Encoder, paths: list[Path]
) -> None:
    (tmp_path / "cache").touch()  # a file where the folder should be
    with pytest.raises(DataError, match=r"cannot be written .*; set data.cache"):
        extract(tmp_path, encoder, paths)


@pytest.mark.parametrize("name", ["features.npy", "status.npy", "failures.json"])
def test_a_damaged_file_is_named(
    name: str, tmp_path: Path, encoder: Encoder, paths: list[Path]
) -> None:
    (tmp_path / "images" / "0.png").write_bytes(b"")
    place = extract(tmp_path, encoder, paths).folder
    for content in (b"[", b"", b"[]"):
        (place / name).write_bytes(content)
        with pytest.raises(
            DataError, match=r"the feature cache is damaged .*; delete it"
        ) as caught:
            extract(tmp_path, encoder, paths)
        assert str(place) in str(caught.value)


needs_reserving = pytest.mark.skipif(
    not hasattr(os, "posix_fallocate"), reason="no way to take a file's room beforehand"
)


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@needs_reserving
def test_its_room_is_taken_before_it_is_computed(
    tmp_path: Path, encoder: Encoder, paths: list[Path], calls: Calls
) -> None:
    calls.stop_at = 0
    with pytest.raises(KeyboardInterrupt):
        extract(tmp_path, encoder, paths)
    (file,) = tmp_path.glob("cache/*/*/features.npy")
    assert file.stat().st_blocks * 512 >= file.stat().st_size


@needs_reserving
def test_a_disk_that_fills_is_one_line(
    tmp_path: Path, encoder: Encoder, paths: list[Path], calls: Calls, monkeypatch: Any
) -> None:
    message = r"needs \d+\.\d\d GB, the disk has .* GB; set data.cache .*, or make room"
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(DataError, match=message):
            extract(tmp_path, encoder, paths)
    assert [path for path in tmp_path.glob("cache/**/*") if path.is_file()] == []
    calls.stop_at = 8
    with pytest.raises(KeyboardInterrupt):
        extract(tmp_path, encoder, paths)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(DataError, match=message):
            extract(tmp_path, encoder, paths)
    calls.stop_at = 10**9
    assert extract(tmp_path, encoder, paths).failed == {}
    assert calls.images == COUNT  # what there was is kept

    def cannot(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", cannot)  # a file system that has no such thing
    assert extract(tmp_path, encoder, paths[:3]).failed == {}


def test_a_disk_that_fills_after_all_is_one_line(
    tmp_path: Path, encoder: Encoder, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    message = r"cannot be written \(No space left .*; set data.cache"
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(DataError, match=message):
            extract(tmp_path, encoder, paths)
    assert [path for path in tmp_path.glob("cache/**/*") if path.is_file()] == []
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda a, b: full() if "failures" in b.name else a.rename(b))
        with pytest.raises(DataError, match=message):
            extract(tmp_path, encoder, paths)
    assert extract(tmp_path, encoder, paths).failed == {}


class ReadOnly:
    """Files that nobody may write, whoever runs the tests."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.open = np.lib.format.open_memmap
        patch.setattr(os, "access", lambda _, mode: mode != os.W_OK)
        patch.setattr(np.lib.format, "open_memmap", self)

    def __call__(self, file: Path, mode: str, *args: Any, **options: Any) -> Any:
        if mode != "r":
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return self.open(file, mode, *args, **options)


def test_a_cache_whose_images_were_all_tried_may_be_read_only(
    tmp_path: Path, encoder: Encoder, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths[2].write_bytes(b"broken")
    first = extract(tmp_path, encoder, paths)
    with monkeypatch.context() as patch:
        ReadOnly(patch)
        again = extract(tmp_path, encoder, paths)
    assert again.failed == first.failed
    assert again.failed.keys() == {2}
    (first.folder / "failures.json").unlink()
    ReadOnly(monkeypatch)
    assert extract(tmp_path, encoder, paths).failed == {2: f"{paths[2]}: could not be read"}


def test_what_may_not_be_written_is_not_called_damaged(
    tmp_path: Path,
    encoder: Encoder,
    paths: list[Path],
    calls: Calls,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls.stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        extract(tmp_path, encoder, paths)
    ReadOnly(monkeypatch)
    with pytest.raises(DataError, match=r"cannot be opened \(Permission denied\)") as caught:
        extract(tmp_path, encoder, paths)
    assert "delete" not in str(caught.value)
