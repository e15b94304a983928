"""Captions as tokens, and tokens as numbers."""
