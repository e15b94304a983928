"""Batches: every image once, in an order that seed and epoch fix; captions padded and cut."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from showattend.data.loader import Batch, CachedFeatures, CaptionLoader, Pixels
from showattend.data.records import Record
from showattend.data.views import View
from showattend.exceptions import DataError
from showattend.images.preprocessing import Preprocessing
from showattend.text.vocabulary import Vocabulary
from tests.data.features import cache_of

PAD, START, END, UNK = Vocabulary.PAD, Vocabulary.START, Vocabulary.END, Vocabulary.UNK
VOCABULARY = Vocabulary(["a", "dog", "runs"])
A, DOG, RUNS = 4, 5, 6


class Numbers:
    """An input that says which record it is."""

    def read(self, rows: Sequence[int], views: Sequence[View] = ()) -> torch.Tensor:
        return torch.tensor(rows).float()


def records(count: int = 10) -> list[Record]:
    return [Record(i, Path(f"{i}.jpg"), ("A dog runs.",), "train") for i in range(count)]


def loader(found: list[Record] | None = None, **values: Any) -> CaptionLoader:
    return CaptionLoader(found or records(), Numbers(), VOCABULARY, **{"batch_size": 3, **values})


def rows(batches: Sequence[Batch]) -> list[list[int]]:
    return [batch.rows for batch in batches]


def test_every_image_comes_once_an_epoch_with_its_own_input() -> None:
    batches = list(loader().batches(0))
    assert [len(batch.rows) for batch in batches] == [3, 3, 3, 1]
    assert len(loader()) == 4
    assert sorted(row for batch in batches for row in batch.rows) == list(range(10))
    for batch in batches:
        assert batch.inputs.tolist() == batch.rows


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    torch.manual_seed(0)
    first = rows(list(loader().batches(3)))
    torch.manual_seed(1)
    assert rows(list(loader().batches(3))) == first
    assert rows(list(loader().batches(4))) != first
    assert rows(list(loader(seed=1).batches(3))) != first
    assert rows(list(loader().batches())) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


@pytest.mark.parametrize("start", [1, 3, 4])
def test_an_epoch_goes_on_from_any_batch(start: int) -> None:
    whole = list(loader().batches(2))
    rest = list(loader().batches(2, start))
    assert rows(rest) == rows(whole)[start:]
    for found, wanted in zip(rest, whole[start:], strict=True):
        assert torch.equal(found.inputs, wanted.inputs)
        assert torch.equal(found.captions, wanted.captions)


def test_captions_are_padded_cut_and_counted() -> None:
    found = [
        Record(0, Path("0"), ("A dog runs.", "Zebra!", "A dog runs a dog runs"), "train"),
        Record(1, Path("1"), ("?!", "dog"), "train"),  # the first has no words
    ]
    (batch,) = loader(found, max_length=4).batches()
    assert batch.captions.tolist() == [
        [
            [START, A, DOG, RUNS, END, PAD],
            [START, UNK, END, PAD, PAD, PAD],
            [START, A, DOG, RUNS, A, END],
        ],
        [[START, DOG, END, PAD, PAD, PAD], [PAD] * 6, [PAD] * 6],
    ]
    assert batch.lengths.tolist() == [[4, 2, 5], [2, 0, 0]]
    # A length counts the targets: what follows <start>, up to and with <end>.
    for captions, lengths in zip(batch.captions, batch.lengths, strict=True):
        for caption, length in zip(captions, lengths, strict=True):
            if length:
                assert caption[length] == END
            assert not caption[length + 1 :].any()


def test_a_split_without_images_or_words_is_refused() -> None:
    with pytest.raises(DataError, match="holds no images"):
        CaptionLoader([], Numbers(), VOCABULARY, batch_size=1)
    with pytest.raises(DataError, match=r"1\.jpg: its captions have no words"):
        loader([*records(1), Record(1, Path("1.jpg"), ("?!",), "train")])


def test_inputs_come_from_the_rows_of_the_cache(tmp_path: Path) -> None:
    features = np.arange(6, dtype=np.float16).reshape(6, 1, 1, 1)
    inputs = CachedFeatures({View(): cache_of(tmp_path, features)}, {View(): [5, 3, 1]})
    assert inputs.read([2, 0], [View(), View()]).flatten().tolist() == [1, 5]


def test_every_input_comes_from_the_cache_of_its_view(tmp_path: Path) -> None:
    features = np.arange(6, dtype=np.float16).reshape(6, 1, 1, 1)
    straight, turned = (cache_of(tmp_path, sign * features) for sign in (1, -1))
    cropped = cache_of(tmp_path, 10 * features)
    caches = {View(): straight, View(mirrored=True): turned, View(2, False): cropped}
    rows = {View(): [5, 3, 1], View(mirrored=True): [5, 3, 1], View(2, False): [0, 1, 2]}
    inputs = CachedFeatures(caches, rows)
    views = [View(), View(mirrored=True), View(mirrored=True)]
    assert inputs.read([2, 0, 1], views).flatten().tolist() == [1, -5, -3]
    views = [View(2, False), View(mirrored=True), View(2, False)]
    assert inputs.read([2, 0, 1], views).flatten().tolist() == [20, -5, 10]


def test_pixels_are_the_images_in_their_order(tmp_path: Path) -> None:
    found = []
    for number, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (20, 30), colour).save(path)
        found.append(Record(number, path, ("a",), "train"))
    inputs = Pixels(found, Preprocessing(size=8), workers=2)
    pixels = inputs.read([2, 0], [View(), View()])
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (2, 3, 8, 8))
    assert pixels[0, :, 0, 0].tolist() == [0, 0, 255]
    assert pixels[1, :, 7, 7].tolist() == [255, 0, 0]


def test_mirrored_pixels(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    found = [Record(0, tmp_path / "noise.png", ("a",), "train")]
    inputs = Pixels(found, Preprocessing(size=8), workers=1)
    straight, turned = (inputs.read([0], [View(0, turn)]) for turn in (False, True))
    assert torch.equal(turned, straight.flip(3))
    assert not torch.equal(turned, straight)


SIDED = [
    Record("both", Path("a"), ("a dog on the left", "a dog"), "train"),
    Record("only", Path("b"), ("a dog on the Right.", "the left dog"), "train"),
    Record("none", Path("c"), ("a dog", "the dog"), "train"),
]


def test_mirroring_leaves_out_captions_that_say_a_side() -> None:
    asked: list[View] = []

    class Asked:
        def read(self, rows: Sequence[int], views: Sequence[View]) -> torch.Tensor:
            asked.extend(views)
            return torch.tensor(rows)

    vocabulary = Vocabulary(["a", "dog", "the", "on", "left", "right"])
    loader = CaptionLoader(SIDED, Asked(), vocabulary, batch_size=3, mirror=True)
    seen = {"both": set(), "only": set(), "none": set()}
    for epoch in range(40):
        views = loader.views(epoch)
        assert views == loader.views(epoch)
        asked.clear()
        (batch,) = loader.batches(epoch)
        assert asked == [views[row] for row in batch.rows]
        for row, lengths in zip(batch.rows, batch.lengths.tolist(), strict=True):
            captions = sum(length > 0 for length in lengths)
            seen[SIDED[row].image_id].add((views[row].mirrored, captions))
    assert seen["both"] == {(False, 2), (True, 1)}
    assert seen["only"] == {(False, 2)}
    assert seen["none"] == {(False, 2), (True, 2)}
    assert loader.views(None) == [View()] * 3
    hyphenated = [Record("x", Path("x"), ("a left-handed dog", "the rightmost dog"), "train")]
    alone = CaptionLoader(hyphenated, Asked(), vocabulary, batch_size=1, mirror=True)
    assert not any(alone.views(epoch)[0].mirrored for epoch in range(40))
    assert sum(loader.views(e)[2].mirrored for e in range(200)) == pytest.approx(100, abs=30)


def test_where_captions_are_kept_no_image_is_mirrored_that_one_says_a_side_of() -> None:
    class Asked:
        def read(self, rows: Sequence[int], views: Sequence[View]) -> torch.Tensor:
            return torch.tensor([view.mirrored for view in views])

    vocabulary = Vocabulary(["a", "dog", "the"])
    loader = CaptionLoader(SIDED, Asked(), vocabulary, batch_size=3, mirror=True)
    turned = set()
    for epoch in range(40):
        (batch,) = loader.batches(epoch, keep_captions=True)
        turned |= {
            SIDED[row].image_id for row, it in zip(batch.rows, batch.inputs, strict=True) if it
        }
        assert (batch.lengths > 0).all()
    assert turned == {"none"}


def test_an_epoch_shows_each_image_whole_or_as_one_of_its_crops() -> None:
    found = loader(records(900), crops=2)
    views = found.views(3)
    assert {view.mirrored for view in views} == {False}
    for crop in range(3):
        assert sum(view.crop == crop for view in views) == pytest.approx(300, abs=60)
    assert views != found.views(4)
    assert {view.crop for view in found.views(None)} == {0}


def test_a_broken_image_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_text("no picture")
    found = [Record(0, path, ("a dog",), "train")]
    inputs = Pixels(found, Preprocessing(size=8), workers=1)
    batches = CaptionLoader(found, inputs, VOCABULARY, batch_size=1).batches(0)
    with pytest.raises(DataError, match=r"broken\.jpg: .*; `showattend prepare`"):
        next(batches)


class Endless(Sequence[Record]):
    """Many records in no memory."""

    def __len__(self) -> int:
        return 100_000

    def __getitem__(self, row: Any) -> Any:
        if not 0 <= row < len(self):
            raise IndexError
        return RECORD


RECORD = Record(0, Path("0.jpg"), ("A dog runs.",), "train")


@pytest.mark.parametrize(
    ("values", "most"), [({}, 13), ({"mirror": True, "crops": 2}, 30)], ids=["plain", "views"]
)
def test_an_epoch_takes_little_memory_for_each_image(values: dict[str, Any], most: int) -> None:
    """Bytes: 126 an image, in every process, were 15 MB for each 120,000 images of COCO."""
    batches = loader(Endless(), batch_size=50, **values).batches(0)  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        first = next(batches)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(first.rows) == 50
    assert peak / 100_000 < most


def test_order_and_views_of_a_seed_are_pinned() -> None:
    found = loader(records(8), seed=3, crops=2, mirror=True)
    assert [batch.rows for batch in found.batches(1)] == [[1, 6, 5], [4, 3, 2], [0, 7]]
    assert [view.crop for view in found.views(1)] == [1, 0, 2, 1, 0, 0, 0, 1]
    assert [view.mirrored for view in found.views(1)] == [*[True] * 3, False, *[True] * 4]


# Weights -----------------------------------------------------------------------------------------


def drawn(loader: CaptionLoader, epoch: int) -> list[int]:
    return [row for batch in loader.batches(epoch) for row in batch.rows]


def test_a_weight_says_how_often_an_image_is_drawn() -> None:
    weights = [1.0] * 4 + [2.0] * 3 + [0.5] * 3
    mine = loader(weights=weights)
    assert mine.draws == 4 + 6 + 2
    assert len(mine) == 4
    counts = np.zeros(10, int)
    for epoch in range(30):
        rows = drawn(mine, epoch)
        assert len(rows) == 12
        each = np.bincount(rows, minlength=10)
        assert (each[:4] == 1).all()
        assert (each[4:7] == 2).all()
        assert (each[7:] <= 1).all()
        counts += each
    assert counts[7:].tolist() == [20, 20, 20]  # they take turns: two of the three an epoch


def test_weights_of_one_change_nothing() -> None:
    assert drawn(loader(weights=[1.0] * 10), 3) == drawn(loader(), 3)


def test_an_image_drawn_twice_has_two_views() -> None:
    class Shown(Numbers):
        def read(self, rows: Sequence[int], views: Sequence[View] = ()) -> torch.Tensor:
            found.extend(zip(rows, views, strict=True))
            return super().read(rows, views)

    found: list[tuple[int, View]] = []
    mine = CaptionLoader(
        records(60), Shown(), VOCABULARY, batch_size=8, weights=[2.0] * 60, mirror=True
    )
    list(mine.batches(0))
    views: dict[int, set[View]] = {}
    for row, view in found:
        views.setdefault(row, set()).add(view)
    assert 10 < sum(len(each) == 2 for each in views.values()) < 50


def test_an_epoch_with_weights_goes_on_from_any_batch() -> None:
    mine = loader(weights=[1.5] * 10)
    whole = rows(list(mine.batches(2)))
    assert rows(list(mine.batches(2, 2))) == whole[2:]


def test_images_with_few_captions_can_be_left_out() -> None:
    found = [
        Record(i, Path(f"{i}.jpg"), ("A dog runs.",) * (1 + i % 2), "train") for i in range(10)
    ]
    mine = loader(found, weights=[1.0] * 5 + [2.0] * 5)
    several = mine.with_references(2)
    assert sorted(drawn(several, 0)) == [1, 3, 5, 5, 7, 7, 9, 9]
    assert len(several) == 3
    assert len(drawn(mine, 0)) == 15  # the loader itself is as it was
    assert sorted(drawn(mine.with_references(1), 0)) == sorted(drawn(mine, 0))
    with pytest.raises(DataError, match="no training image has 3 captions"):
        mine.with_references(3)
