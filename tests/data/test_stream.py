"""Batches from shards: the same for any number of processes, entered anywhere, in any process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from showattend.data.loader import Batch, CaptionLoader
from showattend.data.shard_files import ShardFiles
from showattend.data.shard_index import read_index
from showattend.data.shard_writer import write_shards
from showattend.data.spoken import Spoken
from showattend.data.stream import Place, ShardFeatures, ShardPixels, StreamLoader
from showattend.exceptions import ConfigError, DataError
from showattend.images.preprocessing import Preprocessing
from showattend.system.processes import Processes
from showattend.text.vocabulary import Vocabulary
from tests.data.sharded import WORDS, photographs
from tests.data.test_shard_writer import Numbers

IMAGES = 23


class Named:
    """Inputs that are the number in the file's name, so that a test sees what was read."""

    def read(self, places: Sequence[Place]) -> torch.Tensor:
        return torch.tensor([int(place.name[5:8]) + 1000 * place.view.mirrored for place in places])


@dataclass(frozen=True)
class Threads(Processes):
    """Processes that are threads of this one, for messages of the loader."""

    barrier: Any = None
    box: dict[int, list[int]] = field(default_factory=dict)

    def add(self, values: Sequence[int]) -> list[int]:
        self.box[self.rank] = list(values)
        self.barrier.wait(20)
        total = [sum(each) for each in zip(*self.box.values(), strict=True)]
        self.barrier.wait(20)
        return total


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("stream")
    records = photographs(base / "images", {"train": IMAGES, "val": 2})
    write_shards(records, base / "shards", size=4, features=Numbers())
    return base / "shards"


def loader(folder: Path, processes: Processes | None = None, **options: Any) -> StreamLoader:
    index = read_index(f"{folder}/*.tar")
    draws = [(i, shard.images) for i, shard in enumerate(index.shards) if shard.split == "train"]
    values: dict[str, Any] = {"batch_size": 4, "seed": 1, "lanes": 4, "mixed": 2}
    values |= options
    inputs = values.pop("inputs", Named())
    return StreamLoader(
        ShardFiles(index.shards), draws, index.words, 2 * IMAGES, inputs,
        Vocabulary.from_counts(index.words, 1), **values,
        **({} if processes is None else {"processes": processes}),
    )  # fmt: skip


def together(folder: Path, count: int, start: int = 0, **options: Any) -> list[list[Batch]]:
    """The batches of so many processes that run at the same time."""
    barrier, box = threading.Barrier(count), {}
    found: list[list[Batch]] = [[] for _ in range(count)]

    def run(rank: int) -> None:
        mine = Threads(rank, count, barrier=barrier, box=box)
        found[rank] = list(loader(folder, mine, **options).batches(2, start))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    return found


def equal(one: Batch, other: Batch) -> bool:
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(one, other, strict=True)
    )


def test_an_epoch_has_every_image_once_in_an_order_of_its_own(folder: Path) -> None:
    stream = loader(folder)
    orders = []
    for epoch in (0, 1):
        batches = list(stream.batches(epoch))
        assert len(batches) == len(stream) == 6
        assert [len(batch.rows) for batch in batches] == [4] * 5 + [3]
        assert all(
            batch.of_images == batch.of_captions == batch.of_tokens == 1 for batch in batches
        )
        orders.append([i for batch in batches for i in batch.inputs.tolist()])
        assert sorted(orders[-1]) == list(range(IMAGES))
    assert orders[0] != orders[1]
    assert [i for batch in loader(folder).batches(1) for i in batch.inputs.tolist()] == orders[1]
    assert stream.images == IMAGES


def test_captions_are_those_of_the_image(folder: Path) -> None:
    stream = loader(folder)
    for batch in stream.batches(0):
        for b, number in enumerate(batch.inputs.tolist()):
            for k, word in enumerate((WORDS[number % 8], WORDS[(number + 3) % 8])):
                length = int(batch.lengths[b, k])
                said = stream.vocabulary.decode(batch.captions[b, k, : length + 1].tolist())
                assert said == ["a", word, "and", f"train{number}"]


@pytest.mark.parametrize("start", [1, 3, 5])
def test_an_epoch_goes_on_where_it_was_left(start: int, folder: Path) -> None:
    options: dict[str, Any] = {"mirror": True, "crops": 2}
    whole = list(loader(folder, **options).batches(4))
    rest = list(loader(folder, **options).batches(4, start))
    assert len(rest) == len(whole) - start
    assert all(map(equal, whole[start:], rest))


@pytest.mark.parametrize(("count", "batch"), [(2, 4), (4, 2)])
def test_a_step_does_not_depend_on_the_number_of_processes(
    count: int, batch: int, folder: Path
) -> None:
    alone = list(loader(folder, batch_size=8, mirror=True).batches(2))
    parts = together(folder, count, batch_size=batch, mirror=True)
    for number, whole in enumerate(alone):
        mine = [each[number] for each in parts]
        real = [each for each in mine if each.of_images]
        drawn = [row for each in real for row in each.rows]
        assert sorted(drawn) == whole.rows  # no image twice, none left out
        by_row = {
            row: value for b in real for row, value in zip(b.rows, b.inputs.tolist(), strict=True)
        }
        assert [by_row[row] for row in whole.rows] == whole.inputs.tolist()
        assert sum(each.of_images for each in mine) == pytest.approx(1)
        assert sum(each.of_tokens for each in mine) == pytest.approx(1)
        assert sum(each.of_captions for each in mine) == pytest.approx(1)


