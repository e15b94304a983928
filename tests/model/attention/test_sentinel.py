"""The adaptive sentinel against Lu et al.'s equations, in the attention and in the LSTM."""

from __future__ import annotations

import pytest
import torch

from showattend.exceptions import ConfigError
from showattend.model.attention import build_attention
from showattend.model.attention.sentinel import Sentinel
from showattend.model.decoders import LSTMDecoder


@torch.no_grad()
def test_it_is_lus_equations() -> None:
    torch.manual_seed(0)
    D, M, A, L = 5, 3, 4, 6
    attention = build_attention(
        "additive", feature_dim=D, query_dim=M, attention_dim=A, sentinel=True
    ).double()
    gate = Sentinel(input_dim=2, hidden_dim=M).double()
    a, x = torch.randn(L, D).double(), torch.randn(2).double()
    h, before, c = torch.randn(3, M).double()
    s = torch.sigmoid(gate.W_x(x) + gate.W_h(before)) * torch.tanh(c)  # 9 and 10
    torch.testing.assert_close(gate(x, before, c), s)
    found = attention(h[None, None], attention.keys(a[None], (2, 3)), None, s[None, None])

    def score(annotation: torch.Tensor) -> torch.Tensor:
        return attention.v @ torch.tanh(attention.W_a(annotation) + attention.W_h(h))

    z = torch.stack([score(a_i) for a_i in a])  # 6
    alpha = z.softmax(0)  # 7
    as_annotation = attention.W_s(s)
    extended = torch.cat([z, score(as_annotation)[None]]).softmax(0)  # 12
    beta = extended[-1]
    context = beta * as_annotation + (1 - beta) * (alpha @ a)  # 11
    torch.testing.assert_close(found.alpha[0, 0], alpha)
    torch.testing.assert_close(found.sentinel[0, 0], beta)
    torch.testing.assert_close(found.context[0, 0], context)
    torch.testing.assert_close(extended[:-1] / (1 - beta), alpha)


def lstm(**options: object) -> LSTMDecoder:
    return LSTMDecoder(
        vocabulary_size=9, feature_dim=5, embedding_dim=4, hidden_dim=3, attention_dim=4,
        attention={"kind": "general", "sentinel": True},
        **{"gate": "none", "attend_with": "current", **options},
    )  # fmt: skip


@torch.no_grad()
def test_the_lstm_offers_what_it_knows_with_the_word_read() -> None:
    torch.manual_seed(0)
    model = lstm().eval()
    memory = model.memory(torch.randn(1, 2, 3, 5))
    state = model.start(memory)
    step = model.step(torch.tensor([[4]]), state, memory)
    s = model.sentinel(model.embedding(torch.tensor([[4]])), state.h, step.state.c)
    wanted = model.attention(step.state.h, memory.keys, None, s)
    torch.testing.assert_close(step.sentinel, wanted.sentinel)
    torch.testing.assert_close(step.state.z, wanted.context)
    assert step.gate is None


@pytest.mark.parametrize("options", [{"gate": "scalar"}, {"attend_with": "previous"}])
def test_it_needs_the_words_state_and_no_other_gate(options: dict[str, str]) -> None:
    with pytest.raises(
        ConfigError, match=r"needs decoder.attend_with current .* decoder.gate none"
    ):
        lstm(**options)
