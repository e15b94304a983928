"""Whole runs on drawn shapes: they learn, they leave a model, a kill changes nothing."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from showattend.captioner import Captioner
from showattend.config import Config
from showattend.data.toy import write_toy
from showattend.exceptions import CheckpointError, ConfigError, DataError, UserError
from showattend.model.build import build_decoder, build_encoder
from showattend.model.checkpoint import FILE_NAME, load, load_tensors
from showattend.model.description import describe
from showattend.model.encoder import Encoder
from showattend.system import provenance
from showattend.text.tokenizer import tokenize
from showattend.training.optimizer import rate_share
from showattend.training.start import take_decoder
from showattend.training.state import FILE_NAME as STATE_NAME
from showattend.training.trainer import Silent, Trainer, train
from tests.tinyrun import tiny_run

EPOCHS = 3
BATCHES = 10  # 40 training pictures (5 in 6 of 48), 4 a batch


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy") / "data", images=48, size=64)


@pytest.fixture(scope="module")
def config(toy: Path) -> Callable[..., Config]:
    """A tiny run; overrides as section=dict(...)."""
    return partial(tiny_run, toy)


class Log(Silent):
    """Keeps what it is told; dies like a killed process when it is told so."""

    def __init__(self, die: Callable[[str, int], bool] = lambda *_: False) -> None:
        self.die, self.messages, self.entries = die, [], []  # type: ignore[var-annotated]
        self.losses: list[float] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def task(self, name: str, done: int, total: int, note: str = "") -> None:
        if self.die(name, done):
            raise KeyboardInterrupt
        if name == "Training":
            self.losses.append(float(note.rpartition(" ")[2]))

    def epoch(self, entry: dict[str, Any], best: bool) -> None:
        self.entries.append((entry, best))


@pytest.fixture(scope="module")
def run(
    config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], Log]:
    """A run that nothing disturbed."""
    out, log = tmp_path_factory.mktemp("runs") / "whole", Log()
    return out, train(config(out), log), log


def same_weights(one: Path, other: Path) -> None:
    for name in (FILE_NAME, STATE_NAME):
        from safetensors.torch import load_file

        tensors, others = load_file(one / name), load_file(other / name)
        assert tensors.keys() == others.keys()
        for key, value in tensors.items():
            assert torch.equal(value, others[key]), f"{name}: {key}"


def without_times(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history]


# A whole run -----------------------------------------------------------------------------------


def test_a_run_learns_and_leaves_model_record_and_curves(
    run: tuple[Path, dict[str, Any], Log],
) -> None:
    out, record, log = run
    history = record["history"]
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    uniform = math.log(record["data"]["vocabulary"])  # the loss of knowing nothing
    for key in ("loss", "val_loss"):
        losses = [entry[key] for entry in history]
        assert losses == sorted(losses, reverse=True)
        assert losses[-1] < uniform - 0.6
    best = max(history, key=lambda entry: entry["CIDEr"])
    assert record["best"] == {"epoch": best["epoch"], "CIDEr": best["CIDEr"]}
    assert record["data"]["train_images"] == BATCHES * 4
    assert record["data"]["grid"] == [2, 2]
    assert json.loads((out / "training.json").read_text()) == record
    with Image.open(out / "curves.png") as picture:
        assert picture.width > 500
    assert {path.name for path in out.iterdir()} == {
        FILE_NAME, STATE_NAME, "training.json", "curves.png",
    }  # fmt: skip
    assert [entry for entry, _ in log.entries] == history
    words = len(load(out).vocabulary)  # as `info` counts them, without the special ones
    begun = f"40 training and 8 validation images, {words} words; "
    assert any(message.startswith(begun) for message in log.messages)
    # Four steps an epoch, and four locations: it has not learnt where to look, and is told so.
    assert history[-1]["entropy"] > 0.98
    assert "almost uniform" in log.messages[-1]


def test_the_model_kept_is_the_best_epochs_and_captions(
    run: tuple[Path, dict[str, Any], Log], config: Callable[..., Config], tmp_path: Path
) -> None:
    """The file that was kept has the validation figures that it was kept for."""
    out, record, _ = run
    captioner = Captioner.from_pretrained(out, device="cpu", precision="fp32")
    assert captioner.record["best"] == record["best"]
    assert not any(key.startswith("encoder.") for key in load(out).weights)
    trainer = Trainer(config(tmp_path / "unused"))
    trainer.decoder.load_state_dict(captioner.decoder.state_dict())
    kept = record["history"][record["best"]["epoch"] - 1]
    assert trainer.validate()["CIDEr"] == pytest.approx(kept["CIDEr"], rel=1e-6)
    # From the photographs, too. Training reads its features as float16, of 11 bits.
    said = [
        caption
        for each in trainer.val_loader.records
        for caption in captioner.attend_all(each.path, each.captions)
    ]
    tokens = sum(len(caption.log_probs) for caption in said)
    loss = -sum(caption.log_prob for caption in said) / tokens
    assert loss == pytest.approx(kept["val_loss"], rel=1e-2)


def test_the_vocabulary_is_of_training_captions_only(
    config: Callable[..., Config], toy: Path, tmp_path: Path
) -> None:
    lines = [json.loads(line) for line in toy.read_text().splitlines()]
    for line in lines:
        if line.get("split") == "val":
            line["captions"] = ["A zebra."]
    changed = toy.parent / "zebra.jsonl"
    changed.write_text("".join(json.dumps(line) + "\n" for line in lines))
    trainer = Trainer(config(tmp_path, data={"path": str(changed)}))
    assert "zebra" not in trainer.setup.vocabulary
    assert "circle" in trainer.setup.vocabulary


def test_the_first_losses(config: Callable[..., Config], tmp_path: Path) -> None:
    """Pinned, so that a change of the arithmetic shows; without dropout's random bits."""
    plain = {"dropout": 0.0, "embedding_dropout": 0.0, "feature_dropout": 0.0}
    log = Log(lambda *step: step == ("Training", 5))
    trainer = Trainer(config(tmp_path, decoder=plain, train={"lr": 5e-3}), log)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    # The means of one, two, three and four steps.
    assert log.losses == pytest.approx([3.802, 3.798, 3.696, 3.751], rel=1e-2)
    assert log.losses[0] == pytest.approx(math.log(len(trainer.setup.vocabulary)), abs=0.1)


