"""Every format of data sets, and error messages for broken ones."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from showattend.data.readers import (
    coco_records,
    read_dataset,
    read_flickr8k,
    read_json,
    read_jsonl,
    read_karpathy,
)
from showattend.data.records import Record
from showattend.exceptions import DataError

COCO: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "b.jpg"},
        {"id": 3, "file_name": "a.jpg"},
        {"id": 9, "file_name": "nobody described this one.jpg"},
    ],
    "annotations": [
        {"id": 1, "image_id": 3, "caption": "A cat."},
        {"id": 2, "image_id": 7, "caption": "A dog."},
        {"id": 5, "image_id": 7, "caption": "It runs."},
    ],
}
KARPATHY: dict[str, Any] = {
    "dataset": "coco",
    "images": [
        {
            "filepath": "val2014",
            "filename": f"{number}.jpg",
            "cocoid": 100 + number,
            "imgid": number,
            "split": split,
            "sentences": [{"raw": f"Picture {number}."}, {"raw": "Another."}],
        }
        for number, split in enumerate(["train", "restval", "val", "test"])
    ],
}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def changed(content: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A copy in which the last of 'images' or 'annotations' has other values (None: removed)."""
    copy: dict[str, Any] = json.loads(json.dumps(content))
    place = copy["annotations" if {"caption", "image_id"} & set(values) else "images"][-1]
    for key, value in values.items():
        place.pop(key, None)
        if value is not None:
            place[key] = value
    return copy


def flickr8k(root: Path) -> Path:
    write(
        root / "Flickr8k.token.txt",
        "1_a.jpg#0\tA dog .\r\n1_a.jpg#1\tA brown dog\twith a tab .\n2_b.jpg#0\tA cat .\n"
        "3_c.jpg#0\tA bird .\n3_c.jpg.1#0\tAs in the real file .\n",
    )
    write(root / "Flickr_8k.trainImages.txt", "2_b.jpg\n1_a.jpg\n")
    write(root / "Flickr_8k.devImages.txt", "3_c.jpg\n\n")
    return root


def test_coco(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "captions_val.json", COCO)
    assert read_dataset(path, Path("photos")) == [
        Record(7, Path("photos/b.jpg"), ("A dog.", "It runs."), "val"),
        Record(3, Path("photos/a.jpg"), ("A cat.",), "val"),
    ]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(COCO, caption=None), r"annotations\[2\]: 'caption' is missing"),
        (changed(COCO, caption=3), r"annotations\[2\]: 'caption' must be text, not 3"),
        (changed(COCO, caption=None, bbox=[1, 2, 3, 4]), "object instances, not captions"),
        (changed(COCO, image_id=4), r"annotations\[2\]: names the image 4, not in 'images'"),
        (changed(COCO, image_id=[4]), "'image_id' must be a number or text"),
        (changed(COCO, id=7), r"images\[2\]: a second image with the id 7"),
        (changed(COCO, id=True), "must be a number or text, not True"),
        (changed(COCO, file_name=None), r"images\[2\]: 'file_name' is missing"),
        ({"images": [], "annotations": []}, "holds no image with captions"),
        ({"images": []}, "'annotations' is missing"),
        ({"images": [5], "annotations": []}, r"images\[0\]: not an object"),
        ([{"image_id": 1, "caption": "a"}], "is this a results file"),
        ("[" * 100_000, "nested too deeply"),
        ("7", "not an object with 'images'"),
        ('{"images":\n [,]}', r"captions\.json, line 2: broken JSON \(Expecting value, column 3"),
    ],
)
def test_broken_coco(tmp_path: Path, content: Any, message: str) -> None:
    path = write(tmp_path / "captions.json", content)
    with pytest.raises(DataError, match=message) as caught:
        coco_records(read_json(path), path, tmp_path, "val")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_dataset(tmp_path / "none.json", tmp_path)
    with pytest.raises(DataError, match="this is a folder"):
        read_json(tmp_path)
    (tmp_path / "latin.json").write_bytes('{"é": 1}'.encode("latin1"))
    with pytest.raises(DataError, match="not UTF-8 text"):
        read_dataset(tmp_path / "latin.json", tmp_path)


def test_karpathy(tmp_path: Path) -> None:
    path = write(tmp_path / "dataset_coco.json", KARPATHY)
    records = read_karpathy(path, Path("photos"))
    assert [(r.image_id, r.split) for r in records] == [
        (100, "train"),
        (101, "train"),
        (102, "val"),
        (103, "test"),
    ]
    assert records[1].path == Path("photos/val2014/1.jpg")
    assert records[1].captions == ("Picture 1.", "Another.")
    assert [r.image_id for r in read_karpathy(path, tmp_path, restval=False)] == [100, 102, 103]


