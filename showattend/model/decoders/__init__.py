"""Decoders: one module per kind, all with the protocol `protocol.Decoder`."""

from showattend.model.decoders.lstm import LSTMDecoder
from showattend.model.decoders.luong import LuongDecoder
from showattend.model.decoders.masked import MaskedDecoder
from showattend.model.decoders.protocol import DECODERS, Decoder, Forced, Step
from showattend.model.decoders.refined import RefinedDecoder
from showattend.model.decoders.transformer import TransformerDecoder
from showattend.model.decoders.updown import UpDownDecoder

__all__ = [
    "DECODERS",
    "Decoder",
    "Forced",
    "LSTMDecoder",
    "LuongDecoder",
    "MaskedDecoder",
    "RefinedDecoder",
    "Step",
    "TransformerDecoder",
    "UpDownDecoder",
]
