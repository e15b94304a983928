"""Hard attention: one sampled location, trained by REINFORCE (Show, Attend and Tell, section 4.1).

Shape suffixes: B images, K captions of an image, L locations, T time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import nn

from showattend.model.attention.contract import AttentionLoss
from showattend.model.kinds import Option
from showattend.model.layers import wide

KEPT = 0.9
"""The decay of the baseline's moving average (section 4.1)."""

Sampled = Annotated[
    float,
    Option("share of images with sampled locations, in mode hard", 0, 1, training=True),
]
Reward = Annotated[
    float, Option("lambda_r, weight of the REINFORCE term, in mode hard", 0, 1e6, training=True)
]
Entropy = Annotated[
    float, Option("lambda_e, weight of the maps' entropy, in mode hard", 0, 1e6, training=True)
]


class HardChoice(nn.Module):
    """s_t ~ Categorical(alpha_t), z_t = a_{s_t}, in training; the expectation everywhere else.

    The objective is L_s = sum_s p(s | a) log p(y | s, a), a lower bound on log p(y | a) (equation
    10). Its gradient is estimated from one sample s per caption (equation 12):

    d log p(y | s, a) + lambda_r (R - b) d log p(s | a) + lambda_e d H[s]

    with the paper's three ways to reduce its variance:

    * a moving average as the baseline, b <- 0.9 b + 0.1 R;
    * the entropy H of alpha;
    * for half of the images (``sampled``), the expectation sum_i alpha_i a_i instead of a sample.

    R is the log-probability of a caption's words. Unlike in the paper, each step is rewarded only
    for its own word and the words after it, and b is the average per word times the number of words
    left. Words before t do not depend on s_t, so the estimator has the same mean and less variance.
    Validation, search and export use the expectation, as the authors' code does by default.

    Cost of a step: one random number and one row of annotations; the softmax is needed in any case.

    Args:
        sampled: The share of images whose locations are sampled, from 0 to 1.
        reward: lambda_r.
        entropy: lambda_e.

    Attributes:
        baseline: b, a scalar: the average log-probability per word; NaN before the first batch.
    """

    baseline: torch.Tensor

    def __init__(
        self, sampled: Sampled = 0.5, reward: Reward = 1.0, entropy: Entropy = 0.01
    ) -> None:
        super().__init__()
        self.sampled, self.reward, self.entropy = sampled, reward, entropy
        # The mean log-probability per word; NaN until the first batch.
        self.register_buffer("baseline", torch.tensor(float("nan")))

    def draw_images(self, features_BLD: torch.Tensor) -> torch.Tensor:
        """Draw the images whose locations are sampled: bool [B, 1, 1]."""
        draw_B = torch.rand(len(features_BLD), device=features_BLD.device)
        return (draw_B < self.sampled).view(-1, 1, 1)

    def forward(
        self, alpha_BKL: torch.Tensor, is_sampled_B11: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Sample one location for each query.

        Args:
            alpha_BKL: The distribution over locations.
            is_sampled_B11: The result of `draw_images`.

        Returns:
            The weights [B, K, L], one-hot for sampled images and alpha for the others; and four
            tensors: log p(s) [B, K], zero for images that are not sampled; the entropy of alpha
            [B, K]; d log p(s) / d e = onehot(s) - alpha [B, K, L], where e are the scores; and
            whether s was sampled, bool [B, K].
        """
        chosen_BK = torch.multinomial(alpha_BKL.detach().flatten(0, 1), 1).view(alpha_BKL.shape[:2])
        onehot_BKL = nn.functional.one_hot(chosen_BK, alpha_BKL.shape[2]).to(alpha_BKL)
        log_alpha_BKL = alpha_BKL.clamp(min=torch.finfo(alpha_BKL.dtype).tiny).log()
        is_sampled_B1 = is_sampled_B11.squeeze(2)
        log_prob_BK = (onehot_BKL * log_alpha_BKL).sum(2) * is_sampled_B1
        entropy_BK = -(alpha_BKL * log_alpha_BKL).sum(2)
        slope_BKL = onehot_BKL - alpha_BKL.detach()
        weights_BKL = torch.where(is_sampled_B11, onehot_BKL, alpha_BKL)
        return weights_BKL, (log_prob_BK, entropy_BK, slope_BKL, is_sampled_B1.expand_as(chosen_BK))

    def loss(
        self,
        asides: Sequence[tuple[torch.Tensor, ...]],
        log_probs_BKT: torch.Tensor,
        real_BKT: torch.Tensor,
    ) -> AttentionLoss:
        """Compute a loss with the gradient of REINFORCE's terms; update the baseline in training.

        Args:
            asides: For each step, the four tensors that `forward` returned.
            log_probs_BKT: The log-probabilities of the words, detached.
            real_BKT: Which steps are not padding, bool.

        Returns:
            The loss of each caption [B, K]; and as figures the baseline, ``estimator_variance``
            and ``estimator_second_moment`` (see `spread_of`), where the estimator is the gradient
            of the reward with respect to a step's scores e, lambda_r (R - b) (onehot(s) - alpha).
        """
        log_prob_BKT, entropy_BKT, slope_BKTL, is_sampled_BKT = (
            torch.stack(each, 2) for each in zip(*asides, strict=True)
        )
        said_BKT = torch.where(real_BKT, log_probs_BKT, 0).to(wide(log_probs_BKT.dtype))
        to_go_BKT = said_BKT.flip(2).cumsum(2).flip(2)
        left_BKT = real_BKT.flip(2).cumsum(2).flip(2)
        a_word = said_BKT.sum() / real_BKT.sum().clamp(min=1)
        b = torch.where(self.baseline.isnan(), a_word, self.baseline)
        if self.training:
            self.baseline.copy_(KEPT * b + (1 - KEPT) * a_word)
        advantage_BKT = self.reward * (to_go_BKT - b * left_BKT)
        terms_BKT = -advantage_BKT * log_prob_BKT - self.entropy * entropy_BKT
        gradients_BKTL = advantage_BKT.unsqueeze(3) * slope_BKTL
        variance, second_moment = spread_of(gradients_BKTL, real_BKT & is_sampled_BKT)
        figures = {
            "estimator_variance": variance,
            "estimator_second_moment": second_moment,
            "baseline": b,
        }
        return AttentionLoss(torch.where(real_BKT, terms_BKT, 0).sum(2), figures)


def spread_of(
    gradients_BKTL: torch.Tensor, counts_BKT: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Estimate the variance of a random gradient, and its second moment.

    The variance E ||g - E g||^2 is that of the gradients of one time step, estimated without bias
    from all captions of the batch, and averaged over time steps. It is what one training step sees,
    and has two parts: that of sampling, and that of the gradient's mean between captions. So it is
    an upper bound on the variance of sampling for a given caption, which would need several samples
    of each, and equals it where all captions are the same. The second moment E ||g||^2 is larger by
    ||E g||^2.

    Args:
        gradients_BKTL: A sample of the gradient for each caption and time step.
        counts_BKT: Which of them count, bool.

    Returns:
        Two scalars, the variance and the second moment; zero for a batch without two captions, or
        without any, that count.
    """
    counted_BKTL = torch.where(counts_BKT.unsqueeze(3), gradients_BKTL, 0)
    squares_T = counted_BKTL.square().sum((0, 1, 3))
    sums_T = counted_BKTL.sum((0, 1)).square().sum(1)
    count_T = counts_BKT.sum((0, 1))
    apart = (squares_T - sums_T / count_T.clamp(min=1)).sum().clamp(min=0)
    freedom = (count_T - 1).clamp(min=0).sum()
    return apart / freedom.clamp(min=1), squares_T.sum() / count_T.sum().clamp(min=1)
