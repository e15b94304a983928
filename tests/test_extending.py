"""docs/extending.md: its examples work as they stand, from training to the exported program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from showattend.captioner import Captioner
from showattend.data.toy import write_toy
from showattend.export.engine import OnnxCaptioner
from showattend.export.folder import export
from showattend.model.attention import ATTENTIONS
from showattend.model.decoders import DECODERS
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


@pytest.mark.parametrize(
    "sections",
    [{"attention": {"kind": "my_dot"}}, {"decoder": {"kind": "my_gru"}}],
    ids=["attention", "decoder"],
)
def test_it_trains_saves_loads_exports_and_draws(
    sections: dict[str, Any], tmp_path: Path, photos: list[Path]
) -> None:
    data = write_toy(tmp_path / "toy", images=24, size=64)
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
    kinds = {section: captioner.config[section]["kind"] for section in sections}
    assert kinds == {section: values["kind"] for section, values in sections.items()}
    result = captioner.caption(photos[0], beam_size=3, n_best=3)
    np.testing.assert_allclose(result.attention.sum((1, 2)), 1, atol=1e-4)
    forced = captioner.attend(photos[0], result.raw or "a")
    assert forced.words
    assert captioner.sample(photos[0], seed=0, samples=2).words is not None
    result.save_overlay(tmp_path / "figure.png")
    export(captioner, tmp_path / "exported")
    ((_, again),) = OnnxCaptioner(tmp_path / "exported").stream([photos[0]], beam_size=3, n_best=3)
    assert again.words == result.words
    np.testing.assert_allclose(again.attention, result.attention, atol=1e-4)
