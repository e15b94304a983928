"""Tokenizing captions and numbering the tokens."""
