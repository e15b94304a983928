"""Captions from a decoder: found by search, sampled, or given."""
