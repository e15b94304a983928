"""Scores of whole sets of captions, and statistics of their maps."""
