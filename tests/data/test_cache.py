"""The feature cache: right, computed once, resumable, never stale."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from showattend.data import cache as caches
from showattend.data import identity
from showattend.data.cache import FeatureCache, cache_features
from showattend.data.identity import identify_files
from showattend.data.shelf import DONE, Shelf
from showattend.data.views import View
from showattend.exceptions import DataError
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


def seen(path: Path) -> torch.Tensor:
    """The network's input."""
    pixels = torch.from_numpy(PREPROCESSING.load_pixels(path).pixels)
    return PREPROCESSING.normalize(pixels.permute(2, 0, 1))


def features(cache: FeatureCache) -> np.ndarray:
    """All that a cache of one part holds, in the order of its images."""
    return cache.read(range(len(cache.parts[0].keys))).numpy()


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
        images = torch.stack([seen(paths[row]) for row in rows])
        wanted = encoder(images)
    torch.testing.assert_close(found.float(), wanted, rtol=2e-3, atol=2e-3)
    found.zero_()  # a copy: the file stays as it is
    assert cache.read(rows).any()


def test_a_mirrored_cache_holds_the_mirrored_images(
    tmp_path: Path, encoder: Encoder, paths: list[Path]
) -> None:
    found = extract(tmp_path, encoder, paths, view=View(mirrored=True)).read([7, 3])
    with torch.inference_mode():
        images = torch.stack([seen(paths[row]) for row in (7, 3)])
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
    assert np.array_equal(features(again), features(first))


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
    (file,) = cache.folder.glob("*.features.npy")
    assert size <= file.stat().st_size <= size + 256


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
    kept = features(resumed)
    shutil.rmtree(tmp_path / "cache")
    assert np.array_equal(features(extract(tmp_path, encoder, paths)), kept)


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
        folder(view=View(mirrored=True)),
        folder(view=View(1, False)),
        folder(view=View(1, False), crop_area=0.5),
        folder(view=View(2, False)),
    ]
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


@pytest.mark.parametrize("name", ["*.features.npy", "*.keys.npy", "*.status.npy", "failures.json"])
def test_a_damaged_file_is_named(
    name: str, tmp_path: Path, encoder: Encoder, paths: list[Path]
) -> None:
    (tmp_path / "images" / "0.png").write_bytes(b"")
    place = extract(tmp_path, encoder, paths).folder
    (file,) = place.glob(name)
    for content in (b"[", b"", b"[]"):
        file.write_bytes(content)
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
    (file,) = tmp_path.glob("cache/*/*.features.npy")
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
    assert not list(tmp_path.glob("cache/*/*.npy"))
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
    assert not list(tmp_path.glob("cache/*/*.npy"))
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


# An image is what its bytes are ------------------------------------------------------------------


def test_one_more_photo_computes_one_photo(
    tmp_path: Path, encoder: Encoder, paths: list[Path], calls: Calls
) -> None:
    messages: list[str] = []
    few = extract(tmp_path, encoder, paths[:-1])
    calls.images = 0
    all_of_them = extract(tmp_path, encoder, paths[::-1], message=messages.append)
    assert calls.images == 1
    assert "of 1 images" in messages[0]
    assert torch.equal(all_of_them.read([9, 4, 1]), few.read([0, 5, 8]))
    torch.testing.assert_close(
        all_of_them.read([0]), extract(tmp_path / "else", encoder, paths[-1:]).read([0])
    )
    calls.images = 0
    extract(tmp_path, encoder, paths[3:7])
    assert calls.images == 0


def test_a_folder_that_was_moved_is_the_same_images(
    tmp_path: Path, encoder: Encoder, paths: list[Path], calls: Calls
) -> None:
    first = extract(tmp_path, encoder, paths)
    calls.images = 0
    (tmp_path / "images").rename(tmp_path / "moved")
    moved = [tmp_path / "moved" / path.name for path in paths]
    moved[0] = moved[0].rename(tmp_path / "moved" / "renamed.png")
    assert torch.equal(extract(tmp_path, encoder, moved).read([0, 5]), first.read([0, 5]))
    assert calls.images == 0