# A kill and a resume ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "done"),
    [
        ("Training", 2),  # in the first epoch
        ("Validation", 1),  # after all of its batches
        ("Training", BATCHES + 1),  # at the first batch of the second
        ("Training", 2 * BATCHES + 4),
    ],
)
def test_a_kill_and_a_resume_change_nothing(
    name: str,
    done: int,
    run: tuple[Path, dict[str, Any], Log],
    config: Callable[..., Config],
    tmp_path: Path,
) -> None:
    whole, record, _ = run
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path), Log(lambda *step: step == (name, done)))
    log = Log()
    torch.manual_seed(12345)  # whatever the new process has drawn
    found = train(config(tmp_path), log, resume=True)
    assert any(message.startswith("Resuming at epoch") for message in log.messages)
    assert len(log.losses) == EPOCHS * BATCHES - (done - 1 if name == "Training" else BATCHES)
    assert without_times(found["history"]) == without_times(record["history"])
    same_weights(tmp_path, whole)


def test_another_seed_is_another_model(config: Callable[..., Config], tmp_path: Path) -> None:
    one, again, other = (
        Trainer(config(tmp_path, train={"seed": seed})).decoder.L_h.weight for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_record_says_what_it_was_made_with(run: tuple[Path, dict[str, Any], Log]) -> None:
    out, record, _ = run
    made = record["provenance"]
    assert made["encoder"]["weights"] == load(out).encoder_fingerprint[:16]
    assert len(made["data"]["content"]) == 12
    assert (made["precision"], made["seed"], made["start"]) == ("float32", 0, None)
    assert made["search"]["max_length"] == 12
    assert "resumed" not in record
    carried = load(out).record["provenance"]
    assert carried["code"] == made["code"]
    assert "\nsources " not in describe(out / "model.safetensors")
    assert f"sources {made['code']['sources']}" in describe(out / "model.safetensors")


def test_resuming_with_other_code_or_threads_says_so_and_records_it(
    config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path), Log(lambda *step: step == ("Training", BATCHES + 2)))
    state = {"version": "0.0.1", "sources": "another"}
    monkeypatch.setattr(provenance, "source_state", lambda: state)
    log = Log()
    record = train(config(tmp_path), log, resume=True)
    (warning,) = [each for each in log.messages if each.startswith("warning: the run continues")]
    assert "is another" in warning
    assert record["provenance"]["code"] != state
    (resumed,) = record["resumed"]
    assert resumed["code"] == state
    assert (resumed["epoch"], resumed["batch"]) == (2, 1)
    assert "resumed      at epoch 2, batch 1" in describe(tmp_path / "model.safetensors")


