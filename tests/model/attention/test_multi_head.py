"""Multi-head attention is torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from showattend.model.attention import build_attention


@pytest.mark.parametrize("heads", [1, 4])
@torch.no_grad()
def test_it_is_torchs(heads: int) -> None:
    torch.manual_seed(0)
    D = 8
    mine = build_attention(
        "multi_head", feature_dim=D, query_dim=D, attention_dim=D, heads=heads
    ).double()
    theirs = nn.MultiheadAttention(D, heads, batch_first=True).double()
    theirs.in_proj_weight.copy_(torch.cat([mine.W_q.weight, mine.W_k.weight, mine.W_v.weight]))
    theirs.in_proj_bias.copy_(torch.cat([mine.W_q.bias, mine.W_k.bias, mine.W_v.bias]))
    theirs.out_proj.load_state_dict(mine.W_o.state_dict())
    a, h = torch.randn(2, 6, D).double(), torch.randn(2, 3, D).double()
    found = mine(h, mine.keys(a, (2, 3)))
    context, each = theirs(h, a, a, average_attn_weights=False)
    torch.testing.assert_close(found.context, context)
    torch.testing.assert_close(found.parts, each.transpose(1, 2))
    torch.testing.assert_close(found.alpha, each.mean(1))
    assert mine.part_names == tuple(f"head {p + 1}" for p in range(heads))