def test_karpathy_with_all_images_in_one_folder(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").touch()
    records = read_karpathy(write(tmp_path / "dataset_coco.json", KARPATHY), tmp_path)
    assert records[0].path == tmp_path / "0.jpg"


def test_karpathy_without_coco_ids(tmp_path: Path) -> None:
    images = [
        {"filename": "1_a.jpg", "split": "train", "sentences": [{"raw": "A."}], "imgid": 0},
        {"filename": "2_b.jpg", "split": "train", "sentences": [{"raw": "B."}]},
    ]
    records = read_karpathy(write(tmp_path / "dataset.json", {"images": images}), Path("photos"))
    assert [(r.image_id, r.path) for r in records] == [
        (0, Path("photos/1_a.jpg")),
        ("2_b", Path("photos/2_b.jpg")),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(KARPATHY, split="dev"), r"images\[3\]: unknown split 'dev'"),
        (changed(KARPATHY, split=None), "'split' is missing"),
        (changed(KARPATHY, sentences=[]), r"3\.jpg has no sentences"),
        (changed(KARPATHY, sentences=[{"tokens": ["a"]}]), r"sentences\[0\]: 'raw' is missing"),
        (changed(KARPATHY, cocoid=100), "a second image with the id 100"),
        ({"images": []}, "holds no image"),
    ],
)
def test_broken_karpathy(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_karpathy(write(tmp_path / "dataset_coco.json", content), tmp_path)


def test_flickr8k(tmp_path: Path) -> None:
    assert read_flickr8k(flickr8k(tmp_path), Path("photos")) == [
        Record("2_b", Path("photos/2_b.jpg"), ("A cat .",), "train"),
        Record("1_a", Path("photos/1_a.jpg"), ("A dog .", "A brown dog\twith a tab ."), "train"),
        Record("3_c", Path("photos/3_c.jpg"), ("A bird .",), "val"),
    ]


@pytest.mark.parametrize("name", ["images", "Flicker8k_Dataset", "Flickr8k_Dataset"])
def test_flickr8k_finds_its_images(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / "Flickr8k_text").mkdir()
    flickr8k(tmp_path / "Flickr8k_text")
    assert read_flickr8k(tmp_path)[0].path == tmp_path / name / "2_b.jpg"
    assert read_dataset(tmp_path) == read_flickr8k(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("Flickr8k.token.txt", "1_a.jpg#0\tA .\n1_a.jpg A .\n", "line 2: not of the form"),
        ("Flickr8k.token.txt", "1_a.jpg\tA .\n", "line 1: not of the form"),
        ("Flickr8k.token.txt", "1_a.jpg#0\tA\n1_a.jpg#0\tB\n", "line 2: .* already in line 1"),
        ("Flickr_8k.devImages.txt", "4_d.jpg\n", "line 1: 4_d.jpg has no captions"),
        ("Flickr_8k.devImages.txt", "3_c.jpg\n1_a.jpg\n", "line 2: 1_a.jpg is already in .*train"),
    ],
)
def test_broken_flickr8k(tmp_path: Path, file: str, content: str, message: str) -> None:
    write(flickr8k(tmp_path) / file, content)
    with pytest.raises(DataError, match=message):
        read_flickr8k(tmp_path)


def test_flickr8k_without_its_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Flickr8k\.token\.txt: no such file"):
        read_flickr8k(tmp_path)
    flickr8k(tmp_path)
    for path in tmp_path.glob("Flickr_8k.*"):
        path.unlink()
    with pytest.raises(DataError, match=r"none of Flickr_8k\.trainImages\.txt, .* exists"):
        read_flickr8k(tmp_path)


def test_json_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.jsonl",
        '\ufeff{"image": "a/1.jpg", "captions": ["Ä dog."]}\n\n'
        '{"image": "/photos/2.jpg", "captions": ["B", "C"], "split": "val", "image_id": 7}',
    )
    assert read_jsonl(path) == [
        Record("a/1.jpg", tmp_path / "a/1.jpg", ("Ä dog.",), "train"),
        Record(7, Path("/photos/2.jpg"), ("B", "C"), "val"),
    ]
    assert read_jsonl(path, Path("elsewhere"))[0].path == Path("elsewhere/a/1.jpg")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"image": "b.jpg", "captions": "A dog."}', "'captions' must be a list"),
        ('{"image": "b.jpg", "caption": "A dog."}', "'captions' is missing .found 'image', 'c"),
        ('{"image": "b.jpg", "captions": []}', "at least one caption"),
        ('{"image": "b.jpg", "captions": [3]}', "at least one caption"),
        ('{"image": "", "captions": ["A"]}', "needs an image"),
        ('{"image": "b.jpg", "captions": ["A"], "split": "dev"}', "unknown split 'dev'"),
        ('{"image": "b.jpg", "captions": ["A"], "split": ["val"]}', "unknown split"),
        ('{"image": "b.jpg", "captions": ["A"], "image_id": [1]}', "image id must be"),
        ('{"image": "a.jpg", "captions": ["A"]}', "a second image with the id 'a.jpg' .line 1"),
        ('{"image": "b.jpg", "captions": ["A"]', "broken JSON"),
        (f'{{"image": "b.jpg", "image_id": {"9" * 5000}}}', "a number too long"),
        (r'{"image": "b\u0000.jpg", "captions": ["A"]}', "cannot be the name of a file"),
        (r'{"image": "b\ud83d.jpg", "captions": ["A"]}', "cannot be the name of a file"),
        ('"b.jpg"', "not an object"),
    ],
)
def test_broken_json_lines(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "mine.jsonl", f'{{"image": "a.jpg", "captions": ["A"]}}\n\n{line}\n')
    with pytest.raises(DataError, match=rf"mine\.jsonl, line 3: .*{message}"):
        read_jsonl(path)


