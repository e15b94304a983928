"""Training: runs, their objectives, validation, state and comparison."""
