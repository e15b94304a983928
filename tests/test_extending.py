"""docs/extending.md: its examples work as they stand, from training to the exported program."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from showattend.captioner import Captioner
from showattend.cli.app import main
from showattend.config import AttentionConfig, Config, from_dict, keys_of, load_config, to_dict
from showattend.data.toy import write_toy
from showattend.exceptions import ConfigError
from showattend.export import graphs
from showattend.export.engine import OnnxCaptioner
from showattend.export.folder import export
from showattend.model.attention import ATTENTIONS, build_attention
from showattend.model.attention.contract import sizes_of
from showattend.model.build import build_decoder
from showattend.model.decoders import DECODERS
from showattend.training.check import check
from showattend.training.trainer import train
from tests.tinyrun import tiny_run

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def examples() -> Iterator[None]:
    before = dict(ATTENTIONS), dict(DECODERS)
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    exec(compile(code, "docs/extending.md", "exec"), {"__name__": "extending"})
    yield
    for registry, kinds in zip((ATTENTIONS, DECODERS), before, strict=True):
        registry.clear()
        registry.update(kinds)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"), images=24, size=64)


# Options that the example does not have, with their defaults.
ABSENT = {
    "attention_dim": 512, "dropout": 0.5, "embedding_dropout": 0.3, "feature_dropout": 0.3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("sections", "described"),
    [
        (
            {"attention": {"kind": "my_dot", "temperature": 2}},
            "LSTM 32, my_dot attention 32 (temperature 2.0) with the previous state, gate scalar",
        ),
        (
            {"decoder": {"kind": "my_gru", **ABSENT}},
            "my_gru, embedding_dim 32, hidden_dim 32",
        ),
    ],
    ids=["attention", "decoder"],
)
def test_it_trains_saves_loads_exports_and_draws(
    sections: dict[str, Any],
    described: str,
    data: Path,
    encoder_once: Callable[..., None],
    photos: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny_run(
        data,
        tmp_path / "run",
        **sections,
        train={"epochs": 2, "ema": 0.9, "rare_words": 0.1, "patience": 0},
        self_critical={"epochs": 1, "samples": 2},
    )
    record = train(config)
    assert record["history"][1]["loss"] < record["history"][0]["loss"]
    on = tiny_run(
        data, tmp_path / "on", **sections, train={"init_from": str(tmp_path / "run"), "epochs": 1}
    )
    train(on)
    captioner = Captioner.from_pretrained(tmp_path / "run", device="cpu", precision="fp32")
    saved = captioner.config
    kinds = {section: saved[section]["kind"] for section in sections}
    assert kinds == {section: values["kind"] for section, values in sections.items()}
    if "attention" in sections:
        assert saved["attention"] == {"kind": "my_dot", "temperature": 2.0}
        assert captioner.decoder.attention.temperature == 2.0
    (line,) = (x for x in run_info(tmp_path / "run") if x.startswith("decoder"))
    assert line == f"decoder      {described}"
    result = captioner.caption(photos[0], beam_size=3, n_best=3)
    np.testing.assert_allclose(result.attention.sum((1, 2)), 1, atol=1e-4)
    forced = captioner.attend(photos[0], result.raw or "a")
    assert forced.words
    assert captioner.sample(photos[0], seed=0, samples=2).words is not None
    result.save_overlay(tmp_path / "figure.png")
    monkeypatch.setattr(graphs, "write_graph", encoder_once)
    export(captioner, tmp_path / "exported")
    ((_, again),) = OnnxCaptioner(tmp_path / "exported").stream([photos[0]], beam_size=3, n_best=3)
    assert again.words == result.words
    np.testing.assert_allclose(again.attention, result.attention, atol=1e-4)


def run_info(model: Path) -> list[str]:
    """The lines of ``showattend info``."""
    with redirect_stdout(io.StringIO()) as said:
        assert main(["info", "--model", str(model)]) == 0
    return said.getvalue().splitlines()


def test_its_option_is_a_key_of_the_config(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("attention:\n  kind: my_dot\n  temperature: 3\n", encoding="utf-8")
    assert load_config(file).attention.temperature == 3.0
    over = load_config(file, ["attention.temperature=5e-1"])
    check(over)
    assert to_dict(over)["attention"] == {"kind": "my_dot", "temperature": 0.5}
    assert from_dict(Config, to_dict(over), "again") == over
    assert build_decoder(
        over.decoder, over.attention, vocabulary_size=9, feature_dim=4
    ).attention.temperature == 0.5  # fmt: skip
    helped = {key.name: key.help for key in keys_of(AttentionConfig)}
    assert helped["temperature"] == "my_dot: divides the scores"
    assert "my_dot" in helped["kind"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "attention.temperature=0",
            r"temperature is 0\.0; it must be from 0\.01 to 100",
        ),
        ("attention.temperature=hot", r"attention\.temperature is 'hot'; it must be a number"),
        (
            "attention.temprature=2",
            r"unknown key attention\.temprature; did you mean",
        ),
        ("attention.hops=2", r"attention\.hops is 2, which attention\.kind my_dot does not take"),
        (
            "decoder.kind=my_gru",
            r"attention\.kind is 'my_dot', which decoder\.kind my_gru",
        ),
        (
            "attention={kind: additive, temperature: 2}",
            r"temperature is 2\.0, which attention\.kind additive does not take.* one of my_dot",
        ),
    ],
)
def test_what_its_options_cannot_be_is_refused(override: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("attention:\n  kind: my_dot\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        check(load_config(file, [override]))


def test_training_does_not_start_from_a_model_with_another_value() -> None:
    one, other = (
        build_attention("my_dot", feature_dim=3, query_dim=2, attention_dim=4, temperature=value)
        for value in (1.0, 2.0)
    )
    assert sizes_of(one) == {"attention.kind": "my_dot", "attention.temperature": 1.0}
    assert sizes_of(one) != sizes_of(other)
