"""Grounding: attention maps compared with object masks."""
