"""Every kind of decoder through everything that a model goes through, on drawn shapes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from showattend.captioner import Captioner
from showattend.config import Config
from showattend.data.readers import read_dataset
from showattend.data.toy import write_toy
from showattend.exceptions import ConfigError
from showattend.export.engine import OnnxCaptioner
from showattend.export.folder import export
from showattend.model.checkpoint import find_model
from showattend.model.decoders import DECODERS
from showattend.model.description import describe
from showattend.training.check import check
from showattend.training.start import fit_temperature
from showattend.training.trainer import Trainer, train
from tests.tinyrun import tiny_run

from .test_trainer import BATCHES, Log, same_weights, without_times

BLOCKS = {
    "embedding_dim": 512, "attention_dim": 512,  # defaults: the kinds do not use them
    "hidden_dim": 32, "layers": 2, "heads": 2, "feedforward_dim": 48, "sublayer_dropout": 0.1,
}  # fmt: skip
OVER_GRID = {"size": 64, "self_attention": 2, "self_attention_dim": 32, "self_attention_heads": 2}
KINDS: dict[str, dict[str, Any]] = {
    "luong": {"decoder": {"kind": "luong"}},
    "updown": {"decoder": {"kind": "updown"}},
    "transformer": {"decoder": {"kind": "transformer", **BLOCKS}},
    "masked": {"decoder": {"kind": "masked", **BLOCKS}},
    "lstm over a refined grid": {"decoder": {"kind": "lstm"}, "encoder": OVER_GRID},
    "masked over a refined grid": {"decoder": {"kind": "masked", **BLOCKS}, "encoder": OVER_GRID},
}
KINDS |= {
    f"{kind} over a refined grid": {**KINDS[kind], "encoder": OVER_GRID}
    for kind in ("luong", "updown", "transformer")
}
SLOW = list(KINDS)[-4:]  # over a refined grid, all but the LSTM
EVERY = [pytest.param(kind, marks=pytest.mark.slow if kind in SLOW else ()) for kind in KINDS]
Make = Callable[..., Config]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy") / "data", images=48, size=64)


@pytest.fixture(scope="module")
def config(toy: Path) -> Make:
    """A tiny run of a kind: every phase that the kind can have."""

    def make(kind: str, out: Path, **sections: dict[str, Any]) -> Config:
        values = {key: dict(each) for key, each in KINDS[kind].items()}
        values["train"] = {"epochs": 2, "lr": 3e-3, "ema": 0.9, "rare_words": 0.1}
        if "masked" not in kind:
            values["self_critical"] = {"epochs": 1, "max_length": 8, "lr": 1e-4}
        for section, changes in sections.items():
            values[section] = values.get(section, {}) | changes
        return tiny_run(toy, out, **values)

    return make


@pytest.fixture(scope="module")
def runs(config: Make, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """A run of each kind that nothing disturbed: its folder, its record, its log."""
    folder, done = tmp_path_factory.mktemp("runs"), {}

    def run(kind: str) -> tuple[Path, dict[str, Any], Log]:
        if kind not in done:
            out, log = folder / kind.replace(" ", "-"), Log()
            done[kind] = out, train(config(kind, out), log), log
        return done[kind]

    return run


@pytest.fixture
def photos(toy: Path) -> list[str]:
    return [str(record.path) for record in list(read_dataset(toy))[:5]]


def test_every_kind_is_here() -> None:
    assert {each["decoder"]["kind"] for each in KINDS.values()} == set(DECODERS)


@pytest.mark.parametrize("kind", EVERY)
def test_it_learns_in_every_phase(kind: str, runs: Callable[[str], Any]) -> None:
    _, record, log = runs(kind)
    phases = [entry["phase"] for entry in record["history"]]
    rewarded = [] if "masked" in kind else ["self-critical"]
    assert phases == ["cross-entropy", "cross-entropy", *rewarded, "adjusted"]
    losses = [entry["val_loss"] for entry in record["history"][:2]]
    assert losses == sorted(losses, reverse=True)
    first, last = log.losses[0], log.losses[2 * BATCHES - 1]
    assert last < first - 0.3


@pytest.mark.parametrize("kind", EVERY)
def test_a_kill_and_a_resume_change_nothing(
    kind: str, runs: Callable[[str], Any], config: Make, tmp_path: Path
) -> None:
    out, record, _ = runs(kind)
    again = config(kind, tmp_path / "killed")
    # In the self-critical phase, where there is one; else in the second epoch.
    at = 2 * BATCHES + 3 if "masked" not in kind else BATCHES + 3
    with pytest.raises(KeyboardInterrupt):
        train(again, Log(lambda name, done: name == "Training" and done == at))
    resumed = train(again, resume=True)
    assert without_times(resumed["history"]) == without_times(record["history"])
    same_weights(out, tmp_path / "killed")


@pytest.mark.parametrize("kind", EVERY)
def test_a_model_captions_as_it_did_and_says_what_it_is(
    kind: str, runs: Callable[[str], Any], photos: list[str], tmp_path: Path
) -> None:
    from showattend.model.checkpoint import save

    out, _, _ = runs(kind)
    captioner = Captioner.from_pretrained(out)
    before = captioner.caption(photos, n_best=3)
    again = Captioner.from_pretrained(save(tmp_path / "again", captioner.to_checkpoint()))
    for one, other in zip(before, again.caption(photos, n_best=3), strict=True):
        assert (one.words, one.score) == (other.words, other.score)
        np.testing.assert_array_equal(one.attention, other.attention)
        np.testing.assert_allclose(one.attention.sum((1, 2)), 1, atol=1e-5)
    lines = describe(find_model(out))
    assert ("LSTM" if "lstm" in kind else kind.split()[0]) in lines
    # Given sentences have the scores that search gave them, and so have parts of a batch.
    best = before[0]
    forced = captioner.attend(photos[0], best.words)
    count = len(best.log_probs)
    assert forced.log_probs[:count] == pytest.approx(best.log_probs, abs=1e-4)
    np.testing.assert_allclose(forced.attention, best.attention, atol=1e-4)
    alone = captioner.caption(photos[0])
    assert alone.words == best.words
    drawn = captioner.sample(photos[0], samples=3, seed=1)
    assert drawn.words == captioner.sample(photos[0], samples=3, seed=1).words
    for suffix in (".png", ".json", ".html"):
        best.save_overlay(tmp_path / f"figure{suffix}")
        assert (tmp_path / f"figure{suffix}").stat().st_size > 300


@pytest.mark.parametrize("kind", EVERY)
def test_it_looks_at_other_sizes(kind: str, runs: Callable[[str], Any], photos: list[str]) -> None:
    captioner = Captioner.from_pretrained(runs(kind)[0], size=128)
    assert captioner.caption(photos[0]).attention.shape[1:] == (4, 4)


@pytest.mark.parametrize("kind", EVERY)
def test_gaps_are_filled(kind: str, runs: Callable[[str], Any], photos: list[str]) -> None:
    captioner = Captioner.from_pretrained(runs(kind)[0])
    caption = captioner.fill(photos[0], "a ___ circle above a ___", candidates=3)
    assert len(caption.words) == len(caption.attention) == 6
    assert [gap.place for gap in caption.gaps] == [1, 5]
    assert caption.words[2:5] == ("circle", "above", "a")
    for gap in caption.gaps:
        shares = [share for _, share in gap.candidates]
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1 + 1e-6
        assert all(word in captioner.vocabulary for word, _ in gap.candidates)


@pytest.mark.parametrize("kind", EVERY)
def test_it_goes_on_from_a_model(
    kind: str, runs: Callable[[str], Any], config: Make, tmp_path: Path
) -> None:
    out, record, _ = runs(kind)
    plain = {"rare_words": 0.0, "epochs": 1, "init_from": str(out)}
    rest = {"epochs": 0}
    trainer = Trainer(config(kind, tmp_path / "on", train=plain, self_critical=rest))
    kept = next(each for each in record["history"] if each["epoch"] == record["best"]["epoch"])
    assert trainer.validate()["val_loss"] == pytest.approx(kept["val_loss"], abs=1e-4)


@pytest.mark.parametrize("kind", EVERY)
def test_bf16_trains_as_fp32_does(kind: str, config: Make, tmp_path: Path) -> None:
    short = {"epochs": 1, "rare_words": 0.0, "ema": 0.0}
    losses = {}
    for precision in ("fp32", "bf16"):
        log = Log()
        given = short | {"precision": precision}
        train(config(kind, tmp_path / precision, train=given, self_critical={"epochs": 0}), log)
        losses[precision] = log.losses
    # The first loss is of the same weights, and of the same random numbers.
    assert losses["bf16"][0] == pytest.approx(losses["fp32"][0], rel=0.02)
    assert losses["bf16"][-1] < losses["bf16"][0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "refined" in kind])
def test_its_export_says_the_same(
    kind: str, runs: Callable[[str], Any], photos: list[str], tmp_path: Path
) -> None:
    """The kinds without a refined grid are exported in tests/test_family.py."""
    captioner = Captioner.from_pretrained(runs(kind)[0], device="cpu", precision="fp32")
    export(captioner, tmp_path / "onnx")
    exported = OnnxCaptioner(tmp_path / "onnx")
    for options in ({}, {"beam_size": 1}, {"beam_size": 5, "max_length": 7}):
        found = [caption for _, caption in exported.stream(photos, **options)]
        for one, other in zip(captioner.caption(photos, **options), found, strict=True):
            assert one.words == other.words
            np.testing.assert_allclose(one.log_probs, other.log_probs, atol=1e-4)
            np.testing.assert_allclose(one.attention, other.attention, atol=1e-4)


@pytest.mark.parametrize("kind", EVERY)
def test_a_temperature_can_be_fitted(kind: str, runs: Callable[[str], Any], toy: Path) -> None:
    captioner = Captioner.from_pretrained(runs(kind)[0])
    assert 0.25 <= fit_temperature(captioner, list(read_dataset(toy))[:4]) <= 8


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"decoder": {"layers": 2}}, "decoder.layers is 2, which decoder.kind lstm does not take"),
        (
            {"decoder": {"kind": "transformer", **BLOCKS, "gate": "vector"}},
            "decoder.gate is 'vector', which decoder.kind transformer does not take; leave it out, "
            "or use one of lstm",
        ),
        (
            {"decoder": {"kind": "masked", **BLOCKS}, "attention": {"kind": "dot"}},
            "attention.kind is 'dot', which decoder.kind masked does not take",
        ),
        ({"decoder": {"kind": "transformer", **BLOCKS, "heads": 5}}, "multiple of 4 and of"),
        ({"decoder": {"kind": "transformer", **BLOCKS, "layers": 0}}, "decoder.layers is 0"),
        ({"encoder": OVER_GRID | {"self_attention_heads": 3}}, "encoder.self_attention_dim is 32"),
        ({"encoder": OVER_GRID | {"self_attention": 0}}, "encoder.self_attention is 0"),
        ({"encoder": {"self_attention": -1}}, "encoder.self_attention is -1"),
        (
            {"decoder": {"kind": "masked", **BLOCKS}, "self_critical": {"epochs": 1}},
            "self_critical.epochs with decoder.kind masked",
        ),
        ({"decoder": {"kind": "luong"}, "train": {"compile": True}}, "only the step of lstm"),
        *[
            ({"attention": attention, "decoder": decoder, "train": {"compile": True}}, message)
            for attention, decoder, message in (
                (
                    {"kind": "dot"},
                    {},
                    "train.compile with attention.kind dot.*: only the fast step",
                ),
                ({"mode": "hard"}, {}, "train.compile with .*attention.mode hard.*: only the fast"),
                (
                    {"sentinel": True},
                    {"attend_with": "current", "gate": "none"},
                    "train.compile with .*attention.sentinel True.*: only the fast",
                ),
            )
        ],
        ({"decoder": {"kind": "gru"}}, "lstm, luong, transformer, masked, updown"),
    ],
)
def test_what_does_not_go_together_is_refused(
    sections: dict[str, dict[str, Any]], message: str, toy: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        check(tiny_run(toy, tmp_path, **sections))


@pytest.mark.parametrize("encoder", [{}, OVER_GRID])
def test_what_has_a_compiled_step_may_be_compiled(
    encoder: dict[str, Any], toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else is set, and in plain code too, which trains without it and says so."""
    given = {"attention": {"mode": "soft"}, "encoder": encoder, "train": {"compile": True}}
    check(tiny_run(toy, tmp_path, **given))
    monkeypatch.setenv("SHOWATTEND_PLAIN", "1")
    check(tiny_run(toy, tmp_path, **given))


def test_a_refined_model_does_not_start_a_plain_one(
    runs: Callable[[str], Any], config: Make, tmp_path: Path
) -> None:
    out, _, _ = runs("lstm over a refined grid")
    plain = {"self_attention": 0, "self_attention_dim": 512, "self_attention_heads": 8}
    given = config(
        "lstm over a refined grid", tmp_path / "on", encoder=plain, train={"init_from": str(out)}
    )
    with pytest.raises(ConfigError, match="must be the same"):
        Trainer(given)


def test_the_maps_over_the_grid_can_be_had(runs: Callable[[str], Any], photos: list[str]) -> None:
    captioner = Captioner.from_pretrained(runs("lstm over a refined grid")[0])
    maps = captioner.self_attention(photos[0]).grid
    assert maps is not None
    assert maps.shape == (2, 2, 4, 4)  # layers, heads, each of 2 x 2 cells to every cell
    np.testing.assert_allclose(maps.sum(-1), 1, atol=1e-5)
    assert torch.is_grad_enabled()