def test_every_format_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    coco = write(tmp_path / "captions_val.json", COCO)
    write(tmp_path / "captions_train.json", changed(COCO, id=11))
    karpathy = write(tmp_path / "dataset_x.json", KARPATHY)
    content = read_json(coco)
    assert read_dataset(coco) == coco_records(content, coco, tmp_path / "images", "val")
    assert read_dataset(coco, Path("p")) == coco_records(content, coco, Path("p"), "val")
    assert read_dataset(karpathy) == read_karpathy(karpathy, tmp_path / "images")
    assert read_dataset(tmp_path) == read_dataset(karpathy)
    flickr8k(tmp_path)
    assert read_dataset(tmp_path) == read_flickr8k(tmp_path)
    assert read_dataset(tmp_path / "Flickr8k.token.txt") == read_flickr8k(tmp_path)
    lines = write(tmp_path / "dataset.jsonl", '{"image": "a.jpg", "captions": ["A"]}')
    assert read_dataset(tmp_path) == read_dataset(lines) == read_jsonl(lines)


def test_a_folder_of_coco_files(tmp_path: Path) -> None:
    other = json.loads(json.dumps(COCO).replace('"id": 7', '"id": 17'))
    other["annotations"] = [{"id": 1, "image_id": 17, "caption": "A cow."}]
    write(tmp_path / "captions_train.json", other)
    write(tmp_path / "captions_val.json", COCO)
    assert Counter(r.split for r in read_dataset(tmp_path)) == {"train": 1, "val": 2}
    write(tmp_path / "captions_train.json", COCO)
    with pytest.raises(DataError, match=r"two images with the id 7: .*train.* and .*val"):
        read_dataset(tmp_path)


def test_other_files_are_not_data_sets(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set found"):
        read_dataset(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read_dataset(tmp_path / "none")
    with pytest.raises(DataError, match="not a data set"):
        read_dataset(write(tmp_path / "notes.txt", "hello"))


@pytest.mark.realdata
def test_real_flickr8k_in_both_forms(real_data: Path) -> None:
    own = read_dataset(real_data / "flickr8k")
    coco = read_dataset(real_data / "flickr8k" / "captions_val.json")
    assert Counter(record.split for record in own) == {"train": 6000, "val": 1000}
    assert all(len(record.captions) == 5 and record.path.is_file() for record in own)
    val = {record.path: record.captions for record in own if record.split == "val"}
    assert val.keys() == {record.path for record in coco}


@pytest.mark.realdata
def test_real_coco(real_data: Path) -> None:
    records = read_dataset(real_data / "coco_subset")
    assert Counter(record.split for record in records) == {"train": 863, "val": 152}
    with pytest.raises(DataError, match="object instances, not captions"):
        read_dataset(real_data / "coco_subset" / "instances.json")


@pytest.mark.parametrize("number", [[1], {"a": 1}, None, 2, "x"])
def test_the_numbers_of_captions_do_not_matter(tmp_path: Path, number: Any) -> None:
    content = changed(COCO, caption="It runs.") | {"categories": [{}]}
    content["annotations"][-1]["id"] = number
    path = write(tmp_path / "captions.json", content)
    assert read_dataset(path, Path()) == read_dataset(write(tmp_path / "same.json", COCO), Path())


@pytest.mark.parametrize("name", ["a\0.jpg", "a\ud83d.jpg"])
def test_impossible_file_names_are_refused(tmp_path: Path, name: str) -> None:
    message = "cannot be the name of a file"
    with pytest.raises(DataError, match=rf"images\[2\]: .*{message}"):
        read_dataset(write(tmp_path / "c.json", changed(COCO, file_name=name)), Path())
    for key in ("filename", "filepath"):
        path = write(tmp_path / "k.json", changed(KARPATHY, **{key: name}))
        with pytest.raises(DataError, match=rf"images\[3\]: .*{message}"):
            read_karpathy(path, Path())


@pytest.mark.parametrize("name", ["a" * 256, "folder/" + "é" * 130, "a/" * 600 + "b"])
def test_names_that_no_file_can_have_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "dataset.jsonl"
    path.write_text(json.dumps({"image": name, "captions": ["a"]}))
    with pytest.raises(DataError, match="cannot be the name of a file"):
        read_dataset(path)
