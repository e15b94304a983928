"""Starting from a model whose encoder has one stage less."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from showattend.captioner import Captioner
from showattend.data.toy import write_toy
from showattend.training.trainer import Trainer, train
from tests.tinyrun import tiny_run


def test_a_stage_beside_the_last_one_changes_nothing_at_first(tmp_path: Path) -> None:
    """The finer features have weights of zero: the start says the same, on a finer grid."""
    data = write_toy(tmp_path / "toy", images=24, size=64)
    decoder = {"projection_dim": 16, "attend_with": "current"}
    train(tiny_run(data, tmp_path / "start", decoder=decoder, train={"epochs": 1}))
    source = Captioner.from_pretrained(tmp_path / "start", device="cpu", precision="fp32")
    grown = Trainer(
        tiny_run(
            data,
            tmp_path / "grown",
            decoder=decoder,
            encoder={"beside": "blocks.4"},
            train={"init_from": str(tmp_path / "start"), "epochs": 1},
        )
    )
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        coarse, fine = source.encoder(images), grown.encoder(images)
        assert fine.shape[1:] == (4, 4, coarse.shape[3] + 112)
        wanted = F.interpolate(coarse.permute(0, 3, 1, 2), (4, 4), mode="bilinear")
        words = torch.tensor([[[1, 5, 6, 2]], [[1, 7, 4, 2]]])
        lengths = torch.full((2, 1), 3)
        said = source.decoder.eval()(wanted.permute(0, 2, 3, 1).flatten(1, 2), words, lengths)
        found = grown.decoder.eval()(fine.flatten(1, 2), words, lengths)
    assert torch.allclose(said.logits, found.logits, atol=1e-4)
    assert torch.allclose(said.coverage, found.coverage, atol=1e-5)


@pytest.mark.parametrize("changed", ["fit", "name"])
def test_another_encoder_is_still_refused(tmp_path: Path, changed: str) -> None:
    from showattend.exceptions import ConfigError

    data = write_toy(tmp_path / "toy", images=12, size=64)
    decoder = {"projection_dim": 16}
    train(tiny_run(data, tmp_path / "start", decoder=decoder, train={"epochs": 1}))
    other = {"fit": "crop", "name": "efficientnet_lite1"}[changed]
    with pytest.raises(ConfigError, match=rf"encoder\.{changed}"):
        Trainer(
            tiny_run(
                data,
                tmp_path / "on",
                decoder=decoder,
                encoder={changed: other, "pretrained": False, "beside": "blocks.4"},
                train={"init_from": str(tmp_path / "start"), "epochs": 1},
            )
        )
