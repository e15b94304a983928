"""Preparing: what is checked, counted, skipped and written."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from showattend.data.prepare import (
    prepare,
    prepare_flickr8k,
    prepare_karpathy,
)
from showattend.data.readers import read_dataset
from showattend.data.records import Record
from showattend.exceptions import DataError


def picture(path: Path, width: int = 8, height: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), "red").save(path)
    return path


def records(folder: Path) -> list[Record]:
    """Three good images, a missing one, a broken one, and one without a word."""
    (folder / "broken.jpg").parent.mkdir(parents=True, exist_ok=True)
    (folder / "broken.jpg").write_text("this is text")
    return [
        Record("a", picture(folder / "a.png"), ("A dog runs.", "A dog.", "..."), "train"),
        Record("b", picture(folder / "x" / "b.png", 5, 9), ("A dog's cat.",), "train"),
        Record("c", picture(folder / "c.png"), ("A dog flies quickly",), "val"),
        Record("gone", folder / "gone.png", ("A dog.",), "train"),
        Record("broken", folder / "broken.jpg", ("A dog.",), "val"),
        Record("mute", picture(folder / "mute.png"), ("!",), "val"),
    ]


def test_report(tmp_path: Path) -> None:
    ticks = []
    report = prepare(
        records(tmp_path), tmp_path / "out", min_count=2, progress=lambda *tick: ticks.append(tick)
    )
    assert report.images == {"train": 2, "val": 1}
    assert report.captions == {"train": 3, "val": 1}
    assert report.lengths == {2: 1, 3: 1, 4: 2}
    assert (report.vocabulary, report.different_words) == (2, 5)  # a, dog; runs, 's, cat
    assert report.unknown_share == 0.5
    assert report.empty_captions == 2
    assert [report.length_at(share) for share in (0, 0.25, 0.5, 0.51, 1)] == [2, 2, 3, 4, 4]
    assert ticks == [("Images", done, 6) for done in range(1, 7)]
    gone, broken, mute = report.skipped
    assert "gone.png: no such file" in gone
    assert "broken.jpg" in broken
    assert "mute.png: no caption with a word" in mute
    assert json.loads((tmp_path / "out/report.json").read_text()) == report.to_dict()
    text = "\n".join(report.lines())
    for part in ("2 images, 3 captions", "2 of the 5 words", "50.00%", "3 images", gone, broken):
        assert part in text


def test_many_skipped_images_are_counted_on_the_terminal(tmp_path: Path) -> None:
    missing = [Record(i, tmp_path / f"{i}.jpg", ("A dog.",), "train") for i in range(30)]
    report = prepare([*missing, records(tmp_path)[0]], tmp_path / "out")
    assert len(report.skipped) == 30
    assert "  and 20 more: see report.json" in report.lines()
    assert len(report.lines()) < 20


def test_canonical_form_reads_back(tmp_path: Path) -> None:
    prepare(records(tmp_path), tmp_path / "out")
    found = read_dataset(tmp_path / "out")
    assert [(r.image_id, r.split, r.captions) for r in found] == [
        ("a", "train", ("A dog runs.", "A dog.")),
        ("b", "train", ("A dog's cat.",)),
        ("c", "val", ("A dog flies quickly",)),
    ]
    assert all(record.path.is_absolute() and record.path.is_file() for record in found)


def test_images_within_the_folder_move_with_it(tmp_path: Path) -> None:
    prepare(records(tmp_path / "old" / "images"), tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    found = read_dataset(tmp_path / "new" / "dataset.jsonl")
    assert found[1].path == tmp_path / "new/images/x/b.png"
    assert found[1].path.is_file()


def test_coco_files_name_images_relative_to_their_common_folder(tmp_path: Path) -> None:
    report = prepare(records(tmp_path / "photos"), tmp_path / "out")
    assert report.image_root == tmp_path / "photos"
    train = json.loads((tmp_path / "out/captions_train.json").read_text())
    assert train["images"][1] == {"id": 2, "file_name": "x/b.png", "width": 5, "height": 9}
    found = read_dataset(tmp_path / "out/captions_val.json", report.image_root)
    assert found == [Record(3, tmp_path / "photos/c.png", ("A dog flies quickly",), "val")]


def test_whole_numbers_stay_ids(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    prepare([Record(500, image, ("A dog.",), "test")], tmp_path / "out")
    (found,) = read_dataset(tmp_path / "out/captions_test.json", tmp_path)
    assert found.image_id == 500
    assert not (tmp_path / "out/captions_val.json").exists()


def test_same_input_same_files(tmp_path: Path) -> None:
    given = records(tmp_path)
    for name in ("one", "two"):
        prepare(given, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["captions_train.json", "captions_val.json", "dataset.jsonl", "report.json"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    given = records(tmp_path)
    prepare(given, tmp_path / "out")
    prepare(given[:2], tmp_path / "out")
    assert len(read_dataset(tmp_path / "out")) == 2
    assert not (tmp_path / "out/captions_val.json").exists()


def test_other_files_are_not_overwritten(tmp_path: Path) -> None:
    original = tmp_path / "captions_train.json"
    original.write_text("{}")
    with pytest.raises(DataError, match=r"captions_train\.json: not written by prepare"):
        prepare(records(tmp_path), tmp_path)
    assert original.read_text() == "{}"


class Kill(BaseException):
    """Simulates a kill between two steps."""


@pytest.mark.parametrize("renames", range(5))
def test_a_run_killed_while_writing_can_be_repeated(
    renames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, out = records(tmp_path), tmp_path / "out"
    done = 0

    def rename(path: Path, target: Path) -> None:
        nonlocal done
        if done == renames:
            raise Kill
        done += 1
        path.rename(target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", rename)
        if renames < 4:
            with pytest.raises(Kill):
                prepare(given, out)
        else:
            prepare(given, out)
    assert list(out.glob(".*.part")) == []
    assert prepare(given, out).images == {"train": 2, "val": 1}


def test_no_part_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DataError, match=r"cannot be written \(No space left"):
        prepare(records(tmp_path), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_command_to_score_is_quoted_for_a_shell(tmp_path: Path) -> None:
    report = prepare(records(tmp_path / "my photos"), tmp_path / "it's")
    (line,) = (line for line in report.lines() if line.startswith("to score:"))
    assert shlex.split(line.removeprefix("to score:")) == [
        *("showattend", "evaluate", "--annotations", str(tmp_path / "it's/captions_val.json")),
        *("--images", str(tmp_path / "my photos")),
    ]


def test_no_usable_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no image is left of 3; the first: .*no such file"):
        prepare(records(tmp_path)[3:], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="no image is left"):
        prepare([], tmp_path / "out")


def test_duplicate_ids_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two images with the id 'a'"):
        prepare(records(tmp_path)[:1] * 2, tmp_path / "out")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        prepare(records(tmp_path), tmp_path / "file" / "out")


# Known data sets -------------------------------------------------------------------------------


def test_karpathy_and_coco_files(tmp_path: Path) -> None:
    images = tmp_path / "images"
    content = {
        "images": [
            {
                "filepath": "train2014",
                "filename": picture(images / "train2014" / f"{i}.jpg").name,
                "cocoid": i,
                "split": split,
                "sentences": [{"raw": "A dog."}],
            }
            for i, split in enumerate(["train", "restval", "val"], start=1)
        ]
    }
    (tmp_path / "dataset_coco.json").write_text(json.dumps(content))
    out = tmp_path / "out"
    report = prepare_karpathy(tmp_path / "dataset_coco.json", images, out, min_count=1)
    assert report.images == {"train": 2, "val": 1}
    report = prepare_karpathy(tmp_path / "dataset_coco.json", images, out, restval=False)
    assert report.images == {"train": 1, "val": 1}
    split_by_split = [
        record
        for split in ("train", "val")
        for record in read_dataset(out / f"captions_{split}.json", report.image_root)
    ]
    again = prepare(split_by_split, tmp_path / "again")
    assert again.to_dict() == report.to_dict()


@pytest.mark.realdata
def test_real_flickr8k(real_data: Path, tmp_path: Path) -> None:
    report = prepare_flickr8k(real_data / "flickr8k", tmp_path)
    assert report.images == {"train": 6000, "val": 1000}
    assert report.captions == {"train": 30000, "val": 5000}
    assert report.skipped == ()
    assert 2400 < report.vocabulary < 2700
    assert report.unknown_share is not None
    assert 0.02 < report.unknown_share < 0.05
    lengths = Counter(report.lengths)
    assert lengths.total() == 35000 - report.empty_captions


def test_an_id_that_is_half_a_letter_is_kept_or_named(tmp_path: Path) -> None:
    """JSON can say a lone surrogate, which no encoding can write."""
    picture(tmp_path / "a.jpg")
    image = {
        "filename": "a.jpg", "imgid": "\ud800x", "split": "val", "sentences": [{"raw": "A dog."}]
    }  # fmt: skip
    path = tmp_path / "dataset_x.json"
    path.write_text(json.dumps({"images": [image, image | {"imgid": 7, "split": "train"}]}))
    prepare_karpathy(path, tmp_path, tmp_path / "out", min_count=1)
    assert [each.image_id for each in read_dataset(tmp_path / "out")] == ["\ud800x", 7]
    found = json.loads((tmp_path / "out" / "captions_val.json").read_text("utf-8"))
    assert found["images"][0]["id"] == found["annotations"][0]["image_id"]
    path.write_text(json.dumps({"images": [image, image]}))
    with pytest.raises(DataError, match="a second image with the id") as caught:
        prepare_karpathy(path, tmp_path, tmp_path / "out")
    str(caught.value).encode("utf-8")
