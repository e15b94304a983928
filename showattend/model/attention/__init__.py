"""Attention: one module for each scoring function, behind one contract (`contract.Attention`)."""

from showattend.model.attention.additive import AdditiveAttention
from showattend.model.attention.contract import ATTENTIONS, Attended, Attention, build_attention

__all__ = ["ATTENTIONS", "AdditiveAttention", "Attended", "Attention", "build_attention"]
