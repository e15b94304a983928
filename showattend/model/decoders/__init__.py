"""Decoders: one module for each kind, behind one protocol (`base.Decoder`)."""

from showattend.model.decoders.base import DECODERS, Decoder, Forced, Step
from showattend.model.decoders.lstm import LSTMDecoder

__all__ = ["DECODERS", "Decoder", "Forced", "LSTMDecoder", "Step"]
