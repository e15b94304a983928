"""Messages that give advice: each is followed here, and the advice works."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from showattend.config import Config
from showattend.data.prepare import prepare
from showattend.data.prepare_folder import prepare_folder
from showattend.data.readers import read_dataset
from showattend.data.toy import write_toy
from showattend.evaluation.evaluate import read_references, read_results
from showattend.exceptions import UserError
from showattend.text.vocabulary import Vocabulary
from showattend.training.reporter import Silent
from showattend.training.trainer import train
from tests.cli.conftest import picture
from tests.commandline import CommandLine
from tests.tinyrun import tiny_run


def advice(message: str, act: Callable[[], Any]) -> None:
    """The act fails, with this advice in its one line."""
    with pytest.raises(UserError) as caught:
        act()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# A run and its data ----------------------------------------------------------------------------


class Interrupted(Silent):
    """Ends the run after its first epoch."""

    def epoch(self, entry: dict[str, Any], best: bool) -> None:
        raise KeyboardInterrupt


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A prepared data set, whose photos lie elsewhere."""
    toy = write_toy(tmp_path / "toy", images=12, size=64)
    prepare(read_dataset(toy), tmp_path / "prepared", min_count=1)
    path = tmp_path / "prepared/dataset.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert all(Path(json.loads(line)["image"]).is_absolute() for line in lines)
    return path


def settings(data: Path, **changes: Any) -> Config:
    config = tiny_run(data, data.parent.parent / "run", train={"epochs": 2})
    return replace(config, data=replace(config.data, **changes))


def test_images_in_another_folder(data: Path, tmp_path: Path) -> None:
    (tmp_path / "toy").rename(tmp_path / "moved")
    advice("give their folder as data.images=DIR", lambda: train(settings(data)))
    record = train(settings(data, images=str(tmp_path / "moved")))
    assert record["data"]["train_images"] > 0


def test_a_run_goes_on_after_everything_has_moved(data: Path, tmp_path: Path) -> None:
    """Path, images and cache are free to change; the content is not."""
    with pytest.raises(KeyboardInterrupt):
        train(settings(data), Interrupted())
    advice("holds a run already; add --resume", lambda: train(settings(data)))
    (tmp_path / "toy").rename(tmp_path / "moved")
    elsewhere = tmp_path / "elsewhere/dataset.jsonl"
    elsewhere.parent.mkdir()
    shutil.move(data, elsewhere)
    now = settings(
        data,
        path=str(elsewhere),
        images=str(tmp_path / "moved"),
        cache=str(tmp_path / "another-cache"),
    )
    lines = elsewhere.read_text(encoding="utf-8")
    first, rest = lines.split("\n", 1)
    changed = json.loads(first) | {"captions": ["A dog runs."]}
    elsewhere.write_text(f"{json.dumps(changed)}\n{rest}")
    advice("data set was", lambda: train(now, resume=True))
    elsewhere.write_text(lines)
    another = replace(now, train=replace(now.train, lr=0.5))
    advice("restore these values", lambda: train(another, resume=True))
    record = train(now, resume=True)  # restored
    assert len(record["history"]) == 2


def test_another_folder_for_a_run(data: Path, tmp_path: Path) -> None:
    advice("start without --resume", lambda: train(settings(data), resume=True))
    train(settings(data))
    advice("choose another train.out", lambda: train(settings(data)))
    config = settings(data)
    train(replace(config, train=replace(config.train, out=str(tmp_path / "other"))))


def test_no_data_set_is_named(data: Path) -> None:
    advice(
        "give a dataset.jsonl from `showattend prepare`, or toy",
        lambda: train(settings(data, path="")),
    )
    missing = str(data.parent / "none.jsonl")
    advice("make it with `showattend prepare`", lambda: train(settings(data, path=missing)))
    train(settings(data))


def test_no_validation_split(run: CommandLine, tmp_path: Path) -> None:
    for number in range(6):
        photo = picture(tmp_path / f"photos/{number}.png", number, (64, 64))
        photo.with_suffix(".txt").write_text("A dog runs.")
    out = tmp_path / "prepared"
    args = ["prepare", "folder", tmp_path / "photos", "--out", out]
    assert run(*args, "--val-fraction", 0).code == 0
    config = settings(out / "dataset.jsonl")
    advice("prepare it again with --val-fraction 0.1", lambda: train(config))
    lines = (out / "dataset.jsonl").read_text().splitlines()
    assert run(*args, "--val-fraction", 0.1).code == 0
    train(config)
    (out / "dataset.jsonl").write_text("\n".join(lines))
    advice('or write "split": "val"', lambda: train(config, resume=True))
    lines[0] = json.dumps(json.loads(lines[0]) | {"split": "val"})
    (out / "dataset.jsonl").write_text("\n".join(lines))
    train(replace(config, train=replace(config.train, out=str(tmp_path / "other"))))