def test_float16_on_a_processor_reports_the_steps_it_skips(
    config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scaler that begins far too high must skip steps before it has found its scale."""
    scaler = torch.amp.GradScaler

    def high(device: str, enabled: bool) -> torch.amp.GradScaler:
        return scaler(device, init_scale=2.0**40, enabled=enabled)

    monkeypatch.setattr(torch.amp, "GradScaler", high)
    log = Log()
    record = train(config(tmp_path, train={"epochs": 1, "precision": "fp16"}), log)
    skipped = record["history"][0]["skipped_steps"]
    assert 0 < skipped <= BATCHES
    assert any(f"{skipped} of {BATCHES} steps were skipped" in each for each in log.messages)


def test_a_finished_run_resumes_to_its_record_or_is_trained_on(
    run: tuple[Path, dict[str, Any], Log], config: Callable[..., Config], tmp_path: Path
) -> None:
    (out, record, _), log = run, Log()
    assert train(config(out), log, resume=True)["history"] == record["history"]
    assert any(message.startswith("The run is already finished") for message in log.messages)
    assert any(f"train.init_from={out}" in message for message in log.messages)
    longer = config(out, train={"epochs": EPOCHS + 1})
    with pytest.raises(CheckpointError, match=f"for longer.*train.init_from={out} and another"):
        train(longer, log, resume=True)
    # The advice is good.
    more = train(config(tmp_path, train={"init_from": str(out), "epochs": 1}))
    assert more["provenance"]["start"]["model"] == str(out)
    assert len(more["history"]) == 1
    assert not any(message.startswith("Resuming") for message in log.messages)


def test_resuming_with_another_config_names_the_key(
    run: tuple[Path, dict[str, Any], Log], config: Callable[..., Config]
) -> None:
    out, _, _ = run
    with pytest.raises(CheckpointError, match=r"train\.clip_norm was 5\.0, is 1\.0"):
        train(config(out, train={"clip_norm": 1.0}), resume=True)


def test_another_config_is_refused_before_anything_is_computed(
    run: tuple[Path, dict[str, Any], Log], config: Callable[..., Config], tmp_path: Path
) -> None:
    out, _, _ = run
    cache = tmp_path / "cache"
    other = config(out, data={"cache": str(cache)}, encoder={"size": 96})
    with pytest.raises(CheckpointError, match=r"encoder\.size was 64, is 96"):
        train(other, resume=True)
    assert not cache.exists()


def test_a_model_without_a_state_is_neither_begun_nor_resumed(
    run: tuple[Path, dict[str, Any], Log], config: Callable[..., Config], tmp_path: Path
) -> None:
    shutil.copy(run[0] / FILE_NAME, tmp_path)
    with pytest.raises(CheckpointError, match="no training state to resume; move it away"):
        train(config(tmp_path), resume=True)


def test_starting_over_a_run_is_refused(
    run: tuple[Path, dict[str, Any], Log], config: Callable[..., Config], tmp_path: Path
) -> None:
    out, _, _ = run
    before = (out / STATE_NAME).read_bytes()
    with pytest.raises(DataError, match="holds a run already; add --resume"):
        train(config(out))
    assert (out / STATE_NAME).read_bytes() == before
    with pytest.raises(CheckpointError, match="no state to resume; start without --resume"):
        train(config(tmp_path / "nothing"), resume=True)


# Variants --------------------------------------------------------------------------------------


def test_mirroring_and_the_average_of_the_weights_resume_exactly(
    config: Callable[..., Config], tmp_path: Path, run: tuple[Path, dict[str, Any], Log]
) -> None:
    changes: dict[str, Any] = {
        "data": {"mirror": True},
        "train": {"ema": 0.9, "validate_from": EPOCHS},
    }
    record = train(config(tmp_path / "whole", **changes))
    assert record["history"][0]["loss"] != run[1]["history"][0]["loss"]
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path / "killed", **changes), Log(lambda *step: step == ("Training", 13)))
    train(config(tmp_path / "killed", **changes), resume=True)
    same_weights(tmp_path / "killed", tmp_path / "whole")
    # What is kept is the average, not the weights of the last step.
    kept = Captioner.from_pretrained(tmp_path / "whole", device="cpu", precision="fp32")
    state, _ = load_tensors(tmp_path / "whole" / STATE_NAME, "a state")
    weight = kept.decoder.L_o.weight
    assert not torch.equal(weight, state["decoder.L_o.weight"])
    assert torch.equal(weight, state["average_decoder.model.L_o.weight"])


def test_a_fine_tuned_stage_learns_and_travels(
    config: Callable[..., Config], tmp_path: Path, photo: Path
) -> None:
    changes: dict[str, Any] = {
        "encoder": {"finetune_from": "conv_head"},
        "train": {"epochs": 1, "encoder_lr": 1e-3, "ema": 0.9},
        "data": {"mirror": True},
    }
    train(config(tmp_path / "whole", **changes))
    tuned = Captioner.from_pretrained(tmp_path / "whole", device="cpu", precision="fp32")
    delivered = build_encoder(name="efficientnet_lite0").state_dict()
    moved = {
        key.removeprefix("body.model.").partition(".")[0]
        for key, value in tuned.encoder.state_dict().items()
        if not torch.equal(value, delivered[key])
    }
    assert moved == {"conv_head", "bn2"}
    for key in ("running_mean", "running_var", "num_batches_tracked"):
        key = f"body.model.bn2.{key}"
        assert torch.equal(tuned.encoder.state_dict()[key], delivered[key])
    assert tuned.caption(photo).attention.shape[1:] == (2, 2)

    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path / "killed", **changes), Log(lambda *step: step == ("Training", 3)))
    train(config(tmp_path / "killed", **changes), resume=True)
    same_weights(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.parametrize("beside", [None, "blocks.4"])
def test_fine_tuning_from_the_cache_is_fine_tuning_from_pixels(
    beside: str | None,
    config: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes: dict[str, Any] = {
        "encoder": {"finetune_from": "conv_head", "beside": beside},
        "train": {"epochs": 1, "encoder_lr": 1e-3, "lr": 1e-3},
        "data": {"mirror": True, "crops": 1},
    }
    cached, decoded = Log(), Log()
    train(config(tmp_path / "cached", **changes), cached)
    monkeypatch.setattr(Encoder, "before", lambda *_: None)
    train(config(tmp_path / "decoded", **changes), decoded)
    assert any("before_conv_head" in message for message in cached.messages)
    assert not any("Writing" in message for message in decoded.messages)
    assert any("cannot be cut before conv_head" in message for message in decoded.messages)
    assert not any("cannot be cut" in message for message in cached.messages)
    assert cached.losses == pytest.approx(decoded.losses, abs=2e-3)


def test_a_stage_beside_the_last_one_travels(
    config: Callable[..., Config], tmp_path: Path, photo: Path
) -> None:
    for name, changes in (("frozen", {}), ("tuned", {"finetune_from": "conv_head"})):
        encoder = {"beside": "blocks.4", **changes}
        trainer = Trainer(config(tmp_path / name, encoder=encoder, train={"epochs": 1}))
        trainer.run()
        model = Captioner.from_pretrained(tmp_path / name, device="cpu", precision="fp32")
        assert model.encoder.fingerprint() == trainer.encoder.fingerprint()
        assert model.decoder.L_z.in_features == 1280 + 112
        assert model.caption(photo).attention.shape[1:] == (4, 4)
        model.resize(96)
        assert model.caption(photo).attention.shape[1:] == (6, 6)


def test_an_opened_encoder_waits_for_its_epoch(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    settings = {"epochs": 2, "encoder_lr": 1e-2, "finetune_after": 1, "validate_from": 2}
    delivered = build_encoder(name="efficientnet_lite0").fingerprint()
    trainer = Trainer(config(tmp_path, encoder={"finetune_from": "bn2"}, train=settings))
    trainer._train_epoch()
    assert trainer.encoder.fingerprint() == delivered
    trainer._end_epoch()
    trainer._train_epoch()
    assert trainer.encoder.fingerprint() != delivered


SELF_CRITICAL: dict[str, Any] = {
    "train": {"epochs": 3, "ema": 0.9, "patience": 0},
    "self_critical": {"epochs": 2, "lr": 1e-3, "samples": 16, "temperature": 0.7},
}


@pytest.fixture(scope="module")
def two_phases(
    config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], Log]:
    out, log = tmp_path_factory.mktemp("runs") / "phases", Log()
    return out, train(config(out, **SELF_CRITICAL), log), log


def test_self_critical_training_goes_on_from_the_best_model(
    two_phases: tuple[Path, dict[str, Any], Log],
) -> None:
    _, record, log = two_phases
    history = record["history"]
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4, 5]
    assert [entry["phase"] for entry in history] == ["cross-entropy"] * 3 + ["self-critical"] * 2
    assert history[4]["reward"] > history[3]["reward"] > 0
    assert history[4]["CIDEr"] > 2 * history[2]["CIDEr"]
    last = rate_share(2 * BATCHES - 1, 2 * BATCHES, warmup=0.05, schedule="cosine")
    assert history[4]["lr"] == pytest.approx(1e-3 * last)  # each phase has its own schedule
    assert all(0 <= entry["bad_endings"] <= 1 for entry in history)  # of validation captions
    assert all(0 <= entry["broken_samples"] <= 1 for entry in history[3:])
    assert any("self-critical" in message for message in log.messages)
    assert record["best"]["CIDEr"] == max(entry["CIDEr"] for entry in history)


@pytest.mark.parametrize(
    "done",
    [
        pytest.param(3 * BATCHES, marks=pytest.mark.slow),
        3 * BATCHES + 1,
        pytest.param(4 * BATCHES + 3, marks=pytest.mark.slow),
    ],
)
def test_a_kill_at_any_phase_and_a_resume_change_nothing(
    done: int,
    two_phases: tuple[Path, dict[str, Any], Log],
    config: Callable[..., Config],
    tmp_path: Path,
) -> None:
    whole, record, _ = two_phases
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path, **SELF_CRITICAL), Log(lambda *step: step == ("Training", done)))
    torch.manual_seed(12345)
    found = train(config(tmp_path, **SELF_CRITICAL), resume=True)
    assert without_times(found["history"]) == without_times(record["history"])
    same_weights(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_self_critical_training_does_not_exhaust_the_compiler(
    config: Callable[..., Config], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Sampling, searching and validating alternate with steps that record gradients."""
    torch.compiler.reset()
    log = Log()
    both = {
        "train": {"epochs": 1, "compile": True},
        "self_critical": {"epochs": 2, "lr": 1e-3, "samples": 3},
    }
    history = train(config(tmp_path, **both), log)["history"]
    assert [entry["phase"] for entry in history] == ["cross-entropy"] + ["self-critical"] * 2
    assert not [message for message in log.messages if "train.compile" in message]
    assert "recompile_limit" not in caplog.text


def test_a_kill_between_the_model_and_the_state_does_not_begin_a_phase_twice(
    two_phases: tuple[Path, dict[str, Any], Log],
    config: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, record, _ = two_phases
    settings = SELF_CRITICAL | {"train": SELF_CRITICAL["train"] | {"save_every": 60.0}}
    save = Trainer._save_state

    def dies(trainer: Trainer) -> None:
        if trainer.progress.epoch == 4:  # the first self-critical model has just been written
            raise KeyboardInterrupt
        save(trainer)

    monkeypatch.setattr(Trainer, "_save_state", dies)
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path, **settings))
    assert load(tmp_path).record["history"][-1]["phase"] == "self-critical"
    monkeypatch.undo()
    found = train(config(tmp_path, **settings), resume=True)
    assert without_times(found["history"]) == without_times(record["history"])
    same_weights(tmp_path, whole)


