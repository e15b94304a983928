"""The base class of the kinds with one score per location and one softmax, soft or hard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch

from showattend.exceptions import ConfigError
from showattend.model.attention.contract import (
    Attended,
    Attention,
    AttentionLoss,
    Grid,
    Keys,
    softmax,
)
from showattend.model.attention.hard import Entropy, HardChoice, Reward, Sampled
from showattend.model.kinds import Option, check_options, options_of
from showattend.model.layers import Linear

Mode = Annotated[
    str,
    Option(
        "soft (expected annotation vector) or hard (a sampled one; section 4.1 of the paper)",
        among=("soft", "hard"),
        training=True,
    ),
]
HasSentinel = Annotated[
    bool, Option("may attend to the decoder's state instead of the image (Lu et al. 2017)")
]
SAMPLES = ("sample 1", "sample 2", "sample 3", "sample 4")


class ScoredAttention(Attention):
    """alpha = softmax(e), z = sum_i alpha_i a_i, for scores e_i that the kind computes.

    With ``mode: hard``, training samples one location instead (`HardChoice`); captioning still uses
    the expectation. With ``sentinel``, the image's annotations are joined by one more, W_s s, where
    s is what the decoder already knows (Lu et al. 2017, equations 9 to 13):

    * beta = the sentinel's weight in softmax([e_1, .., e_L, e(W_s s)])
    * z = beta W_s s + (1 - beta) sum_i alpha_i a_i

    The sentinel is scored by the kind's own equation, like any annotation.

    Args:
        feature_dim: D.
        query_dim: M.
        attention_dim: A.
        mode: "soft" or "hard".
        sentinel: Whether the attention has a sentinel; not in hard mode.
        sampled: In hard mode, the share of images with sampled locations; see `HardChoice`.
        reward: In hard mode, lambda_r.
        entropy: In hard mode, lambda_e.

    Raises:
        ConfigError: ``mode`` is invalid, or does not allow another option.
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        query_dim: int,
        attention_dim: int,
        mode: Mode = "soft",
        sentinel: HasSentinel = False,
        sampled: Sampled = 0.5,
        reward: Reward = 1.0,
        entropy: Entropy = 0.01,
    ) -> None:
        super().__init__(feature_dim=feature_dim, query_dim=query_dim, attention_dim=attention_dim)
        check_options("attention", ScoredAttention, mode=mode)
        if mode == "hard" and sentinel:
            raise ConfigError(
                "attention.mode hard samples a location of the image, which attention.sentinel is "
                "not; use one of the two"
            )
        choice = {"sampled": sampled, "reward": reward, "entropy": entropy}
        for name, value in choice.items():
            if mode != "hard" and value != options_of(ScoredAttention)[name].default:
                raise ConfigError(
                    f"attention.{name} is {value}, which is for attention.mode hard only; "
                    "leave it out"
                )
        self.hard = HardChoice(**choice) if mode == "hard" else None
        self.W_s = Linear(query_dim, feature_dim) if sentinel else None

    @property
    def part_names(self) -> tuple[str, ...]:
        """In hard mode, the names of locations that are sampled from alpha to be shown."""
        return () if self.hard is None else SAMPLES

    def location_keys(self, features_BLD: torch.Tensor, grid: Grid) -> torch.Tensor:
        """Compute what `scores` needs from the annotations, a tensor [B, ...]."""
        raise NotImplementedError

    def scores(
        self, query_BKM: torch.Tensor, keys: torch.Tensor, last_BKL: torch.Tensor | None
    ) -> torch.Tensor:
        """Compute the scores e, [B, K, L], from queries and `location_keys`."""
        raise NotImplementedError

    def keys(self, features_BLD: torch.Tensor, grid: Grid) -> Keys:
        """Return the annotations [B, L, D] and `location_keys`; see `Attention.keys`.

        When training in hard mode, the result of `HardChoice.draw_images` follows.
        """
        keys = features_BLD, self.location_keys(features_BLD, grid)
        if self.hard is None or not self.training:
            return keys
        return *keys, self.hard.draw_images(features_BLD)

    def forward(
        self,
        query_BKM: torch.Tensor,
        keys: Keys,
        last: torch.Tensor | None = None,
        sentinel: torch.Tensor | None = None,
    ) -> Attended:
        """Attend to the annotations; see `Attention.forward`."""
        features_BLD, location_keys, *is_sampled = keys
        scores_BKL = self.scores(query_BKM, location_keys, last)
        weights_BKL = alpha_BKL = softmax(scores_BKL)
        aside, share_BK = None, None
        if self.hard is not None and is_sampled:
            weights_BKL, aside = self.hard(alpha_BKL, is_sampled[0])
        context_BKD = torch.bmm(weights_BKL.to(features_BLD), features_BLD)
        if self.W_s is not None:
            assert sentinel is not None, "an attention with a sentinel is given one"
            s_BKD = self.W_s(sentinel)
            score_BK1 = self._score_one(query_BKM, s_BKD)
            share_BK = softmax(torch.cat([scores_BKL, score_BK1], -1))[:, :, -1]
            beta_BK1 = share_BK.unsqueeze(2).to(context_BKD)
            context_BKD = beta_BK1 * s_BKD + (1 - beta_BK1) * context_BKD
        return Attended(context_BKD, alpha_BKL, sentinel=share_BK, aside=aside)

    def _score_one(self, query_BKM: torch.Tensor, annotation_BKD: torch.Tensor) -> torch.Tensor:
        """Score one annotation per query, [B, K, D] to [B, K, 1]."""
        B, K, _ = query_BKM.shape
        keys = self.location_keys(annotation_BKD.flatten(0, 1).unsqueeze(1), (1, 1))
        return self.scores(query_BKM.flatten(0, 1).unsqueeze(1), keys, None).view(B, K, 1)

    def loss(
        self,
        asides: Sequence[tuple[torch.Tensor, ...]],
        log_probs_BKT: torch.Tensor,
        real_BKT: torch.Tensor,
    ) -> AttentionLoss:
        """Compute REINFORCE's terms [B, K]; see `HardChoice.loss`."""
        assert self.hard is not None
        return self.hard.loss(asides, log_probs_BKT, real_BKT)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Load weights from a model of either mode: only the hard mode has a baseline."""
        name = f"{prefix}hard.baseline"
        if self.hard is None:
            state_dict.pop(name, None)
        else:
            state_dict.setdefault(name, torch.tensor(float("nan")))
        super()._load_from_state_dict(state_dict, prefix, *others)
