"""The Transformer's blocks against PyTorch's, and its positions against their formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from showattend.model.decoders.blocks import (
    DecoderBlock,
    EncoderBlock,
    MultiHead,
    grid_sinusoids,
    sinusoids,
)

M, H, INNER = 12, 3, 20


def take(multi_head: MultiHead, theirs: nn.MultiheadAttention) -> None:
    """Give ours the weights of theirs, but for K's bias, which cancels."""
    weight, bias = theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3)
    parts = (multi_head.W_Q, multi_head.W_K, multi_head.W_V)
    for part, w, b in zip(parts, weight, bias, strict=True):
        part.load_state_dict({"weight": w} | ({} if part.bias is None else {"bias": b}))
    multi_head.W_O.load_state_dict(theirs.out_proj.state_dict())


def randomised(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.double().eval()


def test_a_decoder_block_is_pytorchs_with_the_norm_first() -> None:
    torch.manual_seed(0)
    theirs = nn.TransformerDecoderLayer(M, H, INNER, norm_first=True, batch_first=True)
    randomised(theirs)
    ours = DecoderBlock(M, H, INNER, dropout=0.1).double().eval()
    take(ours.attention, theirs.self_attn)
    take(ours.cross_attention, theirs.multihead_attn)
    for mine, other in (
        (ours.norm_1, theirs.norm1), (ours.norm_2, theirs.norm2), (ours.norm_3, theirs.norm3),
        (ours.feedforward.W_1, theirs.linear1), (ours.feedforward.W_2, theirs.linear2),
    ):  # fmt: skip
        mine.load_state_dict(other.state_dict())

    B, K, T, L = 2, 3, 5, 7
    x = torch.randn(B, K, T, M, dtype=torch.float64, requires_grad=True)
    image = torch.randn(B, L, M, dtype=torch.float64)
    causal = torch.ones(T, T, dtype=torch.bool).tril()
    found = ours(x, ours.cross_attention.keys(image), allowed=causal)
    wanted = theirs(
        x.flatten(0, 1), image.repeat_interleave(K, 0), tgt_mask=~causal
    ).unflatten(0, (B, K))  # fmt: skip
    torch.testing.assert_close(found.x, wanted, rtol=0, atol=1e-12)
    direction = torch.randn_like(wanted)
    gradients = [torch.autograd.grad((each * direction).sum(), x)[0] for each in (found.x, wanted)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)
    n = ours.norm_1(x).flatten(0, 1)
    _, weights = theirs.self_attn(n, n, n, attn_mask=~causal, average_attn_weights=False)
    torch.testing.assert_close(found.words.flatten(0, 1), weights, rtol=0, atol=1e-12)
    assert found.image.shape == (B, K, T, H, L)
    torch.testing.assert_close(found.image.sum(-1), torch.ones(B, K, T, H, dtype=torch.float64))


def test_an_encoder_block_is_pytorchs_with_the_norm_first() -> None:
    torch.manual_seed(1)
    theirs = nn.TransformerEncoderLayer(M, H, INNER, norm_first=True, batch_first=True)
    randomised(theirs)
    ours = EncoderBlock(M, H, INNER, dropout=0.1).double().eval()
    take(ours.attention, theirs.self_attn)
    for mine, other in (
        (ours.norm_1, theirs.norm1), (ours.norm_2, theirs.norm2),
        (ours.feedforward.W_1, theirs.linear1), (ours.feedforward.W_2, theirs.linear2),
    ):  # fmt: skip
        mine.load_state_dict(other.state_dict())
    x = torch.randn(2, 9, M, dtype=torch.float64)
    theirs.train()  # else it takes a path of its own, in another order of sums
    theirs.dropout1.p = theirs.dropout2.p = theirs.dropout.p = theirs.self_attn.dropout = 0.0
    found, weights = ours(x, torch.float64)
    torch.testing.assert_close(found, theirs(x), rtol=0, atol=1e-12)
    assert weights.shape == (2, H, 9, 9)


def test_words_read_one_by_one_are_the_words_read_at_once() -> None:
    torch.manual_seed(2)
    block = randomised(DecoderBlock(M, H, INNER, dropout=0.1))
    x = torch.randn(2, 3, 4, M, dtype=torch.float64)
    image = block.cross_attention.keys(torch.randn(2, 5, M, dtype=torch.float64))
    whole = block(x, image, allowed=torch.ones(4, 4, dtype=torch.bool).tril())
    before = None
    for t in range(4):
        read = block(x[:, :, t : t + 1], image, before)
        before = read.keys, read.values
        torch.testing.assert_close(read.x, whole.x[:, :, t : t + 1], rtol=0, atol=1e-12)
        torch.testing.assert_close(read.words[..., 0, :], whole.words[..., t, : t + 1])


def test_positions_are_the_papers_formula() -> None:
    found = sinusoids(torch.arange(3.0), 8)
    for p in range(3):
        for i in range(4):
            angle = p / 10000 ** (2 * i / 8)
            assert found[p, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert found[p, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_a_place_in_the_image_has_its_position_at_every_size() -> None:
    """The middle cell of 3 x 3 and of 9 x 9 is the middle of the image; other cells differ."""
    small, large = (grid_sinusoids(n, n, 16, torch.zeros(1)).view(n, n, 16) for n in (3, 9))
    torch.testing.assert_close(small[1, 1], large[4, 4])
    torch.testing.assert_close(small[0, 2], large[1, 7])
    assert torch.unique(large.flatten(0, 1), dim=0).shape[0] == 81
    # The first half says the row, the second the column.
    torch.testing.assert_close(large[2, 3, :8], large[2, 7, :8])
    torch.testing.assert_close(large[2, 3, 8:], large[5, 3, 8:])
    wide = grid_sinusoids(2, 5, 16, torch.zeros(1)).view(2, 5, 16)
    torch.testing.assert_close(wide[:, 2, 8:], large[:2, 4, 8:])
