"""Every attention with every decoder: what makes sense trains, decodes, saves, loads, exports and
draws; what does not is refused when the config is checked, with the reason.

The combinations are those of the registries, so that a new kind is tested when it is registered.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from showattend.captioner import Captioner
from showattend.config import Config
from showattend.data.toy import write_toy
from showattend.exceptions import ConfigError
from showattend.export import graphs
from showattend.export.engine import OnnxCaptioner
from showattend.export.folder import export
from showattend.model.attention import ATTENTIONS
from showattend.model.checkpoint import load_tensors
from showattend.model.decoders import DECODERS
from showattend.model.description import describe
from showattend.model.kinds import options_of
from showattend.training.check import check
from showattend.training.reporter import Silent
from showattend.training.state import FILE_NAME as STATE_NAME
from showattend.training.trainer import train
from tests.tinyrun import tiny_run

Sections = dict[str, dict[str, Any]]


BLOCKS = ("transformer", "masked")  # with attention of their own: no other goes with them
OWN: dict[str, Any] = {
    "embedding_dim": 512, "attention_dim": 512, "projection_dim": 0,  # defaults: not used
    "hidden_dim": 32, "layers": 2, "heads": 2, "feedforward_dim": 48,
}  # fmt: skip


OVER_GRID = {"self_attention": 2, "self_attention_dim": 32, "self_attention_heads": 2}


def sections(decoder: str, kind: str, mode: str, sentinel: bool, refined: bool = False) -> Sections:
    """A config's attention, decoder and encoder sections; a sentinel needs what it needs."""
    with_sentinel = {"attend_with": "current", "gate": "none"} if sentinel else {}
    more = with_sentinel if decoder == "lstm" else OWN if decoder in BLOCKS else {}
    return {
        "attention": {"kind": kind, "mode": mode, "sentinel": sentinel},
        "decoder": {"kind": decoder, **more},
        "encoder": {"size": 64, **(OVER_GRID if refined else {})},
    }


EVERY = list(itertools.product(DECODERS, ATTENTIONS, ("soft", "hard"), (False, True)))


def makes_sense(decoder: str, kind: str, mode: str, sentinel: bool) -> bool:
    """Sampling and a sentinel are for one softmax over contents, and not for both at once."""
    if decoder in BLOCKS:
        return (kind, mode, sentinel) == ("additive", "soft", False)  # the defaults
    uses = options_of(ATTENTIONS[kind])
    if mode == "hard" and ("mode" not in uses or sentinel):
        return False
    return "sentinel" in uses or not sentinel


SCORES = ("dot", "general", "location", "scaled_dot")
"""These differ from additive attention in the score alone, which tests/model/attention covers."""


def is_quick(decoder: str, kind: str, mode: str, sentinel: bool) -> bool:
    """One of everything; the products of it are slow."""
    if decoder != "lstm":
        return (kind, mode, sentinel) == ("additive", "soft", False)
    return kind == "additive" or (mode == "soft" and not sentinel and kind not in SCORES)