def test_a_photo_that_changed_is_another(
    tmp_path: Path, encoder: Encoder, paths: list[Path], calls: Calls
) -> None:
    first = extract(tmp_path, encoder, paths)
    calls.images = 0
    shutil.copy(paths[1], paths[0])
    again = extract(tmp_path, encoder, paths)
    assert torch.equal(again.read([0]), first.read([1]))
    assert calls.images == 0, "its bytes are another image's, which is there"
    Image.new("RGB", (70, 80)).save(paths[0])
    assert not torch.equal(extract(tmp_path, encoder, paths).read([0]), first.read([1]))
    assert calls.images == 1


def test_digests_are_remembered(
    tmp_path: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = identify_files(paths, tmp_path)
    assert len(set(first.digests.tolist())) == COUNT
    read: list[Path] = []
    digest = identity._digest
    monkeypatch.setattr(identity, "_digest", lambda path: read.append(path) or digest(path))
    assert np.array_equal(identify_files(paths, tmp_path).digests, first.digests)
    assert read == []
    paths[3].touch()
    assert np.array_equal(identify_files(paths, tmp_path).digests, first.digests)
    assert read == [paths[3]]
    (tmp_path / identity.FILE).write_bytes(b"no database")
    assert np.array_equal(identify_files(paths, tmp_path).digests, first.digests)
    assert len(read) == 1 + COUNT


def test_a_crop_is_by_name(
    tmp_path: Path, encoder: Encoder, paths: list[Path], calls: Calls
) -> None:
    """As it is where nothing is cached."""
    first = extract(tmp_path, encoder, paths[:1], view=View(1), crop_area=0.5)
    other = paths[0].with_name("other.png")
    shutil.copy(paths[0], other)
    again = extract(tmp_path, encoder, [other, paths[0]], view=View(1), crop_area=0.5)
    assert calls.images == 2
    assert torch.equal(again.read([1]), first.read([0]))
    assert not torch.equal(again.read([0]), first.read([0]))


def test_other_pixels_of_the_same_file_are_another_shelf(
    tmp_path: Path, encoder: Encoder, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = extract(tmp_path, encoder, paths).folder
    caches.reading_of.cache_clear()
    monkeypatch.setattr("showattend.images.preprocessing.turn", lambda image, _: image)
    try:
        assert extract(tmp_path, encoder, paths).folder != first
    finally:
        caches.reading_of.cache_clear()


# Numbers that float16 cannot hold -----------------------------------------------------------------


class Loud(torch.nn.Module):
    """Grids of 2 x 2 whose numbers grow with the brightness of the image."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        means = images.mean((1, 2, 3), keepdim=True).expand(-1, 6, 2, 2)
        return (means + 1) * self.factor


def loud(factor: float) -> Encoder:
    body = Loud(factor)
    return Encoder(body, {"all": body}, "torchvision:loud")


@pytest.fixture
def grey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Six photos, each brighter than the one before: the means are 0 to 2."""
    monkeypatch.setattr(caches, "_BATCH", 2)
    paths = [tmp_path / f"grey-{level}.png" for level in (0, 50, 100, 150, 200, 250)]
    for number, path in enumerate(paths):
        Image.new("RGB", (64, 64), (number * 50,) * 3).save(path)
    return paths


@pytest.mark.parametrize(("factor", "large"), [(40_000.0, 1), (1e6, 5), (1e30, 5)])
def test_numbers_too_large_for_float16_are_kept_and_said(
    factor: float, large: int, tmp_path: Path, grey: list[Path]
) -> None:
    messages: list[str] = []
    cache = extract(tmp_path, loud(factor), grey, message=messages.append)
    assert cache.failed == {}
    (said,) = [text for text in messages if "65,504" in text]
    assert said.startswith("torchvision:loud: ")
    found = cache.read(range(6))
    assert found.dtype == torch.bfloat16
    wanted = torch.tensor([2 * level / 255 * factor for level in (0, 50, 100, 150, 200, 250)])
    torch.testing.assert_close(found[:, 0, 0, 0].float(), wanted, rtol=1e-2, atol=1e-2)
    assert sum(len(part.keys) for part in cache.parts if part.type == "bfloat16") >= large
    messages.clear()
    assert torch.equal(
        extract(tmp_path, loud(factor), grey, message=messages.append).read([5]), found[5:]
    )
    assert messages == []


def test_numbers_that_are_none_are_refused(tmp_path: Path, grey: list[Path]) -> None:
    with pytest.raises(DataError, match=r"grey-0\.png: encoder torchvision:loud, .* not finite"):
        extract(tmp_path, loud(float("inf")), grey)
    assert not any((part.status == DONE).any() for part in shelf_of(tmp_path).parts())


def shelf_of(tmp_path: Path) -> Shelf:
    (place,) = tmp_path.glob("cache/*/")
    return Shelf(place, (2, 2, 6))


# Two runs at once ---------------------------------------------------------------------------------

RUN = """
import sys, time
from pathlib import Path
import torch
from tests.data import test_cache as ours
from showattend.data import cache as caches
from showattend.data import identity
caches._BATCH = 1
folder = Path(sys.argv[1])
encoder = ours.loud(1.0)
encoder.measure(64)
count = 0
def slow(*_):
    global count
    count += 1
    while count > 2 and (folder / "hold").exists():
        time.sleep(0.05)
encoder.body.register_forward_pre_hook(slow)
paths = sorted(folder.glob("grey-*.png"))
cache = ours.extract(folder, encoder, paths, message=lambda text: print(text, flush=True))
print("computed", count, cache.failed, float(cache.read(range(6)).sum()), flush=True)
if sys.argv[2:]:
    input()
"""


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    """A run, which stops after two images for as long as there is a file ``hold``."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), *more],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def line(run: subprocess.Popen[str]) -> str:
    assert run.stdout is not None
    return run.stdout.readline()


def test_a_second_run_waits_and_takes_what_the_first_has_made(
    tmp_path: Path, grey: list[Path]
) -> None:
    (tmp_path / "hold").touch()
    first = start(tmp_path)
    assert line(first).startswith("Writing the features of 6 images")
    second = start(tmp_path)
    assert line(second).startswith("Another run is writing features to ")
    (tmp_path / "hold").unlink()
    mine, theirs = (run.communicate(timeout=120)[0].splitlines()[-1] for run in (first, second))
    assert mine.split()[:2] == ["computed", "6"]
    assert theirs.split()[:2] == ["computed", "0"]
    assert mine.split()[2:] == theirs.split()[2:]


def test_a_killed_run_leaves_no_lock(tmp_path: Path, grey: list[Path]) -> None:
    (tmp_path / "hold").touch()
    first = start(tmp_path)
    line(first)
    while sum((part.status == DONE).sum() for part in shelf_of(tmp_path).parts()) < 2:
        time.sleep(0.05)
    first.kill()
    first.communicate()
    (tmp_path / "hold").unlink()
    (done,) = start(tmp_path).communicate(timeout=120)[0].splitlines()
    assert done.split()[:2] == ["computed", "4"]


def test_what_a_run_reads_is_in_use_until_it_ends(tmp_path: Path, grey: list[Path]) -> None:
    run = start(tmp_path, "wait")
    assert [line(run).split()[0] for _ in range(2)] == ["Writing", "computed"]
    assert shelf_of(tmp_path).in_use()
    run.kill()
    run.communicate()
    shelf = shelf_of(tmp_path)
    assert not shelf.in_use()
    assert not list(shelf.place.glob("use-*"))
