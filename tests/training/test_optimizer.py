"""Groups and rates."""

from __future__ import annotations

import pytest
import torch

from showattend.model.decoders.lstm import LSTMDecoder
from showattend.training.optimizer import build_optimizer, rate_share


def decoder() -> LSTMDecoder:
    return LSTMDecoder(
        vocabulary_size=9, feature_dim=5, embedding_dim=4, hidden_dim=3, attention_dim=2
    )


def test_decay_is_on_matrices_and_groups_say_whose_they_are() -> None:
    model, encoder = decoder(), torch.nn.Conv2d(2, 3, 1)
    optimizer = build_optimizer(model, encoder.parameters(), weight_decay=0.5)
    found = {
        id(parameter): (group["part"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    names = {**dict(model.named_parameters()), **dict(encoder.named_parameters(prefix="encoder"))}
    assert len(found) == len(names)
    for name, parameter in names.items():
        part = "encoder" if name.startswith("encoder") else "decoder"
        decays = name not in ("embedding.weight", "attention.v") and not name.endswith("bias")
        assert found[id(parameter)] == (part, 0.5 if decays else 0.0), name


def test_a_word_that_does_not_occur_keeps_its_embedding() -> None:
    model = decoder()
    optimizer = build_optimizer(model, [], weight_decay=0.5)
    before = model.embedding.weight.detach().clone()
    model.embedding(torch.tensor([4])).sum().backward()
    optimizer.step()
    changed = (model.embedding.weight != before).any(1)
    assert changed.tolist() == [row == 4 for row in range(9)]


@pytest.mark.parametrize(
    ("step", "cosine", "constant"),
    [
        (0, 0.1, 0.1),  # rises in ten steps of a tenth, never at zero
        (4, 0.5, 0.5),
        (9, 1.0, 1.0),
        (10, 1.0, 1.0),
        (55, 0.51, 1.0),  # half way down: the mean of 1 and 0.02
        (100, 0.02, 1.0),
    ],
)
def test_rates_rise_and_fall(step: int, cosine: float, constant: float) -> None:
    for schedule, expected in (("cosine", cosine), ("constant", constant)):
        assert rate_share(step, 100, warmup=0.1, schedule=schedule) == pytest.approx(expected)


def test_a_run_of_one_step_and_no_warm_up_learns() -> None:
    assert rate_share(0, 1, warmup=0.0, schedule="cosine") == 1.0
    assert rate_share(0, 1, warmup=0.9, schedule="cosine") == 1.0