def is_refined(decoder: str, kind: str, mode: str, sentinel: bool) -> bool:
    """Whether it is also tried with self-attention over the grid: the LSTM with all, then each."""
    return decoder == "lstm" or (kind, mode, sentinel) == ("additive", "soft", False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"), images=24, size=64)


@pytest.mark.parametrize(
    ("combination", "refined"),
    [
        pytest.param(
            each,
            refined,
            id="-".join(map(str, each)) + ("-refined" if refined else ""),
            marks=() if is_quick(*each) and not refined else pytest.mark.slow,
        )
        for each in EVERY
        if makes_sense(*each)
        for refined in (False, True)
        if is_refined(*each) or not refined
    ],
)
def test_what_makes_sense_works(
    combination: tuple[str, str, str, bool],
    refined: bool,
    data: Path,
    encoder_once: Callable[..., None],
    photos: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graphs, "write_graph", encoder_once)
    given = sections(*combination, refined)
    run = tmp_path / "run"
    config = config_of(data, run, given)
    record = train(config)
    entry = record["history"][-1]
    assert np.isfinite(entry["loss"])
    assert entry["loss"] < np.log(record["data"]["vocabulary"])  # it has learned something
    if combination[2] == "hard":
        assert entry["estimator_second_moment"] > 0
        assert entry["estimator_variance"] >= 0  # zero unless a step has two captions
    if combination[1] == "multi_hop":
        assert entry["hop_overlap"] > 0

    captioner = Captioner.from_pretrained(run, device="cpu", precision="fp32")
    section = captioner.config["attention"]
    assert {**given["attention"], **section} == given["attention"]  # no more than was asked for
    assert combination[1] in describe(run / "model.safetensors") or combination[1] == "additive"
    found = captioner.caption(photos[0], beam_size=3, n_best=3, min_length=2)
    np.testing.assert_allclose(found.attention.sum((1, 2)), 1, atol=1e-4)
    names = captioner.decoder.part_names
    assert (found.parts is not None) == bool(names)
    assert (found.sentinel is not None) == combination[3]
    forced = captioner.attend(photos[0], found.words)
    assert forced.score == pytest.approx(found.score, abs=1e-4)
    np.testing.assert_allclose(forced.attention, found.attention, atol=1e-4)
    assert captioner.sample(photos[0], seed=0, samples=2).words is not None

    export(captioner, tmp_path / "exported")
    ((_, again),) = OnnxCaptioner(tmp_path / "exported").stream(
        [photos[0]], beam_size=3, n_best=3, min_length=2
    )
    assert again.words == found.words
    assert again.part_names == found.part_names
    for name in ("attention", "betas", "parts", "sentinel"):
        mine, theirs = getattr(again, name), getattr(found, name)
        assert (mine is None) == (theirs is None), name
        if mine is not None:
            np.testing.assert_allclose(mine, theirs, atol=1e-4, err_msg=name)

    if combination[2] == "hard":  # sampled locations
        assert found.parts is not None
        np.testing.assert_array_equal(found.parts.max((2, 3)), 1)
    assert captioner.has_self_attention == (refined or combination[0] in BLOCKS)
    if captioner.has_self_attention:
        found = captioner.with_self_attention(found)
        seen = found.self_attention
        assert seen is not None
        assert (seen.words is not None) == (combination[0] in BLOCKS)
        if seen.words is not None:
            T = len(found.words) + 1
            assert seen.words.shape == (2, 2, T, T)
            found.save_overlay(tmp_path / "words.png", layout="words")
        assert (seen.grid is not None) == refined
        if seen.grid is not None:
            assert seen.grid.shape == (2, 2, *2 * (found.attention[0].size,))
            np.testing.assert_allclose(seen.grid.sum(-1), 1, atol=1e-5)
    found.save_overlay(tmp_path / "figure.png")
    found.save_overlay(tmp_path / "matrix.png", layout="matrix")
    if names:
        found.save_overlay(tmp_path / "parts.png", layout="parts")
    for picture in tmp_path.glob("*.png"):
        with Image.open(picture) as drawn:
            assert drawn.convert("L").getextrema() != (255, 255), picture.name
    found.save_overlay(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert found.text in page
    assert all(name in page for name in names)
    found.save_overlay(tmp_path / "maps.npz")
    found.save_overlay(tmp_path / "maps.json")
    maps = np.load(tmp_path / "maps.npz")
    plain = json.loads((tmp_path / "maps.json").read_text())
    assert ("parts" in maps) == ("parts" in plain) == bool(names)
    if names:
        assert maps["part_names"].tolist() == list(names)
        assert maps["parts"].shape == (len(found.words), len(names), *found.attention.shape[1:])
        np.testing.assert_allclose(maps["parts"].sum((2, 3)), 1, atol=1e-4)
    assert ("sentinel" in maps) == ("sentinel" in plain) == combination[3]


def config_of(data: Path, out: Path, given: Sections) -> Config:
    """Twenty steps in one epoch."""
    return tiny_run(
        data,
        out,
        attention=given["attention"],
        decoder={"projection_dim": 24, **given["decoder"]},
        encoder=given["encoder"],
        train={"epochs": 1, "batch_size": 1, "lr": 2e-3, "warmup": 0.0},
    )


@pytest.mark.parametrize(
    "combination",
    [pytest.param(each, id="-".join(map(str, each))) for each in EVERY if not makes_sense(*each)],
)
def test_what_does_not_is_refused_with_the_reason(
    combination: tuple[str, str, str, bool], tmp_path: Path
) -> None:
    _, _, mode, sentinel = combination
    with pytest.raises(ConfigError) as caught:
        check(config_of(tmp_path / "toy.jsonl", tmp_path / "run", sections(*combination)))
    message = str(caught.value)
    assert "\n" not in message
    decoder = combination[0]
    keys = ("kind", "mode", "sentinel") if decoder in BLOCKS else ("mode", "sentinel")
    assert any(f"attention.{key}" in message for key in keys)
    assert any(each in message for each in (":", "and", ", which")), "no reason"
    assert "leave it out" in message or "use one of the two" in message
    assert mode == "hard" or sentinel or decoder in BLOCKS


class Interrupted(Silent):
    """Stops the run after its first epoch."""

    def epoch(self, entry: dict[str, Any], best: bool) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "attention",
    [
        pytest.param({"mode": "hard"}, id="hard"),
        pytest.param({"kind": "convolution"}, id="convolution"),
        pytest.param({"kind": "multi_hop"}, id="multi_hop", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_ends_with_the_same_weights(
    attention: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    def config(out: str) -> Config:
        settings = {"epochs": 2, "patience": 0, "lr": 2e-3}
        return tiny_run(data, tmp_path / out, attention=attention, train=settings)

    train(config("whole"))
    with pytest.raises(KeyboardInterrupt):
        train(config("parts"), Interrupted())
    train(config("parts"), resume=True)
    whole, parts = (
        load_tensors(tmp_path / out / STATE_NAME, "a state")[0] for out in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    if attention.get("mode") == "hard":
        assert any("attention.hard.baseline" in key for key in whole)
    for key, value in whole.items():
        np.testing.assert_array_equal(value.numpy(), parts[key].numpy(), err_msg=key)


@pytest.mark.parametrize("modes", [("soft", "hard"), ("hard", "soft")])
def test_a_run_may_start_from_the_other_mode(
    modes: tuple[str, str], data: Path, tmp_path: Path
) -> None:
    for name, mode in zip(("first", "second"), modes, strict=True):
        start = {"init_from": str(tmp_path / "first")} if name == "second" else {}
        settings = {"epochs": 1, "lr": 2e-3, **start}
        train(tiny_run(data, tmp_path / name, attention={"mode": mode}, train=settings))
    captioner = Captioner.from_pretrained(tmp_path / "second", device="cpu")
    assert captioner.config["attention"].get("mode", "soft") == modes[1]


@pytest.mark.parametrize("options", [{"gate": "scalar"}, {"attend_with": "previous"}])
def test_a_sentinel_beside_another_gate_is_refused(options: dict[str, str], tmp_path: Path) -> None:
    given = sections("lstm", "additive", "soft", sentinel=True)
    given["decoder"] |= options
    with pytest.raises(ConfigError, match=r"decoder.attend_with current .* decoder.gate none"):
        check(config_of(tmp_path / "toy.jsonl", tmp_path / "run", given))


def test_self_critical_training_with_sampled_locations_is_refused(tmp_path: Path) -> None:
    given = sections("lstm", "additive", "hard", sentinel=False)
    config = tiny_run(tmp_path / "toy.jsonl", tmp_path, **given, self_critical={"epochs": 1})
    with pytest.raises(ConfigError, match=r"set self_critical.epochs to 0, or attention.mode"):
        check(config)


def test_options_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"attention.heads is 2, which attention.kind dot does"):
        tiny_run(tmp_path / "toy.jsonl", tmp_path, attention={"kind": "dot", "heads": 2})
