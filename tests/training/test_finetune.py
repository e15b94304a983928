"""From a folder of photographs to a model of one's own: on drawn shapes, from a tiny model."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from showattend.captioner import Captioner
from showattend.data.readers import read_dataset
from showattend.data.toy import write_toy
from showattend.evaluation.evaluate import evaluate
from showattend.evaluation.scores import java
from showattend.exceptions import CheckpointError, ConfigError, DataError, UserError
from showattend.model import checkpoint as checkpoints
from showattend.system.files import name_aside
from showattend.training import finetune as finetuning
from showattend.training.display import Display
from showattend.training.finetune import finetune, validation_count
from showattend.training.recipe import CACHE_NAME
from showattend.training.trainer import Silent, train
from tests.tinyrun import tiny_run

FAST = ("train.epochs=2", "train.lr=1e-2", "train.precision=fp32", "train.device=cpu")


@pytest.fixture(scope="module", autouse=True)
def without_java() -> Iterator[None]:
    """Scored by the package's own tokenizer, without METEOR: quick."""

    def absent(*_: Any) -> Any:
        raise java.JavaError("no Java was found")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(java, "tokenize_ptb", absent)
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that carries its encoder, and has search defaults beside it."""
    folder = tmp_path_factory.mktemp("source")
    data = write_toy(folder / "toy", images=48, size=64)
    train(
        tiny_run(
            data,
            folder / "model",
            encoder={"finetune_from": "bn2"},
            train={"epochs": 1, "doubly_stochastic": 0.5},
        )
    )
    (folder / "model" / checkpoints.SEARCH_NAME).write_text('{"block_ngrams": 2}')
    return folder / "model"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty photographs, a text file beside each."""
    folder = tmp_path_factory.mktemp("photos")
    for record in read_dataset(write_toy(folder / "toy", images=20, seed=7, size=64)):
        shutil.move(record.path, folder / record.path.name)
        text = "\n".join(record.captions).replace("circle", "roundel")
        (folder / record.path.name).with_suffix(".txt").write_text(text)
    shutil.rmtree(folder / "toy")
    return folder


@pytest.fixture
def some(photos: Path, tmp_path: Path) -> Callable[[int], Path]:
    """A folder of so many of them."""

    def make(count: int) -> Path:
        (tmp_path / "some").mkdir()
        for path in sorted(photos.glob("*.jpg"))[:count]:
            for each in (path, path.with_suffix(".txt")):
                shutil.copy(each, tmp_path / "some")
        return tmp_path / "some"

    return make


