"""The model as one file: what goes in comes out, and anything else is refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from showattend.captioner import Captioner
from showattend.config import defaults
from showattend.exceptions import CheckpointError
from showattend.model import checkpoint as checkpoints
from showattend.model.checkpoint import FILE_NAME, Checkpoint, load, save, save_tensors
from showattend.model.description import describe, figures_entry


@pytest.fixture
def checkpoint(untrained: Captioner) -> Checkpoint:
    record = {"data": {"train_images": 3}, "config": {"data": {"path": "x"}}, "best": None}
    return replace(untrained.to_checkpoint(), record=record)


@pytest.mark.parametrize("name", ["model", "model.safetensors"])
def test_a_checkpoint_comes_back_as_it_was(
    name: str, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    path = tmp_path / "runs" / name
    file = save(path, checkpoint)
    assert file == (path if path.suffix else path / FILE_NAME)
    assert list(file.parent.iterdir()) == [file]  # nothing left lying about
    for source in (path, str(path), file):
        found = load(source)
        assert found.weights.keys() == checkpoint.weights.keys()
        for key, value in checkpoint.weights.items():
            assert torch.equal(found.weights[key], value)
        assert vars(found) | {"weights": None} == vars(checkpoint) | {"weights": None}


def test_a_model_with_the_options_of_all_kinds_is_read(
    tmp_path: Path, checkpoint: Checkpoint, photo: Path
) -> None:
    """Sections had the options of all kinds once, those of others with their defaults."""
    config = {name: dict(section) for name, section in checkpoint.config.items()}
    for key, default in defaults().items():
        section, _, name = key.partition(".")
        if section in ("attention", "decoder"):
            config[section].setdefault(name, default)
    assert {"layers", "gate"} <= config["decoder"].keys()
    old = Captioner.from_pretrained(save(tmp_path / "old", replace(checkpoint, config=config)))
    new = Captioner.from_checkpoint(checkpoint)
    assert old.caption(photo).words == new.caption(photo).words
    again = old.to_checkpoint().config
    assert again["attention"] == {"kind": "additive"}
    assert "layers" not in again["decoder"]
    config["decoder"]["layers"] = 4
    damaged = save(tmp_path / "damaged", replace(checkpoint, config=config))
    with pytest.raises(CheckpointError, match=r"layers is 4, which decoder\.kind lstm does not"):
        Captioner.from_pretrained(damaged)


def test_a_frozen_encoder_is_not_stored_again(checkpoint: Checkpoint) -> None:
    assert checkpoint.weights
    assert all(key.startswith("decoder.") for key in checkpoint.weights)


@pytest.mark.parametrize("changed", [{"finetune_from": "conv_head"}, {"pretrained": False}])
@pytest.mark.parametrize("half", [False, True])
def test_an_encoder_of_its_own_travels_with_the_model(
    changed: dict[str, Any], half: bool, tmp_path: Path, untrained: Captioner, photo: Path
) -> None:
    config = untrained.config | {"encoder": untrained.config["encoder"] | changed}
    bias = untrained.encoder.body.model.bn2.bias  # type: ignore[union-attr]
    before = bias.detach().clone()
    with torch.no_grad():
        bias += 0.5
    try:
        owner = Captioner(
            encoder=untrained.encoder,
            decoder=untrained.decoder,
            vocabulary=untrained.vocabulary,
            preprocessing=untrained.preprocessing,
            config=config,
            precision="fp32",
        )
        save(tmp_path / "m", owner.to_checkpoint(half=half))
        again = Captioner.from_pretrained(tmp_path / "m", device="cpu", precision="fp32")
        found = again.encoder.body.model.bn2.bias  # type: ignore[union-attr]
        torch.testing.assert_close(found, bias, rtol=1e-3 if half else 0, atol=0)
        wanted = owner.attend(photo, "a dog").log_probs
        assert again.attend(photo, "a dog").log_probs == pytest.approx(wanted, abs=1e-2)
    finally:
        with torch.no_grad():
            bias.copy_(before)


def test_float16_halves_the_file_and_loses_next_to_nothing(
    tmp_path: Path, untrained: Captioner, photo: Path
) -> None:
    full = save(tmp_path / "full", untrained.to_checkpoint())
    half = save(tmp_path / "half", untrained.to_checkpoint(half=True))
    assert half.stat().st_size < 0.6 * full.stat().st_size
    again = Captioner.from_pretrained(half, device="cpu", precision="fp32")
    assert next(again.decoder.parameters()).dtype == torch.float32
    wanted = untrained.attend(photo, "a dog").log_probs
    assert again.attend(photo, "a dog").log_probs == pytest.approx(wanted, abs=5e-3)


# What is refused -------------------------------------------------------------------------------


def _damaged(folder: Path, checkpoint: Checkpoint) -> Path:
    file = save(folder, checkpoint)
    file.write_bytes(file.read_bytes()[:-100])
    return file


def _zero_bytes(folder: Path, checkpoint: Checkpoint) -> Path:
    file = folder / "empty.safetensors"
    file.touch()
    return file


def _of_somebody_else(folder: Path, checkpoint: Checkpoint) -> Path:
    save_file(checkpoint.weights, folder / "other.safetensors")
    return folder / "other.safetensors"


def _training_state(folder: Path, checkpoint: Checkpoint) -> Path:
    save_tensors(folder / "state.safetensors", checkpoint.weights, {"kind": "state"})
    return folder / "state.safetensors"


def _of_the_future(folder: Path, checkpoint: Checkpoint) -> Path:
    meta = {"kind": "model", "format_version": 99}
    save_tensors(folder / "new.safetensors", checkpoint.weights, meta)
    return folder / "new.safetensors"


def _incomplete(folder: Path, checkpoint: Checkpoint) -> Path:
    meta = {"kind": "model", "format_version": 1, "config": {}}
    save_tensors(folder / "old.safetensors", checkpoint.weights, meta)
    return folder / "old.safetensors"


def _pickle(folder: Path, checkpoint: Checkpoint) -> Path:
    torch.save(checkpoint.weights, folder / "model.pth")
    return folder / "model.pth"


def _photo(folder: Path, checkpoint: Checkpoint) -> Path:
    return Path(__file__).parents[2] / "assets/photos/chelsea.jpg"


def _empty_folder(folder: Path, checkpoint: Checkpoint) -> Path:
    return folder


def _exported(folder: Path, checkpoint: Checkpoint) -> Path:
    (folder / "encoder.onnx").touch()
    return folder


def _unknown_name(folder: Path, checkpoint: Checkpoint) -> Path:
    return Path("flickr9k")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_damaged, "damaged, or not a model of showattend"),
        (_zero_bytes, "damaged, or not a model of showattend"),
        (_of_somebody_else, "a safetensors file, but not a model of showattend"),
        (_training_state, "not a model .a training state"),
        (_of_the_future, "format version 99, this showattend reads 1"),
        (_incomplete, "its header cannot be read .it has no"),
        (_pickle, "damaged, or not a model of showattend"),
        (_photo, "damaged, or not a model of showattend"),
        (_empty_folder, f"holds no {FILE_NAME}"),
        (_exported, f"an export, for caption --engine onnx; holds no {FILE_NAME}"),
        (_unknown_name, "no such model; give a directory, a file or a name"),
    ],
)
def test_anything_else_is_refused_in_one_line(
    make: Any, message: str, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    path = make(tmp_path, checkpoint)
    with pytest.raises(CheckpointError, match=message) as caught:
        Captioner.from_pretrained(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocabulary": ["one", "word"]}, "weights do not fit the model"),
        ({"weights": {}}, "weights do not fit the model"),
        ({"config": {"encoder": {"name": "efficientnet_lite0"}}}, "header cannot be read"),
        ({"preprocessing": {"size": 64, "fit": "stretch"}}, "header cannot be read"),
        ({"encoder_fingerprint": "0" * 64}, "other weights of efficientnet_lite0"),
        ({"search": {"length_penalty": float("nan")}}, "header .*length_penalty is nan"),
        ({"search": {"beam_size": 0}}, "header .*beam_size is 0"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
    change: dict[str, Any], message: str, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    if "search" in change:
        change = {"config": checkpoint.config | change}
    save(tmp_path, replace(checkpoint, **change))
    with pytest.raises(CheckpointError, match=message) as caught:
        Captioner.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save(tmp_path, checkpoint)
    before = file.read_bytes()

    def half_a_file(tensors: Any, path: Path, meta: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", half_a_file)
    with pytest.raises(CheckpointError, match=r"cannot be written \(No space left on device\)"):
        save(tmp_path, replace(checkpoint, vocabulary=["another"]))
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, checkpoint: Checkpoint) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be written"):
        save(tmp_path / "file" / "model", checkpoint)


# Shipped models, and info ----------------------------------------------------------------------


def test_a_shipped_model_is_found_by_name_but_a_folder_of_ones_own_comes_first(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = save(tmp_path / "shipped" / "mine", checkpoint).parent
    monkeypatch.setattr(checkpoints, "shipped_models", lambda: {"mine": shipped})
    monkeypatch.chdir(tmp_path)
    assert checkpoints.find_model("mine") == shipped / FILE_NAME
    save(tmp_path / "mine", checkpoint)
    assert checkpoints.find_model("mine") == Path("mine") / FILE_NAME
    with pytest.raises(CheckpointError, match=r"a name \(mine\)"):
        checkpoints.find_model("yours")


def test_describe_says_what_the_model_is(tmp_path: Path, untrained: Captioner) -> None:
    decoder = {"hidden_dim": 16, "attention_dim": 16, "attend_with": "previous", "gate": "scalar"}
    checkpoint = replace(
        untrained.to_checkpoint(),
        config=untrained.config | {"decoder": decoder},
        record={
            "data": {"train_images": 6000, "val_images": 1000},
            "config": {"data": {"path": "data/flickr8k"}},
            "best": {"epoch": 4, "CIDEr": 0.5},
            "figures": {"BLEU-4": 0.21},
        },
    )
    text = describe(save(tmp_path, checkpoint))
    for part in ("efficientnet_lite0, 64 pixels (squash), ImageNet weights", "LSTM 16", "12 words",
                 "6,000 images of data/flickr8k",
                 "CIDEr 0.500 in training, epoch 4 (val split, 1,000 images)",
                 "BLEU-4 (how they were measured is not recorded): 0.21"):  # fmt: skip
        assert part in text


def test_figures_are_described_with_their_settings(tmp_path: Path, checkpoint: Checkpoint) -> None:
    settings = {
        "model": "x", "beam_size": 5, "length_penalty": 0.7, "block_ngrams": 2, "min_length": 1,
        "max_length": 20, "size": 352, "precision": "bfloat16", "images": 1000, "seconds": {},
    }  # fmt: skip
    entry = figures_entry("Flickr8k validation split", {"CIDEr": 0.65432}, settings)
    record = {
        "config": {
            "search": {"beam_size": 5, "length_penalty": 0.7, "block_ngrams": 0},
            "train": {"validate_beam": 3},
            "encoder": {"size": 288},
            "data": {"path": "x"},
        },
        "machine": {"precision": "float32"},
        "data": {"train_images": 6000, "val_images": 1000},
        "best": {"epoch": 4, "CIDEr": 0.5},
        "figures": [entry],
    }
    lines = describe(save(tmp_path, replace(checkpoint, record=record))).splitlines()
    assert lines[-2:] == [
        "validation   CIDEr 0.500 in training, epoch 4 (beam 3, length penalty 0.7, n-grams may "
        "repeat, 288 pixels, float32, val split, 1,000 images)",
        "figures      Flickr8k validation split (beam 5, length penalty 0.7, no 2-gram twice, "
        "1 to 20 words, 352 pixels, bfloat16, 1,000 images): CIDEr 0.6543",
    ]


@pytest.mark.parametrize(
    ("encoder", "start", "told"),
    [
        ({}, None, "ImageNet weights"),
        ({"finetune_from": "blocks.6"}, None, "fine-tuned"),
        ({"pretrained": False}, None, "random weights"),
        ({"pretrained": False, "finetune_from": "blocks.0"}, None, "trained from scratch"),
        ({"pretrained": False}, "flickr8k", "weights of flickr8k"),
        ({"pretrained": False, "finetune_from": "blocks.6"}, "a/run", "weights of a/run, fine-"),
    ],
)
def test_describe_says_where_the_encoders_weights_are_from(
    encoder: dict[str, Any], start: str | None, told: str, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    config = checkpoint.config | {"encoder": checkpoint.config["encoder"] | encoder}
    record = {"config": {"train": {"init_from": start}}}
    path = save(tmp_path, replace(checkpoint, config=config, record=record))
    (line,) = (x for x in describe(path).splitlines() if x.startswith("encoder"))
    assert line.partition("), ")[2].startswith(told)


def test_search_defaults_beside_a_model_are_its_own(tmp_path: Path, checkpoint: Checkpoint) -> None:
    file = save(tmp_path, checkpoint)
    before = Captioner.from_pretrained(tmp_path, device="cpu").search
    beside = tmp_path / "search.json"
    beside.write_text('{"block_ngrams": 2, "beam_size": 3}')
    for model in (tmp_path, file):
        found = Captioner.from_pretrained(model, device="cpu").search
        assert found == replace(before, block_ngrams=2, beam_size=3)
    again = Captioner.from_pretrained(tmp_path, device="cpu").to_checkpoint()
    assert again.config["search"]["block_ngrams"] == 2  # it travels on
    for text, message in (
        ("{", r"search\.json: cannot be read"),
        ("[]", r"search\.json: must contain keys"),
        ('{"block_ngram": 2}', r"search\.json: .*did you mean search\.block_ngrams"),
        ('{"length_penalty": NaN}', r"search\.json: search\.length_penalty is nan"),
        ('{"beam_size": 2.5}', r"search\.json: search\.beam_size is 2\.5"),
        ('{"beam_size": "5"}', r"search\.json: search\.beam_size is '5'"),
        ('{"min_length": 31}', r"search\.json: search\.min_length 31 is over max_length 30"),
        ('{"n_best": 2.5}', r"search\.json: search\.n_best is 2\.5"),
    ):
        beside.write_text(text)
        with pytest.raises(CheckpointError, match=message) as caught:
            Captioner.from_pretrained(tmp_path)
        assert "\n" not in str(caught.value)


def test_search_defaults_beside_other_weights_are_not_read(
    tmp_path: Path, checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    file, beside = save(tmp_path, checkpoint), tmp_path / "search.json"
    settings = {"block_ngrams": 2, "weights": checkpoints.weights_digest(file)}
    beside.write_text(json.dumps(settings | {"figures": [{"data": "x"}]}))
    found = load(tmp_path)
    assert found.config["search"]["block_ngrams"] == 2
    assert found.record["figures"] == [{"data": "x"}]
    # Another header, such as a longer record, does not make it another model.
    record = checkpoint.record | {"figures": []}
    again = save(tmp_path / "again.safetensors", replace(checkpoint, record=record))
    again.replace(file)
    assert load(tmp_path).config["search"]["block_ngrams"] == 2
    assert not caplog.records
    # A new model is put in the place of the old one, by hand.
    key, weight = next(iter(checkpoint.weights.items()))
    newer = replace(checkpoint, weights=checkpoint.weights | {key: weight + 1})
    save(tmp_path / "newer.safetensors", newer).replace(file)
    found = load(tmp_path)
    assert found.config["search"] == checkpoint.config["search"]
    assert "figures" not in found.record
    (warning,) = caplog.records
    assert f"{beside}: is for other weights" in warning.getMessage()


def test_saving_a_model_removes_the_search_defaults_of_the_one_before(
    tmp_path: Path, untrained: Captioner
) -> None:
    save(tmp_path, untrained.to_checkpoint())
    (tmp_path / "search.json").write_text('{"block_ngrams": 2}')
    owner = Captioner.from_pretrained(tmp_path, device="cpu")
    assert owner.search.block_ngrams == 2
    owner.search = replace(owner.search, block_ngrams=3)
    save(tmp_path, owner.to_checkpoint())
    assert Captioner.from_pretrained(tmp_path, device="cpu").search == owner.search
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    (tmp_path / "search.json").write_text("{}")
    save(tmp_path / "other.safetensors", owner.to_checkpoint())
    assert (tmp_path / "search.json").exists()  # it is not this file's


def test_describe_says_what_stands_beside(tmp_path: Path, checkpoint: Checkpoint) -> None:
    encoder = checkpoint.config["encoder"] | {"beside": "blocks.4"}
    path = save(tmp_path, replace(checkpoint, config=checkpoint.config | {"encoder": encoder}))
    assert "efficientnet_lite0 beside blocks.4, 64 pixels" in describe(path)


def test_the_header_is_plain_json(tmp_path: Path, checkpoint: Checkpoint) -> None:
    """So that other programs can read a model without this package."""
    from safetensors import safe_open

    with safe_open(save(tmp_path, checkpoint), "pt") as file:
        header = json.loads(file.metadata()["showattend"])
    assert header["format_version"] == checkpoints.FORMAT_VERSION
    assert header["vocabulary"] == checkpoint.vocabulary


# Earlier versions ------------------------------------------------------------------------------

OLD_FORMATS = sorted((Path(__file__).parent / "old_formats").glob("*.safetensors"))


@pytest.mark.parametrize("path", OLD_FORMATS, ids=lambda path: path.stem)
def test_models_of_earlier_versions_caption_as_they_did(path: Path, photos: list[Path]) -> None:
    """Files that were written by those versions, and what these said of chelsea.jpg.

    ``first`` was written by the first version (commit 60442c5), ``calibrated`` by the one that
    added calibration and the model everyday (bf4d742), before attention had a section of its own.
    """
    chelsea = next(photo for photo in photos if photo.stem == "chelsea")
    found = Captioner.from_pretrained(path, device="cpu").caption(chelsea, beam_size=3)
    numbers = "000000010110100100000000000000"
    assert [{"a": "0", "in": "1"}[word] for word in found.words] == list(numbers)
    assert found.score == pytest.approx(-0.5203, abs=2e-4)


def test_there_are_fixtures_of_old_formats() -> None:
    assert [path.stem for path in OLD_FORMATS] == ["calibrated", "first"]
