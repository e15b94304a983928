"""Folders of photos with captions in text files or in a table."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from showattend.data.prepare_folder import prepare_folder
from showattend.data.readers import read_dataset
from showattend.exceptions import DataError
from tests.data.test_prepare import picture


def sidecars(folder: Path, count: int) -> Path:
    for number in range(count):
        image = picture(folder / ("trip" if number % 2 else ".") / f"{number}.jpg")
        image.with_suffix(".txt").write_text(f"A dog {number}.\n\nIt runs.\n", "utf-8")
    return folder


def splits(out: Path) -> dict[int | str, str]:
    return {record.image_id: record.split for record in read_dataset(out)}


def test_sidecars(tmp_path: Path) -> None:
    folder = sidecars(tmp_path / "photos", 20)
    picture(folder / "lonely.jpg")
    report = prepare_folder(folder, tmp_path / "one")
    assert report.images == {"train": 18, "val": 2}
    assert report.captions == {"train": 36, "val": 4}
    assert len(report.skipped) == 1
    assert "lonely.jpg: no caption in lonely.txt" in report.skipped[0]
    one = splits(tmp_path / "one")
    assert "trip/1.jpg" in one
    prepare_folder(folder, tmp_path / "two")
    prepare_folder(folder, tmp_path / "three", seed=1)
    assert splits(tmp_path / "two") == one != splits(tmp_path / "three")


def test_val_fraction(tmp_path: Path) -> None:
    folder = sidecars(tmp_path / "photos", 5)
    for fraction, expected in ((0, 0), (0.01, 1), (0.5, 2), (0.99, 4)):
        report = prepare_folder(folder, tmp_path / "out", val_fraction=fraction)
        assert report.images.get("val", 0) == expected
    with pytest.raises(DataError, match="val_fraction is 1"):
        prepare_folder(folder, tmp_path / "out", val_fraction=1)


def test_csv(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / "photos" / f"{name}.jpg")
    (tmp_path / "photos/captions.csv").write_text(
        '\ufeffimage,caption,split\r\na.jpg,"A dog, running.",train\r\nb.jpg,Ein Hund,val\r\n'
        "a.jpg,A dog,train\r\n",
        "utf-8",
    )
    prepare_folder(tmp_path / "photos", tmp_path / "out")
    assert [(r.image_id, r.captions, r.split) for r in read_dataset(tmp_path / "out")] == [
        ("a.jpg", ("A dog, running.", "A dog"), "train"),
        ("b.jpg", ("Ein Hund",), "val"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: no column caption and image"),
        ("a;b\na.jpg;A dog", r"line 1: no column caption and image \(found a, b\)"),
        ("image,caption\na.jpg,A dog, running\n", "line 2: expected one value per column"),
        ("image,caption\na.jpg\n", "line 2: expected one value per column"),
        ("image,caption,split\na.jpg,A,dev\n", "line 2: unknown split 'dev'"),
        (
            "image,caption,split\na.jpg,A,val\na.jpg,B,train\n",
            "line 3: a.jpg is already in the split",
        ),
    ],
)
def test_broken_csv(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "captions.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        prepare_folder(tmp_path, tmp_path / "out")


def test_json_lines_in_a_folder_keep_their_splits(tmp_path: Path) -> None:
    lines = [
        {"image": picture(tmp_path / f"{i}.png").name, "captions": ["A dog."], "split": split}
        for i, split in enumerate(["train", "train", "test"])
    ]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert prepare_folder(tmp_path, tmp_path / "out").images == {"train": 2, "test": 1}


def test_ignored_captions_are_reported(tmp_path: Path, logged: list[str]) -> None:
    folder = sidecars(tmp_path / "photos", 3)  # 0.jpg, trip/1.jpg, 2.jpg
    (folder / "captions.csv").write_text("image,caption\n./0.jpg,A dog.\n")
    report = prepare_folder(folder, tmp_path / "out")
    assert sum(report.images.values()) == 1
    (line,) = logged
    assert (
        "captions come from captions.csv, not from the .txt files next to 2 photos that it does not"
        in line
    )
    names = ("0.jpg", "trip/1.jpg", "2.jpg")
    lines = [json.dumps({"image": name, "captions": ["A dog."]}) for name in names]
    (folder / "captions.jsonl").write_text("\n".join(lines))
    report = prepare_folder(folder, tmp_path / "more")
    assert sum(report.images.values()) == 3
    assert logged[1:] == [f"{folder}: captions come from captions.jsonl, not from captions.csv"]
    (folder / "captions.csv").unlink()
    prepare_folder(folder, tmp_path / "all")
    assert len(logged) == 2  # texts beside photos that the table names have nothing to add


def test_an_unreadable_text_leaves_its_image_out(tmp_path: Path) -> None:
    folder = sidecars(tmp_path / "photos", 3)
    (folder / "0.txt").write_bytes("Un caf\xe9.\n".encode("latin-1"))
    report = prepare_folder(folder, tmp_path / "out")
    assert sum(report.images.values()) == 2
    (line,) = report.skipped
    assert line.startswith(f"{folder / '0.txt'}: not UTF-8 text (byte 6)")


def test_folders_without_captions(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        prepare_folder(tmp_path / "none", tmp_path / "out")
    with pytest.raises(DataError, match="holds no images, and no captions"):
        prepare_folder(tmp_path, tmp_path / "out")
    picture(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"no image is left of 1; the first: .*a\.txt next to it"):
        prepare_folder(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('image,caption\na.jpg,A cat\nb.jpg,"A dog\nc.jpg,A cow\n', "line 3: broken CSV"),
        ('image,caption\na.jpg,"A dog\nb.jpg,"A cat"\n', "line 2: .* noticed in line 3"),
        ('"image,caption\na.jpg,A dog\n', "line 1: broken CSV"),
        ('image,caption\n"a.jpg,A dog\nb.jpg","A cat"\n', "line 3: a line break in an image name"),
        ('image,caption\na.jpg,"A dog\n' + "b.jpg,A cat\n" * 15_000, "line 2: .*field limit"),
        ("image,caption\na\0.jpg,A dog\n", r"line 2: .* cannot be the name of a file"),
    ],
)
def test_a_quote_left_open(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "captions.csv").write_text(content)
    with pytest.raises(DataError, match=rf"captions\.csv, {message}"):
        prepare_folder(tmp_path, tmp_path / "out")


def test_captions_may_contain_quotes_and_line_breaks(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    (tmp_path / "captions.csv").write_text(
        'image,caption\na.jpg,"A ""big""\ndog."\na.jpg,A 6" dog\n'
    )
    prepare_folder(tmp_path, tmp_path / "out")
    assert read_dataset(tmp_path / "out")[0].captions == ('A "big"\ndog.', 'A 6" dog')


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    folder = sidecars(tmp_path / "photos", 3)
    name = os.fsdecode(b"caf\xe9.jpg")
    try:
        picture(folder / name)
    except (OSError, UnicodeError):
        pytest.skip("names are UTF-8 here")
    (folder / name).with_suffix(".txt").write_text("A dog.")
    report = prepare_folder(folder, tmp_path / "out")
    assert sum(report.images.values()) == 3
    (line,) = report.skipped
    assert line == f"{folder / name}: its name is not UTF-8 text; rename it"
    assert json.loads((tmp_path / "out/report.json").read_text("utf-8"))["skipped"] == [line]


def test_lone_surrogates_are_removed_from_captions(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    captions = ["A \ud83ddog.", "A \U0001f415.", "\ud83d"]
    line = {"image": "a.jpg", "captions": captions}
    (tmp_path / "captions.jsonl").write_text(json.dumps(line))
    report = prepare_folder(tmp_path, tmp_path / "out")
    assert report.empty_captions == 1
    assert read_dataset(tmp_path / "out")[0].captions == ("A dog.", "A \U0001f415.")
