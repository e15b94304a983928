"""Tables of captions as spreadsheets, Hugging Face and Kaggle write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from showattend.data.prepare_folder import prepare_folder, read_folder
from showattend.data.readers import read_flickr8k
from showattend.data.tables import read_csv
from showattend.exceptions import DataError
from tests.cli.conftest import picture

EXPECTED = {"a.jpg": ("A dog, running.", "A dog"), "b c.jpg": ("Un chien; un chat",)}


def read(path: Path) -> dict[str, tuple[str, ...]]:
    return {str(record.image_id): record.captions for record in read_csv(path)}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("before", ["", "\ufeff", "sep={}", '\ufeff"sep={}"'])
@pytest.mark.parametrize(
    "header", [("image", "caption"), ("Image", "CAPTION"), ("file_name", "text"), ("Path", "Text")]
)
def test_spreadsheets(
    separator: str, end: str, before: str, header: tuple[str, str], tmp_path: Path
) -> None:
    rows = [header, ("a.jpg", '"A dog, running."'), (" a.jpg ", "A dog"),
            ("b c.jpg", '"Un chien; un chat"'), ("", ""), ("", "")]  # fmt: skip
    first = before.format(separator) + (end if "sep" in before else "")
    text = first + end.join(separator.join(row) for row in rows) + end + end
    (tmp_path / "captions.csv").write_text(text, "utf-8", newline="")
    assert read(tmp_path / "captions.csv") == EXPECTED


def test_other_columns_and_names_of_splits(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text("id,Split,caption,extra,image\n1,Validation,A dog,x,a.jpg\n2,test,B,,b.jpg\n")
    assert [(r.image_id, r.split) for r in read_csv(path)] == [("a.jpg", "val"), ("b.jpg", "test")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image;caption\na.jpg;A dog; running\n", "line 2: .* a caption with semicolons needs"),
        ("sep=;\nimage;caption\na.jpg\n", r"line 3: expected one value per column \(2\), found 1"),
        ("image\tcaption\n\tA dog\n", "line 2: no image is named"),
        ("photo,words\na.jpg,A dog\n", r"no column caption and image \(found photo, words\)"),
        ('sep=,\nimage,caption\na.jpg,"A dog\n', "line 3: broken CSV"),
    ],
)
def test_what_is_wrong_is_said_where(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_csv(tmp_path / "captions.csv")


# Folders of others -----------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["text", "caption"])
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
@pytest.mark.parametrize("split", [False, True])
def test_hugging_face(column: str, kind: str, split: bool, tmp_path: Path) -> None:
    folders = ("train", "validation") if split else (".",)
    for folder in folders:
        picture(tmp_path / folder / "a.png")
        rows = [{"file_name": "a.png", column: "A dog."}]
        table = tmp_path / folder / f"metadata.{kind}"
        if kind == "csv":
            table.write_text(f"file_name,{column}\na.png,A dog.\n")
        else:
            table.write_text("\n".join(map(json.dumps, rows)))
    report = prepare_folder(tmp_path, tmp_path / "out")
    assert report.images == ({"train": 1, "val": 1} if split else {"train": 1})


def test_a_wrong_line_of_metadata(tmp_path: Path) -> None:
    for line in ("[]", '{"file_name": 1, "text": "a"}', '{"file_name": "a.png", "label": 3}'):
        (tmp_path / "metadata.jsonl").write_text(line)
        with pytest.raises(DataError, match=r"metadata\.jsonl, line 1: n"):
            read_folder(tmp_path)


@pytest.mark.parametrize("folder", ["Images", "images", "."])
def test_kaggle(folder: str, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / folder / name)
    (tmp_path / "captions.txt").write_text("image,caption\na.jpg,A dog .\na.jpg,Dog\nb.jpg,Cat\n")
    with pytest.raises(DataError, match=r"as from Kaggle.*use `showattend prepare folder`"):
        read_flickr8k(tmp_path)
    report = prepare_folder(tmp_path, tmp_path / "out")  # the advice
    assert (report.images, sum(report.captions.values())) == ({"train": 1, "val": 1}, 3)


def test_a_photo_named_captions_keeps_its_text(tmp_path: Path) -> None:
    picture(tmp_path / "captions.jpg")
    (tmp_path / "captions.txt").write_text("A page of captions.\n")
    assert prepare_folder(tmp_path, tmp_path / "out").images == {"train": 1}


def test_caption_sidecars(tmp_path: Path) -> None:
    for number, suffix in enumerate((".caption", ".txt", ".CAPTION")):
        photo = picture(tmp_path / f"{number}.jpg")
        photo.with_suffix(suffix).write_text("A dog.")
    assert sum(prepare_folder(tmp_path, tmp_path / "out").images.values()) == 3


def test_other_tables_are_named(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    (tmp_path / "labels.csv").write_text("image,caption\na.jpg,A dog\n")
    with pytest.raises(DataError, match=r"there is labels\.csv; .* save it as captions\.csv"):
        prepare_folder(tmp_path, tmp_path / "out")
    (tmp_path / "labels.csv").rename(tmp_path / "captions.csv")  # the advice
    assert prepare_folder(tmp_path, tmp_path / "out").images == {"train": 1}


def test_photos_that_share_a_text(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "b.jpg"):
        picture(tmp_path / name).with_suffix(".txt").write_text("A dog.")
    report = prepare_folder(tmp_path, tmp_path / "out")
    assert sum(report.images.values()) == 2
    (line,) = report.skipped
    assert line.startswith(f"{tmp_path}/a.png: has no a.txt of its own, a.jpg has it; rename one")
