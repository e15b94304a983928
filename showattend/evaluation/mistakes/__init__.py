"""Mistakes in captions: unsupported words, invented people, overused phrases, low confidence."""