def test_processes_open_shards_of_their_own(folder: Path) -> None:
    """But for those that two lanes meet in."""
    used = []
    for rank in range(2):
        stream = loader(folder, Processes(rank, 2), batch_size=2)
        order = stream.order(0)
        drawn = [each for step in range(len(stream)) for each in stream.step(order, step)]
        used.append({each.shard for each in drawn})
        assert {each.position % 4 // 2 for each in drawn} == {rank}
    assert len(used[0] & used[1]) <= 1
    assert used[0] | used[1] == set(range(6))


def test_a_process_without_images_does_as_many_batches(folder: Path) -> None:
    # 23 images in steps of 22: in the last one, only lane 2 has an image.
    one, other = together(folder, 2, batch_size=11, lanes=2)
    assert len(one) == len(other) == 2
    last = sorted([one[-1], other[-1]], key=lambda batch: batch.of_images)
    assert [batch.of_images for batch in last] == [0, 1]
    assert len(last[0].rows) == 1


def test_accumulated_batches_make_one_step(folder: Path) -> None:
    whole = list(loader(folder, batch_size=8).batches(0))
    halves = list(loader(folder, batch_size=4, accumulate=2).batches(0))
    assert [batch.last for batch in halves] == [False, True] * 3
    for number, step in enumerate(whole):
        first, second = halves[2 * number : 2 * number + 2]
        assert first.rows + second.rows == step.rows
        assert first.of_tokens + second.of_tokens == pytest.approx(1)


def test_views_are_as_in_a_folder(folder: Path) -> None:
    """Mirrored half of the time, and never with a caption that says left."""
    stream = loader(folder, mirror=True)
    mirrored = 0
    left = stream.vocabulary.encode(["left"])[0]
    for epoch in range(4):
        for batch in stream.batches(epoch):
            for b, value in enumerate(batch.inputs.tolist()):
                mirrored += value >= 1000
                said = batch.captions[b, : int((batch.lengths[b] > 0).sum())]
                assert value < 1000 or not (said == left).any()
    assert 0.3 < mirrored / (4 * IMAGES) < 0.7
    for batch in stream.batches(0, keep_captions=True):
        assert (batch.lengths > 0).all()  # an image with such a caption stays as it is


def test_pixels_are_those_that_a_folder_gives(folder: Path) -> None:
    preprocessing = Preprocessing(16)
    pixels = ShardPixels(preprocessing, workers=2)
    images = folder.parent / "images"
    for batch, names in zip(
        loader(folder, inputs=pixels).batches(0), loader(folder).batches(0), strict=True
    ):
        for found, number in zip(batch.inputs, names.inputs.tolist(), strict=True):
            wanted, _ = preprocessing.load_pixels(images / f"train{number:03}.jpg")
            assert np.array_equal(found.permute(1, 2, 0).numpy(), wanted)


def test_features_come_from_the_shards(folder: Path) -> None:
    batch = next(loader(folder, inputs=ShardFeatures((1, 2, 3))).batches(0))
    assert batch.inputs.shape == (4, 1, 2, 3)
    assert batch.inputs.dtype == torch.float16
    with pytest.raises(DataError, match=r"shape \[1, 2, 3\], the encoder yields \[2, 2, 3\]"):
        next(loader(folder, inputs=ShardFeatures((2, 2, 3))).batches(0))


def test_targets_are_counted_as_in_a_folder(folder: Path) -> None:
    stream = loader(folder)
    records = photographs(folder.parent / "images", {"train": IMAGES})
    plain = CaptionLoader(
        records,
        Named(),
        stream.vocabulary,
        batch_size=4,
        spoken=Spoken(records),  # type: ignore[arg-type]
    )
    size = len(stream.vocabulary)
    assert stream.target_counts(size).tolist() == plain.target_counts(size).tolist()


def test_what_cannot_be_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.lanes is 4; .* multiple of .* processes, 3"):
        loader(folder, Processes(0, 3))
    for call in (lambda: loader(folder).spoken, lambda: loader(folder).with_references(2)):
        with pytest.raises(ConfigError, match=r"self_critical\.epochs with shards"):
            call()
    records = photographs(tmp_path / "images", {"train": 1})
    object.__setattr__(records[0], "captions", ("...",))
    write_shards(records, tmp_path / "shards")
    index = read_index(f"{tmp_path}/shards/*.tar")
    stream = StreamLoader(
        ShardFiles(index.shards), [(0, 1)], Counter(), 1, Named(), Vocabulary(["dog"]), batch_size=1
    )
    with pytest.raises(
        DataError, match=r"train-000000\.tar: the captions of sample 0 have no words"
    ):
        next(stream.batches(0))
