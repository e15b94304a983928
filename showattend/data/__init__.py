"""Data sets: reading, preparing, caching and batching."""