def test_words_that_are_too_rare() -> None:
    captions = ["A dog runs.", "A cat sits."]
    advice("lower min_count", lambda: Vocabulary.from_captions(captions))
    assert "dog" in Vocabulary.from_captions(captions, min_count=1)
    assert "dog" in Vocabulary.from_captions(captions * 5), "or more captions"


# Annotations and results -----------------------------------------------------------------------


def test_images_of_annotations(run: CommandLine, data: Path, tmp_path: Path) -> None:
    (tmp_path / "toy").rename(tmp_path / "moved")
    args = ["evaluate", "--annotations", data, "--model", run.model, "--beam-size", 1]
    assert "select one with --split" in run.refused(*args)
    args += ["--split", "val"]
    assert "check --images" in run.refused(*args)
    assert run(*args, "--images", tmp_path / "moved").code == 0


def test_several_splits(data: Path) -> None:
    advice("select one with --split", lambda: read_references(data))
    assert read_references(data, split="val")


def test_one_name_for_two_images(tmp_path: Path) -> None:
    lines = [{"image": f"{i}/a.jpg", "image_id": i, "captions": ["x"]} for i in (1, 2)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    records, results = read_dataset(tmp_path / "a.jsonl"), tmp_path / "r.json"
    results.write_text('[{"image": "a.jpg", "caption": "x"}]')
    advice("name them by image_id", lambda: read_results(results, records))
    results.write_text('[{"image_id": 2, "caption": "x"}]')
    assert read_results(results, records) == {2: "x"}


def test_two_lines_for_one_image(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"image": "a.jpg", "captions": ["x"]}\n{"image": "a.jpg", "captions": ["y"]}\n'
    )
    advice("put all captions of an image in one line", lambda: read_dataset(path))
    path.write_text('{"image": "a.jpg", "captions": ["x", "y"]}\n')
    assert read_dataset(path)[0].captions == ("x", "y")


@pytest.mark.parametrize(
    ("message", "wrong", "right"),
    [
        ("a caption with commas needs quotes", "a.jpg,A dog, running", 'a.jpg,"A dog, running"'),
        ("A quote inside a caption must be doubled", 'a.jpg,"A "big" dog', 'a.jpg,"A ""big"" dog"'),
        ("use one of train, val, test", "a.jpg,A dog,dev", "a.jpg,A dog,test"),
    ],
)
def test_tables(message: str, wrong: str, right: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    header = "image,caption,split" if "split" in message or "train" in message else "image,caption"
    for row in (wrong, right):
        (tmp_path / "captions.csv").write_text(f"{header}\n{row}\n")
        if row == wrong:
            advice(message, lambda: prepare_folder(tmp_path, tmp_path / "out"))
    prepare_folder(tmp_path, tmp_path / "out")


def test_a_text_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    picture(tmp_path / "a.jpg")
    path.write_text("image,caption\na.jpg,Un café\n", encoding="latin-1")
    advice("save it as UTF-8", lambda: prepare_folder(tmp_path, tmp_path / "out"))
    path.write_text(path.read_text(encoding="latin-1"), encoding="utf-8")
    prepare_folder(tmp_path, tmp_path / "out")


def test_a_folder_of_somebody_else(data: Path, tmp_path: Path) -> None:
    records = read_dataset(data)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/dataset.jsonl").write_text("{}")
    advice("choose another folder", lambda: prepare(records, tmp_path / "mine"))
    prepare(records, tmp_path / "another")


# Photos ----------------------------------------------------------------------------------------


def test_subfolders(run: CommandLine, tmp_path: Path) -> None:
    picture(tmp_path / "photos/trip/a.png")
    args = ["caption", tmp_path / "photos", "--model", run.model]
    assert "(--recursive looks into its subfolders)" in run.refused(*args)
    assert run(*args, "--recursive").code == 0


def test_photos_that_share_a_text(run: CommandLine, tmp_path: Path) -> None:
    first, second = picture(tmp_path / "a.jpg"), picture(tmp_path / "a.png", 1)
    args = ["caption", tmp_path, "--sidecar", "--model", run.model]
    result = run(*args)
    assert (result.code, len(result.err)) == (1, 2)
    assert "rename one of the two" in result.err[0]
    assert "1 photo" in result.err[1]
    second.rename(tmp_path / "b.png")
    assert run(*args).code == 0
    assert (tmp_path / "b.txt").exists()
    assert first.with_suffix(".txt").exists()
