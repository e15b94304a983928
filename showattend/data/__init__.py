"""Data sets: read, prepared, cached, and handed out in batches."""