AVERAGED = SELF_CRITICAL | {
    "self_critical": SELF_CRITICAL["self_critical"] | {"epochs": 1, "runs": 2, "start_share": 0.3}
}


@pytest.fixture(scope="module")
def averaged(
    config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("runs") / "averaged"
    return out, train(config(out, **AVERAGED))


def test_self_critical_runs_begin_at_one_start_and_are_averaged(
    averaged: tuple[Path, dict[str, Any]],
) -> None:
    out, record = averaged
    phases = [entry["phase"] for entry in record["history"]]
    assert phases == ["cross-entropy"] * 3 + ["self-critical"] * 2 + ["average"]
    assert [entry["epoch"] for entry in record["history"]] == [1, 2, 3, 4, 5, 6]
    state, start, one, two = (
        load_tensors(out / f"{name}.safetensors", "weights")[0]
        for name in ("state", "start", "run_1", "run_2")
    )
    name = "decoder.L_h.weight"
    assert (one[name] - two[name]).abs().max() > 1e-5  # each is a run of its own
    mean = 0.3 * start[name] + 0.35 * (one[name] + two[name])
    torch.testing.assert_close(state["average_decoder.model.L_h.weight"], mean)


def test_without_self_critical_epochs_there_is_nothing_to_average(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    without = {"self_critical": AVERAGED["self_critical"] | {"epochs": 0}, "train": {"epochs": 1}}
    (entry,) = train(config(tmp_path, **without))["history"]
    assert entry["phase"] == "cross-entropy"


# In the second run; between the runs; in the validation of the average.
@pytest.mark.parametrize(
    "at",
    [
        pytest.param(("Training", 4 * BATCHES + 2), marks=pytest.mark.slow),
        ("Training", 4 * BATCHES + 1),
        pytest.param(("Validation", 6), marks=pytest.mark.slow),
    ],
)
def test_a_kill_among_the_runs_and_a_resume_change_nothing(
    at: tuple[str, int],
    averaged: tuple[Path, dict[str, Any]],
    config: Callable[..., Config],
    tmp_path: Path,
) -> None:
    whole, record = averaged
    validations = 0

    def stop(name: str, done: int) -> bool:
        nonlocal validations
        validations += (name, done) == ("Validation", 1)
        return (name, validations) == at or (name, done) == at

    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path, **AVERAGED), Log(stop))
    torch.manual_seed(54321)
    found = train(config(tmp_path, **AVERAGED), resume=True)
    assert without_times(found["history"]) == without_times(record["history"])
    same_weights(tmp_path, whole)
    # A run that is over stays as it is.
    again = train(config(tmp_path, **AVERAGED), resume=True)
    assert without_times(again["history"]) == without_times(record["history"])


