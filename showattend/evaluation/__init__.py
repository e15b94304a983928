"""Evaluation: caption scores, attention maps against object masks, and what captions get wrong."""
