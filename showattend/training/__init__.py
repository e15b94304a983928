"""Training: what a run is made of."""
