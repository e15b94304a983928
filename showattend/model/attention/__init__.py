"""Attention: one module per kind, all with the interface `contract.Attention`."""

from showattend.model.attention.additive import AdditiveAttention
from showattend.model.attention.contract import ATTENTIONS, Attended, Attention, build_attention
from showattend.model.attention.convolution import ConvolutionAttention
from showattend.model.attention.dot import DotAttention
from showattend.model.attention.fixed_context import FixedContext
from showattend.model.attention.general import GeneralAttention
from showattend.model.attention.hierarchical import HierarchicalAttention
from showattend.model.attention.location import LocationAttention
from showattend.model.attention.multi_head import MultiHeadAttention
from showattend.model.attention.multi_hop import MultiHopAttention
from showattend.model.attention.scaled_dot import ScaledDotAttention

__all__ = [
    "ATTENTIONS",
    "AdditiveAttention",
    "Attended",
    "Attention",
    "ConvolutionAttention",
    "DotAttention",
    "FixedContext",
    "GeneralAttention",
    "HierarchicalAttention",
    "LocationAttention",
    "MultiHeadAttention",
    "MultiHopAttention",
    "ScaledDotAttention",
    "build_attention",
]