def test_runs_from_a_model_begin_at_it(
    run: tuple[Path, dict[str, Any], Log], config: Callable[..., Config], tmp_path: Path
) -> None:
    settings = config(
        tmp_path,
        train={"init_from": str(run[0]), "epochs": 0},
        self_critical={"epochs": 1, "lr": 0.0, "runs": 2, "temperature": 0.7},
    )
    history = train(settings)["history"]
    assert [entry["phase"] for entry in history] == ["self-critical"] * 2 + ["average"]
    losses = [entry["val_loss"] for entry in history]  # sharpened once: nothing else moved
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)


def test_rare_words_are_favoured_last_and_once(
    run: tuple[Path, dict[str, Any], Log],
    config: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {"train": {"rare_words": 0.4}}
    save = Trainer._save_state

    def dies(trainer: Trainer) -> None:
        if trainer.progress.history and trainer.progress.history[-1]["phase"] == "adjusted":
            raise KeyboardInterrupt
        save(trainer)

    monkeypatch.setattr(Trainer, "_save_state", dies)
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path, **settings))
    monkeypatch.undo()
    for _ in range(2):  # it goes on, and when it is over it stays so
        record = train(config(tmp_path, **settings), resume=True)
        assert [entry["phase"] for entry in record["history"]].count("adjusted") == 1
        assert record["best"]["epoch"] == record["history"][-1]["epoch"] == EPOCHS + 1

    before, after = load(run[0]), load(tmp_path)
    moved = after.weights["decoder.L_o.bias"] - before.weights["decoder.L_o.bias"]
    lines = [r.captions for r in Trainer(config(tmp_path / "x")).train_loader.records]
    tokens = [word for captions in lines for text in captions for word in tokenize(text)]
    counts = Counter(tokens)
    total = len(tokens) + sum(map(len, lines)) + 3  # with <end>, and three specials never seen
    for number, word in enumerate(before.vocabulary, 4):
        assert moved[number] == pytest.approx(-0.4 * math.log(counts[word] / total), abs=1e-4)
    same = [key for key in before.weights if key != "decoder.L_o.bias"]
    assert all(torch.equal(after.weights[key], before.weights[key]) for key in same)


