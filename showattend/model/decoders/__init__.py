"""Decoders: one module for each kind, behind one protocol (`protocol.Decoder`)."""

from showattend.model.decoders.lstm import LSTMDecoder
from showattend.model.decoders.protocol import DECODERS, Decoder, Forced, Step

__all__ = ["DECODERS", "Decoder", "Forced", "LSTMDecoder", "Step"]
