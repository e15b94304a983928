"""Images are found under names from another system, and in a folder that has moved."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import pytest

from showattend.data.places import Files, as_on_disk, relocate
from showattend.data.prepare_folder import prepare_folder
from showattend.data.readers import read_dataset
from showattend.data.records import Record
from showattend.evaluation.evaluate import read_results
from showattend.exceptions import DataError
from tests.cli.conftest import picture
from tests.commandline import CommandLine

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def on_disk(folder: Path, name: str) -> Path:
    path = picture(folder / name)
    if name not in {each.name for each in path.parent.iterdir()} and "/" not in name:
        pytest.skip("this file system changes names")
    return path


@pytest.mark.parametrize(
    ("disk", "written"),
    [
        (f"{NFD}.jpg", f"{NFC}.jpg"),
        (f"{NFC}.jpg", f"{NFD}.jpg"),
        ("a.JPG", "a.jpg"),
        ("a.jpg", "A.JPG"),
        ("a.jpg", " a.jpg "),
        ("trip/a.jpg", "trip\\a.jpg"),
        (f"Trip {NFD}/Day/a.jpg", f"trip {NFC}\\day\\a.jpg"),
    ],
)
def test_every_reader_finds_the_file(disk: str, written: str, tmp_path: Path) -> None:
    photo = on_disk(tmp_path / "images", disk)
    found = []
    (tmp_path / "a.jsonl").write_text(json.dumps({"image": written, "captions": ["A dog."]}))
    found.append(read_dataset(tmp_path / "a.jsonl", tmp_path / "images"))
    coco = {
        "images": [{"id": 1, "file_name": written}],
        "annotations": [{"image_id": 1, "caption": "A dog."}],
    }
    (tmp_path / "captions_val.json").write_text(json.dumps(coco))
    found.append(read_dataset(tmp_path / "captions_val.json"))
    karpathy = {"filename": written, "split": "train", "sentences": [{"raw": "A dog."}]}
    (tmp_path / "dataset_x.json").write_text(json.dumps({"images": [karpathy]}))
    found.append(read_dataset(tmp_path / "dataset_x.json"))
    if written == written.strip() and "\\" not in written:
        (tmp_path / "Flickr8k.token.txt").write_text(f"{written}#0\tA dog .\n")
        (tmp_path / "Flickr_8k.trainImages.txt").write_text(f"{written}\n")
        found.append(read_dataset(tmp_path / "Flickr8k.token.txt"))
    (tmp_path / "images/captions.csv").write_text(f"image,caption\n{written},A dog.\n")
    prepare_folder(tmp_path / "images", tmp_path / "out")
    found.append(read_dataset(tmp_path / "out"))
    for (record,) in found:
        assert record.path.samefile(photo)
    results = tmp_path / "results.json"
    results.write_text(json.dumps([{"image": written, "caption": "A cat."}]))
    assert list(read_results(results, found[0]).values()) == ["A cat."]


def test_texts_next_to_photos_may_be_spelled_otherwise(tmp_path: Path) -> None:
    on_disk(tmp_path / "photos", f"{NFD}.JPG")
    (tmp_path / "photos" / f"{NFC}.TXT").write_text("A dog.")
    assert prepare_folder(tmp_path / "photos", tmp_path / "out").images == {"train": 1}


def test_two_files_that_could_be_meant_are_not_guessed(tmp_path: Path) -> None:
    for name in ("a.JPG", "A.jpg"):
        picture(tmp_path / name)
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("upper and lower case are the same here")
    files = Files()
    assert files.find(tmp_path / "a.jpg") is None
    assert files.find(tmp_path / "a.JPG") == tmp_path / "a.JPG"
    (record,) = as_on_disk([Record(1, tmp_path / "a.jpg", ("A dog.",), "train")])
    assert record.path == tmp_path / "a.jpg"
    records = [
        Record(i, tmp_path / name, ("x",), "val") for i, name in enumerate(["a.JPG", "A.jpg"])
    ]
    (tmp_path / "results.json").write_text('[{"image": "a.jpg", "caption": "x"}]')
    with pytest.raises(DataError, match="images that the annotations do not have"):
        read_results(tmp_path / "results.json", records)


def test_commands_find_the_file(run: CommandLine, tmp_path: Path) -> None:
    photo = on_disk(tmp_path, f"{NFD}.JPG")
    asked = tmp_path / f"{NFC}.jpg"
    result = run.caption(asked)
    assert (result.code, result.err) == (0, [])
    assert result.out[0].startswith(f"{photo}\t")
    page = tmp_path / "a.png"
    assert run("attend", asked, "--output", page, "--model", run.model).code == 0


def test_a_word_for_word_right_caption_scores_the_same(run: CommandLine, tmp_path: Path) -> None:
    """In NFC or NFD, with Java or without, captions and references alike."""
    texts = ["Un chien près du café.", "Une fille à vélo.", "Deux garçons mangent du pâté."]
    scores = set()
    for reference, candidates in (("NFC", ("NFC", "NFD")), ("NFD", ("NFC",))):
        for candidate in candidates:
            lines = [
                {"image": f"{i}.jpg", "captions": [unicodedata.normalize(reference, text)]}
                for i, text in enumerate(texts)
            ]
            captions = [
                {"image_id": f"{i}.jpg", "caption": unicodedata.normalize(candidate, text)}
                for i, text in enumerate(texts)
            ]
            (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
            (tmp_path / "r.json").write_text(json.dumps(captions))
            output = tmp_path / "scores.json"
            args = ["--annotations", tmp_path / "a.jsonl", "--results", tmp_path / "r.json"]
            assert run("evaluate", *args, "--output", output).code == 0
            metrics = json.loads(output.read_text())["metrics"]
            scores.add((round(metrics["CIDEr"], 6), round(metrics["BLEU-4"], 6)))
    assert len(scores) == 1, scores
    assert scores.pop()[1] == 1.0


# A folder that has moved -----------------------------------------------------------------------


def test_a_given_folder_wins(tmp_path: Path) -> None:
    """All images have moved in the same way; a file of the same name elsewhere is not taken."""
    old, new = tmp_path / "old/photos", tmp_path / "new"
    for name in ("trip 1/a.jpg", "trip 2/a.jpg", "a.jpg"):
        picture(old / name)
        (old / name).with_suffix(".txt").write_text("A dog.")
    prepare_folder(old, tmp_path / "out")
    before = [record.path for record in read_dataset(tmp_path / "out")]
    assert all(path.is_absolute() and path.exists() for path in before)
    shutil.copytree(old, new)
    moved = [new / path.relative_to(old) for path in before]
    assert [record.path for record in read_dataset(tmp_path / "out", new)] == moved
    shutil.rmtree(new / "trip 2")
    shutil.rmtree(old)
    after = read_dataset(tmp_path / "out", new)
    assert [record.path.exists() for record in after] == ["trip 2" not in str(p) for p in before]
    nowhere = read_dataset(tmp_path / "out", tmp_path / "nowhere")
    assert {record.path for record in nowhere} == {
        tmp_path / "nowhere" / path.relative_to(old) for path in before
    }


def test_relative_paths_stay_in_their_folder(tmp_path: Path) -> None:
    record = Record(1, tmp_path / "images/a.jpg", ("A dog.",), "train")
    assert relocate([record], tmp_path / "images") == [record]
    assert relocate([], tmp_path) == []
    one = Record(1, Path("/elsewhere/a.jpg"), ("A dog.",), "train")
    assert relocate([one], tmp_path)[0].path == tmp_path / "a.jpg"


def test_a_path_without_a_name_is_relocated(tmp_path: Path) -> None:
    """It leads to the folder, which is refused as an image later."""
    (found,) = relocate([Record(1, Path("/"), ("a",), "train")], tmp_path)
    assert found.path == tmp_path