def test_a_run_starts_from_a_model(
    run: tuple[Path, dict[str, Any], Log], config: Callable[..., Config], tmp_path: Path
) -> None:
    out, record, _ = run
    start = {"init_from": str(out), "epochs": 1, "lr": 0.0}
    again = train(config(tmp_path / "again", train=start))
    kept = record["history"][record["best"]["epoch"] - 1]
    assert again["history"][0]["val_loss"] == pytest.approx(kept["val_loss"], rel=1e-5)
    # Without an epoch of cross-entropy it is self-critical from the first step.
    critical = {"epochs": 1, "lr": 1e-3}
    settings = config(tmp_path / "on", train=start | {"epochs": 0}, self_critical=critical)
    assert [entry["phase"] for entry in train(settings)["history"]] == ["self-critical"]


def test_words_that_the_model_lacks_are_added(
    toy: Path, config: Callable[..., Config], tmp_path: Path
) -> None:
    few = {"data": {"min_count": 12}, "train": {"epochs": 1}}
    train(config(tmp_path / "few", **few))
    small = Captioner.from_pretrained(tmp_path / "few", device="cpu", precision="fp32")
    grown = Trainer(config(tmp_path / "on", train={"init_from": str(tmp_path / "few")}))
    alone = Trainer(config(tmp_path / "alone"))
    assert set(grown.setup.vocabulary.words) == set(alone.setup.vocabulary.words)
    known = len(small.vocabulary)
    assert 4 < known < len(grown.setup.vocabulary)
    assert grown.setup.vocabulary.words[: known - 4] == small.vocabulary.words
    for name in ("embedding.weight", "L_o.weight"):
        theirs, ours = small.decoder.state_dict()[name], grown.decoder.state_dict()[name]
        assert torch.equal(ours[:known], theirs)
        torch.testing.assert_close(ours[known], theirs[4:].mean(0))
    bias = grown.decoder.L_o.bias
    assert torch.equal(bias[known:], bias[4:known].min().expand(len(bias) - known))
    # The other way round nothing is lost: the model keeps words that this data set lacks.
    train(config(tmp_path / "all", train={"epochs": 1}))
    again = Trainer(
        config(
            tmp_path / "less", data={"min_count": 12}, train={"init_from": str(tmp_path / "all")}
        )
    )
    assert again.setup.vocabulary == alone.setup.vocabulary


def test_an_encoder_that_was_tuned_is_carried_on(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    tuned = {"encoder": {"finetune_from": "bn2"}, "train": {"epochs": 1, "encoder_lr": 1e-2}}
    train(config(tmp_path / "tuned", **tuned))
    start = {"init_from": str(tmp_path / "tuned"), "epochs": 1}
    train(config(tmp_path / "on", encoder={"size": 96}, train=start))  # the size may be another
    one, other = (
        Captioner.from_pretrained(tmp_path / name, device="cpu", precision="fp32")
        for name in ("tuned", "on")
    )
    assert one.encoder.fingerprint() == other.encoder.fingerprint()
    assert one.encoder.fingerprint() != build_encoder(name="efficientnet_lite0").fingerprint()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": {"beside": "blocks.4"}}, r"init_from.*beside None, the config blocks\.4"),
        ({"encoder": {"fit": "crop"}}, r"init_from.*encoder\.fit squash, the config crop"),
        (
            {"decoder": {"hidden_dim": 16}},
            r"init_from: \S+ has decoder\.hidden_dim 32, the config 16; they must be the same$",
        ),
        (
            {"decoder": {"embedding_dim": 24, "attention_dim": 16, "projection_dim": 8}},
            r"has decoder\.embedding_dim 32, the config 24; decoder\.attention_dim 32, the config "
            r"16; decoder\.projection_dim 0, the config 8; they must be the same$",
        ),
        (
            {"decoder": {"attend_with": "current"}},
            r"init_from.*decoder\.attend_with previous, the config current",
        ),
        ({"decoder": {"gate": "none"}}, r"init_from.*decoder\.gate scalar, the config none"),
        ({"train": {"epochs": 0}}, r"train\.epochs and self_critical\.epochs are 0"),
    ],
)
def test_a_model_that_does_not_fit_is_no_start(
    changes: dict[str, Any],
    message: str,
    run: tuple[Path, dict[str, Any], Log],
    config: Callable[..., Config],
    tmp_path: Path,
) -> None:
    """It is told before features are computed, which may take hours."""
    train = changes.get("train", {}) | {"init_from": str(run[0])}
    with pytest.raises(ConfigError, match=message) as caught:
        Trainer(config(tmp_path, **changes | {"train": train, "data": {"cache": str(tmp_path)}}))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_start_of_a_decoder_that_differs_otherwise_is_refused(
    run: tuple[Path, dict[str, Any], Log], config: Callable[..., Config]
) -> None:
    source = Captioner.from_pretrained(run[0], device="cpu", precision="fp32")
    size = source.encoder.dim
    decoder = build_decoder(
        config(run[0]).decoder, vocabulary_size=len(source.vocabulary), feature_dim=size + 1
    )
    message = rf"RUN has an encoder with features of size {size}, the config {size + 1}; they must"
    with pytest.raises(ConfigError, match=message):
        take_decoder(source, decoder, "RUN")
    decoder = deepcopy(source.decoder)
    decoder.new = torch.nn.Linear(1, 1)
    with pytest.raises(ConfigError, match=r"RUN has another decoder than the config \(.*new"):
        take_decoder(source, decoder, "RUN")


