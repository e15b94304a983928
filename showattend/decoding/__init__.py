"""Captions from a decoder: searched, drawn, or given."""