class Log(Silent):
    """Keeps messages; dies like a killed process when it is told so."""

    def __init__(self, die: tuple[str, int] = ("", 0)) -> None:
        self.die, self.messages = die, list[str]()

    def message(self, text: str) -> None:
        self.messages.append(text)

    def task(self, name: str, done: int, total: int, note: str = "") -> None:
        if (name, done) == self.die:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def run(
    photos: Path, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("runs") / "mine"
    return out, finetune(photos, out, model=str(model), overrides=FAST)


# A whole run -----------------------------------------------------------------------------------


def test_a_folder_becomes_a_model(
    run: tuple[Path, dict[str, Any]], model: Path, photos: Path
) -> None:
    out, report = run
    assert report["images"] == {"train": 16, "val": 4}
    assert report["kept"] == "trained"
    assert json.loads((out / "finetune.json").read_text()) == json.loads(json.dumps(report))
    assert {path.name for path in out.iterdir()} == {
        "model.safetensors", "training.json", "curves.png", "finetune.json", "data",
    }  # fmt: skip
    start, mine = (Captioner.from_pretrained(each, "cpu", "fp32") for each in (model, out))
    assert mine.encoder.fingerprint() == start.encoder.fingerprint()
    assert mine.preprocessing == start.preprocessing
    assert mine.search == start.search
    assert mine.search.block_ngrams == 2  # it stood in search.json
    assert "roundel" in mine.vocabulary
    assert "roundel" not in start.vocabulary
    settings = mine.record["config"]["train"]
    assert settings["doubly_stochastic"] == 0.5  # the start's
    assert settings["init_temperature"] == report["temperature"]
    # What evaluate says of both, by the arguments that are given for it, is what is told.
    dataset = Path(report["evaluate"][1])
    assert report["evaluate"] == ["--annotations", str(dataset), "--split", "val"]
    for captioner, key in ((model, "before"), (out, "after")):
        again = evaluate(dataset, captioner=Captioner.from_pretrained(captioner), split="val")
        assert again["metrics"] == report[key]
    assert len(report["examples"]) == 4
    for example in report["examples"]:
        assert Path(example["photo"]).parent == photos
        text = Path(example["photo"]).with_suffix(".txt").read_text()
        assert example["people"] == text.splitlines()[0]
        assert example["after"].endswith(".")


def test_a_data_set_is_taken_as_it_is(
    run: tuple[Path, dict[str, Any]], model: Path, tmp_path: Path
) -> None:
    dataset = run[0] / "data" / "dataset.jsonl"
    report = finetune(dataset, tmp_path / "mine", model=str(model), overrides=FAST)
    assert report["evaluate"][1] == str(dataset)
    assert not (tmp_path / "mine" / "data").exists()
    assert report["before"] == run[1]["before"]
    one, other = (checkpoints.load(each) for each in (run[0], tmp_path / "mine"))
    assert all(torch.equal(other.weights[key], value) for key, value in one.weights.items())


def test_a_data_set_without_a_validation_split_gets_one(
    run: tuple[Path, dict[str, Any]], model: Path, tmp_path: Path
) -> None:
    given = run[0] / "data" / "dataset.jsonl"
    (tmp_path / "all.jsonl").write_text(given.read_text().replace('"val"', '"train"'))
    with pytest.raises(KeyboardInterrupt):
        finetune(
            tmp_path / "all.jsonl",
            tmp_path / "mine",
            model=str(model),
            reporter=Log(("Captioning", 1)),
        )
    found = read_dataset(tmp_path / "mine" / "data")
    assert sum(record.split == "val" for record in found) == 4
    assert "all.jsonl" in [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("images", "expected"),
    [(5, 1), (9, 1), (10, 2), (30, 6), (50, 10), (99, 10), (300, 30), (4000, 400), (90_000, 500)],
)
def test_how_many_are_drawn_to_validate_on(images: int, expected: int) -> None:
    assert validation_count(images) == expected


@pytest.fixture
def worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a tiny model learns, the trained one scores lower than any start."""
    score = finetuning._score

    def lower(captioner: Captioner, *rest: Any) -> dict[str, Any]:
        found = score(captioner, *rest)
        if captioner.record["config"]["train"]["init_from"]:
            found["metrics"]["CIDEr"] -= 1
        return found

    monkeypatch.setattr(finetuning, "_score", lower)


def test_a_start_that_training_makes_no_better_is_kept(
    model: Path, worse: None, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine"
    report = finetune(photos, out, model=str(model), overrides=FAST)
    assert report["kept"] == "start"
    kept, start, trained = (
        checkpoints.load(each) for each in (out, model, out / "trained.safetensors")
    )
    assert kept.weights.keys() == start.weights.keys()
    assert all(torch.equal(kept.weights[key], value) for key, value in start.weights.items())
    assert kept.config["search"] == start.config["search"]
    assert kept.config["search"]["block_ngrams"] == 2  # from search.json, which is not there now
    assert not torch.equal(
        trained.weights["decoder.L_h.weight"], kept.weights["decoder.L_h.weight"]
    )
    mine = Captioner.from_pretrained(out)
    again = evaluate(Path(report["evaluate"][1]), captioner=mine, split="val")
    assert again["metrics"] == report["before"]


def test_as_good_as_the_start_is_not_better(
    run: tuple[Path, dict[str, Any]], photos: Path, tmp_path: Path
) -> None:
    still = [*FAST, "train.lr=0", "train.epochs=1", "train.init_temperature=1"]
    report = finetune(photos, tmp_path, model=str(run[0]), overrides=still)
    assert report["kept"] == "start"
    assert report["before"] == report["after"]
    assert report["loss"][0] == pytest.approx(report["loss"][1])


# Interruptions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "die",
    [("Images", 3), ("Captioning", 2), ("Features", 20), ("Training", 3)],
)
def test_a_kill_and_a_resume_change_nothing(
    die: tuple[str, int],
    run: tuple[Path, dict[str, Any]],
    model: Path,
    photos: Path,
    tmp_path: Path,
) -> None:
    options: dict[str, Any] = {
        "model": str(model), "overrides": [*FAST, "train.save_every=0"],
    }  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        finetune(photos, tmp_path / "mine", reporter=Log(die), **options)
    torch.manual_seed(99)
    begun = (tmp_path / "mine" / "finetune.json").exists()
    assert begun == (die[0] != "Images")
    found = finetune(photos, tmp_path / "mine", resume=begun, **options)
    for key in ("before", "after", "kept", "examples", "images", "temperature"):
        assert found[key] == run[1][key], key
    one, other = (checkpoints.load(each) for each in (run[0], tmp_path / "mine"))
    assert all(torch.equal(other.weights[key], value) for key, value in one.weights.items())


def test_a_kill_after_the_start_was_kept_decides_the_same(
    model: Path, worse: None, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"model": str(model), "overrides": FAST}
    with monkeypatch.context() as patch:
        patch.setattr(finetuning, "_gain", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            finetune(photos, tmp_path, **options)
    trained = (tmp_path / "trained.safetensors").read_bytes()
    assert finetune(photos, tmp_path, resume=True, **options)["kept"] == "start"
    assert (tmp_path / "trained.safetensors").read_bytes() == trained


def test_a_finished_run_resumes_to_its_report(
    run: tuple[Path, dict[str, Any]], model: Path, photos: Path
) -> None:
    log = Log()
    found = finetune(photos, run[0], model=str(model), resume=True, reporter=log)
    assert found == json.loads(json.dumps(run[1]))
    assert log.messages == ["The run is already finished"]


def test_the_cache_is_removed_and_nothing_else(
    some: Callable[[int], Path], model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine"
    (out / "cache").mkdir(parents=True)
    (out / "cache" / "precious").write_text("mine")
    with pytest.raises(KeyboardInterrupt):
        finetune(some(6), out, model=str(model), overrides=FAST, reporter=Log(("Training", 1)))
    assert (out / CACHE_NAME).is_dir()
    finetune(tmp_path / "some", out, model=str(model), overrides=FAST, resume=True)
    assert not (out / CACHE_NAME).exists()
    assert (out / "cache" / "precious").read_text() == "mine"


# Files that are damaged ------------------------------------------------------------------------

FINISHED: dict[str, Any] = {
    "images": {"train": 4, "val": 1}, "kept": "trained", "before": {"CIDEr": 0.5},
    "after": {"CIDEr": 0.75}, "gain": [0.25, None], "examples": [], "skipped": [], "unread": 0,
    "evaluate": ["--annotations", "a.jsonl"], "notes": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kept": 1}, "kept is 1"),
        ({"kept": "trained", "before": None}, "before is None"),
        ({"before": {"CIDEr": "x"}}, 'before.CIDEr is "x"'),
        ({"gain": [1]}, "gain is"),
        ({"examples": [{"photo": 3}]}, "has no before|photo is 3"),
        ({"images": {}}, "images has no val"),
        ({"notes": "none"}, "notes is"),
        ({"temperature": "hot"}, 'temperature is "hot"'),
    ],
)
def test_a_damaged_report_is_one_line(
    change: dict[str, Any], said: str, some: Callable[[int], Path], tmp_path: Path
) -> None:
    source, out = some(1), tmp_path / "mine"
    given = {"source": os.path.realpath(source), "model": "flickr8k"}
    out.mkdir()
    path = out / finetuning.REPORT_NAME
    path.write_text(json.dumps(given | FINISHED))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    aside = name_aside(path).name.replace(f"-{os.getpid()}-", f"-{gone.pid}-")
    (out / "data").mkdir()
    left = [out / aside, out / "data" / aside]
    for each in left:
        each.touch()
    assert finetune(source, out, model="flickr8k", resume=True)["kept"] == "trained"
    assert not any(each.exists() for each in left), "what a killed run left"
    path.write_text(json.dumps(given | FINISHED | change))
    before = path.read_text()
    refused(said, source, out, model="flickr8k", resume=True)
    assert path.read_text() == before


@pytest.mark.parametrize("content", ["[]", "{}", '{"skipped": 3}', '{"skipped": [null]}', "{"])
def test_a_damaged_report_of_the_data_is_one_line(content: str, tmp_path: Path) -> None:
    data = tmp_path / "mine" / "data"
    data.mkdir(parents=True)
    (data / "dataset.jsonl").touch()
    (data / "report.json").write_text(content)
    with pytest.raises(DataError, match=r"report\.json") as caught:
        finetuning._gather(tmp_path, None, tmp_path / "mine", True, Log())
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="names without control characters there")
def test_names_of_photographs_reach_the_terminal_escaped(
    some: Callable[[int], Path], tmp_path: Path
) -> None:
    source, stream = some(8), io.StringIO()
    odd = source / "owned \x1b[2J\u202egpj.jpg"
    shutil.copy(next(source.glob("*.jpg")), odd)
    with Display(Console(file=stream, force_terminal=True, width=80)) as display:
        finetuning._gather(source, None, tmp_path / "mine", False, display)
    shown = stream.getvalue()
    assert "owned \\x1b[2J\\u202egpj.jpg: no caption in" in shown
    assert "\u202e" not in shown
    assert "\x1b[2J" not in shown


# What a user gets wrong ------------------------------------------------------------------------


def refused(message: str, *args: Any, error: type[UserError] = DataError, **options: Any) -> None:
    with pytest.raises(error, match=message) as caught:
        finetune(*args, **options)
    assert "\n" not in str(caught.value)


def test_five_photographs_are_enough_and_four_are_not(
    some: Callable[[int], Path], model: Path, tmp_path: Path
) -> None:
    folder, options = some(5), {"model": str(model)}
    report = finetune(folder, tmp_path / "five", overrides=[*FAST, "train.epochs=8"], **options)
    assert report["images"] == {"train": 4, "val": 1}
    assert report["before"]["CIDEr"] == report["after"]["CIDEr"] == 0  # as of any single image
    before, after = report["loss"]
    assert report["kept"] == "trained"
    assert after < before  # that decides, then
    next(folder.glob("*.jpg")).write_text("broken")
    refused(
        r"some: 4 photographs with captions to train on and 0 to validate on \(1 left out, the "
        r"first: .*\.jpg.*\); finetune needs at least 5, 4 to train on and 1 to validate on",
        folder,
        tmp_path / "four",
        **options,
    )
    assert not (tmp_path / "four").exists()


def test_photographs_without_captions(
    some: Callable[[int], Path], model: Path, tmp_path: Path
) -> None:
    folder = some(6)
    for path in folder.glob("*.txt"):
        path.unlink()
    out = tmp_path / "mine"
    refused(
        r"some: none of its photographs has a caption \(the first: .*next to it\); write captions "
        "into photo.txt next to photo.jpg",
        folder,
        out,
        model=str(model),
    )
    (tmp_path / "empty").mkdir()
    refused("empty: holds no images", tmp_path / "empty", out)
    assert not out.exists()


def test_places_that_are_wrong(
    run: tuple[Path, dict[str, Any]], photos: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine"
    refused("nowhere: no such folder or file; give a folder of photog", tmp_path / "nowhere", out)
    refused("nothing: no such model; give", photos, out, model="nothing", error=CheckpointError)
    refused("holds a run already; add --resume, or give another --out", photos, run[0])
    refused("holds the photographs; give --out another folder", photos, photos)
    refused("no run of finetune to resume; start without", photos, out, resume=True)
    refused("was started with the source .*, not ", tmp_path, run[0], resume=True, model=str(model))
    refused("was started with the model .*, not ", photos, run[0], resume=True)
    refused(
        "train.out from --out", photos, out, error=ConfigError, overrides=["train.out=elsewhere"]
    )
    refused(
        "it must be 1 or more", photos, out, error=ConfigError, overrides=["train.batch_size=0"]
    )


def test_it_runs_in_one_process(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused("finetune runs in one process", photos, tmp_path, error=UserError)