def test_resuming_with_another_model_to_start_from_is_refused(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    """Its encoder is not in the state of a run that leaves it frozen."""
    for name, rate in (("one", 1e-2), ("other", 2e-2)):
        tuned = {"encoder": {"finetune_from": "bn2"}, "train": {"epochs": 1, "encoder_lr": rate}}
        train(config(tmp_path / name, **tuned))
    start = {"init_from": str(tmp_path / "one"), "epochs": 1}
    train(config(tmp_path / "on", train=start))
    shutil.copy(tmp_path / "other" / FILE_NAME, tmp_path / "one" / FILE_NAME)
    with pytest.raises(CheckpointError, match="encoder's weights was"):
        train(config(tmp_path / "on", train=start), resume=True)


def test_a_run_that_diverges_stops_and_keeps_no_such_model(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    wild = {"lr": 1e9, "clip_norm": 0.0, "warmup": 0.0}
    with pytest.raises(UserError, match=r"diverged \(.* is (nan|inf) in epoch 1, batch \d+\); "):
        train(config(tmp_path, train=wild))
    assert not (tmp_path / FILE_NAME).exists()


def test_self_critical_training_that_diverges_stops_too(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    wild = {
        "train": {"epochs": 1, "clip_norm": 0.0, "warmup": 0.0},
        "self_critical": {"epochs": 1, "lr": 1e9},
    }
    with pytest.raises(UserError, match=r"diverged \(.* is (nan|inf) in epoch 2, batch \d+\); "):
        train(config(tmp_path, **wild))
    assert load(tmp_path).record["history"][-1]["epoch"] == 1


def test_a_start_that_was_sharpened_and_adjusted_is_told_of(
    run: tuple[Path, dict[str, Any], Log], config: Callable[..., Config], tmp_path: Path
) -> None:
    changes: dict[str, Any] = {
        "train": {"epochs": 0, "init_from": str(run[0]), "rare_words": 0.2},
        "self_critical": {"epochs": 1, "lr": 0.0, "temperature": 0.7},
    }
    train(config(tmp_path / "once", **changes), once := Log())
    assert not any(message.startswith(f"warning: {run[0]}") for message in once.messages)
    changes["train"]["init_from"] = str(tmp_path / "once")
    Trainer(config(tmp_path / "again", **changes), again := Log())
    warnings = [m for m in again.messages if m.startswith(f"warning: {tmp_path / 'once'} ")]
    assert "temperature (0.7) again; 1 leaves" in warnings[0]
    assert "rare_words (0.2) is added to that" in warnings[1]
    changes["train"]["rare_words"] = changes["self_critical"]["epochs"] = 0
    changes["train"]["epochs"] = 1
    Trainer(config(tmp_path / "other", **changes), other := Log())
    assert not any(message.startswith("warning") for message in other.messages)


def test_an_image_without_a_word_is_named_before_features_are_computed(
    copied: Path, config: Callable[..., Config], tmp_path: Path
) -> None:
    first, *others = copied.read_text().splitlines()
    copied.write_text("\n".join([json.dumps(json.loads(first) | {"captions": ["!"]}), *others]))
    cache = tmp_path / "cache"
    with pytest.raises(DataError, match="its captions have no words"):
        Trainer(config(tmp_path, data={"path": str(copied), "cache": str(cache)}))
    assert not cache.exists()


def test_no_patience_with_a_run_that_does_not_improve(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    settings = {"epochs": 9, "lr": 0.0, "patience": 1, "validate_from": 2}
    record = train(config(tmp_path, train=settings))
    assert "CIDEr" not in record["history"][0]
    assert record["best"]["epoch"] == 2
    assert len(record["history"]) == 3


def test_a_run_that_patience_ended_and_rare_words_adjusted_is_over(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    """Though the adjusted model is the best from there on, and its CIDEr may be low."""
    settings = config(
        tmp_path, train={"epochs": 9, "lr": 0.0, "patience": 1, "rare_words": 0.5, "ema": 0.0}
    )
    record = train(settings)
    assert [entry["phase"] for entry in record["history"]] == ["cross-entropy"] * 2 + ["adjusted"]
    weights, log = load(tmp_path).weights, Log()
    assert train(settings, log, resume=True)["history"] == record["history"]
    assert any(message.startswith("The run is already finished") for message in log.messages)
    for key, value in load(tmp_path).weights.items():
        assert torch.equal(value, weights[key])


def test_the_last_epoch_is_always_scored(config: Callable[..., Config], tmp_path: Path) -> None:
    record = train(config(tmp_path, train={"epochs": 2, "validate_from": 9}))
    assert record["best"]["epoch"] == 2
    assert "CIDEr" not in record["history"][0]


def test_where_cider_stands_still_the_lower_loss_is_kept(
    config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter((3.0, 2.0, 2.5))
    monkeypatch.setattr(
        Trainer,
        "validate",
        lambda _: {"val_loss": next(losses), "BLEU-4": 0.0, "CIDEr": 0.0},
    )
    assert train(config(tmp_path))["best"]["epoch"] == 2


def test_resuming_with_other_data_is_refused(
    config: Callable[..., Config], toy: Path, tmp_path: Path
) -> None:
    data = tmp_path / "dataset.jsonl"
    lines = toy.read_text().splitlines()
    absolute = [line.replace('"image": "', f'"image": "{toy.parent}/') for line in lines]
    data.write_text("\n".join(absolute))
    settings = config(tmp_path / "run", data={"path": str(data)}, train={"epochs": 1})
    train(settings)
    data.write_text("\n".join(absolute[1:]))
    with pytest.raises(CheckpointError, match="data set was"):
        train(settings, resume=True)


def test_fewer_images_are_a_seeded_choice(config: Callable[..., Config], tmp_path: Path) -> None:
    def chosen(seed: int) -> list[Any]:
        few = config(tmp_path, data={"train_images": 9, "val_images": 3}, train={"seed": seed})
        trainer = Trainer(few)
        assert len(trainer.val_loader.records) == 3
        return [record.image_id for record in trainer.train_loader.records]

    assert len(chosen(0)) == 9
    assert chosen(0) == chosen(0) != chosen(1)


# What a user gets wrong ------------------------------------------------------------------------


@pytest.fixture
def copied(toy: Path, tmp_path: Path) -> Path:
    """A data set of one's own to damage."""
    shutil.copytree(toy.parent / "images", tmp_path / "images")
    shutil.copy(toy, tmp_path / toy.name)
    return tmp_path / toy.name


@pytest.mark.parametrize("stage", [None, "conv_head"])
def test_missing_images_are_listed_and_skipped(
    stage: str | None, copied: Path, config: Callable[..., Config], tmp_path: Path
) -> None:
    first, *_ = sorted((tmp_path / "images").iterdir())
    first.unlink()
    log = Log()
    own = {"path": str(copied), "cache": str(tmp_path / "cache")}
    trainer = Trainer(config(tmp_path, data=own, encoder={"finetune_from": stage}), log)
    assert len(trainer.train_loader.records) == 39
    assert [text for text in log.messages if "skipped" in text] == [
        f"skipped: {first}: no such file"
    ]


def test_a_broken_image_stops_fine_tuning_with_one_line(
    copied: Path, config: Callable[..., Config], tmp_path: Path
) -> None:
    first, *_ = sorted((tmp_path / "images").iterdir())
    first.write_bytes(first.read_bytes()[:300])
    own = config(
        tmp_path / "run", data={"path": str(copied)}, encoder={"finetune_from": "conv_stem"}
    )
    with pytest.raises(DataError, match=f"{first.name}.*`showattend prepare`") as caught:
        train(own)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_empty_split_is_refused_before_features_are_computed(
    split: str, copied: Path, config: Callable[..., Config], tmp_path: Path
) -> None:
    lines = [line for line in copied.read_text().splitlines() if f'"{split}"' not in line]
    copied.write_text("\n".join(lines) + "\n")
    log = Log()
    with pytest.raises(DataError, match="training needs both"):
        Trainer(config(tmp_path, data={"path": str(copied)}), log)
    assert log.messages == []


def test_a_data_set_without_a_readable_image_is_refused(
    copied: Path, config: Callable[..., Config], tmp_path: Path
) -> None:
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"")
    own = {"path": str(copied), "cache": str(tmp_path / "cache")}
    with pytest.raises(DataError, match="0 training and 0 validation images"):
        Trainer(config(tmp_path, data=own))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("train", "batch_size", 0),
        ("train", "epochs", 0),
        ("self_critical", "epochs", -1),
        ("self_critical", "samples", 1),
        ("self_critical", "temperature", 0.0),
        ("train", "schedule", "linear"),
        ("train", "warmup", 1.5),
        ("train", "lr", -1.0),
        ("train", "lr", float("nan")),
        ("train", "lr", float("inf")),
        ("train", "seed", -1),
        ("train", "seed", 10**20),
        ("train", "save_every", float("nan")),
        ("data", "train_images", -5),
        ("data", "crops", -1),
        ("data", "crop_area", 0.0),
        ("train", "finetune_after", -1),
        ("train", "validate_beam", 0),
        ("decoder", "gate", "both"),
        ("decoder", "dropout", 1.0),
        ("decoder", "hidden_dim", 0),
        ("decoder", "projection_dim", -1),
        ("encoder", "size", 0),
        ("search", "max_length", 0),
    ],
)
def test_values_that_mean_nothing_are_refused_at_once(
    section: str, key: str, value: Any, config: Callable[..., Config], tmp_path: Path
) -> None:
    def build() -> None:  # some are refused as the config is read, the others before the data is
        wrong = config(tmp_path, **{section: {key: value}})
        Trainer(replace(wrong, data=replace(wrong.data, path="nowhere")))

    with pytest.raises(ConfigError, match=key):
        build()


def test_an_encoder_that_waits_for_ever_is_told_of(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    for waits in (2, 1):
        log = Log()
        settings = {"epochs": 2, "finetune_after": waits}
        Trainer(config(tmp_path, encoder={"finetune_from": "bn2"}, train=settings), log)
        told = any("finetune_after is 2, of 2 epochs" in message for message in log.messages)
        assert told == (waits == 2)


def test_without_a_data_set_it_says_what_to_give(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"data\.path is not set: give"):
        Trainer(config(tmp_path, data={"path": ""}))
